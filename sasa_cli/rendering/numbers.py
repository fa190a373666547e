"""How numbers are written: accuracies with their intervals, and columns of counts in one common unit."""

import math
from collections.abc import Sequence

from sasa_cli.rendering.table import Column

ABSENT = "–"
COUNT_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
TIME_UNITS = ((3600, "h"), (60, "min"), (1, "s"))


def percent(value: float | None) -> str:
    """Two decimals: a test set of 10,000 images cannot resolve more."""
    return ABSENT if value is None else f"{value:.2f}"


def signed(value: float) -> str:
    """Two decimals with a sign; no sign where they are zero."""
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text


def points(value: float | None) -> str:
    """A difference of accuracies; one that no accuracies can have is said to be so."""
    return ">100" if value is not None and value > 100 else percent(value)


def p_text(p_value: float | None) -> str:
    """Two digits, three near 0.05, and no more zeros than say that it is small."""
    if p_value is None:
        return ABSENT
    if p_value < 0.01:
        return "<0.0001" if p_value < 0.0001 else f"{p_value:.2g}"
    return f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def data_column(name: str, values: Sequence[str | float | None]) -> tuple[Column, list[str]]:
    """A column for programs: unrounded, empty where there is no value."""
    return Column(name), ["" if value is None else str(value) for value in values]


def unit_of(values: Sequence[float | None], units: Sequence[tuple[float, str]] = COUNT_UNITS) -> tuple[float, str]:
    """The largest unit that the largest value reaches, as (how many, its name)."""
    largest = max((abs(value) for value in values if value), default=0.0)
    return next((pair for pair in units if largest >= pair[0]), units[-1])


def in_unit(
    values: Sequence[float | None], units: Sequence[tuple[float, str]] = COUNT_UNITS, *, most_decimals: int = 4
) -> tuple[str, list[str]]:
    """A column in one common unit, with three digits of its smallest value where `most_decimals` allows.

    Returns:
        The name of the unit, and a text for each value.
    """
    factor, unit = unit_of(values, units)
    smallest = min((abs(value) / factor for value in values if value), default=1.0)
    exact = all(value is None or float(value).is_integer() for value in values) and factor == 1
    decimals = 0 if exact else min(most_decimals, max(0, 2 - math.floor(math.log10(smallest))))
    return unit, [ABSENT if value is None else f"{value / factor:.{decimals}f}" for value in values]


def headed(name: str, unit: str) -> str:
    """`Parameters (M)`; the name alone where the unit is one."""
    return f"{name} ({unit})" if unit else name
