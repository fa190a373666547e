"""Which runs of a sweep are still to be trained."""

from collections.abc import Sequence

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


def require_all_done(specs: Sequence[RunSpec], states: Sequence[RunState], results: ExperimentPaths) -> None:
    """Raise `SweepIncompleteError` where runs failed; names each with its error and where it is recorded."""
    failed = [(spec, state) for spec, state in zip(specs, states, strict=True) if state.status == "failed"]
    if failed:
        lines = [f"  {results.run(spec.run_id).record}: {state.note}" for spec, state in failed]
        raise SweepIncompleteError(
            f"{len(failed)} of {len(specs)} runs failed; the same command tries them again:\n" + "\n".join(lines)
        )
