import triton, triton.language as tl, torch, sys
from triton.compiler import ASTSource
from triton.backends.compiler import GPUTarget

@triton.jit
def carry(x, out, P: tl.constexpr, K: tl.constexpr):
    r = tl.arange(0, P)
    cols = ()
    for b in tl.static_range(K):
        cols = cols + (tl.load(x + r * K + b),)
    sums = ()
    for b in tl.static_range(K):
        sums = sums + (tl.zeros([P], tl.float32),)
    for a in range(K):
        new = ()
        for b in tl.static_range(K):
            new = new + (sums[b] + cols[b] * a,)
        sums = new
    for b in tl.static_range(K):
        tl.store(out + r * K + b, sums[b])

if len(sys.argv) > 1:
    x = torch.randn(16, 3); out = torch.zeros_like(x)
    carry[(1,)](x, out, 16, 3)
    print((out - 3 * x).abs().max())
else:
    c = triton.compile(ASTSource(carry, {"x": "*fp32", "out": "*fp32", "P": "constexpr", "K": "constexpr"}, {(2,): 128, (3,): 3}), target=GPUTarget("cuda", 90, 32))
    print(triton.__version__, c.asm.keys())
