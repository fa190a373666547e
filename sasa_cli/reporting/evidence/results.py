"""What lies in the results folder of an experiment: its plan, and every run in the state that its folder shows."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import isdir, isfile  # False for what can be no path
from pathlib import Path

from sasa_cli.errors import RunError, SpecError
from sasa_cli.experiment.file import load_experiment
from sasa_cli.runs.paths import ExperimentPaths, RunPaths
from sasa_cli.runs.plan import Plan, PlannedComparison, PlannedRun, read_plan
from sasa_cli.runs.record import RunRecord
from sasa_cli.runs.state import Status, state_of
from sasa_cli.spec import RunSpec

Curve = tuple[tuple[int, float], ...]  # (epoch, val top-1 in per cent), by epoch

HOME = ".."  # an experiment's folder as seen from its own report
EPOCH_COLUMN = "epoch"
VAL_TOP1_COLUMNS = ("ema_top1", "eval_top1")  # the first that holds a number is the reported one


@dataclass(frozen=True)
class Run:
    """One run, trained or only planned."""

    identity: PlannedRun
    status: Status
    detail: str = ""
    """Why there are no final numbers, or how far it has come."""
    record: RunRecord | None = None
    curve: Curve = ()
    """Of a finished run."""
    experiment: str = ""
    """The name of its experiment."""
    home: str = HOME
    """The folder of its experiment, as seen from the report."""

    @property
    def url(self) -> str | None:
        """Its folder, as seen from the report; None where there is none."""
        return None if self.status == "missing" else run_url(self.identity.run_id, self.home)


@dataclass(frozen=True)
class BrokenFile:
    """A file that cannot be used."""

    path: str
    """As seen from the experiment's folder, so that a report does not depend on where it was built from."""
    message: str
    run_id: str | None = None
    home: str = HOME
    """The folder of its experiment, as seen from the report."""
    contradicts: bool = False
    """Whether it can be read, but says something else than another file of the same run."""

    @property
    def url(self) -> str | None:
        """The folder of the run that it is about, as seen from the report."""
        return run_url(self.run_id, self.home) if self.run_id else None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True)
class Results:
    """All that the report of one experiment is made of."""

    name: str
    description: str
    plan: Plan | None
    runs: tuple[Run, ...]
    """Of the plan's cells; where there is no plan, all."""
    outside: tuple[Run, ...]
    """Runs of cells that the plan does not name, as from an earlier version of the experiment."""
    problems: tuple[BrokenFile, ...]
    specs: Mapping[str, RunSpec]
    """Resolved, by cell hash; a cell is absent where no finished run of it has a readable spec."""

    @property
    def reference(self) -> str | None:
        """Hash of the cell that the experiment names as the one to hold others against."""
        return self.plan.reference if self.plan else None

    @property
    def compare(self) -> tuple[PlannedComparison, ...]:
        """What the experiment declared before training."""
        return self.plan.compare if self.plan else ()


def run_url(run_id: str, home: str = HOME) -> str:
    """The folder of a run of the experiment in `home`, as seen from the report."""
    return f"{home}/runs/{run_id}/"


def find_experiments(folders: Sequence[Path]) -> list[ExperimentPaths]:
    """The experiments that `folders` are or hold, each once, by name.

    Raises:
        SpecError: A folder neither is nor holds an experiment's results.
    """
    found: dict[Path, ExperimentPaths] = {}
    for folder in folders:
        candidates = [folder, *(sorted(folder.iterdir()) if isdir(folder) else ())]
        experiments = [paths for paths in map(ExperimentPaths, candidates) if _is_experiment(paths)]
        if not experiments:
            raise SpecError(
                f"{folder}: no results here; allowed are the folder of an experiment (it holds runs/ or plan.json) "
                "and a folder of such folders"
            )
        # What lies inside an experiment is its own affair.
        chosen = experiments[:1] if experiments[0].folder == folder else experiments
        found.update({paths.folder.resolve(): paths for paths in chosen})
    return [found[key] for key in sorted(found)]


def read_results(paths: ExperimentPaths) -> Results:
    """Read everything of one experiment; what is broken becomes a `BrokenFile` instead of an error."""
    problems: list[BrokenFile] = []
    plan = _plan(paths, problems)
    planned = {run.run_id: run for run in plan.runs} if plan else {}
    runs: list[Run] = []
    for run_id in dict.fromkeys([*planned, *_run_folders(paths)]):
        run = _run(paths.run(run_id), planned.get(run_id), problems)
        if run is not None:
            runs.append(run)
    cells = {run.cell_hash for run in planned.values()}
    names = [run.record.experiment for run in runs if run.record is not None]
    name = plan.experiment if plan else next(iter(names), paths.folder.resolve().name)
    runs = [replace(run, experiment=name) for run in runs]
    specs = _specs(paths, runs, problems)
    return Results(
        name=name,
        description=plan.description if plan else "",
        plan=plan,
        runs=tuple(run for run in runs if plan is None or run.identity.cell_hash in cells),
        outside=tuple(run for run in runs if plan is not None and run.identity.cell_hash not in cells),
        problems=tuple(problems),
        specs=specs,
    )


def _is_experiment(paths: ExperimentPaths) -> bool:
    return isdir(paths.runs) or isfile(paths.plan)


def _plan(paths: ExperimentPaths, problems: list[BrokenFile]) -> Plan | None:
    try:
        return read_plan(paths)
    except RunError as error:
        problems.append(BrokenFile(paths.plan.name, _reason(str(error), paths.plan)))
        return None


def _run_folders(paths: ExperimentPaths) -> Iterable[str]:
    if not paths.runs.is_dir():
        return []
    return sorted(folder.name for folder in paths.runs.iterdir() if folder.is_dir())


def _run(paths: RunPaths, planned: PlannedRun | None, problems: list[BrokenFile]) -> Run | None:
    """The run in this folder; None, with a problem, where neither plan nor record says what it is."""
    run_id = paths.folder.name
    state = state_of(paths)
    record = state.record
    if state.is_broken:
        problems.append(BrokenFile(f"runs/{run_id}/{paths.record.name}", _reason(state.note, paths.record), run_id))
        return Run(planned, "failed", problems[-1].message) if planned else None
    if record is not None:
        identity = planned or PlannedRun.model_validate(record.model_dump(include=set(PlannedRun.model_fields)))
        curve = _curve(paths, problems) if state.status == "done" else ()
        problems += _contradictions(paths, record, curve)
        return Run(identity, state.status, state.note, record, curve)
    if planned is None:
        problems.append(BrokenFile(f"runs/{run_id}", f"holds no {paths.record.name}", run_id))
        return None
    return Run(planned, state.status, state.note)


def _contradictions(paths: RunPaths, record: RunRecord, curve: Curve) -> list[BrokenFile]:
    """Where the record of a finished run says something else than its `metrics.csv`: one of them was changed."""
    if record.metrics is None or not curve:
        return []
    by_epoch = dict(curve)
    run_id = paths.folder.name
    said = {"last": record.metrics.val_last, "best": record.metrics.val_best}
    return [
        BrokenFile(
            f"runs/{run_id}/{paths.record.name}",
            f"says val top-1 {evaluation.reported.top1:g} after its {which} epoch {evaluation.epoch}, "
            f"{paths.metrics.name} {_told(by_epoch.get(evaluation.epoch))}",
            run_id,
            contradicts=True,
        )
        for which, evaluation in said.items()
        if by_epoch.get(evaluation.epoch) != evaluation.reported.top1
    ]


def _told(top1: float | None) -> str:
    return "has no such epoch" if top1 is None else f"{top1:g}"


def _specs(paths: ExperimentPaths, runs: Iterable[Run], problems: list[BrokenFile]) -> dict[str, RunSpec]:
    """The spec of each cell, from the first of its finished runs that has a readable one."""
    specs: dict[str, RunSpec] = {}
    for run in runs:
        identity = run.identity
        if run.status != "done" or identity.cell_hash in specs:
            continue
        file = paths.run(identity.run_id).spec
        try:
            experiment = load_experiment(str(file))
            body = experiment.base
            spec = RunSpec(
                experiment=run.experiment,
                label=identity.label,
                cell=identity.cell,
                model=body.model,
                data=body.data,
                recipe=body.recipe,
                seed=identity.seed,
                hash_digits=len(identity.cell_hash),
            )
            if spec.cell_hash != identity.cell_hash:
                raise SpecError(f"{file}: holds other settings (cell {spec.cell_hash}) than its run was trained with")
            specs[identity.cell_hash] = spec
        except SpecError as error:
            message = str(error).replace(f"{file}: ", "").replace(str(file), file.name).replace("\n", "; ")
            problems.append(BrokenFile(f"runs/{identity.run_id}/{file.name}", message, identity.run_id))
    return specs


def _curve(paths: RunPaths, problems: list[BrokenFile]) -> Curve:
    try:
        with paths.metrics.open(encoding="utf-8", newline="") as file:
            points = {int(row[EPOCH_COLUMN]): _val_top1(row) for row in csv.DictReader(file)}
        if not points:
            raise ValueError("no epoch")
    except FileNotFoundError:
        message = "missing; this run is left out of the training curves"
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        message = f"cannot be read ({error}); this run is left out of the training curves"
    else:
        return tuple(sorted(points.items()))
    run_id = paths.folder.name
    problems.append(BrokenFile(f"runs/{run_id}/{paths.metrics.name}", message, run_id))
    return ()


def _val_top1(row: dict[str, str]) -> float:
    text = next((row[column] for column in VAL_TOP1_COLUMNS if row.get(column)), None)
    if text is None:
        raise ValueError(f"no {VAL_TOP1_COLUMNS[-1]} in epoch {row[EPOCH_COLUMN]}")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} in epoch {row[EPOCH_COLUMN]}")
    return value


def _reason(message: str, file: Path) -> str:
    return message.removeprefix(f"{file}: ")
