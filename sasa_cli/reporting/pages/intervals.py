"""Means and differences as entries of tables."""

from sasa_cli.rendering.table import Interval
from sasa_cli.reporting.evidence.paired import Difference
from sasa_cli.reporting.evidence.statistics import Measure


def interval(measure: Measure | None) -> Interval:
    """`84.20 ± 0.51`; with one seed `84.20 ± –`."""
    return Interval(None, None) if measure is None else Interval(measure.mean, measure.half_width)


def signed_interval(difference: Difference | None) -> Interval:
    """`+1.20 ± 0.51`, `−0.40 ± –`."""
    if difference is None:
        return Interval(None, None, signed=True)
    return Interval(difference.mean, difference.half_width, signed=True)


def interval_names(name: str) -> tuple[str, str]:
    """Of an interval's two values, for programs."""
    return f"{name}_mean", f"{name}_half_width"
