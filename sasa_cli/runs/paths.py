"""The names of all files and folders that a run and its experiment leave on disk."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """Every file name of a run, below `folder`."""

    folder: Path

    @property
    def spec(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def best(self) -> Path:
        return self.folder / "best.pt"

    @property
    def next_best(self) -> Path:
        """Becomes `best` as soon as a checkpoint says that it is."""
        return self.folder / "best.next.pt"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def lock(self) -> Path:
        return self.folder / ".lock"

    @property
    def lease(self) -> Path:
        """Stands in for the lock where the file system has none."""
        return self.folder / ".lease"


@dataclass(frozen=True)
class ExperimentPaths:
    """Every folder of an experiment's results, below `folder` (`results/<experiment>`)."""

    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def run(self, run_id: str) -> RunPaths:
        return RunPaths(self.runs / run_id)
