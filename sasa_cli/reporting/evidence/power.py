"""What so many seeds with so much spread could have shown, with the uncertainty of the spread itself counted.

A spread that was estimated from a few seeds may be far from the true one. Taken as the truth, it promises too much: at
the difference that would then be found with 80 % power, the real power is 0.58 with two seeds and 0.68 with five. What
is given here is found with 80 % power on average over the deviations that such seeds give.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, ndtr, stdtrit

POWER = 0.8
NODES = 160  # of the quadrature over each deviation: three digits of every factor
HIGHEST = 1e9  # standard errors


@cache
def difference_factor(n: int, alpha: float) -> float:
    """The true difference, in observed standard errors, that a two-sided paired t test at `alpha` finds.

    The c that solves `E[Phi(c S - t V)] = 0.8`: S and V are the observed deviation and that of the seeds that would
    test it, in true deviations, independent and distributed as `sqrt(chi2_(n-1) / (n-1))`; t is the critical value.
    """
    return _shown_with_power(n, _critical(n, alpha / 2), lambda reach: ndtr(reach))


@cache
def not_lower_factor(n: int, alpha: float) -> float:
    """The margin, in observed standard errors, within which truly equal cells are shown not to be lower (one-sided)."""
    return _shown_with_power(n, _critical(n, alpha), lambda reach: ndtr(reach))


@cache
def equal_factor(n: int, alpha: float) -> float:
    """The margin, in observed standard errors, within which truly equal cells are shown to be equal (TOST)."""
    return _shown_with_power(n, _critical(n, alpha), lambda reach: np.maximum(0.0, 2 * ndtr(reach) - 1))


def _critical(n: int, tail: float) -> float:
    return float(stdtrit(n - 1, 1 - tail))


def _shown_with_power(n: int, critical: float, chance: Callable[[Any], Any]) -> float:
    """The factor c at which `chance(c S - critical V)` is 0.8 on average over both deviations."""
    places, weights = np.polynomial.legendre.leggauss(NODES)
    tails, weights = (places + 1) / 2, weights / 2
    deviations = np.sqrt(chdtri(n - 1, tails) / (n - 1))
    both = weights[:, None] * weights[None, :]

    def missing(log_factor: float) -> float:
        reach = math.exp(log_factor) * deviations[:, None] - critical * deviations[None, :]
        return float(np.sum(both * chance(reach))) - POWER

    return math.exp(brentq(missing, 0.0, math.log(HIGHEST)))
