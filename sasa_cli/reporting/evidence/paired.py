"""Two cells with the same seeds: paired t tests, Holm's correction, equivalence, and what could have been found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from scipy.optimize import brentq
from scipy.special import nctdtr, stdtr, stdtrit

from sasa_cli.reporting.evidence.statistics import half_width_factor, measure

ALPHA = 0.05
"""Two-sided level of every test, before correction."""
POWER = 0.8


@dataclass(frozen=True)
class Difference:
    """Mean difference of two cells over the `n` seeds that both have."""

    mean: float
    deviation: float | None
    """Sample deviation of the differences; None where it is unknown.

    That is with one seed, and where the differences of all seeds are equal: accuracies come in steps of one image,
    so that equal differences say that the spread is too small for the test set, not that there is none. A t test would
    call any such difference certain.
    """
    n: int

    @property
    def half_width(self) -> float | None:
        """Of the 95 % t interval of this difference by itself, not corrected for others."""
        return None if self.deviation is None else half_width_factor(self.n) * self.deviation

    @property
    def p_value(self) -> float | None:
        """Two-sided paired t test of no difference."""
        return None if self.deviation is None else _two_sided(self.mean / self._error(self.deviation), self.n - 1)

    def p_equivalent(self, margin: float) -> float | None:
        """Of the two one-sided tests (TOST) that the difference is `margin` points or more, either way.

        Small where the cells are equal within the margin: below 0.05, the 90 % interval lies inside it.
        """
        if self.deviation is None:
            return None
        return float(stdtr(self.n - 1, (abs(self.mean) - margin) / self._error(self.deviation)))

    def p_not_lower(self, margin: float) -> float | None:
        """Of the one-sided test that the first is `margin` points or more below the second (non-inferiority)."""
        if self.deviation is None:
            return None
        return float(stdtr(self.n - 1, -(self.mean + margin) / self._error(self.deviation)))

    def p_beyond(self, margin: float) -> float | None:
        """Of the test that the difference is at most `margin` points: small where the cells differ by more.

        Twice the smaller of its two one-sided p values, so that it has the level of the two-sided test.
        """
        if self.deviation is None:
            return None
        return min(1.0, 2 * float(stdtr(self.n - 1, (margin - abs(self.mean)) / self._error(self.deviation))))

    def detectable(self, alpha: float = ALPHA) -> float | None:
        """Smallest true difference that a two-sided test at `alpha` finds with 80 % power at this n and deviation."""
        return None if self.deviation is None else noncentrality(self.n, alpha) * self._error(self.deviation)

    def _error(self, deviation: float) -> float:
        return deviation / math.sqrt(self.n)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Of values paired by their place; None where there are none."""
    found = measure([a - b for a, b in zip(first, second, strict=True)])
    if found is None:
        return None
    return Difference(found.mean, found.deviation, found.n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values of Holm's step-down procedure (1979), in the order given.

    Those below 0.05 hold together: the chance that any of them is wrong is at most 5 %, however the tests depend on
    each other.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def power(noncentral: float, n: int, alpha: float = ALPHA) -> float:
    """Chance that the two-sided paired t test finds a true difference of `noncentral` standard errors.

    A significant difference in the wrong direction does not count as found.
    """
    return 1 - float(nctdtr(n - 1, noncentral, float(stdtrit(n - 1, 1 - alpha / 2))))


@cache
def noncentrality(n: int, alpha: float = ALPHA) -> float:
    """The true difference, in standard errors, that `n` pairs find with 80 % power: from the noncentral t."""
    highest = 10.0
    while power(highest, n, alpha) < POWER:
        highest *= 2
    return float(brentq(lambda size: power(size, n, alpha) - POWER, 0.0, highest))


def _two_sided(t: float, degrees: int) -> float:
    return 2 * float(stdtr(degrees, -abs(t)))
