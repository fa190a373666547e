"""Results folders as a sweep leaves them, with invented numbers, written through the classes that write real ones."""

import functools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sasa_cli.errors import SpecError
from sasa_cli.experiment.file import Body, model_experiment, run_yaml
from sasa_cli.runs.files import make_folder, write_text
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.plan import Plan, PlannedAxis, PlannedRun, write_plan
from sasa_cli.runs.record import (
    DataFingerprint,
    Environment,
    Evaluation,
    Failure,
    Metrics,
    RunRecord,
    Scores,
    write_record,
)
from sasa_cli.spec import RunSpec

EPOCHS = 4
STAGES = "model.stages"
EXTENT = "model.attention.spatial_extent"


def planned_run(cell: dict[str, Any], seed: int) -> PlannedRun:
    stages, extent = cell.get(STAGES, "AAAA"), cell.get(EXTENT)
    others = [f"{key.rpartition('.')[2]}-{value}" for key, value in cell.items() if key not in (STAGES, EXTENT)]
    label = "-".join(([f"k{extent}"] if extent else []) + [stages] + others) if cell else "base"
    attending = stages.count("A")
    spec = _spec(label, cell, seed)
    cell_hash = f"{hash_of(label):08x}" if spec is None else spec.cell_hash
    return PlannedRun(
        run_id=f"{label}-s{seed}-{hash_of(label + str(seed)):08x}",
        label=label,
        cell=cell,
        cell_hash=cell_hash,
        seed=seed,
        params=1_046_000 - 160_123 * attending,
        macs=46_800_000 - 4_100_000 * attending + 30_007 * attending * (extent or 0) ** 2,
        macs_executed=45_000_000 - 4_400_000 * attending + 20_003 * attending * (extent or 0) ** 2,
    )


def spec_text(experiment: str, run: PlannedRun) -> str | None:
    """`spec.yaml` of a small net with the cell's settings; None where no net has them."""
    spec = _spec(run.label, run.cell, run.seed)
    return None if spec is None else run_yaml(spec.model_copy(update={"experiment": experiment}))


def _spec(label: str, cell: dict[str, Any], seed: int) -> RunSpec | None:
    settings: dict[str, Any] = {"model.width": 0.125, "model.attention.heads": 4, "data.name": "fashion-mnist-mini"}
    settings |= {"data.image_size": 32} | cell
    assignments = tuple(f"{key}={json.dumps(value)}" for key, value in settings.items())
    body = _body(assignments)
    if body is None:
        return None
    return RunSpec(
        experiment="", model=body.model, data=body.data, recipe=body.recipe, label=label, cell=cell, seed=seed
    )


@functools.cache
def _body(assignments: tuple[str, ...]) -> Body | None:
    """As the command line would set them: YAML reads what JSON writes."""
    try:
        return model_experiment("sasa_resnet26", assignments).base
    except SpecError:
        return None


def hash_of(text: str) -> int:
    return random.Random(text).getrandbits(32)


def environment(**changes: Any) -> Environment:
    values = {
        "sasa": "0.1.0",
        "python": "3.11.9",
        "torch": "2.15.0",
        "timm": "1.0.31",
        "platform": "Linux-x86_64",
        "device": "cpu",
        "device_name": "a CPU",
        "threads": 1,
        "dtype": "float32",
        "git_commit": "0123abc",
        "code": "c0de" * 16,
        "backends": {},
    }
    return Environment.model_validate(values | changes)


def fingerprint(**changes: Any) -> DataFingerprint:
    values = {
        "name": "fashion-mnist-mini",
        "sha256": "ab" * 32,
        "train": 4500,
        "val": 500,
        "test": 1000,
        "classes": 10,
    }
    return DataFingerprint.model_validate(values | changes)


def evaluation(epoch: int, top1: float, ema: float | None = None) -> Evaluation:
    scores = [Scores(loss=1.0, top1=value, top5=99.0) for value in (top1, top1 if ema is None else ema)]
    return Evaluation(epoch=epoch, raw=scores[0], ema=None if ema is None else scores[1])


def done_record(
    experiment: str,
    run: PlannedRun,
    test_last: float,
    *,
    ema: float | None = None,
    data: dict[str, Any] | None = None,
    **environment_changes: Any,
) -> RunRecord:
    """Val is 1 point above test, the best epoch is the last but one and half a point better, EMA adds `ema`."""

    def at(epoch: int, top1: float) -> Evaluation:
        return evaluation(epoch, top1, None if ema is None else top1 + ema)

    return RunRecord(
        status="done",
        **run.model_dump(),
        experiment=experiment,
        started="2026-01-01T00:00:00Z",
        epochs_done=EPOCHS,
        seconds=40.0 + run.seed,
        images_per_second=1234.5,
        peak_memory_mib=321.0,
        metrics=Metrics(
            val_last=at(EPOCHS, test_last + 1),
            val_best=at(EPOCHS - 1, test_last + 1.5),
            test_last=at(EPOCHS, test_last),
            test_best=at(EPOCHS - 1, test_last + 0.5),
        ),
        data=fingerprint(**(data or {})),
        environment=environment(**environment_changes),
    )


@dataclass
class Experiment:
    """A results folder in the making."""

    paths: ExperimentPaths
    cells: Sequence[dict[str, Any]]
    seeds: Sequence[int]
    runs: list[PlannedRun] = field(init=False)

    def __post_init__(self) -> None:
        self.runs = [planned_run(cell, seed) for seed in self.seeds for cell in self.cells]
        make_folder(self.paths.folder)

    @property
    def name(self) -> str:
        return self.paths.folder.name

    def run(self, label: str, seed: int = 0) -> PlannedRun:
        return next(run for run in self.runs if run.label == label and run.seed == seed)

    def write_plan(self, **changes: Any) -> None:
        keys = list(dict.fromkeys(key for cell in self.cells for key in cell))
        axes = [PlannedAxis(key=key, values=_distinct(cell[key] for cell in self.cells if key in cell)) for key in keys]
        plan = Plan(experiment=self.name, description="Which stages should attend?", axes=axes, runs=self.runs)
        write_plan(self.paths, plan.model_copy(update=changes))

    def finish(self, run: PlannedRun, test_last: float, **changes: Any) -> RunRecord:
        record = done_record(self.name, run, test_last, **changes)
        self.write(record)
        text = curve_text(test_last, changes.get("ema"))
        write_text(self.paths.run(run.run_id).metrics, text)
        spec = spec_text(self.name, run)
        if spec is not None:
            write_text(self.paths.run(run.run_id).spec, spec)
        return record

    def fail(self, run: PlannedRun) -> None:
        failure = Failure(kind="RunError", message="loss is nan", traceback="Traceback ...", epoch=2, step=17)
        self.stop(run, status="failed", error=failure)

    def stop(self, run: PlannedRun, **changes: Any) -> None:
        done = done_record(self.name, run, 50.0)
        self.write(done.model_copy(update={"metrics": None, "epochs_done": 1} | changes))

    def write(self, record: RunRecord) -> None:
        paths = self.paths.run(record.run_id)
        make_folder(paths.folder)
        write_record(paths, record)


def curve_text(test_last: float, ema: float | None = None) -> str:
    """`metrics.csv` to the record of `done_record`: the best epoch is the last but one."""
    raw = [test_last + (1.5 if epoch == EPOCHS - 1 else epoch - 3) for epoch in range(1, EPOCHS + 1)]
    rows = [f"{epoch},{top1},{'' if ema is None else top1 + ema}" for epoch, top1 in enumerate(raw, start=1)]
    return "\n".join(["epoch,eval_top1,ema_top1", *rows, ""])


def _distinct(values: Any) -> list[Any]:
    return list({json.dumps(value): value for value in values}.values())
