"""What a sweep will do: its runs with their cost and their state, before anything is trained."""

from collections.abc import Sequence
from typing import Any

from sasa_cli.counting.macs import ModelCount
from sasa_cli.counting.targets import count_run
from sasa_cli.experiment.file import Experiment
from sasa_cli.runs.plan import Plan, PlannedAxis, PlannedComparison, PlannedRun
from sasa_cli.runs.state import RunState
from sasa_cli.spec import DataSpec, ModelSpec, RunSpec


def make_plan(experiment: Experiment, specs: Sequence[RunSpec]) -> Plan:
    """The plan of a sweep: each run with its parameters and MACs. Raises `SpecError`."""
    counts = _counts(specs)
    hashes = {spec.label: spec.cell_hash for spec in specs}
    return Plan(
        experiment=experiment.name,
        description=experiment.description,
        axes=_axes(specs),
        reference=hashes.get(experiment.reference or ""),
        compare=tuple(
            PlannedComparison(
                first=each.first,
                first_hash=hashes[each.first],
                second=each.second,
                second_hash=hashes[each.second],
                expect=each.expect,
                margin=each.margin or 0.0,
            )
            for each in experiment.compare
            if each.first in hashes and each.second in hashes  # the plan of a single run has but its own cell
        ),
        runs=[_planned(spec, counts[_network(spec)]) for spec in specs],
    )


def _network(spec: RunSpec) -> tuple[ModelSpec, DataSpec]:
    """What the cost of a run depends on; recipes and seeds cost nothing to count."""
    return spec.model, spec.data


def _counts(specs: Sequence[RunSpec]) -> dict[tuple[ModelSpec, DataSpec], ModelCount]:
    """Each network counted once."""
    one_of_each = {_network(spec): spec for spec in specs}
    return {network: count_run(spec) for network, spec in one_of_each.items()}


def _planned(spec: RunSpec, count: ModelCount) -> PlannedRun:
    return PlannedRun(
        run_id=spec.run_id,
        label=spec.label,
        cell=spec.cell,
        cell_hash=spec.cell_hash,
        seed=spec.seed,
        params=count.params,
        macs=count.macs,
        macs_executed=count.macs_executed,
    )


def _axes(specs: Sequence[RunSpec]) -> list[PlannedAxis]:
    values: dict[str, list[Any]] = {}
    for spec in specs:
        for key, value in spec.cell.items():
            taken = values.setdefault(key, [])
            if value not in taken:
                taken.append(value)
    return [PlannedAxis(key=key, values=taken) for key, taken in values.items()]


def run_payload(run: PlannedRun, state: RunState) -> dict[str, Any]:
    """One row of `sasa sweep --dry-run --json` and `--status --json`."""
    return {
        "run_id": run.run_id,
        "label": run.label,
        "cell": run.cell,
        "seed": run.seed,
        "status": state.status,
        "note": state.note,
        "params": run.params,
        "macs": run.macs,
        "flops": 2 * run.macs,
    }
