"""What the finished runs say about each claim, with one error of 5 % over all that a page says.

Every claim that can be tested has the same share of the 5 %, every pair of cells the same part of its claim's, and its
two directions, for and against, half of that each. Holm's procedure over all of these lets what is decided leave its
share to what is not. So the chance that a page says anything wrong of any pair, on any claim, is at most 5 %, however
the pairs depend on each other; and a verdict on a claim only counts its pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sasa_cli.reporting.evidence.cells import Cell
from sasa_cli.reporting.evidence.claims import CLAIMS, Claim, pairs_of
from sasa_cli.reporting.evidence.comparisons import Comparison, Pair, alike, differences
from sasa_cli.reporting.evidence.paired import ALPHA, Difference, holm

Says = Literal[
    "supported",
    "partly supported",
    "contradicted",
    "partly contradicted",
    "mixed",
    "not distinguishable",
    "not tested",
]
PairSays = Literal["for", "against", "open", "untested"]

NO_PAIR = "no two cells with finished runs differ in this alone"
NOT_ALIKE = "the cells that differ in nothing else were not trained alike"
NO_SEEDS = "no pair has two shared seeds whose differences vary"


@dataclass(frozen=True)
class Question:
    """A claim, and the pairs of cells that can answer it."""

    claim: Claim
    comparisons: tuple[Comparison, ...]
    why_not: str = ""
    """Where there are none."""

    @property
    def tested(self) -> list[Comparison]:
        return [item for item in self.comparisons if self.is_tested(item)]

    def is_tested(self, item: Comparison) -> bool:
        """Whether its accuracies decide: where a count already contradicts the claim, none could change that."""
        return item.tested and self.fewer(item) is not False

    def fewer(self, item: Comparison) -> bool | None:
        """Whether the first cell has fewer of what the claim is about; None where it is about accuracy alone."""
        counted = self.claim.fewer
        return None if counted is None else getattr(item.first, counted) < getattr(item.second, counted)


@dataclass(frozen=True)
class PairVerdict:
    """What one pair of cells says about a claim."""

    comparison: Comparison
    says: PairSays
    p_holm: float | None
    """Adjusted over all that the page tests, of the direction that is clearer. None where no accuracy was tested."""
    share: float
    """Of the page's 5 %, before others leave theirs; both directions together."""
    fewer: bool | None = None
    """Whether the first cell has fewer of what the claim is about; None where it is about accuracy alone."""

    def could_show(self, claim: Claim, *, corrected: bool = False) -> float | None:
        """What such seeds show with 80 % power, in points, by themselves or with their share of the page's 5 % alone.

        Of a claim about a difference, the true difference that is found; of one about a margin, the margin within
        which truly equal cells are found to keep to it.
        """
        found = self.comparison.difference
        alpha = ALPHA * (self.share if corrected else 1)
        if found is None or self.p_holm is None:
            return None
        return {
            "higher": found.detectable,
            "equal": found.equal_within,
            "not lower": found.not_lower_within,
        }[claim.test](alpha)


@dataclass(frozen=True)
class Verdict:
    """A claim, what the pairs say of it, and the pairs."""

    claim: Claim
    says: Says
    pairs: tuple[PairVerdict, ...]
    why_not: str = ""
    """Of a claim that is not tested."""

    @property
    def clearest(self) -> PairVerdict | None:
        """The pair with the smallest p among those that it rests on, else of all."""
        tested = [(pair.p_holm, pair) for pair in self.pairs if pair.p_holm is not None]
        deciding = [found for found in tested if found[1].says in ("for", "against")]
        return min(deciding or tested, key=lambda found: found[0], default=(0.0, None))[1]

    def count(self, says: PairSays) -> int:
        return sum(pair.says == says for pair in self.pairs)


def judge(cells: Sequence[Cell]) -> list[Verdict]:
    """The verdict on every claim from the cells of a page."""
    return answer([ask(claim, cells) for claim in CLAIMS])


def ask(claim: Claim, cells: Sequence[Cell]) -> Question:
    """Which of these cells can say something about a claim, and how far apart they are."""
    return question_of(claim, pairs_of(claim, cells), NO_PAIR)


def question_of(claim: Claim, pairs: Sequence[Pair], no_pair: str) -> Question:
    """A claim with those of its pairs that were trained alike; `no_pair` says why there are none at all."""
    fair = [pair for pair in pairs if alike(*pair)]
    why_not = "" if fair else NOT_ALIKE if pairs else no_pair
    return Question(claim, tuple(differences(fair)), why_not)


def answer(questions: Sequence[Question]) -> list[Verdict]:
    """All verdicts of a page, corrected together."""
    asked = [question for question in questions if question.tested]
    shares = {question.claim.name: 1 / len(asked) / len(question.tested) for question in asked}
    directions = [
        (p_value, shares[question.claim.name] / 2)
        for question in asked
        for item in question.tested
        if item.difference is not None
        for p_value in _both_directions(question.claim, item.difference)
    ]
    adjusted = holm([p for p, _ in directions], [share for _, share in directions])
    pairs = iter(zip(adjusted[::2], adjusted[1::2], strict=True))
    verdicts = []
    for question in questions:
        share = shares.get(question.claim.name, 0.0)
        judged = tuple(
            _judged(item, question.fewer(item), share, next(pairs) if question.is_tested(item) else None)
            for item in question.comparisons
        )
        says = _together([pair.says for pair in judged])
        why_not = "" if says != "not tested" else question.why_not or NO_SEEDS
        verdicts.append(Verdict(question.claim, says, judged, why_not))
    return verdicts


def _both_directions(claim: Claim, found: Difference) -> tuple[float, float]:
    """One-sided p values, small where the pair speaks for the claim, and where it speaks against it."""
    p_for, p_against = found.p_higher(-claim.margin), found.p_lower(-claim.margin)
    if claim.test == "equal":
        p_for, p_against = found.p_equivalent(claim.margin), found.p_beyond(claim.margin)
    assert p_for is not None  # the differences of tested pairs vary
    assert p_against is not None
    return p_for, p_against


def _judged(item: Comparison, fewer: bool | None, share: float, adjusted: tuple[float, float] | None) -> PairVerdict:
    says: PairSays = "untested"
    if adjusted is not None:
        p_for, p_against = adjusted
        says = "for" if p_for < ALPHA else "against" if p_against < ALPHA else "open"
    return PairVerdict(
        item,
        "against" if fewer is False else says,
        None if adjusted is None else min(adjusted),
        0.0 if adjusted is None else share,
        fewer,
    )


def _together(said: Sequence[PairSays]) -> Says:
    """How general it is: all that spoke agree, and they are most of those that could have spoken, or only some."""
    heard = [says for says in said if says != "untested"]
    if not heard:
        return "not tested"
    if "for" in heard and "against" in heard:
        return "mixed"
    if "for" in heard:
        return "supported" if 2 * heard.count("for") > len(heard) else "partly supported"
    if "against" in heard:
        return "contradicted" if 2 * heard.count("against") > len(heard) else "partly contradicted"
    return "not distinguishable"
