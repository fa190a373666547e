"""The operator from outside: bad input, choice of backend, and what PyTorch's own tools know about it."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from sasa_cli.attention import available_backends, choose_backend, local_attention

from .cases import CPU_BACKENDS, Case, Inputs

every_backend = pytest.mark.parametrize("backend", CPU_BACKENDS)


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


MAPS = zeros(2, 3, 4, 5, 6)
ROW = zeros(2, 7)
GOOD = Inputs(MAPS, MAPS, MAPS, ROW, ROW)
BAD_CALLS = {
    "even k": (GOOD, {"spatial_extent": 4}, "spatial_extent must be odd and at least 1, got 4"),
    "negative k": (GOOD, {"spatial_extent": -1}, "spatial_extent must be odd and at least 1, got -1"),
    "border": (GOOD, {"border": "same"}, "border must be 'zero' or 'mask', got 'same'"),
    "backend": (GOOD, {"backend": "fast"}, "backend must be auto, .*shift, got 'fast'"),
    "no key": (GOOD._replace(key=None), {}, "key must be given with content=True, got None"),
    "4-D query": (GOOD._replace(query=MAPS[0]), {}, r"query must have shape \(B, N, D, H, W\), .*got \(3, 4, 5, 6\)"),
    "empty map": (GOOD._replace(query=MAPS[..., :0]), {}, r"none but B zero, got \(2, 3, 4, 5, 0\)"),
    "integer query": (GOOD._replace(query=MAPS.int()), {}, "query must be float16, .* got torch.int32"),
    "key shape": (
        GOOD._replace(key=MAPS[..., 1:]),
        {},
        r"key must have the shape of query, \(2, 3, 4, 5, 6\), got \(2, 3, 4, 5, 5\)",
    ),
    "value dtype": (
        GOOD._replace(value=MAPS.double()),
        {},
        "value must be torch.float32 on cpu, got torch.float64 on cpu",
    ),
    "value device": (GOOD._replace(value=MAPS.to("meta")), {}, "value must be torch.float32 on cpu, got .* on meta"),
    "one embedding": (GOOD._replace(column_embedding=None), {}, "must be given together, got only row_embedding"),
    "other embedding": (GOOD._replace(row_embedding=None), {}, "must be given together, got only column_embedding"),
    "embedding shape": (
        GOOD._replace(row_embedding=zeros(7, 2)),
        {},
        r"row_embedding must have shape \(D // 2, k\) = \(2, 7\) or \(N, D // 2, k\) = \(3, 2, 7\), got \(7, 2\)",
    ),
    "embedding of other k": (GOOD, {"spatial_extent": 5}, r"row_embedding must have shape .*got \(2, 7\)"),
    "mixed sharing": (GOOD._replace(column_embedding=zeros(3, 2, 7)), {}, "both be shared or both be per head"),
    "embedding dtype": (
        GOOD._replace(row_embedding=ROW.double()),
        {},
        "row_embedding must be torch.float32 on cpu, got torch.float64 on cpu",
    ),
    "odd D": (
        Inputs(*(zeros(2, 2, 3, 5, 5),) * 3, zeros(1, 7), zeros(1, 7)),
        {},
        "position embeddings need an even head dimension D, got D = 3",
    ),
}


@pytest.mark.parametrize(("inputs", "settings", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls_say_what_is_allowed(inputs: Inputs, settings: dict[str, object], message: str) -> None:
    local_attention(*GOOD, spatial_extent=7)
    with pytest.raises(ValueError, match=message):
        local_attention(*inputs, **{"spatial_extent": 7, **settings})


@every_backend
def test_available_backends_can_be_forced(backend: str) -> None:
    problem = Case(3).problem(torch.float32)
    assert choose_backend(problem, backend) == backend
    assert choose_backend(problem) in available_backends()


def test_auto_is_what_choose_backend_says() -> None:
    case = Case(7, (2, 2, 4, 6, 6))
    inputs = case.inputs(torch.float32)
    chosen = choose_backend(case.problem(torch.float32))
    assert torch.equal(case.attend(inputs, "auto"), case.attend(inputs, chosen))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck reads it
@every_backend
@pytest.mark.parametrize(
    "case",
    [Case(3), Case(3, border="mask", position="per_head", layout="channels_last"), Case(3, position="none")],
    ids=str,
)
def test_opcheck(backend: str, case: Case) -> None:
    inputs = case.inputs(torch.float32)
    operator = torch.ops.sasa.local_attention.default
    settings = (case.spatial_extent, case.border, backend)
    torch.library.opcheck(operator, (*inputs, *settings))

    constants = [None if tensor is None else tensor.detach() for tensor in inputs]
    output, lse = operator(*constants, *settings)
    backward = torch.ops.sasa.local_attention_backward.default
    torch.library.opcheck(backward, (output, *constants, output, lse, *settings))


@every_backend
def test_backward_neither_changes_nor_returns_what_it_is_given(backend: str) -> None:
    case = Case(3, position="per_head")
    inputs = [tensor.detach() for tensor in case.inputs(torch.float32)]
    output, lse = torch.ops.sasa.local_attention(*inputs, 3, "zero", backend)
    given = [torch.ones_like(output), *inputs, output, lse]
    before = [tensor.clone() for tensor in given]
    gradients = torch.ops.sasa.local_attention_backward(*given, 3, "zero", backend)
    assert all(torch.equal(now, then) for now, then in zip(given, before, strict=True))
    storages = {tensor.untyped_storage().data_ptr() for tensor in [*given, *gradients]}
    assert len(storages) == len(given) + len(gradients)


@every_backend
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_as_one_graph(backend: str, dynamic: bool) -> None:
    case = Case(3, layout="fused")
    torch.compiler.reset()
    compiled = torch.compile(case.attend, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    inputs = case.inputs(torch.float32)
    output = compiled(inputs, backend)
    eager = case.attend(inputs, backend)
    assert torch.equal(output, eager)
    assert torch.equal(
        torch.autograd.grad(output.square().sum(), inputs.query)[0],
        torch.autograd.grad(eager.square().sum(), inputs.query)[0],
    )


@pytest.mark.parametrize(
    ("content", "position", "products"), [(True, "shared", 3), (False, "shared", 2), (True, "none", 2)]
)
def test_flops(content: bool, position: str, products: int) -> None:
    case = Case(7, (2, 8, 4, 14, 12), content=content, position=position)
    inputs = case.inputs(torch.float32)
    macs = products * 2 * 8 * 4 * 14 * 12 * 49
    with FlopCounterMode(display=False) as counter:
        output = case.attend(inputs, "auto")
    assert counter.get_total_flops() == 2 * macs
    with FlopCounterMode(display=False) as counter:
        output.sum().backward()
    assert counter.get_total_flops() == 4 * macs


def test_meta_tensors_have_shape_dtype_and_memory_order() -> None:
    maps = torch.empty(2, 8, 6, 7, device="meta", dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    maps = maps.unflatten(1, (2, 4)).requires_grad_()
    row = torch.empty(2, 5, device="meta", requires_grad=True)
    output = local_attention(maps, maps, maps, row, row, spatial_extent=5)
    assert (output.shape, output.dtype, output.stride()) == (maps.shape, maps.dtype, maps.stride())
    output.sum().backward()
    assert (row.grad.shape, row.grad.dtype) == (row.shape, row.dtype)


def rounded(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """The maps in ``dtype``, the embeddings as they are."""
    return Inputs(*(maps.detach().to(dtype).requires_grad_() for maps in inputs[:3]), *inputs[3:])


@every_backend
def test_autocast_leaves_float32_embeddings_and_float32_arithmetic(backend: str) -> None:
    half = rounded(Case(5, position="per_head").inputs(torch.float32), torch.bfloat16)
    plain = local_attention(*half, spatial_extent=5, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        output = local_attention(*half, spatial_extent=5, backend=backend)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, plain)
    output.float().sum().backward()
    assert half.query.grad.dtype == torch.bfloat16
    assert half.row_embedding.grad.dtype == torch.float32


@every_backend
def test_autocast_casts_maps_as_it_does_for_matrix_products(backend: str) -> None:
    case = Case(5, position="per_head")
    inputs = case.inputs(torch.float32)
    half = rounded(inputs, torch.bfloat16)
    expected = case.output_and_gradients(half, backend)
    with torch.autocast("cpu", torch.bfloat16):
        actual = case.output_and_gradients(inputs, backend)
        mixed = case.attend(inputs._replace(value=half.value), backend)
    assert actual["output"].dtype == (inputs.query[0, 0] @ inputs.query[0, 0].mT).bfloat16().dtype
    assert torch.equal(actual["output"], expected["output"])
    assert torch.equal(mixed, expected["output"])
    for name in inputs._fields:
        assert actual[name].dtype == torch.float32
        assert torch.equal(actual[name], expected[name].float()), name


def test_autocast_leaves_float64_and_keeps_a_missing_key() -> None:
    case = Case(3, content=False)
    inputs = case.inputs()._replace(key=None)
    with torch.autocast("cpu", torch.bfloat16):
        assert case.attend(inputs, "auto").dtype == torch.float64
        assert case.attend(Inputs(*(t if t is None else t.float() for t in inputs)), "auto").dtype == torch.bfloat16


@every_backend
def test_autocast_compiles_as_one_graph(backend: str) -> None:
    case = Case(3)
    inputs = case.inputs(torch.float32)

    def attend(inputs: Inputs) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return case.attend(inputs, backend)

    torch.compiler.reset()
    output, eager = torch.compile(attend, fullgraph=True, backend="aot_eager")(inputs), attend(inputs)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, eager)
    gradients = (torch.autograd.grad(each.float().square().sum(), inputs) for each in (output, eager))
    for compiled, plain in zip(*gradients, strict=True):
        assert compiled.dtype == torch.float32
        assert torch.equal(compiled, plain)


def test_autocast_is_registered_for_cuda_as_for_the_cpu() -> None:
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    assert has_kernel("sasa::local_attention", "AutocastCPU")
    assert has_kernel("sasa::local_attention", "AutocastCUDA")


@every_backend
def test_no_grad_and_inference_mode(backend: str) -> None:
    case = Case(3)
    inputs = case.inputs()
    expected = case.attend(inputs, backend)
    with torch.no_grad():
        output = case.attend(inputs, backend)
    assert not output.requires_grad
    assert torch.equal(output, expected)
    with torch.inference_mode():
        assert torch.equal(case.attend(inputs, backend), expected)


@every_backend
def test_gradient_checkpointing(backend: str) -> None:
    case = Case(3)
    inputs = case.inputs()
    expected = torch.autograd.grad(case.attend(inputs, backend).sum(), inputs)
    output = checkpoint(lambda *tensors: case.attend(Inputs(*tensors), backend), *inputs, use_reentrant=False)
    actual = torch.autograd.grad(output.sum(), inputs)
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))


def test_second_derivatives_are_refused() -> None:
    case = Case(3)
    inputs = case.inputs()
    (gradient,) = torch.autograd.grad(case.attend(inputs, "auto").square().sum(), inputs.query, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        gradient.sum().backward()
