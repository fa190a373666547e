"""Verdicts on claims: as sentences, as a table, and as a table of the pairs behind them."""

from collections.abc import Sequence

from sasa_cli.rendering.document import Block, Note, Notes
from sasa_cli.rendering.numbers import counted, p_value, points, whole
from sasa_cli.rendering.table import Column, Filled, Table, assemble, for_programs
from sasa_cli.reporting.evidence.comparisons import Comparison
from sasa_cli.reporting.evidence.verdicts import PairVerdict, Verdict
from sasa_cli.reporting.pages.intervals import signed_interval

RULE = (
    "At most 5 % of such pages say anything wrong of any pair, on any claim, however the pairs depend on each other: "
    "each claim with pairs that can be tested has the same share of the 5 %, each of its pairs the same part of that, "
    "for and against half each, corrected by Holm's procedure over all of them. p is that of the clearer direction; a "
    "pair speaks where it is below 0.05.",
    "Supported: more than half of the pairs that could be tested speak for the claim and none against it; partly "
    "supported: fewer do, and none against it; contradicted and partly contradicted: the reverse; mixed: some for, "
    "some against; not distinguishable: none; not tested: no pair of cells with two shared seeds.",
    "Better: paired t tests that the first is not higher, and that it is not lower. Equal within a margin: two "
    "one-sided t tests (TOST) against it; against the claim where the difference lies beyond it. At most so much less "
    "accurate: the lower of these alone, as being more accurate is no objection. A count that is not lower speaks "
    "against its claim whatever the accuracy, which is then not tested.",
    "Could show: what such seeds show with 80 % power, the uncertainty of their spread counted. Of a claim about a "
    "difference, the true difference that would be found; of a claim about a margin, the margin within which truly "
    "equal cells would be found to keep to it. By itself, and corrected: with the pair's share of the 5 % alone.",
)
DECLARED_RULE = (
    "At most 5 % of such experiments answer any of the comparisons that they declared wrongly: these alone are "
    "corrected together, apart from the verdicts below. A claim of the paper's about the same cells has a p of its "
    "own there."
)
VERDICTS_TITLE = "Claims in these runs: test top-1 (last epoch) in points, paired by seed"
PAIRS_TITLE = "The pairs behind the verdicts: first minus second, test top-1 (last epoch) in points, paired by seed"


def verdict_blocks(verdicts: Sequence[Verdict]) -> list[Block]:
    """Verdicts with their numbers, those that were not tested in one line; nothing where no run has finished."""
    tested = [verdict for verdict in verdicts if verdict.says != "not tested"]
    untested = [verdict for verdict in verdicts if verdict.says == "not tested"]
    notes = [
        Note(
            f"{verdict.claim.text.rstrip('.')} ({verdict.claim.source}). {_evidence(verdict)}",
            lead=verdict.says.capitalize(),
        )
        for verdict in tested
    ]
    for reason in dict.fromkeys(verdict.why_not for verdict in untested):
        topics = [
            f"{verdict.claim.topic} ({verdict.claim.source})" for verdict in untested if verdict.why_not == reason
        ]
        notes.append(Note(f"{_capitalized(reason)}: {'; '.join(topics)}.", lead="Not tested"))
    blocks: list[Block] = [Notes(tuple(notes))]
    if any(verdict.pairs for verdict in verdicts):
        blocks += [pairs_table(verdicts), Notes(tuple(map(Note, RULE)))]
    return blocks


def declared_blocks(verdicts: Sequence[Verdict]) -> list[Block]:
    """What the experiment asked, its answers in its order; nothing where it asked nothing."""
    if not verdicts:
        return []
    notes = [Note(f"{verdict.claim.text} {_answer(verdict)}", lead=verdict.says.capitalize()) for verdict in verdicts]
    return [Notes(tuple(notes)), pairs_table(verdicts), Notes((Note(DECLARED_RULE),))]


def _answer(verdict: Verdict) -> str:
    """The difference that a declared comparison found, and where it decides nothing, what it could have shown."""
    if verdict.says == "not tested":
        return f"{_capitalized(verdict.why_not)}."
    found = [
        f"{pair.comparison.first.label} minus {pair.comparison.second.label}: "
        f"{signed_interval(pair.comparison.difference)} points (95 % interval, n = {pair.comparison.n}), "
        f"Holm-corrected p {_equals(pair.p_holm)}."
        for pair in verdict.pairs
        if pair.p_holm is not None
    ]
    undecided = ["These runs cannot tell.", _could_show(verdict)] if verdict.says == "not distinguishable" else []
    return " ".join([*found, *undecided])


def pairs_table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each pair of cells that a claim was tested with."""
    rows = [(verdict, pair) for verdict in verdicts for pair in verdict.pairs]
    items = [pair.comparison for _, pair in rows]
    differences = [signed_interval(item.difference) for item in items]
    alone, corrected = (
        [points(pair.could_show(verdict.claim, corrected=each)) for verdict, pair in rows] for each in (False, True)
    )
    columns: list[Filled] = [
        (Column("Claim", "left", names=("claim",)), [verdict.claim.name for verdict, _ in rows]),
        for_programs("test", [verdict.claim.test for verdict, _ in rows]),
        for_programs("margin", [verdict.claim.margin for verdict, _ in rows]),
        (Column("First", "left", names=("first",)), [item.first.label for item in items]),
        (Column("Second", "left", names=("second",)), [item.second.label for item in items]),
        (Column("n", names=("n",)), [whole(item.n) for item in items]),
        (Column("Difference", names=("difference", "half_width")), differences),
        (Column("p (Holm)", names=("p_holm",)), [p_value(pair.p_holm) for _, pair in rows]),
        for_programs("share", [pair.share for _, pair in rows]),
        (Column("Could show", names=("could_show",)), alone),
        (Column("… corrected", names=("could_show_corrected",)), corrected),
        for_programs("says", [pair.says for _, pair in rows]),
        (Column("Speaks", "left", names=()), [_speaks(verdict, pair) for verdict, pair in rows]),
        *(
            for_programs(f"{name}_{which}", [getattr(getattr(item, which), name) for item in items])
            for name in ("params", "macs")
            for which in ("first", "second")
        ),
    ]
    return assemble(PAIRS_TITLE, columns)


def verdicts_table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each claim, for paper and for programs."""
    sentences = [_evidence(verdict) for verdict in verdicts]
    columns: list[Filled] = [
        for_programs("claim", [verdict.claim.name for verdict in verdicts]),
        (Column("Claim", "left", sentences=True, names=("text",)), [verdict.claim.text for verdict in verdicts]),
        (Column("Source", "left", names=("source",)), [verdict.claim.source for verdict in verdicts]),
        (Column("Verdict", "left", names=("verdict",)), [verdict.says for verdict in verdicts]),
        for_programs("pairs", [len(verdict.pairs) for verdict in verdicts]),
        for_programs("for", [verdict.count("for") for verdict in verdicts]),
        for_programs("against", [verdict.count("against") for verdict in verdicts]),
        (Column("Evidence", "left", sentences=True, names=("evidence",)), sentences),
    ]
    return assemble(VERDICTS_TITLE, columns)


def verdict_summary(name: str, verdicts: Sequence[Verdict]) -> Table:
    """For the terminal: the claims that were tested, and how many pairs of cells speak for and against each."""
    tested = [verdict for verdict in verdicts if verdict.says != "not tested"]
    columns: list[Filled] = [
        (Column("Claim about", "left"), [verdict.claim.topic for verdict in tested]),
        (Column("Verdict", "left"), [verdict.says for verdict in tested]),
        (Column("Pairs for"), [whole(verdict.count("for")) for verdict in tested]),
        (Column("Against"), [whole(verdict.count("against")) for verdict in tested]),
        (Column("Neither"), [whole(verdict.count("open")) for verdict in tested]),
    ]
    return assemble(f"{name}: what the runs say about each claim", columns)


def _evidence(verdict: Verdict) -> str:
    """How many pairs speak for and against, and the numbers of the clearest."""
    if verdict.says == "not tested":
        return f"{_capitalized(verdict.why_not)}."
    count = len(verdict.pairs)
    sentences = [
        f"Of {count} pair{'' if count == 1 else 's'}, {verdict.count('for')} for it and "
        f"{verdict.count('against')} against it."
    ]
    costly = [pair for pair in verdict.pairs if pair.fewer is False]
    if costly:
        first, second = _counts(verdict, costly[0].comparison)
        sentences.append(
            f"{len(costly)} for {'its' if len(costly) == 1 else 'their'} count, whatever the accuracy: "
            f"{costly[0].comparison.first.label} has {first}, {costly[0].comparison.second.label} {second}."
        )
    clearest = verdict.clearest
    if clearest is not None and len(costly) < count:
        item = clearest.comparison
        which = "" if count == 1 else "The clearest: "
        sentences.append(
            f"{which}{item.first.label} minus {item.second.label} {signed_interval(item.difference)} points, "
            f"n = {item.n}, Holm-corrected p {_equals(clearest.p_holm)}."
        )
        if verdict.says == "not distinguishable":
            sentences.append(_could_show(verdict))
    return " ".join(sentences)


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def _could_show(verdict: Verdict) -> str:
    """What would have been found, over all pairs: the clearest has the least spread."""
    claim, tested = verdict.claim, [pair for pair in verdict.pairs if pair.p_holm is not None]
    alone, corrected = (_range([pair.could_show(claim, corrected=each) for pair in tested]) for each in (False, True))
    what = "" if claim.test == "higher" else "that equal cells keep to a margin of "
    versus = "" if claim.test == "higher" else f"; the claim's is {claim.margin:g}"
    by_share = "" if corrected == alone else f" in a pair by itself, {corrected} after correction"
    return f"These seeds could have shown {what}{alone} points{by_share}{versus}."


def _range(values: Sequence[float | None]) -> str:
    texts = [str(points(find(value for value in values if value is not None))) for find in (min, max)]
    return " to ".join(dict.fromkeys(texts))


def _equals(p: float | None) -> str:
    text = str(p_value(p))
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


def _speaks(verdict: Verdict, pair: PairVerdict) -> str:
    """`for`, `against: not fewer (12.60 M against 11.70 M)`, `nothing can be said`."""
    texts = {"open": "neither", "untested": pair.comparison.verdict}
    text = texts.get(pair.says, pair.says)
    if pair.fewer is None:
        return text
    first, second = _counts(verdict, pair.comparison)
    return f"{text}: {'fewer' if pair.fewer else 'not fewer'} ({first} against {second})"


def _counts(verdict: Verdict, item: Comparison) -> tuple[str, str]:
    """What the claim is about, of both cells."""
    assert verdict.claim.fewer is not None
    first, second = (getattr(cell, verdict.claim.fewer) for cell in (item.first, item.second))
    factor = 2 if verdict.claim.fewer == "macs" else 1
    return str(counted(factor * first)), str(counted(factor * second))
