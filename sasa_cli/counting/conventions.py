"""Ways of counting the FLOPs of a network, since the paper names none beyond 2 FLOPs for each MAC (footnote 4)."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sasa_cli.counting.layers import LayerCount
from sasa_cli.counting.macs import ModelCount
from sasa_cli.spec import ModelSpec

WINDOW_SIDE = re.compile(r"pool (\d+)x")
BATCH_NORM = 4  # FLOPs for each element, in both fitted conventions


@dataclass(frozen=True)
class Convention:
    """A name, what it counts, and the function that does it."""

    name: str
    meaning: str
    flops: Callable[[ModelSpec, ModelCount], int]
    """Of a network and the count of its layers."""
    fitted: bool = False
    """Its constants were chosen by what fits the paper's FLOPs: agreement is no evidence."""


@dataclass(frozen=True)
class _Logits:
    """The size of one attention layer: places of all windows, pixels x k^2, and what they are made of."""

    places: int
    pixels: int
    extent: int
    channels: int
    heads: int
    has_content: bool
    has_relative: bool
    in_stem: bool


def _logits_of(model: ModelSpec, layer: LayerCount) -> _Logits | None:
    products = {product.name: product for product in layer.products}
    if "a.v" not in products:
        return None
    height, width, window, channels = products["a.v"].sizes
    in_stem = layer.stage == "stem"
    return _Logits(
        places=height * width * window,
        pixels=height * width,
        extent=math.isqrt(window),
        channels=channels,
        heads=model.stem.heads if in_stem else model.attention.heads,
        has_content="q.k" in products,
        has_relative="q.r" in products,
        in_stem=in_stem,
    )


def _plain(_model: ModelSpec, count: ModelCount) -> int:
    return 2 * count.macs


def _executed(_model: ModelSpec, count: ModelCount) -> int:
    return 2 * count.macs_executed


def _elementwise(count: ModelCount) -> Iterator[int]:
    """Batch norm, the ReLU after each, and the sum at the end of each bottleneck."""
    for layer in count.layers:
        if layer.kind == "batch norm":
            elements = math.prod(layer.shape)
            yield BATCH_NORM * elements
            if not layer.name.endswith("downsample.1"):
                yield elements
            if layer.name.endswith("bn3"):
                yield elements


def _fused(model: ModelSpec, count: ModelCount) -> int:
    flops = 2 * count.macs + sum(_elementwise(count))
    for size in filter(None, (_logits_of(model, layer) for layer in count.layers)):
        flops += 7 * size.places * size.heads
        if size.has_content and size.has_relative and not size.in_stem:
            flops -= size.places * size.channels  # one sum k + r instead of a product and a sum
    return flops


def _factored(model: ModelSpec, count: ModelCount) -> int:
    flops = 2 * count.macs + sum(_elementwise(count)) + sum(_pools(count))
    for size in filter(None, (_logits_of(model, layer) for layer in count.layers)):
        logits = size.places * size.heads
        flops += 13 * logits
        if size.has_relative and not size.in_stem:
            flops += 2 * (size.pixels * size.extent * size.channels + logits - size.places * size.channels)
    return flops


def _pools(count: ModelCount) -> Iterator[int]:
    """One FLOP for each element that a window of a pool looks at."""
    for before, layer in zip(count.layers, count.layers[1:], strict=False):
        if layer.kind == "global average pool":
            yield math.prod(before.shape)
        elif side := WINDOW_SIDE.search(layer.kind):
            yield int(side[1]) ** 2 * math.prod(layer.shape)


PLAIN = Convention(
    "plain",
    "2 x MACs of convolutions, linear layers, projections, q.k, q.r over all k x k places and a.v; "
    "border places counted, nothing elementwise",
    _plain,
)
EXECUTED = Convention("executed", "as plain, but q.r factored into k row and k column products", _executed)
FUSED = Convention(
    "E-fused",
    "as plain, but q.(k + r) with one sum for each channel and place outside the stem; 7 for each logit of a head, "
    "batch norm 4, ReLU 1, residual sum 1",
    _fused,
    fitted=True,
)
FACTORED = Convention(
    "E-fact",
    "as plain, but q.r factored, with 2 more for each logit to join row and column, outside the stem; "
    "13 for each logit of a head, batch norm 4, ReLU 1, residual sum 1, and the pools",
    _factored,
    fitted=True,
)
CONVENTIONS = (PLAIN, EXECUTED, FUSED, FACTORED)
