"""What the finished runs say about each claim."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from sasa_cli.reporting.evidence.cells import Cell
from sasa_cli.reporting.evidence.claims import CLAIMS, Claim, pairs_of
from sasa_cli.reporting.evidence.comparisons import Comparison, alike, compare
from sasa_cli.reporting.evidence.paired import ALPHA, Difference, holm

Says = Literal["supported", "contradicted", "mixed", "not distinguishable", "not tested"]
PairSays = Literal["for", "against", "open", "untested"]

NO_PAIR = "no two cells with finished runs differ in this alone"


@dataclass(frozen=True)
class PairVerdict:
    """What one pair of cells says about a claim."""

    comparison: Comparison
    says: PairSays
    p_holm: float | None
    """Of the test that decides: for the claim, or against it where that is the smaller. None where none was made."""
    fewer: bool | None = None
    """Whether the first cell has fewer of what the claim is about; None where it is about accuracy alone."""


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
        deciding = [pair for pair in self.pairs if pair.says in ("for", "against")] or list(self.pairs)
        tested = [pair for pair in deciding if pair.comparison.tested]
        return min(tested, key=lambda pair: 1.0 if pair.p_holm is None else pair.p_holm, default=None)

    def count(self, says: PairSays) -> int:
        return sum(pair.says == says for pair in self.pairs)


def judge(cells: Sequence[Cell]) -> list[Verdict]:
    """The verdict on every claim from these cells."""
    return [_judged(claim, cells) for claim in CLAIMS]


def _judged(claim: Claim, cells: Sequence[Cell]) -> Verdict:
    found = pairs_of(claim, cells)
    if not found:
        return Verdict(claim, "not tested", (), NO_PAIR)
    fair = [pair for pair in found if alike(*pair)]
    if not fair:
        return Verdict(claim, "not tested", (), "the cells that differ in nothing else were not trained alike")
    pairs = tuple(_judged_pairs(claim, compare(fair)))
    says = _together([pair.says for pair in pairs])
    why_not = "" if says != "not tested" else "no pair has two shared seeds whose differences vary"
    return Verdict(claim, says, pairs, why_not)


def _together(said: Sequence[PairSays]) -> Says:
    if "for" in said:
        return "mixed" if "against" in said else "supported"
    if "against" in said:
        return "contradicted"
    return "not distinguishable" if "open" in said else "not tested"


def _judged_pairs(claim: Claim, comparisons: Sequence[Comparison]) -> list[PairVerdict]:
    """What each pair says, p values corrected over all that were tested."""
    tested = [item.difference for item in comparisons if item.tested and item.difference]
    equal = iter(holm([_known(_p_equal(claim, difference)) for difference in tested]))
    beyond = iter(holm([_p_worse(claim, difference) for difference in tested]))
    judged = []
    for item in comparisons:
        fewer = None if claim.fewer is None else getattr(item.first, claim.fewer) < getattr(item.second, claim.fewer)
        p_holm, says = None, "untested"
        if item.tested and claim.test == "higher":
            p_holm, says = item.p_holm, {"higher": "for", "lower": "against"}.get(item.verdict, "open")
        elif item.tested:
            p_for, p_against = next(equal), next(beyond)
            p_holm = min(p_for, p_against)
            says = "for" if p_for < ALPHA else "against" if p_against < ALPHA else "open"
        judged.append(PairVerdict(item, cast(PairSays, "against" if fewer is False else says), p_holm, fewer))
    return judged


def _p_equal(claim: Claim, difference: Difference) -> float | None:
    """Small where the cells are equal within the claim's margin, or the first at most so much lower."""
    if claim.test == "not lower":
        return difference.p_not_lower(claim.margin)
    return difference.p_equivalent(claim.margin)


def _p_worse(claim: Claim, difference: Difference) -> float:
    """Small where the difference lies beyond the margin, on a side that the claim excludes."""
    if claim.test == "not lower" and difference.mean > 0:
        return 1.0
    return _known(difference.p_beyond(claim.margin))


def _known(p_value: float | None) -> float:
    assert p_value is not None  # the differences of tested pairs vary
    return p_value
