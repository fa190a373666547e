import math

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sasa_cli.rendering.table import Interval
from sasa_cli.reporting.evidence.statistics import Measure, clear_best, half_width_factor, measure, sampling_error
from sasa_cli.reporting.pages.intervals import interval


def test_interval_of_two_seeds_by_hand() -> None:
    # s / sqrt(2) = 0.2 for values 0.4 apart, and t_(0.975, 1) = 12.7062
    result = measure([80.0, 80.4])
    assert result is not None
    assert result.mean == pytest.approx(80.2)
    assert result.half_width == pytest.approx(12.7062 * 0.2, rel=1e-5)
    assert result.n == 2


@given(st.lists(st.floats(0, 100), min_size=2, max_size=12).filter(lambda values: max(values) - min(values) > 1e-3))
def test_interval_is_that_of_scipy(values: list[float]) -> None:
    result = measure(values)
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, loc=sum(values) / len(values), scale=scipy.stats.sem(values)
    )
    assert result is not None
    assert (result.low, result.high) == (pytest.approx(low), pytest.approx(high))


def test_equal_seeds_have_no_interval() -> None:
    """They gave `± 0.00`, as if there were no spread; as for differences, nothing can be said."""
    assert measure([80.0, 80.0, 80.0]) == Measure(3, 80.0, None)
    assert measure([12.3, 12.3]) == Measure(2, 12.3, None)
    assert interval(measure([80.0, 80.0])) == Interval(80.0, None)


def test_one_seed_has_no_interval_and_none_has_no_measure() -> None:
    assert measure([80.0]) == Measure(1, 80.0, None)
    assert measure([]) is None


def test_order_of_the_seeds_changes_no_bit() -> None:
    values = [80.1, 79.3, 81.7, 80.9]
    assert measure(values) == measure(values[::-1])


def test_sampling_error_of_a_test_set() -> None:
    assert sampling_error(94.0, 10_000) == pytest.approx(0.4655, abs=1e-4)
    assert sampling_error(50.0, 400) == pytest.approx(100 * 1.959964 * math.sqrt(0.25 / 400), rel=1e-6)
    assert sampling_error(100.0, 1000) == 0.0


def of_three(mean: float, half_width: float) -> Measure:
    return Measure(3, mean, half_width / half_width_factor(3))


@pytest.mark.parametrize(
    ("measures", "best"),
    [
        ([of_three(80, 1), of_three(83, 1), of_three(81, 0.5)], 1),
        ([of_three(80, 1), of_three(81.5, 1)], None),  # intervals overlap
        ([of_three(80, 1), of_three(82, 1)], None),  # intervals touch
        ([Measure(1, 80, None), of_three(90, 1)], None),  # a cell without an interval could be anywhere
        ([of_three(80, 1), None], None),  # nothing to stand out from
        ([None, of_three(80, 1), of_three(90, 1)], 2),
        ([], None),
    ],
)
def test_clear_best(measures: list[Measure | None], best: int | None) -> None:
    assert clear_best(measures) == best
