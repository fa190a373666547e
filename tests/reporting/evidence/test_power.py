"""What seeds could have shown, against simulated seeds whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from sasa_cli.reporting.evidence.power import difference_factor, equal_factor, not_lower_factor

TRIALS = 40_000
ERROR = 4 * math.sqrt(0.8 * 0.2 / TRIALS)


def deviations(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((TRIALS, n)).std(axis=1, ddof=1)


def new_seeds(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of n differences around zero and their standard errors, with deviation 1."""
    values = np.random.default_rng(2).standard_normal((TRIALS, n))
    return values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(n)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12])
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_a_difference_of_that_size_is_found_in_80_percent(n: int, alpha: float):
    printed = difference_factor(n, alpha) * deviations(n, 1) / math.sqrt(n)
    mean, error = new_seeds(n)
    found = (mean + printed) / error > stats.t.ppf(1 - alpha / 2, n - 1)
    assert found.mean() == pytest.approx(0.8, abs=ERROR)


@pytest.mark.parametrize(("n", "real_power"), [(2, 0.58), (3, 0.62), (5, 0.68), (10, 0.74)])
def test_the_deviation_taken_as_the_truth_promises_too_much(n: int, real_power: float):
    """What was printed before: its real power is that of the issue, so that the simulation measures the right thing."""
    critical = stats.t.ppf(0.975, n - 1)
    grid = np.linspace(1, 60, 6000)
    factor = grid[np.argmax(1 - stats.nct.cdf(critical, n - 1, grid) >= 0.8)]
    mean, error = new_seeds(n)
    found = (mean + factor * deviations(n, 1) / math.sqrt(n)) / error > critical
    assert found.mean() == pytest.approx(real_power, abs=0.012)
    assert difference_factor(n, 0.05) > factor


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_truly_equal_cells_are_shown_to_be_equal_within_that_margin_in_80_percent(n: int):
    margin = equal_factor(n, 0.05) * deviations(n, 1) / math.sqrt(n)
    mean, error = new_seeds(n)
    shown = np.abs(mean) + stats.t.ppf(0.95, n - 1) * error < margin
    assert shown.mean() == pytest.approx(0.8, abs=ERROR)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_truly_equal_cells_are_shown_not_to_be_lower_within_that_margin_in_80_percent(n: int):
    margin = not_lower_factor(n, 0.05) * deviations(n, 1) / math.sqrt(n)
    mean, error = new_seeds(n)
    shown = mean + margin > stats.t.ppf(0.95, n - 1) * error
    assert shown.mean() == pytest.approx(0.8, abs=ERROR)
    assert not_lower_factor(n, 0.05) < equal_factor(n, 0.05)


def test_many_seeds_leave_no_uncertainty_of_the_spread():
    normal = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert difference_factor(3000, 0.05) == pytest.approx(normal, rel=2e-3)
