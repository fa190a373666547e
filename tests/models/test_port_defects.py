"""Mistakes of public ports of the paper: each test fails on a network that makes one of them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sasa_cli.models import LocalSelfAttention, StemAttention
from sasa_cli.spec import AttentionSpec, StemSpec

from .networks import VARIANTS, images, small_network

each_variant = pytest.mark.parametrize("kwargs", VARIANTS.values(), ids=VARIANTS)


def attention_layers(network: nn.Module) -> list[LocalSelfAttention]:
    return [module for module in network.modules() if isinstance(module, LocalSelfAttention)]


def layer(heads: int = 2, channels: int = 16, **kwargs: Any) -> LocalSelfAttention:
    torch.manual_seed(0)
    return LocalSelfAttention(channels, channels, AttentionSpec(heads=heads, spatial_extent=3, **kwargs))


def outputs(network: nn.Module, *names: str) -> dict[str, Tensor]:
    """What the modules of these names return for two images."""
    seen: dict[str, Tensor] = {}
    for name in names:
        network.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: output.clone()})
        )
    network(images())
    return seen


@each_variant
def test_no_parameter_is_dead(kwargs: dict[str, Any]):
    """Zeroing the norm after the attention kills the branch: its ReLU passes no gradient, ever."""
    torch.manual_seed(0)
    network = small_network(**kwargs)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images(8) + step), torch.arange(8))
        loss.backward()
        optimizer.step()
    assert {name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])} == set()


@pytest.mark.parametrize("stages", ["AAAA", "CCCC"])
def test_only_the_last_norm_of_a_bottleneck_starts_at_zero(stages: str):
    network = small_network(stages=stages)
    zeros = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any()
    }
    assert zeros == {f"layer{stage}.0.bn3" for stage in (1, 2, 3, 4)}


def test_attention_runs_at_full_resolution_and_the_pool_follows_it():
    network = small_network(small_input=True)
    names = [f"layer2.0.{name}" for name in ("bn1", "conv2.pool", "bn2", "conv3")]
    shapes = [tuple(output.shape[2:]) for output in outputs(network, *names).values()]
    assert shapes == [(32, 32), (16, 16), (16, 16), (16, 16)]
    assert all(layer.pool.kernel_size == layer.pool.stride == 2 for layer in attention_layers(network)[1:])


@pytest.mark.parametrize("size", [8, 9])
def test_attention_of_stride_two_works_on_even_and_odd_maps(size: int):
    strided = LocalSelfAttention(16, 16, AttentionSpec(heads=2), stride=2)
    strided(torch.randn(1, 16, size, size)).sum().backward()
    assert strided(torch.randn(1, 16, size, size)).shape[2:] == ((size + 1) // 2,) * 2


@pytest.mark.parametrize("stages", ["AAAA", "CCCC"])
def test_the_first_1x1_has_no_stride(stages: str):
    network = small_network(stages=stages)
    assert all(network.get_submodule(f"layer{stage}.0.conv1").stride == (1, 1) for stage in (1, 2, 3, 4))
    if stages == "CCCC":
        assert [network.get_submodule(f"layer{stage}.0.conv2").stride[0] for stage in (1, 2, 3, 4)] == [1, 2, 2, 2]


@each_variant
def test_no_convolution_has_a_bias(kwargs: dict[str, Any]):
    """A bias would make keys and values of the zero border other than zero."""
    assert all(conv.bias is None for conv in small_network(**kwargs).modules() if isinstance(conv, nn.Conv2d))


def test_projections_are_dense():
    """Grouped ones give 14.7 M parameters for ResNet-50 where the paper has 18.0 M."""
    for attention in attention_layers(small_network()):
        assert {conv.groups for conv in (attention.query, attention.key, attention.value)} == {1}
    x = torch.randn(1, 16, 5, 5, requires_grad=True)
    layer()(x)[:, :8].sum().backward()  # the first of two heads sees the channels of both
    assert (x.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("embedding", ["shared", "per_head"])
@pytest.mark.parametrize("axis", ["row_embedding", "column_embedding"])
@torch.no_grad()
def test_rows_and_columns_act_in_every_head(embedding: str, axis: str):
    attention, x = layer(heads=4, embedding=embedding), torch.randn(1, 16, 6, 6)
    before = attention(x).unflatten(1, (4, 4))
    parameter = getattr(attention, axis)
    parameter.copy_(torch.randn_like(parameter))
    changed = (attention(x).unflatten(1, (4, 4)) != before).flatten(3).any(dim=3)
    assert changed.all()


@torch.no_grad()
def test_row_embedding_means_rows_and_column_embedding_columns():
    """On a map that does not change along the columns, rows alone decide, and the other way round."""
    attention = layer(content=False)
    rows_only = torch.randn(1, 16, 7, 1).expand(-1, -1, -1, 7)
    before = attention(rows_only)[..., 2:5, 2:5]
    attention.column_embedding.copy_(torch.randn_like(attention.column_embedding))
    torch.testing.assert_close(attention(rows_only)[..., 2:5, 2:5], before)
    attention.row_embedding.copy_(torch.randn_like(attention.row_embedding))
    assert (attention(rows_only)[..., 2:5, 2:5] - before).abs().max() > 0.01


@torch.no_grad()
def test_the_number_of_heads_matters():
    """It does not where each channel has a softmax of its own."""
    one, four, x = layer(heads=1, position="none"), layer(heads=4, position="none"), torch.randn(1, 16, 6, 6)
    four.load_state_dict(one.state_dict())
    assert (one(x) - four(x)).abs().max() > 0.01


def test_each_head_has_logits_of_its_own():
    """With logits summed over all channels, the queries of one head would move the output of another."""
    attention = layer(heads=2, position="none")
    attention(torch.randn(1, 16, 6, 6))[:, :8].sum().backward()
    assert attention.query.weight.grad[:8].abs().sum() > 0
    assert not attention.query.weight.grad[8:].any()


@torch.no_grad()
def test_a_pixel_sees_its_window_and_nothing_else():
    attention, x = layer(), torch.randn(1, 16, 9, 9)
    before = attention(x)
    x[..., 4, 5] += 1
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[3:6, 4:7] = True
    assert torch.equal((attention(x) != before)[0].any(dim=0), expected)


@pytest.mark.parametrize("values", ["spatial", "plain"])
@torch.no_grad()
def test_attention_of_the_stem_stays_inside_aligned_blocks(values: str):
    torch.manual_seed(0)
    stem = StemAttention(3, 16, StemSpec(kind="attention", values=values), AttentionSpec())
    x = images(1, 3, 12, 16)
    before = stem(x)
    x[..., 7, 8] += 1  # block (1, 2): rows 4 to 7, columns 8 to 11
    expected = torch.zeros(12, 16, dtype=torch.bool)
    expected[4:8, 8:12] = True
    assert torch.equal((stem(x) != before)[0].any(dim=0), expected)


@torch.no_grad()
def test_stem_embeddings_belong_to_places_in_the_block_not_in_the_image():
    torch.manual_seed(0)
    stem = StemAttention(3, 16, StemSpec(kind="attention"), AttentionSpec())
    block = torch.randn(1, 3, 4, 4)
    y = stem(block.repeat(1, 1, 3, 5))
    torch.testing.assert_close(y, stem(block).repeat(1, 1, 3, 5))


def test_stem_has_four_heads_that_share_the_mixture():
    stem = small_network(stem="attention", width=1.0, heads=8).conv1
    assert stem.stem.heads == 4
    assert stem.mixture_embedding.shape == (4, 8)  # m mixtures of D // 2 numbers: none for each head
