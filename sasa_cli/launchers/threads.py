"""How many threads of torch the runs of a sweep have: one number for all, for as long as the sweep lasts.

On the CPU another number sums in another order, and a network trained so ends some points elsewhere.
"""

import contextlib
from collections.abc import Sequence

from sasa_cli.errors import BrokenFileError
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.plan import read_plan
from sasa_cli.runs.state import RunState


def planned_threads(results: ExperimentPaths) -> int | None:
    """What the sweep in this folder gives each run; None without one. Raises `RunError` where it cannot be read."""
    with contextlib.suppress(BrokenFileError):  # a sweep writes the plan anew
        plan = read_plan(results)
        return None if plan is None else plan.threads
    return None


def threads_of_sweep(results: ExperimentPaths, states: Sequence[RunState], available: int) -> int:
    """What each run of a sweep gets: what its first runs had, else what there is now. Raises `RunError`."""
    begun = any(state.record is not None for state in states)
    return (planned_threads(results) if begun else None) or available
