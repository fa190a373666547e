"""Widths that match a budget, as a table and as plain data. Imports no torch."""

from collections.abc import Sequence
from typing import Any

from sasa_cli.counting.count_tables import format_count
from sasa_cli.counting.macs import ModelCount
from sasa_cli.experiment.match import BUDGET_NAMES, TOLERANCE, WidthMatch
from sasa_cli.rendering.table import Column, Table

WIDTHS = (
    "Widths keep channels even and divisible by the heads (heads of relative attention have an even number of "
    "channels): fewer heads allow more widths. In an experiment: model.match: {budget: ..., to: ..., stages: ...}."
)


def match_payload(matches: Sequence[tuple[WidthMatch, ModelCount]]) -> dict[str, Any]:
    """What `count-flops --match --json` prints: for each model the width, and what it costs beside the other one."""
    return {
        "models": [
            {
                "model": match.count.model,
                "image_size": list(match.count.image[1:]),
                "num_classes": match.count.num_classes,
                "width": match.model.width,
                "budget": match.budget,
                "reached": match.reached,
                "wanted": match.wanted,
                "to": other.model,
                "difference_percent": 100 * match.deviation,
                "matched": _is_near(match),
                "params": match.count.params,
                "flops": 2 * match.count.macs,
                "notes": list(other.notes),
            }
            for match, other in matches
        ]
    }


def match_table(matches: Sequence[tuple[WidthMatch, ModelCount]], *, exact: bool = False) -> Table:
    """A row for each model; `exact` gives programs the columns and digits of `match_payload`, and no notes."""
    if exact:
        models = [{key: value for key, value in model.items() if key != "notes"} for model in _exact(matches)]
        rows = tuple(tuple(map(str, model.values())) for model in models)
        return Table("Widths at equal budget", tuple(Column(key, "left") for key in models[0]), rows)
    budget = matches[0][0].budget
    title = f"Widths at equal {BUDGET_NAMES[budget]}"
    columns = [
        Column("Model", "left"),
        Column("Width"),
        Column("Parameters" if budget == "params" else "FLOPs (2 x MACs)"),
        Column("To", "left"),
        Column("Budget"),
        Column("Difference"),
        Column("Verdict", "left"),
    ]
    notes = dict.fromkeys(note for _, other in matches for note in other.notes)
    return Table(title, tuple(columns), tuple(_row(*matched) for matched in matches), (WIDTHS, *notes))


def _exact(matches: Sequence[tuple[WidthMatch, ModelCount]]) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = match_payload(matches)["models"]
    return [model | {"image_size": "x".join(map(str, model["image_size"]))} for model in models]


def _row(match: WidthMatch, other: ModelCount) -> tuple[str, ...]:
    near = f"within {100 * TOLERANCE:g} %"
    return (
        match.count.model,
        f"{match.model.width:g}",
        format_count(match.reached),
        other.model,
        format_count(match.wanted),
        f"{100 * match.deviation:+.2f} %",
        near if _is_near(match) else f"no width {near}",
    )


def _is_near(match: WidthMatch) -> bool:
    return abs(match.deviation) <= TOLERANCE
