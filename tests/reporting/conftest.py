from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sasa_cli.runs.paths import ExperimentPaths

from .results_folder import EXTENT, STAGES, Experiment

Maker = Callable[..., Experiment]


@pytest.fixture
def make_experiment(tmp_path: Path) -> Maker:
    def make(cells: Sequence[dict[str, Any]], seeds: Sequence[int] = (0, 1), name: str = "demo") -> Experiment:
        return Experiment(ExperimentPaths(tmp_path / "results" / name), cells, seeds)

    return make


def write_small(paths: ExperimentPaths) -> Experiment:
    """Three cells with two seeds each, all done: placement x extent, and a cell that has no extent."""
    cells = [{STAGES: "CCCC"}, {STAGES: "CCAA", EXTENT: 3}, {STAGES: "CCAA", EXTENT: 7}]
    experiment = Experiment(paths, cells, seeds=(0, 1))
    experiment.write_plan()
    for run in experiment.runs:
        base = {"CCCC": 80.0, "k3-CCAA": 82.0, "k7-CCAA": 84.0}[run.label]
        experiment.finish(run, base + 0.4 * run.seed)
    return experiment


@pytest.fixture
def small(tmp_path: Path) -> Experiment:
    return write_small(ExperimentPaths(tmp_path / "results" / "demo"))
