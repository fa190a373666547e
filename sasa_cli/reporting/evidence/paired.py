"""Two cells with the same seeds: paired t tests, Holm's correction, equivalence, and what could have been found."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from scipy.special import stdtr

from sasa_cli.reporting.evidence.power import difference_factor, equal_factor, not_lower_factor
from sasa_cli.reporting.evidence.statistics import half_width_factor, measure

ALPHA = 0.05
"""Two-sided level of every test, before correction."""


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
        smaller = self._p_below(-abs(self.mean))
        return None if smaller is None else 2 * smaller

    def p_higher(self, than: float = 0.0) -> float | None:
        """Of the one-sided test that the difference is at most `than` points: small where it is more."""
        return self._p_below(than - self.mean)

    def p_lower(self, than: float = 0.0) -> float | None:
        """Of the one-sided test that the difference is at least `than` points: small where it is less."""
        return self._p_below(self.mean - than)

    def p_equivalent(self, margin: float) -> float | None:
        """Of the two one-sided tests (TOST) that the difference is `margin` points or more, either way."""
        return self._p_below(abs(self.mean) - margin)

    def p_beyond(self, margin: float) -> float | None:
        """Of the two tests that the difference is at most `margin` points, either way: twice the smaller p."""
        smaller = self._p_below(margin - abs(self.mean))
        return None if smaller is None else min(1.0, 2 * smaller)

    def detectable(self, alpha: float = ALPHA) -> float | None:
        """The true difference that such seeds find with 80 % power at the two-sided level `alpha`, in points."""
        return self._reach(difference_factor, alpha)

    def equal_within(self, alpha: float = ALPHA) -> float | None:
        """The margin within which such seeds show truly equal cells to be equal with 80 % power, in points.

        Args:
            alpha: Of the question and its opposite together; each has half.
        """
        return self._reach(equal_factor, alpha / 2)

    def not_lower_within(self, alpha: float = ALPHA) -> float | None:
        """The margin within which such seeds show that a truly equal cell is not lower; see `equal_within`."""
        return self._reach(not_lower_factor, alpha / 2)

    def _reach(self, factor: Callable[[int, float], float], alpha: float) -> float | None:
        return None if self.deviation is None else factor(self.n, alpha) * self._error(self.deviation)

    def _p_below(self, points: float) -> float | None:
        """The chance that Student's t is below so many points, in standard errors of this difference."""
        return None if self.deviation is None else float(stdtr(self.n - 1, points / self._error(self.deviation)))

    def _error(self, deviation: float) -> float:
        return deviation / math.sqrt(self.n)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Of values paired by their place; None where there are none."""
    found = measure([a - b for a, b in zip(first, second, strict=True)])
    if found is None:
        return None
    return Difference(found.mean, found.deviation, found.n)


def holm(p_values: Sequence[float], shares: Sequence[float] | None = None) -> list[float]:
    """Adjusted p values of Holm's step-down procedure (1979), in the order given.

    Those below 0.05 hold together: the chance that any of them is wrong is at most 5 %, however the tests depend on
    each other.

    Args:
        p_values: Of all tests of the family.
        shares: How much of the 5 % each gets at first; what is rejected leaves its share to the others. Equal if
            absent.
    """
    shares = [1.0] * len(p_values) if shares is None else shares
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index] / shares[index])
    lefts = list(accumulate(shares[index] for index in reversed(order)))
    for index, left in zip(order, reversed(lefts), strict=True):
        highest = max(highest, min(1.0, left / shares[index] * p_values[index]))
        adjusted[index] = highest
    return adjusted
