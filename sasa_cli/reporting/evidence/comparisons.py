"""Which cells are compared with which, seed by seed, and what is corrected for how many comparisons were made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from sasa_cli.kinds import CONVOLUTION
from sasa_cli.reporting.evidence.cells import HEADLINE, Cell, run_top1
from sasa_cli.reporting.evidence.conditions import comparable
from sasa_cli.reporting.evidence.paired import ALPHA, Difference, holm, paired_difference
from sasa_cli.reporting.evidence.results import Run

Pair = tuple[Cell, Cell]


@dataclass(frozen=True)
class Comparison:
    """Two cells and the difference of their test top-1 (last epoch) over the seeds that both have finished."""

    first: Cell
    second: Cell
    difference: Difference | None
    """First minus second, in points; None where they share no seed, or were not trained alike."""
    family: int = 1
    """Of how many comparisons this is one."""
    p_holm: float | None = None
    """Adjusted by Holm's procedure over the family."""

    @property
    def n(self) -> int:
        """Seeds that both cells have."""
        return self.difference.n if self.difference else 0

    @property
    def tested(self) -> bool:
        return self.difference is not None and self.difference.p_value is not None

    def detectable(self, *, corrected: bool = False) -> float | None:
        """The true difference that such seeds find with 80 % power, by itself or whatever the rest of the family.

        Corrected means at the strictest step of Holm's procedure, 5 % over the size of the family.
        """
        if self.difference is None or not self.tested:
            return None
        return self.difference.detectable(ALPHA / self.family if corrected else ALPHA)

    @property
    def apart(self) -> bool:
        """Whether the seeds tell the cells apart, at 5 % over the family."""
        return self.p_holm is not None and self.p_holm < ALPHA

    @property
    def verdict(self) -> str:
        """In words, of the first cell."""
        if self.difference is None:
            return (
                "no shared seeds" if alike(self.first, self.second) else "trained or tested differently: not compared"
            )
        if self.n < 2:
            return "one shared seed: nothing can be said"
        if not self.tested:
            return "equal difference in all seeds: nothing can be said"
        if not self.apart:
            return "cannot be told apart"
        return "higher" if self.difference.mean > 0 else "lower"


@dataclass(frozen=True)
class Family:
    """Comparisons of one cell with the others that are shown and corrected together."""

    target: Cell
    comparisons: tuple[Comparison, ...]
    """The target is the second of each."""
    size: int
    """How many comparisons are corrected for."""

    @cached_property
    def told_apart(self) -> int:
        return sum(comparison.apart for comparison in self.comparisons)


def alike(first: Cell, second: Cell) -> bool:
    """Whether two cells with finished runs may be compared: same test set, same machinery."""
    return comparable(first.records[0], second.records[0])


def differences(pairs: Sequence[Pair]) -> list[Comparison]:
    """Each pair of cells with finished runs, by itself."""
    return [Comparison(first, second, _difference(first, second)) for first, second in pairs]


def compare(pairs: Sequence[Pair]) -> list[Comparison]:
    """The same, p values corrected over all pairs that can be tested."""
    plain = differences(pairs)
    tested = [index for index, comparison in enumerate(plain) if comparison.tested]
    adjusted = dict(zip(tested, holm([_p_value(plain[index]) for index in tested]), strict=True))
    return [replace(item, family=len(tested), p_holm=adjusted.get(index)) for index, item in enumerate(plain)]


def reference_of(cells: Sequence[Cell], declared: str | None = None) -> Cell | None:
    """The cell that a reader measures others by: the declared one, or the first of convolutions alone, or the first.

    Args:
        cells: Of an experiment.
        declared: Hash of the cell that the experiment names. None of the others takes its place while it has no
            finished run.
    """
    trained = [cell for cell in cells if cell.records]
    if declared is not None:
        return next((cell for cell in trained if cell.cell_hash == declared), None)
    return next((cell for cell in trained if is_convolution(cell)), trained[0] if trained else None)


def is_convolution(cell: Cell) -> bool:
    """Whether stem and all stages are convolutions."""
    model = cell.spec.model if cell.spec else None
    return model is not None and set(model.stages) == {CONVOLUTION} and model.stem.kind == "conv"


def best_of(cells: Sequence[Cell]) -> Cell | None:
    """The cell of the highest mean."""
    measured = [(cell, found) for cell in cells if (found := cell.top1(HEADLINE)) is not None]
    return max(measured, key=lambda pair: pair[1].mean)[0] if measured else None


def against_reference(cells: Sequence[Cell], declared: str | None = None) -> Family | None:
    """Every cell against the reference (see `reference_of`); which that is does not depend on the accuracies."""
    target = reference_of(cells, declared)
    if target is None:
        return None
    comparisons = compare([(cell, target) for cell in cells if cell is not target and cell.records])
    return _family(target, comparisons)


def against_best(cells: Sequence[Cell]) -> Family | None:
    """Every cell against the best.

    The best was chosen by the very numbers that are tested, and it could have been any cell. Therefore all pairs
    of cells are corrected for, although only those with the best are shown.
    """
    target = best_of(cells)
    if target is None:
        return None
    every = compare(list(combinations([cell for cell in cells if cell.records], 2)))
    shown = [item if item.second is target else _turned(item) for item in every if target in (item.first, item.second)]
    return _family(target, shown)


def _family(target: Cell, comparisons: Sequence[Comparison]) -> Family | None:
    size = comparisons[0].family if comparisons else 0
    return Family(target, tuple(comparisons), size) if comparisons else None


def _turned(comparison: Comparison) -> Comparison:
    found = comparison.difference
    turned = None if found is None else replace(found, mean=-found.mean)
    return replace(comparison, first=comparison.second, second=comparison.first, difference=turned)


def _difference(first: Cell, second: Cell) -> Difference | None:
    if not alike(first, second):
        return None
    by_seed = [_top1_by_seed(cell.runs) for cell in (first, second)]
    shared = sorted(by_seed[0].keys() & by_seed[1].keys())
    return paired_difference(*([values[seed] for seed in shared] for values in by_seed))


def _top1_by_seed(runs: Sequence[Run]) -> dict[int, float]:
    return {run.identity.seed: value for run in runs if (value := run_top1(run, HEADLINE)) is not None}


def _p_value(comparison: Comparison) -> float:
    assert comparison.difference is not None
    assert comparison.difference.p_value is not None
    return comparison.difference.p_value
