"""Which runs of a sweep are still to be trained."""

from collections.abc import Mapping, Sequence

from sasa_cli.errors import SweepIncompleteError
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.state import RunState, state_of
from sasa_cli.spec import RunSpec


def states_of(run_ids: Sequence[str], results: ExperimentPaths) -> list[RunState]:
    """The state of each run, in the given order."""
    return [state_of(results.run(run_id)) for run_id in run_ids]


def remaining(specs: Sequence[RunSpec], states: Sequence[RunState], *, retry_failed: bool) -> list[RunSpec]:
    """The runs that are neither done nor being trained, without the failed ones unless they are to be retried."""
    wanted = {"missing", "interrupted"} | ({"failed"} if retry_failed else set())
    return [spec for spec, state in zip(specs, states, strict=True) if state.status in wanted]


def require_all_done(
    specs: Sequence[RunSpec], states: Sequence[RunState], results: ExperimentPaths, told: Mapping[str, RunState]
) -> None:
    """Raise `SweepIncompleteError` where runs are not done; names each with the reason.

    Args:
        specs: All runs of the sweep.
        states: How far each is now.
        results: Where they are.
        told: What the launcher said of a run when it ended, by run id; a run that never began has no record to say it.
    """
    pairs = zip(specs, states, strict=True)
    undone = [(spec, state) for spec, state in pairs if state.status not in ("done", "running")]
    if undone:
        lines = [
            f"  {results.run(spec.run_id).folder}: {_reason(state, told.get(spec.run_id))}" for spec, state in undone
        ]
        raise SweepIncompleteError(
            f"{len(undone)} of {len(specs)} runs are not done; the same command tries them again:\n" + "\n".join(lines)
        )


def _reason(state: RunState, told: RunState | None) -> str:
    note = state.note or (told.note if told else "")
    status = told.status if told and state.status == "missing" else state.status
    return f"{status}: {note}" if note else status
