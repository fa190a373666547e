"""Results as pandas frames: `sasa_cli.load_runs` and `sasa_cli.load_curves`."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from sasa_cli.errors import RunError
from sasa_cli.reporting.evidence.results import Results, Run, find_experiments, read_results
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.record import Evaluation, RunRecord

MEASURED = ("epochs_done", "seconds", "images_per_second", "peak_memory_mib")
SPEC_SECTIONS = ("model", "data", "recipe")


def load_runs(folder: str | Path) -> pd.DataFrame:
    """One row for each run of an experiment, or of every experiment in `folder`, whether it is trained or not.

    Columns: run_id, experiment, cell (its label), cell_hash, seed, status (`done`, `running`, `interrupted`, `failed`
    or `missing`), detail, in_plan (the sweep as it stood last asks for this run; true of all where no sweep was run);
    every key of the spec, dotted (`model.stages`, `recipe.lr`); params, macs, macs_executed; scores in per cent
    (`test_top1_last`, `val_top1_best_ema`, ...); epochs_done, seconds, images_per_second, peak_memory_mib; and
    what the numbers came from (`environment.torch`, `images.sha256`, ..., of the last sitting; `sittings`: under how
    many conditions one after the other). What is not known is missing in its row.

    Raises:
        SpecError: `folder` holds no results.
    """
    found = [read_results(paths) for paths in find_experiments([Path(folder)])]
    return frame_of(found, [run for results in found for run in (*results.runs, *results.outside)])


def load_curves(folder: str | Path) -> pd.DataFrame:
    """One row for each run and epoch: run_id, experiment, cell, cell_hash, seed, and the columns of `metrics.csv`.

    Raises:
        SpecError: `folder` holds no results.
        RunError: A `metrics.csv` cannot be read.
    """
    frames = [frame for paths in find_experiments([Path(folder)]) for frame in _curves(paths)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def frame_of(found: Sequence[Results], runs: Sequence[Run]) -> pd.DataFrame:
    """The frame of `load_runs` of some of the runs of these experiments."""
    by_name = {results.name: results for results in found}
    return pd.DataFrame([_row(run, by_name[run.experiment]) for run in runs]).convert_dtypes()


def _row(run: Run, results: Results) -> dict[str, Any]:
    planned = None if results.plan is None else {planned.run_id for planned in results.plan.runs}
    return {
        **_identity(run),
        "status": run.status,
        "detail": run.detail,
        "in_plan": planned is None or run.identity.run_id in planned,
        **_settings(run, results),
        "params": run.identity.params,
        "macs": run.identity.macs,
        "macs_executed": run.identity.macs_executed,
        **(_recorded(run.record) if run.record else {}),
    }


def _identity(run: Run) -> dict[str, Any]:
    identity = run.identity
    return {
        "run_id": identity.run_id,
        "experiment": run.experiment,
        "cell": identity.label,
        "cell_hash": identity.cell_hash,
        "seed": identity.seed,
    }


def _settings(run: Run, results: Results) -> dict[str, Any]:
    """The spec with dotted keys; of a cell whose spec nobody has written yet, what its plan says."""
    spec = results.specs.get(run.identity.cell_hash)
    if spec is None:
        return dict(run.identity.cell)
    return dict(_flat(spec.model_dump(mode="json", include=set(SPEC_SECTIONS))))


def _recorded(record: RunRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in MEASURED}
    if record.metrics:
        for split, epoch in product(("val", "test"), ("last", "best")):
            values |= _scores(split, epoch, getattr(record.metrics, f"{split}_{epoch}"))
    if record.data:
        values |= dict(_flat({"images": record.data.model_dump(exclude_defaults=True)}))
    if record.environment:
        environment = record.environment.model_dump() | {
            "backends": ", ".join(dict.fromkeys(record.environment.backends.values())),
            "refused": ", ".join(record.environment.refused),
            "libraries": ", ".join(f"{name} {version}" for name, version in record.environment.libraries.items()),
        }
        values |= dict(_flat({"environment": environment}))
        values["sittings"] = 1 + len(record.earlier_sittings)
    return values


def _scores(split: str, epoch: str, evaluation: Evaluation) -> dict[str, float]:
    weights = {"": evaluation.raw, "_ema": evaluation.ema}
    return {
        f"{split}_{quantity}_{epoch}{suffix}": getattr(scores, quantity)
        for suffix, scores in weights.items()
        if scores is not None
        for quantity in ("top1", "top5", "loss")
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings with dotted keys; lists as text, so that frames can be grouped by them."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _curves(paths: ExperimentPaths) -> Iterator[pd.DataFrame]:
    results = read_results(paths)
    for run in (*results.runs, *results.outside):
        file = paths.run(run.identity.run_id).metrics
        if not file.exists():
            continue
        try:
            frame = pd.read_csv(file)
        except (OSError, ValueError) as error:
            raise RunError(f"{file}: cannot be read: {error}") from error
        for place, (name, value) in enumerate(_identity(run).items()):
            frame.insert(place, name, value)
        yield frame
