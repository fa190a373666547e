"""The operator on queries, keys and values in one map: the same numbers as on three, and one gradient."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sasa_cli.attention import packed_local_attention

from .cases import CPU_BACKENDS, LAYOUTS, SHAPES, Case, Inputs, computes

every_backend = pytest.mark.parametrize("backend", CPU_BACKENDS)
SETTINGS = [
    Case(5, border=border, content=content, position=position)
    for border in ("zero", "mask")
    for content in (True, False)
    for position in ("shared", "per_head", "none")
]
RUNS = [
    pytest.param(backend, case, id=f"{backend}-{case}")
    for backend in CPU_BACKENDS
    for case in [*SETTINGS, *SHAPES, *LAYOUTS]
    if computes(backend, case.problem(torch.float32))
]


def packed(case: Case, inputs: Inputs) -> torch.Tensor:
    """``(B, P, N, D, H, W)``, in the memory order of the case's layout."""
    parts = (inputs.query, inputs.key, inputs.value) if case.content else (inputs.query, inputs.value)
    maps = torch.stack([part.detach() for part in parts], dim=1).flatten(1, 3)  # (B, P C, H, W)
    if case.layout != "contiguous":
        maps = maps.to(memory_format=torch.channels_last)
    return maps.unflatten(1, (len(parts), *case.shape[1:3])).requires_grad_()


def attend(case: Case, maps: torch.Tensor, inputs: Inputs, backend: str = "auto") -> torch.Tensor:
    settings = {"spatial_extent": case.spatial_extent, "border": case.border, "backend": backend}
    return packed_local_attention(maps, inputs.row_embedding, inputs.column_embedding, **settings)


@pytest.mark.parametrize(("backend", "case"), RUNS)
def test_same_bits_as_three_maps(backend: str, case: Case) -> None:
    inputs = case.inputs(torch.float32)
    expected = case.output_and_gradients(inputs, backend)
    maps = packed(case, inputs)
    output = attend(case, maps, inputs, backend)
    assert torch.equal(output, expected["output"])

    random = torch.Generator().manual_seed(1)
    grad_output = torch.randn(case.shape, dtype=torch.float64, generator=random).to(output)
    names = [name for name in ("row_embedding", "column_embedding") if name in expected]
    gradient, *others = torch.autograd.grad(output, [maps, *(getattr(inputs, name) for name in names)], grad_output)
    assert gradient.stride() == maps.stride()
    parts = [name for name in ("query", "key", "value") if case.content or name != "key"]
    for name, actual in [*zip(parts, gradient.unbind(1), strict=True), *zip(names, others, strict=True)]:
        assert torch.equal(actual, expected[name]), name


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck reads it
@every_backend
@pytest.mark.parametrize(
    "case",
    [Case(3), Case(3, border="mask", position="per_head", layout="channels_last"), Case(3, content=False)],
    ids=str,
)
def test_opcheck(backend: str, case: Case) -> None:
    inputs = case.inputs(torch.float32)
    arguments = (packed(case, inputs), *inputs[3:])
    settings = (case.spatial_extent, case.border, backend)
    operator = torch.ops.sasa.packed_local_attention.default
    torch.library.opcheck(operator, (*arguments, *settings))

    constants = [None if tensor is None else tensor.detach() for tensor in arguments]
    output, lse = operator(*constants, *settings)
    backward = torch.ops.sasa.packed_local_attention_backward.default
    torch.library.opcheck(backward, (output, *constants, output, lse, *settings))


@pytest.mark.parametrize(("content", "products"), [(True, 3), (False, 2)])
def test_flops(content: bool, products: int) -> None:
    case = Case(7, (2, 8, 4, 14, 12), content=content)
    inputs = case.inputs(torch.float32)
    macs = products * 2 * 8 * 4 * 14 * 12 * 49
    with FlopCounterMode(display=False) as counter:
        output = attend(case, packed(case, inputs), inputs)
    assert counter.get_total_flops() == 2 * macs
    with FlopCounterMode(display=False) as counter:
        output.sum().backward()
    assert counter.get_total_flops() == 4 * macs


@every_backend
def test_autocast_casts_the_maps_and_not_the_embeddings(backend: str) -> None:
    case = Case(5, position="per_head")
    inputs = case.inputs(torch.float32)
    maps = packed(case, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        output = attend(case, maps, inputs, backend)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, attend(case, maps.bfloat16(), inputs, backend))
    output.float().sum().backward()
    assert (maps.grad.dtype, inputs.row_embedding.grad.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (2, 1, 3, 4, 5, 6), (2, 4, 3, 4, 5, 6)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"maps must have shape \(B, 2 or 3, N, D, H, W\), got \(2, "):
        packed_local_attention(torch.zeros(shape), None, None, spatial_extent=3)
