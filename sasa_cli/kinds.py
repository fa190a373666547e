"""The kinds of stage, as one table: what stands in the place of a bottleneck's 3x3 convolution. Imports no torch.

To add a kind:

1. a layer in `models/` that maps `(B, C, H, W)` to `(B, C, H, W)`, and a function that makes bottlenecks of it
   (`models/bottleneck.py`);
2. a counter in `counting/stages.py`, with the formula in its docstring;
3. a row here. Everything else asks this table.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StageKind:
    """One kind of stage."""

    letter: str
    """In `stages: CCAA`."""
    name: str
    """In `stages: [conv, conv, attention, attention]`."""
    builder: str
    """`module:function` that gives, for a `ModelSpec` and a spatial extent, what builds a bottleneck of the stage."""
    counter: str
    """`module:function` that counts what stands between the bottleneck's two 1x1 convolutions."""
    has_extent: bool = False
    """Whether `model.attention.spatial_extent` is its own."""
    attends: bool = False
    """Whether the other settings of attention are its own: heads, position, content, border, embedding, backend."""
    pools: bool = False
    """Whether an average pool takes the stride of the stage's first bottleneck, where `model.attention.pool` says."""

    def build(self, *arguments: Any) -> Any:
        return _found(self.builder)(*arguments)

    def count(self, *arguments: Any) -> None:
        _found(self.counter)(*arguments)


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


KINDS = {
    kind.letter: kind
    for kind in (
        StageKind(
            letter="C",
            name="conv",
            builder="sasa_cli.models.bottleneck:convolution_blocks",
            counter="sasa_cli.counting.stages:count_convolution_stage",
        ),
        StageKind(
            letter="A",
            name="attention",
            builder="sasa_cli.models.bottleneck:attention_blocks",
            counter="sasa_cli.counting.stages:count_attention_stage",
            has_extent=True,
            attends=True,
            pools=True,
        ),
        StageKind(
            letter="D",
            name="depthwise",
            builder="sasa_cli.models.bottleneck:depthwise_blocks",
            counter="sasa_cli.counting.stages:count_depthwise_stage",
            has_extent=True,
            pools=True,
        ),
    )
}
"""By letter; `kinds_of` is the way to it from a spec."""


CONVOLUTION, ATTENTION, DEPTHWISE = KINDS  # letters, for who compares kinds with each other


def kinds_of(stages: str) -> Iterator[StageKind]:
    """The kind of each stage, from its letter. Raises `KeyError` for a letter that no row has."""
    return (KINDS[letter] for letter in stages)


def attend(stages: str) -> bool:
    """Whether any stage attends."""
    return any(kind.attends for kind in kinds_of(stages))


def have_extent(stages: str) -> bool:
    """Whether any stage has a spatial extent."""
    return any(kind.has_extent for kind in kinds_of(stages))


def have_pool(stages: str) -> bool:
    """Whether any stage begins with an average pool; the first stage has no stride, and so no pool."""
    return any(kind.pools for kind in kinds_of(stages[1:]))
