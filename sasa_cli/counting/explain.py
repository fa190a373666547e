"""What `sasa count-flops --explain` says in general: attention against convolution over k, and other counters."""

import math
from dataclasses import dataclass
from typing import Any

from sasa_cli.counting.equal_cost import (
    CHANNELS,
    CLAIMED_EXTENT,
    EXTENTS,
    HEADS,
    KERNEL,
    TERMS,
    attention_at,
    convolution_at,
    depthwise_at,
    equal_extent,
)
from sasa_cli.rendering.numbers import digits, whole
from sasa_cli.rendering.table import Column, Entry, Number, Table

CLAIM = (
    f"The paper's claim: with {CHANNELS} channels in and out, a {KERNEL}x{KERNEL} convolution costs as much as "
    f"attention at k = {CLAIMED_EXTENT}. That is so where q.r is left out or factored, and not where q.r is a product "
    "over all k x k places."
)
WHY = (
    "A convolution needs k^2 d^2 MACs for each pixel, as many as it has parameters. Attention needs 3 d^2 for its "
    "projections, whatever k is, and d for each place of the window and each of q.k, q.r and a.v; its parameters grow "
    "by one row and one column embedding for each step of k. A depthwise convolution (stages D) has the value "
    "projection of attention, d^2, and one filter a channel, k^2 d, in the place of weights that depend on the image."
)
COUNTERS = (
    "Counters that trace a network see matrix products and convolutions only: what is written as `*` and `sum` costs "
    "them nothing, and dense attention costs them every pair of pixels. fvcore, thop and torchinfo call MACs FLOPs. "
    "sasa counts from formulas, so that its numbers do not depend on the backend."
)


@dataclass(frozen=True)
class CounterRow:
    """What one counter reports for one way of writing the layer."""

    counter: str
    version: str | None
    """None: not installed."""
    formulation: str
    macs: int | None
    """None: not installed, or failed."""
    failure: str = ""


@dataclass(frozen=True)
class CounterReadings:
    """All counters on the same layer, and what the formulas give for it."""

    layer: str
    macs: int
    """Of the formulas, q.r in full."""
    macs_without_position: int
    rows: tuple[CounterRow, ...]


def explanation_payload(readings: CounterReadings) -> dict[str, Any]:
    """What `count-flops --explain --json` prints where no model is named: exact integers for one pixel."""
    return {
        "claim": {
            "channels": CHANNELS,
            "convolution_flops": _convolution_flops(KERNEL),
            "claimed_spatial_extent": CLAIMED_EXTENT,
            "equal_spatial_extent": {terms.name: equal_extent(terms) for terms in TERMS},
        },
        "extents": [
            {
                "spatial_extent": k,
                "convolution_flops": _convolution_flops(k),
                "convolution_params": convolution_at(k).params,
                "depthwise_flops": 2 * depthwise_at(k).macs,
                "depthwise_params": depthwise_at(k).params,
                "attention_flops": {terms.name: terms.flops(k) for terms in TERMS},
                "attention_params": attention_at(k).params,
            }
            for k in EXTENTS
        ],
        "counters": {
            "layer": readings.layer,
            "macs": readings.macs,
            "macs_without_position": readings.macs_without_position,
            "rows": [
                {"counter": row.counter, "version": row.version, "formulation": row.formulation, "macs": row.macs}
                | ({"failure": row.failure} if row.failure else {})
                for row in readings.rows
            ],
        },
    }


def explanation_tables(readings: CounterReadings) -> tuple[Table, ...]:
    """FLOPs over k, parameters over k, and the readings of other counters."""
    return _flops_table(), _params_table(), _counter_table(readings)


def _convolution_flops(kernel: int) -> int:
    return 2 * convolution_at(kernel).macs


def _flops_table() -> Table:
    equal = _convolution_flops(KERNEL)
    kinds = ("convolution k x k", "depthwise k x k", *(f"attention, {terms.name}" for terms in TERMS))
    columns = [Column("k"), *map(Column, kinds)]
    costs = [_convolution_flops, lambda k: 2 * depthwise_at(k).macs, *(terms.flops for terms in TERMS)]
    rows = [(whole(k), *(Number(cost(k), f"{cost(k):,} ({cost(k) / equal:.2f})") for cost in costs)) for k in EXTENTS]
    crossing = (
        "equal at k =",
        str(KERNEL),
        f"{_equal_depthwise():.1f}",
        *(f"{equal_extent(terms):.1f}" for terms in TERMS),
    )
    return Table(
        f"FLOPs (2 x MACs) of a pixel with {CHANNELS} channels, and as multiples of a {KERNEL}x{KERNEL} convolution "
        f"({equal:,})",
        tuple(columns),
        (*rows, crossing),
        (CLAIM, WHY),
    )


def _equal_depthwise() -> float:
    """The k at which d^2 + k^2 d MACs are those of the 3x3 convolution."""
    return math.sqrt((convolution_at(KERNEL).macs - CHANNELS**2) / CHANNELS)


def _params_table() -> Table:
    layers = (convolution_at, depthwise_at, attention_at)
    rows = tuple((whole(k), *(digits(layer(k).params) for layer in layers)) for k in EXTENTS)
    return Table(
        f"Parameters of a layer with {CHANNELS} channels",
        (
            Column("k"),
            Column("convolution, k^2 d^2"),
            Column("depthwise, d^2 + k^2 d"),
            Column(f"attention, 3 d^2 + k d / {HEADS}"),
        ),
        rows,
        (f"d = {CHANNELS}; {HEADS} heads share k row and k column embeddings of d / {2 * HEADS} numbers each.",),
    )


def _counter_table(readings: CounterReadings) -> Table:
    headers = ("MACs", "of those without q.r", "of those with q.r in full")
    columns = (Column("Counter", "left"), Column("Layer written as", "left"), *map(Column, headers))
    formulas = (("sasa, without q.r", readings.macs_without_position), ("sasa, q.r in full", readings.macs))
    rows: list[tuple[Entry, ...]] = [(name, "formula", *_shares(macs, readings)) for name, macs in formulas]
    rows += dict.fromkeys(_counter_row(row, readings) for row in readings.rows)
    return Table(f"One layer in other counters, measured now: {readings.layer}", columns, tuple(rows), (COUNTERS,))


def _counter_row(row: CounterRow, readings: CounterReadings) -> tuple[Entry, ...]:
    if row.version is None:
        return (row.counter, "any", "not installed", "-", "-")
    name = f"{row.counter} ({row.version})"
    if row.macs is None:
        return (name, row.formulation, f"failed: {row.failure}", "-", "-")
    return (name, row.formulation, *_shares(row.macs, readings))


def _shares(macs: int, readings: CounterReadings) -> tuple[Number, ...]:
    wholes = (readings.macs_without_position, readings.macs)
    return (digits(macs), *(Number(100 * macs / each, f"{100 * macs / each:.0f} %") for each in wholes))
