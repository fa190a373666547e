"""What is timed: each contestant is one forward and backward of the spatial operator of a bottleneck.

The 1x1 projections of attention are no part of that operator: every contestant works without them but the one that
is named after them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from timm.layers.halo_attn import HaloAttn
from torch import Tensor, nn
from torch.nn import functional as F

from sasa_cli.attention import Problem, local_attention, packed_local_attention, suitable_backends
from sasa_cli.counting.formulations import unfold_multiply_sum, window_embedding

Step = Callable[[], None]
Layout = Literal["nchw", "channels-last"]

HALO_BLOCKS = (8, 7, 4)  # sides of HaloAttn's blocks; the first that divides the map is taken
LAYOUTS: dict[Layout, torch.memory_format] = {"nchw": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass(frozen=True)
class Workload:
    """One layer: what goes through it and how wide the window is."""

    shape: tuple[int, int, int, int]
    """(B, C, H, W)."""
    spatial_extent: int
    heads: int
    dtype: torch.dtype
    device: torch.device

    @property
    def problem(self) -> Problem:
        """The workload as attention backends are chosen for it."""
        batch, channels, height, width = self.shape
        return Problem(
            batch=batch,
            heads=self.heads,
            head_dim=channels // self.heads,
            height=height,
            width=width,
            spatial_extent=self.spatial_extent,
            dtype=self.dtype,
            device=self.device.type,
        )

    def random(self, *shape: int, layout: Layout = "nchw") -> Tensor:
        """Standard normal numbers that want a gradient; 4-d ones in the given layout."""
        tensor = torch.randn(shape, dtype=self.dtype, device=self.device)
        if tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=LAYOUTS[layout])
        return tensor.requires_grad_()


@dataclass(frozen=True)
class Contestant:
    """Something to be timed, under the name it has in the results."""

    name: str
    layout: Layout
    build: Callable[[Workload, Layout], Step]

    def step(self, work: Workload) -> Step:
        """One forward and backward of `work`, ready to be called again and again."""
        return self.build(work, self.layout)


def contestants(work: Workload) -> Iterator[Contestant]:
    """All that can do `work`: our backends, the public formulations, and the convolution that is replaced."""
    for layout in LAYOUTS:
        for backend in ["auto", *suitable_backends(work.problem)]:
            yield Contestant(backend, layout, _attention(backend))
        yield Contestant("auto + projections", layout, _projected_attention)
        yield Contestant("conv3x3", layout, _conv3x3)
    yield Contestant("unfold", "nchw", _unfold)
    if block := _halo_block(work):
        yield Contestant("timm-halo", "nchw", _halo(block))


def _heads(maps: Tensor, heads: int) -> Tensor:
    """(B, C, H, W) -> (B, N, D, H, W), a view in any layout."""
    batch, channels, *rest = maps.shape
    return maps.view(batch, heads, channels // heads, *rest)


def _embeddings(work: Workload) -> tuple[Tensor, Tensor]:
    shape = (work.problem.head_dim // 2, work.spatial_extent)
    return work.random(*shape), work.random(*shape)


def _repeat(forward: Callable[[], Tensor], leaves: list[Tensor], layout: Layout) -> Step:
    """A step that runs `forward` and differentiates it by `leaves`, with the same output gradient each time."""
    with torch.no_grad():
        gradient = torch.randn_like(forward()).contiguous(memory_format=LAYOUTS[layout])

    def step() -> None:
        torch.autograd.grad(forward(), leaves, gradient)

    return step


def _attention(backend: str) -> Callable[[Workload, Layout], Step]:
    def build(work: Workload, layout: Layout) -> Step:
        maps = [work.random(*work.shape, layout=layout) for _ in range(3)]
        embeddings = _embeddings(work)

        def forward() -> Tensor:
            query, key, value = (_heads(each, work.heads) for each in maps)
            return local_attention(
                query, key, value, *embeddings, spatial_extent=work.spatial_extent, backend=backend
            ).flatten(1, 2)  # (B, C, H, W)

        return _repeat(forward, [*maps, *embeddings], layout)

    return build


def _projected_attention(work: Workload, layout: Layout) -> Step:
    """Attention with the 1x1 projection to queries, keys and values, which the 3x3 convolution does not need."""
    channels = work.shape[1]
    maps = work.random(*work.shape, layout=layout)
    weight = work.random(3 * channels, channels, 1, 1, layout=layout)
    embeddings = _embeddings(work)

    def forward() -> Tensor:
        packed = F.conv2d(maps, weight).unflatten(1, (3, work.heads, channels // work.heads))  # (B, 3, N, D, H, W)
        return packed_local_attention(packed, *embeddings, spatial_extent=work.spatial_extent).flatten(1, 2)

    return _repeat(forward, [maps, weight, *embeddings], layout)


def _conv3x3(work: Workload, layout: Layout) -> Step:
    channels = work.shape[1]
    maps = work.random(*work.shape, layout=layout)
    weight = work.random(channels, channels, 3, 3, layout=layout)
    return _repeat(lambda: F.conv2d(maps, weight, padding=1), [maps, weight], layout)


def _unfold(work: Workload, layout: Layout) -> Step:
    """The formulation of the public ports, with the sum over channels that some of them leave out."""
    maps = [work.random(*work.shape) for _ in range(3)]
    embeddings = _embeddings(work)

    def forward() -> Tensor:
        query, key, value = (_heads(each, work.heads) for each in maps)
        embedding = window_embedding(*embeddings)
        return unfold_multiply_sum(query, key, value, embedding, work.spatial_extent, border="zero").flatten(1, 2)

    return _repeat(forward, [*maps, *embeddings], layout)


def _halo_block(work: Workload) -> int | None:
    return next((side for side in HALO_BLOCKS if work.shape[2] % side == 0 and work.shape[3] % side == 0), None)


class _Channels(nn.Module):
    """Stands for a 1x1 projection of HaloAttn that was computed before: some channels of its input."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, maps: Tensor) -> Tensor:
        return maps[:, self.start : self.stop]


def _halo(block: int) -> Callable[[Workload, Layout], Step]:
    """timm's HaloAttn without its projections: a neighbour of our operator, whose queries see all of their block."""

    def build(work: Workload, layout: Layout) -> Step:
        batch, channels, height, width = work.shape
        module = HaloAttn(channels, num_heads=work.heads, block_size=block, halo_size=work.spatial_extent // 2)
        module.add_module("q", _Channels(0, channels))
        module.add_module("kv", _Channels(channels, 3 * channels))
        module.to(device=work.device, dtype=work.dtype)
        maps = work.random(batch, 3 * channels, height, width)
        return _repeat(lambda: module(maps), [maps, *module.parameters()], layout)

    return build
