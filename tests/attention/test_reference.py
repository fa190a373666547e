"""The reference itself, and what every backend must share with it, against independent answers."""

import pytest
import torch
import torch.nn.functional as F
from timm.layers.halo_attn import HaloAttn
from torch import Tensor

from .cases import CPU_BACKENDS, Case

IMPLEMENTATIONS = ["reference", *CPU_BACKENDS]
every_implementation = pytest.mark.parametrize("backend", IMPLEMENTATIONS)
every_border = pytest.mark.parametrize("border", ["zero", "mask"])


@pytest.mark.parametrize(
    "case",
    [
        Case(3, (1, 2, 2, 2, 2)),
        Case(3, (1, 2, 2, 1, 3), "mask", position="per_head"),
        Case(5, (1, 1, 2, 1, 3), content=False),
        Case(3, (1, 1, 1, 2, 2), position="none"),
    ],
    ids=str,
)
def test_reference_gradcheck(case: Case) -> None:
    inputs = case.inputs()

    def attend(*tensors: Tensor) -> Tensor:
        given = iter(tensors)
        return case.attend(type(inputs)(*(t if t is None else next(given) for t in inputs)), "reference")

    assert torch.autograd.gradcheck(attend, tuple(tensor for tensor in inputs if tensor is not None))


@every_implementation
def test_window_of_one_returns_the_value(backend: str) -> None:
    case = Case(1)
    inputs = case.inputs()
    torch.testing.assert_close(case.attend(inputs, backend), inputs.value)


@every_implementation
@every_border
def test_uniform_logits_average_the_window(backend: str, border: str) -> None:
    case = Case(3, (2, 2, 4, 5, 6), border, content=False, position="none")
    inputs = case.inputs()
    flat = inputs.value.flatten(1, 2)  # (B, N * D, H, W)
    expected = F.avg_pool2d(flat, 3, stride=1, padding=1, count_include_pad=border == "zero")
    torch.testing.assert_close(case.attend(inputs, backend), expected.view(case.shape))


@every_implementation
@every_border
@pytest.mark.parametrize("axis", ["row", "column"])
@pytest.mark.parametrize("index", [0, 1, 2, 4])
def test_huge_embedding_of_one_offset_shifts_the_value(backend: str, border: str, axis: str, index: int) -> None:
    """Row index 0 of k = 5 is two rows up: y_ij is the mean of row i - 2 of the window, and so on."""
    case = Case(5, (1, 1, 4, 9, 9), border, content=False)
    query = torch.ones(case.shape)
    value = torch.randn(case.shape, generator=torch.Generator().manual_seed(0))
    huge, zero = torch.zeros(2, 5), torch.zeros(2, 5)
    huge[:, index] = 1e3
    embeddings = (huge, zero) if axis == "row" else (zero, huge)
    inputs = case.inputs(torch.float32)
    actual = case.attend(type(inputs)(query, None, value, *embeddings), backend)
    offset = index - 2
    for i in range(2, 7):
        for j in range(2, 7):
            window = (
                value[0, 0, :, i + offset, j - 2 : j + 3]
                if axis == "row"
                else value[0, 0, :, i - 2 : i + 3, j + offset]
            )
            torch.testing.assert_close(actual[0, 0, :, i, j], window.mean(dim=-1))


@every_implementation
def test_huge_embeddings_of_a_row_and_a_column_pick_one_place(backend: str) -> None:
    """Row index 0 and column index 2 of k = 3: y_ij = v at (i - 1, j + 1), zero where that is outside."""
    case = Case(3, (1, 1, 2, 3, 3), content=False)
    value = torch.arange(1.0, 10.0).view(1, 1, 1, 3, 3).expand(case.shape)
    row, column = torch.tensor([[1e3, 0, 0]]), torch.tensor([[0, 0, 1e3]])
    inputs = case.inputs(torch.float32)
    actual = case.attend(type(inputs)(torch.ones(case.shape), None, value, row, column), backend)
    expected = torch.tensor([[0.0, 0, 0], [2, 3, 0], [5, 6, 0]])
    torch.testing.assert_close(actual[0, 0, 0], expected)


@every_implementation
def test_first_half_of_the_query_meets_the_row_embedding(backend: str) -> None:
    case = Case(3, (1, 1, 4, 5, 5), content=False)
    inputs = case.inputs()
    without_first = inputs.query.detach().clone()
    without_first[:, :, :2] = 0  # row logits vanish: rows of the window weigh the same
    output = case.attend(inputs._replace(query=without_first), backend)
    column_only = case.attend(inputs._replace(row_embedding=torch.zeros_like(inputs.row_embedding)), backend)
    torch.testing.assert_close(output, column_only)
    assert not torch.allclose(output, case.attend(inputs, backend))


@every_implementation
@every_border
def test_translation_equivariance_away_from_the_border(backend: str, border: str) -> None:
    case = Case(3, (2, 2, 4, 9, 10), border)
    inputs = case.inputs()
    moved = [maps.roll((2, 3), dims=(-2, -1)) for maps in inputs[:3]]
    output = case.attend(inputs, backend)
    moved_output = case.attend(type(inputs)(*moved, *inputs[3:]), backend)
    torch.testing.assert_close(moved_output[..., 3:-1, 4:-1], output[..., 1:-3, 1:-4])


@every_implementation
@pytest.mark.parametrize("name", ["query", "key", "value", "row_embedding", "column_embedding"])
def test_heads_are_independent(backend: str, name: str) -> None:
    case = Case(3, (2, 3, 4, 5, 6), position="per_head")
    inputs = case.inputs()
    head = (1,) if "embedding" in name else (slice(None), 1)
    changed = getattr(inputs, name).detach().clone()
    changed[head] += torch.randn_like(changed[head])
    output = case.attend(inputs, backend)
    difference = (case.attend(inputs._replace(**{name: changed}), backend) - output).abs().amax(dim=(0, 2, 3, 4))
    assert difference[1] > 1e-3
    assert not difference[[0, 2]].any()

    (gradient,) = torch.autograd.grad(output[:, 1].square().sum(), getattr(inputs, name))
    heads = gradient if "embedding" in name else gradient.transpose(0, 1)
    assert heads[1].any()
    assert not heads[[0, 2]].any()


@every_implementation
def test_gradient_stays_in_the_window(backend: str) -> None:
    case = Case(5, (1, 1, 2, 9, 9))
    inputs = case.inputs()
    for tensor in (inputs.key, inputs.value):
        (gradient,) = torch.autograd.grad(case.attend(inputs, backend)[..., 4, 3].sum(), tensor)
        reached = gradient[0, 0].abs().sum(dim=0) > 0
        assert reached[2:7, 1:6].all()
        assert reached.sum() == 25


@every_implementation
@pytest.mark.parametrize("spatial_extent", [3, 7])
def test_equals_halo_attention_of_timm(backend: str, spatial_extent: int) -> None:
    """HaloAttn with blocks of one pixel, no scale, and embeddings of which one half is zero."""
    heads, head_dim, channels = 4, 8, 32
    halo = HaloAttn(channels, num_heads=heads, dim_head=head_dim, block_size=1, halo_size=spatial_extent // 2).double()
    halo.scale = 1.0
    row, column = torch.randn(2, head_dim // 2, spatial_extent, dtype=torch.float64)
    with torch.no_grad():
        halo.pos_embed.height_rel.zero_()
        halo.pos_embed.width_rel.zero_()
        halo.pos_embed.height_rel[spatial_extent - 1 :, : head_dim // 2] = row.T
        halo.pos_embed.width_rel[spatial_extent - 1 :, head_dim // 2 :] = column.T
    case = Case(spatial_extent, (2, heads, head_dim, 6, 7))
    maps = torch.randn(2, channels, 6, 7, dtype=torch.float64, requires_grad=True)
    query = halo.q(maps).view(case.shape)
    key, value = halo.kv(maps).view(2, heads, 2 * head_dim, 6, 7).split(head_dim, dim=2)
    output = case.attend(type(case.inputs())(query, key, value, row, column), backend).flatten(1, 2)
    expected = halo(maps)
    torch.testing.assert_close(output, expected)
    loss_weight = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(output, maps, loss_weight), torch.autograd.grad(expected, maps, loss_weight)
    )
