"""Queries, keys and values: one convolution while the three modules are untouched, and else each of them called."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from sasa_cli.attention import reference_local_attention
from sasa_cli.models import LocalSelfAttention
from sasa_cli.spec import AttentionSpec

PROJECTIONS = ("query", "key", "value")


class LowRank(nn.Module):
    """LoRA as its libraries do it: a module in the place of another, which it calls."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer, self.down, self.up = layer, nn.Conv2d(8, 2, 1, bias=False), nn.Conv2d(2, 8, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.up(self.down(x))


def add_bias(layer: LocalSelfAttention, name: str) -> None:
    getattr(layer, name).bias = nn.Parameter(torch.randn(8))


def wrap(layer: LocalSelfAttention, name: str) -> None:
    setattr(layer, name, LowRank(getattr(layer, name)))


def hook_after(layer: LocalSelfAttention, name: str) -> None:
    getattr(layer, name).register_forward_hook(lambda module, given, output: 2 * output)


def hook_before(layer: LocalSelfAttention, name: str) -> None:
    getattr(layer, name).register_forward_pre_hook(lambda module, given: (given[0] + 1,))


def prune_half(layer: LocalSelfAttention, name: str) -> None:
    prune.l1_unstructured(getattr(layer, name), "weight", amount=0.5)
    getattr(layer, name).weight_orig.data.mul_(3)  # the hook of pruning must see it


def normalize(layer: LocalSelfAttention, name: str) -> None:
    parametrizations.spectral_norm(getattr(layer, name))


def replace_forward(layer: LocalSelfAttention, name: str) -> None:
    module = getattr(layer, name)
    module.forward = lambda x, original=module.forward: original(x) - 1


def widen(layer: LocalSelfAttention, name: str) -> None:
    setattr(layer, name, nn.Conv2d(8, 8, 3, padding=1, bias=False))


CHANGES = [add_bias, wrap, hook_after, hook_before, prune_half, normalize, replace_forward, widen]


def made(spec: AttentionSpec | None = None) -> tuple[LocalSelfAttention, Tensor]:
    torch.manual_seed(0)
    return LocalSelfAttention(8, 8, spec or AttentionSpec(spatial_extent=3, heads=2)), torch.randn(2, 8, 5, 6)


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_a_projection_counts(change: Callable[[LocalSelfAttention, str], None], name: str) -> None:
    layer, x = made()
    before = layer(x)
    change(layer, name)
    layer.eval()  # spectral norm moves its estimate with each call in training
    maps = [getattr(layer, projection)(x).unflatten(1, (2, 4)) for projection in PROJECTIONS]
    tables = layer.row_embedding, layer.column_embedding
    expected = reference_local_attention(*maps, *tables, spatial_extent=3, border="zero", content=True).flatten(1, 2)
    actual = layer(x)
    torch.testing.assert_close(actual, expected)
    assert (actual - before).abs().max() > 1e-3
    layer.train()
    layer(x).sum().backward()
    assert all(p.grad is not None for p in getattr(layer, name).parameters())


def test_gradient_hooks_of_a_projection_are_called() -> None:
    layer, x = made()
    seen: list[torch.Size] = []
    layer.key.register_full_backward_hook(lambda module, given, grads: seen.append(grads[0].shape))
    layer(x.requires_grad_()).sum().backward()
    assert seen == [torch.Size([2, 8, 5, 6])]


def test_hooks_of_all_modules_see_the_projections() -> None:
    layer, x = made()
    seen: list[nn.Module] = []
    with nn.modules.module.register_module_forward_hook(lambda module, given, output: seen.append(module)):
        layer(x)
    assert {layer.query, layer.key, layer.value} <= set(seen)


@pytest.mark.parametrize("content", [True, False])
def test_untouched_projections_are_one_convolution(content: bool) -> None:
    layer, x = made(AttentionSpec(spatial_extent=3, heads=2, content=content))
    with torch.profiler.profile() as profile:
        layer(x)
    assert sum(event.name == "aten::conv2d" for event in profile.events()) == 1
