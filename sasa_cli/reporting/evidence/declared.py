"""What an experiment declared before it was trained: comparisons of two cells, with one error of 5 % over all.

Each is a claim about one pair of cells, and judged as the paper's are (`verdicts`), but in a family of its own: what
was asked beforehand does not pay for what a report can say besides.
"""

from collections.abc import Sequence
from itertools import product

from sasa_cli.reporting.evidence.cells import Cell
from sasa_cli.reporting.evidence.claims import Claim, Test
from sasa_cli.reporting.evidence.verdicts import Question, Verdict, answer, question_of
from sasa_cli.runs.plan import Expectation, PlannedComparison

TESTS: dict[Expectation, Test] = {"higher": "higher", "within": "equal", "not lower": "not lower"}
UNFINISHED = "one of the two cells has no finished runs"
Declared = Sequence[tuple[Sequence[PlannedComparison], Sequence[Cell]]]  # of each experiment, and its cells


def answers(declared: Declared) -> list[Verdict]:
    """The verdict on each comparison, in the order declared, corrected together."""
    return answer(questions(declared))


def questions(declared: Declared) -> list[Question]:
    """What was declared, with the pairs of cells that can tell."""
    every = [(comparison, cells) for comparisons, cells in declared for comparison in comparisons]
    return [_question(number, comparison, cells) for number, (comparison, cells) in enumerate(every)]


def _question(number: int, comparison: PlannedComparison, cells: Sequence[Cell]) -> Question:
    firsts, seconds = (
        [cell for cell in cells if cell.cell_hash == wanted and cell.records]
        for wanted in (comparison.first_hash, comparison.second_hash)
    )
    return question_of(_claim(number, comparison), list(product(firsts, seconds)), UNFINISHED)


def _claim(number: int, comparison: PlannedComparison) -> Claim:
    first, second, margin = comparison.first, comparison.second, comparison.margin
    texts = {
        "higher": f"{first} is better than {second}.",
        "within": f"{first} and {second} are equal within {margin:g} points.",
        "not lower": f"{first} is at most {margin:g} points worse than {second}.",
    }
    return Claim(
        name=f"declared-{number + 1}",
        text=texts[comparison.expect],
        source="declared before training",
        topic=f"{first} against {second}",
        varies=(),
        pick=lambda cells: [],
        test=TESTS[comparison.expect],
        margin=margin,
    )
