"""What every launcher takes and tells: its options, and whoever watches the sweep."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sasa_cli.errors import SpecError
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.state import RunState
from sasa_cli.spec import RunSpec
from sasa_cli.training.devices import DeviceName

REFRESH_SECONDS = 0.5


@dataclass(frozen=True)
class LaunchOptions:
    """How a sweep is run; none of it changes the spec of a run."""

    jobs: int | None = None
    """Runs at a time; None: as many as fit."""
    device: DeviceName = "auto"
    data_dir: Path | None = None
    fail_fast: bool = False
    threads: int | None = None
    """Of torch in each run on the CPU, the same in all of a sweep; None: as the launcher has to give."""
    cluster: dict[str, Any] = field(default_factory=dict)
    """What the cluster is asked for each run, in the words of the launcher."""

    def whole_number(self, key: str, default: int) -> int:
        """What the cluster is asked for under `key`, as so many things. Raises `SpecError` where it is no number."""
        value = self.cluster.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise SpecError(f"--launcher-set {key}: {value!r} is not allowed; allowed are numbers above 0")
        return max(1, int(value))


class Observer(Protocol):
    """Whoever shows the sweep to the user."""

    def started(self, spec: RunSpec) -> None: ...

    def finished(self, spec: RunSpec, state: RunState) -> None: ...

    def tick(self) -> None: ...


@dataclass(frozen=True)
class Launcher:
    """One place where runs can go."""

    launch: Callable[[Sequence[RunSpec], ExperimentPaths, LaunchOptions, Observer], None]
    """Trains the runs that are given."""
    threads: Callable[[LaunchOptions, int], int]
    """How many threads it has for each run of a sweep of so many."""
