"""How far a run is: one answer, whoever asks."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasa_cli.cli.app import app
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.runs.lock import locked
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.state import RunState, state_of

EXPERIMENT = """
name: states
data: {train_images: 60}
recipe: {epochs: 1}
model: {width: 0.125, layers: [1, 1, 1, 1], attention: {heads: 2}}
sweep: {model.stages: [CCCC, CCCA, CCAA, CAAA]}
"""


@pytest.fixture
def trained(tmp_path: Path) -> ExperimentPaths:
    """Four runs: done, interrupted, failed, and one that nobody has begun."""
    file = tmp_path / "states.yaml"
    file.write_text(EXPERIMENT)
    paths = ExperimentPaths(tmp_path / "states")
    result = CliRunner().invoke(app, ["sweep", str(file), "--out", str(tmp_path), "--jobs", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    done, interrupted, failed, missing = (paths.run(run_id) for run_id in run_ids(paths))
    change(interrupted.record, status="running", metrics=None)  # as a process leaves it that was killed
    failure = {"kind": "RunError", "message": "loss is nan", "traceback": "", "epoch": 1, "step": 2}
    change(failed.record, status="failed", metrics=None, error=failure)
    missing.record.unlink()
    assert state_of(done).status == "done"
    return paths


def run_ids(paths: ExperimentPaths) -> list[str]:
    return [run["run_id"] for run in json.loads(paths.plan.read_text())["runs"]]


def change(record: Path, **values: object) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()) | values))


@pytest.mark.slow
def test_status_and_report_say_the_same(trained: ExperimentPaths, tmp_path: Path):
    arguments = ["sweep", str(tmp_path / "states.yaml"), "--out", str(tmp_path), "--status", "--json"]
    shown = json.loads(CliRunner().invoke(app, arguments).stdout)["runs"]
    told = [(run["status"], run["note"]) for run in shown]
    assert told == [
        ("done", ""),
        ("interrupted", "after 1 epoch"),
        ("failed", "RunError: loss is nan (epoch 1, step 2)"),
        ("missing", ""),
    ]
    assert [(run.status, run.detail) for run in read_results(trained).runs] == told


def test_a_run_that_is_locked_is_running(tmp_path: Path):
    run = ExperimentPaths(tmp_path).run("k7-AAAA-s0-12345678")
    assert state_of(run) == RunState("missing")
    run.folder.mkdir(parents=True)
    with locked(run):
        assert state_of(run) == RunState("running", None, "no record yet")
    assert state_of(run) == RunState("missing")


def test_a_broken_record_is_a_failed_run_and_says_why(tmp_path: Path):
    run = ExperimentPaths(tmp_path).run("k7-AAAA-s0-12345678")
    run.folder.mkdir(parents=True)
    run.record.write_text("{")
    state = state_of(run)
    assert (state.status, state.is_broken) == ("failed", True)
    assert str(run.record) in state.note
