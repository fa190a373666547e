"""The paper's claims about accuracy and cost, and one that its readers add; which cells can say something about each.

A claim is about cells whose resolved specs differ in its keys and in nothing else, whatever the experiment calls them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sasa_cli.kinds import ATTENTION, CONVOLUTION, DEPTHWISE
from sasa_cli.reporting.evidence.cells import Cell
from sasa_cli.reporting.evidence.comparisons import Pair, is_convolution
from sasa_cli.spec import AttentionSpec

Test = Literal["higher", "equal", "not lower"]
Cost = Literal["params", "macs"]
Pick = Callable[[Sequence[Cell]], list[Pair]]


@dataclass(frozen=True)
class Claim:
    """One statement, and how pairs of cells are chosen and tested for it."""

    name: str
    text: str
    source: str
    """Where the paper says so, or that it does not."""
    topic: str
    """What it is about, in a few words, for where it was not tested."""
    varies: tuple[str, ...]
    """Keys of the spec, or sections of it, in which the cells of a pair may differ."""
    pick: Pick
    """Pairs among cells that differ in nothing else; the claim is about the first of each."""
    test: Test = "higher"
    """What the claim says of the first cell's accuracy."""
    margin: float = 0.0
    """In points: what counts as equal."""
    fewer: Cost | None = None
    """Of what the first cell must have fewer than the second, besides."""


def pairs_of(claim: Claim, cells: Sequence[Cell]) -> list[Pair]:
    """All pairs of cells with finished runs that the claim is about."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.spec is not None and cell.records:
            fixed = {key: value for key, value in cell.spec.settings().items() if not _within(key, claim.varies)}
            groups.setdefault(json.dumps(fixed, sort_keys=True), []).append(cell)
    return [pair for group in groups.values() for pair in claim.pick(group)]


def _within(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _value(cell: Cell, key: str) -> Any:
    assert cell.spec is not None
    return cell.spec.settings()[key]


def _between(key: str, first: str, second: str) -> Pick:
    """Cells with one value of a key against those with another."""

    def pick(cells: Sequence[Cell]) -> list[Pair]:
        values = [_value(cell, key) for cell in cells]
        return [
            (a, b)
            for a, is_now in zip(cells, values, strict=True)
            for b, other in zip(cells, values, strict=True)
            if (is_now, other) == (first, second)
        ]

    return pick


def _between_stems(first: str, second: str) -> Pick:
    """The same for the values of an attention stem; a stem of convolution has none."""
    by_values = _between("model.stem.values", first, second)

    def pick(cells: Sequence[Cell]) -> list[Pair]:
        return by_values([cell for cell in cells if _value(cell, "model.stem.kind") == "attention"])

    return pick


def _later_first(cells: Sequence[Cell]) -> list[Pair]:
    """Cells with as many attention stages among convolutions, the one in which these come later first."""
    cells = [cell for cell in cells if set(_value(cell, "model.stages")) <= {CONVOLUTION, ATTENTION}]
    places = [[stage for stage, kind in enumerate(_value(cell, "model.stages")) if kind == ATTENTION] for cell in cells]
    return [
        (cells[a], cells[b])
        for a, late in enumerate(places)
        for b, early in enumerate(places)
        if len(late) == len(early) and sum(late) > sum(early)
    ]


def _by_extent(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Those with one extent for all stages, by it; several have the same where they were not trained alike."""
    by_extent: dict[int, list[Cell]] = {}
    for cell in cells:
        extent = _value(cell, "model.attention.spatial_extent")
        if isinstance(extent, int):
            by_extent.setdefault(extent, []).append(cell)
    return [by_extent[extent] for extent in sorted(by_extent)]


def _larger_first(cells: Sequence[Cell]) -> list[Pair]:
    """Each larger extent against the smallest."""
    ordered = _by_extent(cells)
    return [(cell, least) for larger in ordered[1:] for cell in larger for least in ordered[0]]


def _last_step(cells: Sequence[Cell]) -> list[Pair]:
    """The largest extent against the next, where there are at least three to see a curve by."""
    ordered = _by_extent(cells)
    return [(largest, next_) for largest in ordered[-1] for next_ in ordered[-2]] if len(ordered) > 2 else []


def _content_dropped_first(cells: Sequence[Cell]) -> list[Pair]:
    """q.r alone against q.k alone: each lacks one part of the logits of the full operator."""
    without_content = [cell for cell in cells if not _value(cell, "model.attention.content")]
    without_position = [cell for cell in cells if _value(cell, "model.attention.position") == "none"]
    return [(a, b) for a in without_content for b in without_position]


def _attention_against_convolution(cells: Sequence[Cell]) -> list[Pair]:
    """Attention in all stages, with the whole operator, against the same network of convolutions."""
    attending = [
        cell
        for cell in cells
        if _value(cell, "model.stages") == "AAAA"
        and _value(cell, "model.attention.content")
        and _value(cell, "model.attention.position") == "relative"
    ]
    return [(a, b) for a in attending for b in cells if is_convolution(b)]


def _attention_against_depthwise(cells: Sequence[Cell]) -> list[Pair]:
    """Attention against depthwise convolution in the same stages, with the same extents there."""

    def windows(cell: Cell, letter: str) -> list[int | None]:
        assert cell.spec is not None
        model = cell.spec.model
        return [k if kind == letter else None for kind, k in zip(model.stages, model.extents, strict=True)]

    attending = [cell for cell in cells if _kinds_beside_convolution(cell) == {ATTENTION}]
    fixed = [cell for cell in cells if _kinds_beside_convolution(cell) == {DEPTHWISE}]
    return [(a, d) for a in attending for d in fixed if windows(a, ATTENTION) == windows(d, DEPTHWISE)]


def _kinds_beside_convolution(cell: Cell) -> set[str]:
    return set(_value(cell, "model.stages")) - {CONVOLUTION}


POSITION = ("model.attention.position", "model.attention.embedding")
STEM_VALUES = ("model.stem.values", "model.stem.mixtures")
# What only attention has: a net of depthwise stages has none of it.
OPERATOR = tuple(f"model.attention.{key}" for key in AttentionSpec.model_fields if key != "pool")
NETWORK = ("model.stages", "model.stem", "model.attention")
SATURATION_POINTS = 0.5
EQUAL_POINTS = 1.0

CLAIMS = (
    Claim(
        name="late-over-early",
        text="Attention in late stages is better than attention in as many early ones.",
        source="Table 3",
        topic="late against early attention",
        varies=("model.stages",),
        pick=_later_first,
    ),
    Claim(
        name="larger-extent",
        text="A larger spatial extent is better than the smallest.",
        source="Table 4",
        topic="larger spatial extents",
        varies=("model.attention.spatial_extent",),
        pick=_larger_first,
    ),
    Claim(
        name="extent-saturates",
        text=f"The gain from spatial extent saturates: its last step changes at most {SATURATION_POINTS:g} points.",
        source="Table 4",
        topic="saturation over three spatial extents",
        varies=("model.attention.spatial_extent",),
        pick=_last_step,
        test="equal",
        margin=SATURATION_POINTS,
    ),
    Claim(
        name="relative-over-absolute",
        text="Relative position is better than absolute.",
        source="Table 5",
        topic="relative against absolute position",
        varies=POSITION,
        pick=_between("model.attention.position", "relative", "absolute"),
    ),
    Claim(
        name="absolute-over-none",
        text="Absolute position is better than none.",
        source="Table 5",
        topic="absolute position against none",
        varies=POSITION,
        pick=_between("model.attention.position", "absolute", "none"),
    ),
    Claim(
        name="relative-over-none",
        text="Relative position is better than none.",
        source="Table 5",
        topic="relative position against none",
        varies=POSITION,
        pick=_between("model.attention.position", "relative", "none"),
    ),
    Claim(
        name="position-over-content",
        text="Content matters less than position: q.r alone is better than q.k alone.",
        source="Tables 5 and 6",
        topic="content against position",
        varies=(*POSITION, "model.attention.content"),
        pick=_content_dropped_first,
    ),
    Claim(
        name="spatial-over-plain-stem",
        text="An attention stem with spatially aware values is better than one with plain values.",
        source="Table 7",
        topic="spatially aware against plain stem",
        varies=STEM_VALUES,
        pick=_between_stems("spatial", "plain"),
    ),
    Claim(
        name="spatial-over-conv-stem",
        text="An attention stem with spatially aware values is better than one with values by convolution.",
        source="Table 7",
        topic="spatially aware stem against values by convolution",
        varies=STEM_VALUES,
        pick=_between_stems("spatial", "conv"),
    ),
    Claim(
        name="conv-over-plain-stem",
        text="An attention stem with values by convolution is better than one with plain values.",
        source="Table 7",
        topic="stem with values by convolution against plain",
        varies=STEM_VALUES,
        pick=_between_stems("conv", "plain"),
    ),
    Claim(
        name="fewer-parameters",
        text=f"Attention has fewer parameters than convolution and is at most {EQUAL_POINTS:g} point less accurate.",
        source="Table 1",
        topic="parameters of attention against convolution",
        varies=NETWORK,
        pick=_attention_against_convolution,
        test="not lower",
        margin=EQUAL_POINTS,
        fewer="params",
    ),
    Claim(
        name="fewer-flops",
        text=f"Attention has fewer FLOPs than convolution and is at most {EQUAL_POINTS:g} point less accurate.",
        source="Table 1",
        topic="FLOPs of attention against convolution",
        varies=NETWORK,
        pick=_attention_against_convolution,
        test="not lower",
        margin=EQUAL_POINTS,
        fewer="macs",
    ),
    Claim(
        name="attention-over-depthwise",
        text="Attention is better than a depthwise convolution of the same extent.",
        source="beyond the paper",
        topic="attention against depthwise convolution",
        varies=("model.stages", *OPERATOR),
        pick=_attention_against_depthwise,
    ),
)
"""In the order of the paper's ablations, then cost, then what the paper does not say."""
