"""What a report is made of: one experiment, or several whose cells are looked at together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sasa_cli.reporting.evidence.cells import HEADLINE, Axis, Cell, axes_of, cells_of, group_cells, run_top1
from sasa_cli.reporting.evidence.conditions import conditions_of
from sasa_cli.reporting.evidence.declared import answers
from sasa_cli.reporting.evidence.results import HOME, BrokenFile, Results, Run
from sasa_cli.reporting.evidence.verdicts import Verdict, judge


@dataclass(frozen=True)
class Part:
    """One experiment, its paths as seen from the report."""

    results: Results
    home: str
    """Its folder."""

    @property
    def name(self) -> str:
        return self.results.name

    @cached_property
    def cells(self) -> list[Cell]:
        return cells_of(self.results)

    @cached_property
    def axes(self) -> list[Axis]:
        return axes_of(self.results, self.cells)


@dataclass(frozen=True)
class Material:
    """One or several experiments, and the union of their runs."""

    parts: tuple[Part, ...]
    runs: tuple[Run, ...]
    """Each once, also where several experiments have it."""
    repeated: tuple[str, ...] = ()
    """Finished runs that are left out because the same experiment has their seed under the same conditions."""
    doubled: int = 0
    """Finished runs that are left out because another experiment has the same."""
    deviating: int = 0
    """How many of them have another accuracy than the one that counts."""

    @property
    def joint(self) -> bool:
        return len(self.parts) > 1

    @cached_property
    def cells(self) -> list[Cell]:
        """Of all parts, each once."""
        if not self.joint:
            return self.parts[0].cells
        specs = {key: spec for part in reversed(self.parts) for key, spec in part.results.specs.items()}
        return group_cells(self.runs, specs)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What the cells say about the paper's claims."""
        return judge(self.cells)

    @cached_property
    def declared(self) -> list[Verdict]:
        """What the cells say about what their experiments asked before training."""
        return answers([(part.results.compare, part.cells) for part in self.parts])

    @property
    def outside(self) -> tuple[Run, ...]:
        return tuple(run for part in self.parts for run in part.results.outside)

    @property
    def problems(self) -> tuple[BrokenFile, ...]:
        return tuple(problem for part in self.parts for problem in part.results.problems)


def single(results: Results) -> Material:
    """One experiment, as its own report shows it."""
    part, repeated = _part(results, HOME)
    return Material((part,), part.results.runs, _names(repeated))


def united(experiments: Sequence[tuple[str, Results]]) -> Material:
    """Several experiments together.

    Args:
        experiments: For each the way from the report to its folder, and its results.
    """
    parts, repeated = [], []
    for home, results in experiments:
        part, others = _part(_seen_from(results, home), home)
        parts.append(part)
        repeated += others
    runs, doubled = _each_once([run for part in parts for run in part.results.runs])
    scores: dict[tuple[str, int], list[float | None]] = {}
    for run in runs:
        scores.setdefault(_seed_of(run), []).append(run_top1(run, HEADLINE))
    deviating = [run for run in doubled if run_top1(run, HEADLINE) not in scores[_seed_of(run)]]
    return Material(tuple(parts), tuple(runs), _names(repeated), len(doubled), len(deviating))


def _part(results: Results, home: str) -> tuple[Part, list[Run]]:
    """An experiment with each seed once, and the runs that it leaves out for that."""
    kept, repeated = _each_once(results.runs)
    return Part(replace(results, runs=tuple(kept)), home), repeated


def _seed_of(run: Run) -> tuple[str, int]:
    return run.identity.cell_hash, run.identity.seed


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.identity.run_id for run in runs)


def _each_once(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """One run for each seed of a cell under the same conditions, the first; and the finished ones that repeat one."""
    by_seed: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        by_seed.setdefault(_seed_of(run), []).append(run)
    kept: list[Run] = []
    repeating: list[Run] = []
    for same in by_seed.values():
        once, others = _once(same)
        kept += once
        repeating += others
    return kept, repeating


def _once(same: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Of the runs of one spec and seed: those that count, and the finished ones that repeat one of them."""
    done = [run for run in same if run.status == "done" and run.record is not None]
    if not done:
        return list(same[:1]), []
    counted = {conditions_of(run.record): run for run in reversed(done) if run.record is not None}
    once = [run for run in done if any(run is kept for kept in counted.values())]
    return once, [run for run in done if not any(run is kept for kept in once)]


def _seen_from(results: Results, home: str) -> Results:
    """The same with paths from another report than its own."""
    return replace(
        results,
        runs=tuple(replace(run, home=home) for run in results.runs),
        outside=tuple(replace(run, home=home) for run in results.outside),
        problems=tuple(
            replace(problem, home=home, path=f"{results.name}/{problem.path}") for problem in results.problems
        ),
    )
