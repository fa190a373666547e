import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from sasa_cli.models import LocalSelfAttention
from sasa_cli.models.position import sinusoidal_encoding
from sasa_cli.spec import AttentionSpec

SPECS = [
    AttentionSpec(spatial_extent=3, heads=2),
    AttentionSpec(spatial_extent=3, heads=2, embedding="per_head"),
    AttentionSpec(spatial_extent=5, heads=4, border="mask"),
    AttentionSpec(spatial_extent=3, heads=2, content=False),
    AttentionSpec(spatial_extent=3, heads=2, position="absolute"),
    AttentionSpec(spatial_extent=3, heads=8, position="none", border="mask"),
]


def pixel_by_pixel(layer: LocalSelfAttention, x: Tensor) -> Tensor:
    """The layer without its pool, from its weights, in loops: ``(B, C_in, H, W)`` to ``(B, C_out, H, W)``."""
    spec, k, half = layer.spec, layer.spatial_extent, layer.head_dim // 2
    if spec.position == "absolute":
        x = x + sinusoidal_encoding(x, x.shape[1]).to(x.dtype)
    query, key, value = (
        torch.einsum("oi,bihw->bohw", conv.weight[:, :, 0, 0], x) if conv is not None else torch.zeros_like(x)
        for conv in (layer.query, layer.key, layer.value)
    )
    y = torch.zeros_like(query)
    for n in range(spec.heads):
        channels = slice(n * layer.head_dim, (n + 1) * layer.head_dim)
        embeddings = (layer.row_embedding, layer.column_embedding)
        rows, columns = (e[n] if e is not None and e.dim() == 3 else e for e in embeddings)
        for b, i, j in torch.cartesian_prod(*(torch.arange(size) for size in (len(x), *x.shape[2:]))).tolist():
            q, logits, values = query[b, channels, i, j], [], []
            for di, dj in offsets(k):
                inside = 0 <= i + di < x.shape[2] and 0 <= j + dj < x.shape[3]
                if spec.border == "mask" and not inside:
                    continue
                zero = torch.zeros_like(q)
                logit = q @ (key[b, channels, i + di, j + dj] if inside else zero)
                if rows is not None:
                    logit = logit + q[:half] @ rows[:, di + k // 2] + q[half:] @ columns[:, dj + k // 2]
                logits.append(logit)
                values.append(value[b, channels, i + di, j + dj] if inside else zero)
            y[b, channels, i, j] = torch.stack(logits).softmax(0) @ torch.stack(values)
    return y


def offsets(k: int) -> Iterator[tuple[int, int]]:
    steps = range(-(k // 2), k // 2 + 1)
    return ((di, dj) for di in steps for dj in steps)


def layer_and_input(spec: AttentionSpec, channels: int = 16, size: tuple[int, int] = (4, 5), **kwargs: int):
    torch.manual_seed(0)
    layer = LocalSelfAttention(channels, channels, spec, dtype=torch.float64, **kwargs)
    return layer, torch.randn(2, channels, *size, dtype=torch.float64)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.position}-{spec.border}-{spec.content}")
@torch.no_grad()
def test_layer_is_the_equation_of_the_paper(spec: AttentionSpec):
    layer, x = layer_and_input(spec)
    torch.testing.assert_close(layer(x), pixel_by_pixel(layer, x))


def test_input_and_output_may_differ_in_channels():
    layer = LocalSelfAttention(12, 8, AttentionSpec(heads=2))
    assert layer(torch.randn(1, 12, 5, 5)).shape == (1, 8, 5, 5)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
@torch.no_grad()
def test_pool_averages_what_each_window_holds(size: tuple[int, int]):
    spec = AttentionSpec(spatial_extent=3, heads=2)
    full, x = layer_and_input(spec, size=size)
    pooled, _ = layer_and_input(spec, size=size, stride=2)
    pooled.load_state_dict(full.state_dict())
    y, rows, columns = full(x), -(-size[0] // 2), -(-size[1] // 2)
    expected = [
        [y[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3)) for j in range(columns)] for i in range(rows)
    ]
    stacked = torch.stack([torch.stack(row, dim=-1) for row in expected], dim=-2)
    torch.testing.assert_close(pooled(x), stacked)
    strided = nn.Conv2d(16, 16, 3, stride=2, padding=1, dtype=torch.float64)
    assert pooled(x).shape == strided(x).shape


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
@pytest.mark.parametrize("position", ["relative", "absolute"])
@torch.no_grad()
def test_with_the_pool_first_attention_sees_the_pooled_map(position: str, size: tuple[int, int]):
    spec = AttentionSpec(spatial_extent=3, heads=2, position=position, pool="before")
    layer, x = layer_and_input(spec, size=size, stride=2)
    pooled = nn.functional.avg_pool2d(x, 2, ceil_mode=True)
    torch.testing.assert_close(layer(x), pixel_by_pixel(layer, pooled))
    problem = layer.problem(x.shape, x.dtype, "cpu")
    assert tuple(pooled.shape[2:]) == (problem.height, problem.width)


@torch.no_grad()
def test_without_stride_the_place_of_the_pool_changes_nothing():
    after, x = layer_and_input(AttentionSpec(spatial_extent=3, heads=2))
    before, _ = layer_and_input(AttentionSpec(spatial_extent=3, heads=2, pool="before"))
    before.load_state_dict(after.state_dict())
    assert torch.equal(before(x), after(x))


@torch.no_grad()
def test_channels_last_heads_are_views_and_give_the_same():
    layer, x = layer_and_input(AttentionSpec(spatial_extent=3, heads=4))
    expected = layer(x)
    last = layer.to(memory_format=torch.channels_last)
    maps = last._project(x.to(memory_format=torch.channels_last))
    assert maps.shape == (2, 3, 4, 4, 4, 5)
    assert maps.flatten(1, 3).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), expected)


def test_encoding_is_sines_and_cosines_of_row_and_column():
    encoding = sinusoidal_encoding(torch.empty(1, 8, 3, 5), 8)
    assert encoding.shape == (8, 3, 5)
    for row in range(3):
        for column in range(5):
            expected = [f(p / w) for p in (row, column) for w in (1, 100) for f in (math.sin, math.cos)]
            torch.testing.assert_close(encoding[:, row, column], torch.tensor(expected))


def test_encoding_needs_a_multiple_of_four_channels():
    with pytest.raises(ValueError, match="6 channels cannot hold sine and cosine"):
        sinusoidal_encoding(torch.empty(1, 6, 2, 2), 6)


def test_two_places_with_the_same_surroundings_differ_by_absolute_position_only():
    x = torch.ones(1, 16, 9, 9)
    for position, differs in (("absolute", True), ("none", False)):
        y = LocalSelfAttention(16, 16, AttentionSpec(spatial_extent=3, heads=2, position=position))(x)
        assert torch.allclose(y[..., 4, 4], y[..., 4, 5], atol=1e-6) is not differs


@pytest.mark.parametrize("channels", [16, 128, 512])
@pytest.mark.parametrize("position", ["relative", "absolute"])
@torch.no_grad()
def test_logits_start_moderate_at_every_width(channels: int, position: str):
    torch.manual_seed(0)
    layer = LocalSelfAttention(channels, channels, AttentionSpec(position=position))
    x = torch.randn(4, channels, 6, 6).relu()
    if position == "absolute":
        x = x + sinusoidal_encoding(x, x.shape[1])
    query, key, value = layer._project(x).unbind(1)
    assert 0.5 < (query * key).sum(dim=2).std() < 2
    assert 0.5 < value.std() < 2
    if layer.row_embedding is not None:
        embedding = torch.cat([layer.row_embedding[:, 0], layer.column_embedding[:, 0]])
        assert 0.3 < torch.einsum("bndhw,d->bnhw", query, embedding).std() < 3


@pytest.mark.parametrize("spec", SPECS[:1] + SPECS[3:], ids=lambda spec: f"{spec.position}-{spec.content}")
def test_half_precision_under_autocast(spec: AttentionSpec):
    torch.manual_seed(0)
    layer = LocalSelfAttention(16, 16, spec)
    x = torch.randn(2, 16, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layer(x)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer(x), rtol=0.05, atol=0.05)
    half.float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in layer.parameters())


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="heads: 3 does not divide the 16 channels; allowed are"):
        LocalSelfAttention(16, 16, AttentionSpec(heads=3))


def test_one_layer_has_one_extent():
    with pytest.raises(ValueError, match=r"one number for one layer, got \(3, 5, 7, 9\)"):
        LocalSelfAttention(16, 16, AttentionSpec(spatial_extent=(3, 5, 7, 9)))


def test_description_names_the_settings():
    text = repr(LocalSelfAttention(16, 16, AttentionSpec(spatial_extent=5, heads=2, border="mask")))
    assert "spatial_extent=5, heads=2, position=relative, content=True, border=mask" in text
