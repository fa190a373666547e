"""The operator from outside: bad input, choice of backend, and what PyTorch's own tools know about it."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from sasa_cli.attention import available_backends, choose_backend, local_attention
from sasa_cli.attention.backend import Backend, select
from sasa_cli.attention.dense import BACKEND as DENSE
from sasa_cli.attention.shift import BACKEND as SHIFT

from .cases import Case, Inputs

every_backend = pytest.mark.parametrize("backend", available_backends())


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


@pytest.mark.parametrize(
    ("side", "spatial_extent", "expected"),
    [
        (56, 7, "shift"),
        (28, 7, "shift"),
        (14, 7, "dense"),
        (7, 7, "dense"),
        (32, 7, "shift"),
        (16, 7, "shift"),
        (8, 7, "dense"),
        (4, 7, "dense"),
        (14, 3, "shift"),
        (8, 3, "shift"),
        (4, 3, "dense"),
        (14, 11, "dense"),
        (28, 11, "shift"),
        (8, 1, "shift"),
    ],
)
def test_auto_takes_dense_for_maps_of_up_to_four_windows(side: int, spatial_extent: int, expected: str) -> None:
    problem = Case(spatial_extent, (16, 8, 8, side, side)).problem(torch.float32)
    assert select(problem, "auto", (DENSE, SHIFT)).name == expected


def backend_like(name: str, **changes: object) -> Backend:
    return Backend(name, **({"forward": DENSE.forward, "backward": DENSE.backward, "suits": lambda _: True} | changes))


def test_auto_passes_over_backends_that_cannot_and_forcing_them_says_why() -> None:
    problem = Case(3).problem(torch.float32)
    absent = backend_like("absent", missing=lambda: "it needs a GPU")
    picky = backend_like("picky", supports=lambda problem: f"float16 only, got {problem.dtype}")
    modest = backend_like("modest", suits=lambda _: False)
    good = backend_like("good")
    backends = (absent, picky, modest, good, SHIFT)
    assert select(problem, "auto", backends) is good
    assert select(problem, "modest", backends) is modest
    with pytest.raises(ValueError, match="backend 'absent' cannot compute this: it needs a GPU"):
        select(problem, "absent", backends)
    with pytest.raises(ValueError, match=r"backend 'picky' cannot compute this: float16 only, got torch\.float32"):
        select(problem, "picky", backends)


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


@every_backend
def test_autocast_leaves_float32_embeddings_and_float32_arithmetic(backend: str) -> None:
    inputs = Case(5, position="per_head").inputs(torch.float32)
    half = Inputs(*(maps.detach().bfloat16().requires_grad_() for maps in inputs[:3]), *inputs[3:])
    plain = local_attention(*half, spatial_extent=5, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        output = local_attention(*half, spatial_extent=5, backend=backend)
        assert local_attention(*inputs, spatial_extent=5, backend=backend).dtype == torch.float32
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, plain)
    output.float().sum().backward()
    assert half.query.grad.dtype == torch.bfloat16
    assert half.row_embedding.grad.dtype == torch.float32


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
