"""The paper's claim that with 128 channels a 3x3 convolution costs as much as attention at k = 19.

Both are linear in the number of pixels, so that one pixel tells all. Attention costs a fixed part for its three
projections, 3 d^2 MACs, and a part that grows with the window, d for each place and product; a convolution costs
k^2 d^2. Which products the claim counts is not stated, and it holds for some ways of counting only. Imports no torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from sasa_cli.counting.layers import LayerCount
from sasa_cli.counting.macs import count_attention, count_convolution, count_depthwise
from sasa_cli.spec import AttentionSpec

CHANNELS = 128
KERNEL = 3
HEADS = 8
CLAIMED_EXTENT = 19
EXTENTS = (3, 5, 7, 9, 11, 13, 15, 17, 19, 21)


@dataclass(frozen=True)
class Terms:
    """Which terms of attention are counted, and how."""

    name: str
    flops: Callable[[int], int]
    """Of one pixel, for an extent."""


def attention_at(extent: int, *, position: bool = True) -> LayerCount:
    """Attention for one pixel, with or without the relative term."""
    spec = AttentionSpec(heads=HEADS, position="relative" if position else "none")
    return count_attention(spec, extent, (CHANNELS, 1, 1))


def convolution_at(kernel: int) -> LayerCount:
    """A convolution for one pixel."""
    return count_convolution(kernel, (CHANNELS, 1, 1))


def depthwise_at(extent: int) -> LayerCount:
    """A depthwise convolution with the value projection of attention, for one pixel."""
    return count_depthwise(extent, (CHANNELS, 1, 1))


def _fused(extent: int) -> int:
    """q.k + q.r as q.(k + r): one sum for each place and channel beside what attention without r costs."""
    return 2 * attention_at(extent, position=False).macs + extent**2 * CHANNELS


TERMS = (
    Terms("q.k + a.v", lambda extent: 2 * attention_at(extent, position=False).macs),
    Terms("q.k + q.r factored + a.v", lambda extent: 2 * attention_at(extent).macs_executed),
    Terms("q.(k + r) + a.v", _fused),
    Terms("q.k + q.r + a.v", lambda extent: 2 * attention_at(extent).macs),
)


def equal_extent(terms: Terms) -> float:
    """The k, not always a whole number, at which attention costs as much as the 3x3 convolution.

    The cost is a polynomial of degree 2 in k, which three of its values determine.
    """
    one, two, three = (Fraction(terms.flops(extent)) for extent in (1, 2, 3))
    square = (three - 2 * two + one) / 2
    linear = two - one - 3 * square
    constant = one - linear - square - 2 * convolution_at(KERNEL).macs
    return (-float(linear) + math.sqrt(linear**2 - 4 * square * constant)) / float(2 * square)
