"""What a few seeds say about a cell: means, their intervals, and the sampling error of a test set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import gammaln, ndtri, stdtrit

CONFIDENCE = 0.95
NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Measure:
    """Mean of one quantity over the `n` seeds of a cell."""

    n: int
    mean: float
    deviation: float | None
    """Sample deviation over the seeds; None where it is unknown.

    That is with one seed, and where all seeds have the same value: accuracies come in steps of one image, so that
    equal ones say that the spread is too small for the test set, not that there is none.
    """

    @property
    def half_width(self) -> float | None:
        """Of the 95 % t interval of the mean."""
        return None if self.deviation is None else half_width_factor(self.n) * self.deviation

    @property
    def low(self) -> float:
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        return self.mean + (self.half_width or 0.0)


def measure(values: Sequence[float]) -> Measure | None:
    """Mean and 95 % interval `mean ± t_(0.975, n-1) s / sqrt(n)`, s the sample deviation; None without values."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Measure(1, mean, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    # Less than that, beside the values, is rounding of the arithmetic.
    spread = deviation > NO_SPREAD * max(1.0, abs(mean))
    return Measure(n, mean, deviation if spread else None)


def half_width_factor(n: int) -> float:
    """Half-width of the 95 % interval of a mean of `n` values, in sample deviations; `n` is at least 2."""
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) / math.sqrt(n)


def half_width_with_another(measure: Measure) -> float | None:
    """Expected half-width of the interval with one more seed; None with one seed.

    The sample deviation of n values is on average c4(n) times the true one, so that `s c4(n+1) / c4(n)` is expected
    of n + 1 values. What comes will scatter around this: the deviation is itself estimated from `n` seeds.
    """
    deviation = measure.deviation
    if deviation is None:
        return None
    return half_width_factor(measure.n + 1) * deviation * _c4(measure.n + 1) / _c4(measure.n)


def _c4(n: int) -> float:
    """Mean of the sample deviation of `n` normal values, in true deviations."""
    return math.sqrt(2 / (n - 1)) * math.exp(float(gammaln(n / 2)) - float(gammaln((n - 1) / 2)))


def sampling_error(top1: float, images: int) -> float:
    """95 % half-width, in points, of a top-1 accuracy (per cent) measured on `images` drawn at random.

    The normal approximation of the binomial, `1.96 sqrt(p (1 - p) / images)`: what a single model's accuracy would
    vary by on another test set of the same size.
    """
    share = top1 / 100
    return 100 * float(ndtri((1 + CONFIDENCE) / 2)) * math.sqrt(share * (1 - share) / images)


def clear_best(measures: Sequence[Measure | None]) -> int | None:
    """Index of the measure whose interval lies wholly above all the others; None where no cell stands out so.

    A cell without an interval can neither be the best nor be excluded from being it.
    """
    present = [(index, item) for index, item in enumerate(measures) if item is not None]
    if len(present) < 2 or any(item.half_width is None for _, item in present):
        return None
    index, best = max(present, key=lambda pair: pair[1].mean)
    return index if all(best.low > item.high for other, item in present if other != index) else None
