"""Means and differences with their intervals, as text."""

from sasa_cli.rendering.numbers import ABSENT, percent, signed
from sasa_cli.reporting.evidence.paired import Difference
from sasa_cli.reporting.evidence.statistics import Measure


def interval(measure: Measure | None) -> str:
    """`84.20 ± 0.51`; with one seed `84.20 ± –`."""
    return ABSENT if measure is None else f"{measure.mean:.2f} ± {percent(measure.half_width)}"


def signed_interval(difference: Difference | None) -> str:
    """`+1.20 ± 0.51`, `−0.40 ± –`."""
    if difference is None:
        return ABSENT
    return f"{signed(difference.mean)} ± {percent(difference.half_width)}"
