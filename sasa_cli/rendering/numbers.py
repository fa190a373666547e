"""How numbers are written: accuracies, p values, and columns of counts in one common unit."""

import math
from collections.abc import Sequence

from sasa_cli.rendering.table import ABSENT, Number

COUNT_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
TIME_UNITS = ((3600, "h"), (60, "min"), (1, "s"))


def whole(value: int | None) -> Number:
    """Every digit, without separators."""
    return Number(value, ABSENT if value is None else str(value))


def digits(value: int) -> Number:
    """Every digit, in groups of three."""
    return Number(value, f"{value:,}")


def counted(value: int) -> Number:
    """`18.02 M`, `6.966 G`; below a million all its digits."""
    if value >= 10**9:
        return Number(value, f"{value / 10**9:.3f} G")
    return Number(value, f"{value / 10**6:.2f} M") if value >= 10**6 else digits(value)


def percent(value: float | None) -> Number:
    """Two decimals: a test set of 10,000 images cannot resolve more."""
    return Number(value, ABSENT if value is None else f"{value:.2f}")


def points(value: float | None) -> Number:
    """A difference of accuracies; one that no accuracies can have is said to be so."""
    return Number(value, ">100") if value is not None and value > 100 else percent(value)


def p_value(value: float | None) -> Number:
    """Two digits, three near 0.05, and no more zeros than say that it is small."""
    if value is None:
        return Number(None, ABSENT)
    if value < 0.01:
        return Number(value, "<0.0001" if value < 0.0001 else f"{value:.2g}")
    return Number(value, f"{value:.3f}" if value < 0.1 else f"{value:.2f}")


def unit_of(values: Sequence[float | None], units: Sequence[tuple[float, str]] = COUNT_UNITS) -> tuple[float, str]:
    """The largest unit that the largest value reaches, as (how many, its name)."""
    largest = max((abs(value) for value in values if value), default=0.0)
    return next((pair for pair in units if largest >= pair[0]), units[-1])


def in_unit(
    values: Sequence[float | None], units: Sequence[tuple[float, str]] = COUNT_UNITS, *, most_decimals: int = 4
) -> tuple[str, list[Number]]:
    """A column in one common unit, with three digits of its smallest value where `most_decimals` allows.

    Returns:
        The name of the unit, and an entry for each value, which keeps it in units of one.
    """
    factor, unit = unit_of(values, units)
    smallest = min((abs(value) / factor for value in values if value), default=1.0)
    exact = all(value is None or float(value).is_integer() for value in values) and factor == 1
    decimals = 0 if exact else min(most_decimals, max(0, 2 - math.floor(math.log10(smallest))))
    texts = [ABSENT if value is None else f"{value / factor:.{decimals}f}" for value in values]
    return unit, [Number(value, text) for value, text in zip(values, texts, strict=True)]


def headed(name: str, unit: str) -> str:
    """`Parameters (M)`; the name alone where the unit is one."""
    return f"{name} ({unit})" if unit else name
