"""Paired statistics against scipy, against brute force, and against simulated seeds whose truth is known."""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sasa_cli.reporting.evidence.paired import ALPHA, Difference, holm, paired_difference
from sasa_cli.reporting.evidence.statistics import half_width_with_another, measure

Floats = NDArray[np.float64]
TRIALS = 6000
pairs = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=10).filter(
    lambda values: np.ptp([a - b for a, b in values]) > 1e-3
)


def difference_of(values: Iterable[float]) -> Difference:
    found = paired_difference([float(value) for value in values], [0.0] * len(list(values)))
    assert found is not None
    return found


def p_of(values: Iterable[float]) -> float:
    p_value = difference_of(values).p_value
    assert p_value is not None
    return p_value


def within(share: float, rate: float, trials: int = TRIALS) -> bool:
    """Whether a share is what a rate gives, within four deviations of the binomial."""
    return abs(share - rate) < 4 * math.sqrt(rate * (1 - rate) / trials)


def at_most(share: float, rate: float, trials: int = TRIALS) -> bool:
    return share < rate + 4 * math.sqrt(rate * (1 - rate) / trials)


@given(pairs)
def test_the_paired_test_is_that_of_scipy(values: list[tuple[float, float]]) -> None:
    first, second = map(list, zip(*values, strict=True))
    found = paired_difference(first, second)
    assert found is not None
    expected = scipy.stats.ttest_rel(first, second)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    low, high = expected.confidence_interval(0.95)
    assert found.half_width is not None
    assert (found.mean - found.half_width, found.mean + found.half_width) == (
        pytest.approx(low, abs=1e-6),
        pytest.approx(high, abs=1e-6),
    )


@given(pairs, st.floats(0.1, 5))
def test_tests_against_a_margin_are_those_of_scipy(values: list[tuple[float, float]], margin: float) -> None:
    differences = [a - b for a, b in values]
    found = difference_of(differences)
    below, above, not_lower, beyond_high, beyond_low = (
        scipy.stats.ttest_1samp(differences, at, alternative=side).pvalue
        for at, side in (
            (margin, "less"),
            (-margin, "greater"),
            (-margin, "greater"),
            (margin, "greater"),
            (-margin, "less"),
        )
    )
    assert found.p_equivalent(margin) == pytest.approx(max(below, above), rel=1e-6, abs=1e-12)
    assert found.p_higher(-margin) == pytest.approx(not_lower, rel=1e-6, abs=1e-12)
    assert found.p_lower(-margin) == pytest.approx(beyond_low, rel=1e-6, abs=1e-12)
    assert found.p_value == pytest.approx(2 * min(found.p_higher() or 0, found.p_lower() or 0), rel=1e-6, abs=1e-12)
    assert found.p_beyond(margin) == pytest.approx(min(1, 2 * min(beyond_high, beyond_low)), rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls where every intersection that holds it does: p is the largest of their Bonferroni p."""
    indices = range(len(p_values))
    groups = [group for size in indices for group in itertools.combinations(indices, size + 1)]
    expected = [
        max(min(1.0, len(group) * min(p_values[each] for each in group)) for group in groups if index in group)
        for index in indices
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=6))
def test_holm_with_shares_is_the_closed_test_of_weighted_bonferroni(tests: list[tuple[float, int]]) -> None:
    indices = range(len(tests))
    groups = [group for size in indices for group in itertools.combinations(indices, size + 1)]

    def together(group: tuple[int, ...]) -> float:
        whole = sum(tests[each][1] for each in group)
        return min(1.0, min(tests[each][0] * whole / tests[each][1] for each in group))

    expected = [max(together(group) for group in groups if index in group) for index in indices]
    assert holm([p for p, _ in tests], [share for _, share in tests]) == pytest.approx(expected)


def test_equal_differences_of_all_seeds_are_no_certainty() -> None:
    found = paired_difference([80.0, 80.4, 79.9], [82.0, 82.4, 81.9])
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(-2.0), 3)
    assert (found.p_value, found.half_width, found.detectable(), found.p_equivalent(5)) == (None,) * 4
    assert paired_difference([], []) is None
    one = paired_difference([80.0], [79.0])
    assert one is not None
    assert (one.mean, one.p_value) == (1.0, None)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_intervals_cover_the_truth_as_often_as_they_say(n: int) -> None:
    values = np.random.default_rng(n).normal(1.3, 0.7, (TRIALS, n))
    covered = [abs(found.mean - 1.3) <= (found.half_width or 0.0) for found in map(difference_of, values)]
    assert within(float(np.mean(covered)), 0.95)
    means = [measure(list(row)) for row in values]
    assert within(float(np.mean([found is not None and found.low <= 1.3 <= found.high for found in means])), 0.95)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("family", [1, 8])
def test_the_detectable_difference_is_found_as_often_as_it_says(n: int, family: int) -> None:
    """Of other seeds, when the difference is as large as some seeds say that they could find."""
    generator = np.random.default_rng(n)
    printed = [difference_of(row).detectable(ALPHA / family) for row in generator.normal(0, 0.7, (TRIALS, n))]
    values = generator.normal(0, 0.7, (TRIALS, n)) + np.array(printed, dtype=float)[:, None]
    found = [p_of(row) < ALPHA / family and row.mean() > 0 for row in values]
    assert within(float(np.mean(found)), 0.8)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_equal_cells_keep_to_the_margin_as_often_as_it_says(n: int) -> None:
    generator = np.random.default_rng(n)
    old, new = (list(map(difference_of, generator.normal(0, 0.7, (TRIALS, n)))) for _ in range(2))
    equal = [(b.p_equivalent(a.equal_within() or 0) or 0) < ALPHA / 2 for a, b in zip(old, new, strict=True)]
    not_lower = [(b.p_higher(-(a.not_lower_within() or 0)) or 0) < ALPHA / 2 for a, b in zip(old, new, strict=True)]
    assert within(float(np.mean(equal)), 0.8)
    assert within(float(np.mean(not_lower)), 0.8)


def cells(generator: np.random.Generator, means: Iterable[float], n: int) -> Floats:
    """Accuracies (cells, seeds) of a trial; what a seed does to all cells alike is in none of the differences."""
    means = np.array(list(means))
    return means[:, None] + generator.normal(0, 0.6, (len(means), n)) + generator.normal(0, 2.0, n)


def false_positives(means: list[float], n: int, trials: int) -> tuple[float, float]:
    """How often any cell equal to the first is called different: corrected, and uncorrected."""
    generator = np.random.default_rng(n)
    wrong, uncorrected = 0, 0
    for _ in range(trials):
        first, *others = cells(generator, means, n)
        p_values = [p_of(other - first) for other in others]
        equal = [index for index, mean in enumerate(means[1:]) if mean == means[0]]
        wrong += any(holm(p_values)[index] < ALPHA for index in equal)
        uncorrected += any(p_values[index] < ALPHA for index in equal)
    return wrong / trials, uncorrected / trials


@pytest.mark.parametrize("means", [[80.0] * 7, [80.0] * 4 + [95.0] * 3])
@pytest.mark.parametrize("n", [2, 4])
def test_a_family_errs_at_most_as_often_as_it_says(means: list[float], n: int) -> None:
    """Also where some cells do differ: Holm spends on the others what these no longer need."""
    trials = 2000
    wrong, uncorrected = false_positives(means, n, trials)
    assert at_most(wrong, ALPHA, trials)
    assert wrong > 0.01  # a test that never speaks would err as rarely
    assert not at_most(uncorrected, ALPHA, trials)


def test_the_best_cell_needs_all_pairs_corrected() -> None:
    """With equal cells, the one that came out best is compared with the others."""
    generator = np.random.default_rng(7)
    trials, over_all, over_shown = 3000, 0, 0
    for _ in range(trials):
        trial = cells(generator, [80.0] * 6, 6)
        best = int(trial.mean(axis=1).argmax())
        every = list(itertools.combinations(range(6), 2))
        p_values = [p_of(trial[a] - trial[b]) for a, b in every]
        shown = [index for index, pair in enumerate(every) if best in pair]
        over_all += any(holm(p_values)[index] < ALPHA for index in shown)
        over_shown += any(p < ALPHA for p in holm([p_values[index] for index in shown]))
    assert at_most(over_all / trials, ALPHA, trials)
    assert not at_most(over_shown / trials, ALPHA, trials)


@pytest.mark.parametrize("n", [3, 6])
def test_cells_at_the_margin_are_called_equal_as_rarely_as_it_says(n: int) -> None:
    values = np.random.default_rng(n).normal(1.0, 0.2, (TRIALS, n))
    found = list(map(difference_of, values))
    assert at_most(float(np.mean([(each.p_equivalent(1.0) or 0.0) < ALPHA for each in found])), ALPHA)
    assert within(float(np.mean([(each.p_beyond(1.0) or 0.0) < ALPHA / 2 for each in found])), ALPHA / 4)
    lower = [difference_of(-row) for row in values]
    assert within(float(np.mean([(each.p_higher(-1.0) or 0.0) < ALPHA for each in lower])), ALPHA)


def test_two_seeds_on_the_grid_of_a_test_set_do_not_make_equal_differences_certain() -> None:
    """1,000 images: accuracies in steps of 0.1, and a spread that often leaves both differences the same."""
    values = np.round(np.random.default_rng(1).normal(0, 0.1, (TRIALS, 2)), 1)
    found = list(map(difference_of, values))
    equal = np.mean([each.p_value is None for each in found])
    assert equal > 0.2  # a t test would call most of these different, with p = 0
    assert at_most(float(np.mean([each.p_value is not None and each.p_value < ALPHA for each in found])), ALPHA)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_one_more_seed_narrows_the_interval_as_expected(n: int) -> None:
    values = np.random.default_rng(n).normal(80, 0.5, (4 * TRIALS, n + 1))
    expected = [half_width_with_another(found) for row in values if (found := measure(list(row[:-1])))]
    actual = [found.half_width for row in values if (found := measure(list(row)))]
    differences = np.array(expected, dtype=float) - np.array(actual, dtype=float)
    assert abs(differences.mean()) < 4 * differences.std() / math.sqrt(len(differences))
    assert half_width_with_another(measure([80.0]) or pytest.fail("one value")) is None
