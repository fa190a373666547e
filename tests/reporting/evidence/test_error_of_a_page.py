"""The rule of the verdicts on simulated pages whose truth is known: the joint report of the published experiments.

The pairs of cells are the real ones, with all that they share; the accuracies are drawn anew for every page.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sasa_cli.reporting.evidence.cells import HEADLINE, Cell
from sasa_cli.reporting.evidence.claims import CLAIMS, Claim
from sasa_cli.reporting.evidence.comparisons import is_convolution
from sasa_cli.reporting.evidence.material import united
from sasa_cli.reporting.evidence.paired import paired_difference
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.evidence.verdicts import PairVerdict, Question, Verdict, answer, ask
from sasa_cli.runs.paths import ExperimentPaths

PUBLISHED = Path(__file__).parents[3] / "results/published"
PAGES = 1000
SEEDS = 5
SPREAD = 0.6
MANY_PAIRS = "fewer-parameters"


@cache
def questions() -> tuple[Question, ...]:
    """Of the joint report, with the pairs that it compares; accuracies as published."""
    folders = sorted(path for path in PUBLISHED.iterdir() if path.name.startswith("mini-"))
    material = united([(path.name, read_results(ExperimentPaths(path))) for path in folders])
    asked = [ask(claim, material.cells) for claim in CLAIMS]
    return tuple(question for question in asked if question.comparisons)


def key(cell: Cell) -> str:
    return f"{cell.cell_hash} {cell.split_by}"


def cells_of_questions() -> dict[str, Cell]:
    return {key(cell): cell for each in questions() for item in each.comparisons for cell in (item.first, item.second)}


def published_means() -> dict[str, float]:
    tops = {name: cell.top1(HEADLINE) for name, cell in cells_of_questions().items()}
    return {name: top.mean for name, top in tops.items() if top is not None}


def page(means: Mapping[str, float], generator: np.random.Generator, seeds: int = SEEDS) -> list[Verdict]:
    """The verdicts where the cells have these true means; what a seed does to all cells alike cancels out."""
    drawn = {name: mean + generator.normal(0, SPREAD, seeds) for name, mean in means.items()}

    def measured(question: Question) -> Question:
        return replace(
            question,
            comparisons=tuple(
                replace(item, difference=paired_difference(list(drawn[key(item.first)]), list(drawn[key(item.second)])))
                for item in question.comparisons
            ),
        )

    return answer([measured(question) for question in questions()])


def is_wrong(claim: Claim, pair: PairVerdict, means: Mapping[str, float]) -> bool:
    """Whether what is said of the accuracies of a pair is not so; what follows from a count alone is never wrong."""
    true = means[key(pair.comparison.first)] - means[key(pair.comparison.second)]
    holds = {
        "higher": true > 0,
        "equal": abs(true) <= claim.margin + 1e-9,
        "not lower": true >= -claim.margin - 1e-9,
    }[claim.test]
    fails = true < 0 if claim.test == "higher" else not holds
    return (pair.says == "for" and not holds) or (pair.says == "against" and pair.fewer is not False and not fails)


def wrong_pages(means: Mapping[str, float], seeds: int = SEEDS) -> tuple[float, float]:
    """The share of pages that say anything wrong, and of those that say anything at all of accuracies."""
    generator = np.random.default_rng(seeds)
    wrong = spoken = 0
    for _ in range(PAGES):
        said = [(verdict.claim, pair) for verdict in page(means, generator, seeds) for pair in verdict.pairs]
        wrong += any(is_wrong(claim, pair, means) for claim, pair in said)
        spoken += any(pair.says in ("for", "against") and pair.fewer is not False for _, pair in said)
    return wrong / PAGES, spoken / PAGES


def at_most(share: float, rate: float) -> bool:
    return share < rate + 3 * math.sqrt(rate * (1 - rate) / PAGES)


@pytest.mark.parametrize("seeds", [2, 5])
def test_pages_of_equal_cells_say_something_wrong_in_5_percent(seeds: int) -> None:
    """34 % of them did, when each claim was corrected for its own pairs alone."""
    wrong, _ = wrong_pages(dict.fromkeys(cells_of_questions(), 80.0), seeds)
    assert at_most(wrong, 0.05)


def test_pages_with_the_published_means_as_the_truth_say_something_wrong_in_5_percent() -> None:
    wrong, spoken = wrong_pages(published_means())
    assert at_most(wrong, 0.05)
    assert spoken > 0.9  # a rule that never speaks is never wrong


def test_cells_just_beyond_a_margin_are_said_to_keep_to_it_in_5_percent() -> None:
    means = {name: 80.0 + (1.001 if is_convolution(cell) else 0.0) for name, cell in cells_of_questions().items()}
    wrong, _ = wrong_pages(means)
    assert at_most(wrong, 0.05)


def test_two_of_fifteen_pairs_make_no_general_verdict() -> None:
    """The published means of its pairs point both ways; once, two pairs that spoke were a verdict on all."""
    means, generator = published_means(), np.random.default_rng(0)
    found = [verdict for _ in range(300) for verdict in page(means, generator) if verdict.claim.name == MANY_PAIRS]
    assert {len(verdict.pairs) for verdict in found} == {15}
    general = sum(verdict.says in ("supported", "contradicted") for verdict in found)
    partly = sum(verdict.says.startswith("partly") for verdict in found)
    assert general / len(found) <= 0.05
    assert partly / len(found) > 0.1
