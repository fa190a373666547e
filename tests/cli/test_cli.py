"""Commands as a user types them: what they print, write and answer, and what they say to bad input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sasa_cli.cli.app import app
from sasa_cli.runs.files import write_text
from sasa_cli.runs.paths import ExperimentPaths, RunPaths
from sasa_cli.runs.record import RunRecord, read_record

TINY = """\
name: tiny
model:
  layers: [1, 1, 1, 1]
  width: 0.125
  stages: CCCA
  attention: {spatial_extent: 3, heads: 4}
data: {name: fashion-mnist-mini, train_images: 100}
recipe: {epochs: 2, batch_size: 50, lr: 0.05}
sweep:
  model.stages: [CCCC, CCCA]
seeds: [0, 1]
"""


def sasa(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def sasa_process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sasa_cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results"


def runs_of(out: Path) -> dict[str, RunPaths]:
    return {folder.name: RunPaths(folder) for folder in sorted(ExperimentPaths(out / "tiny").runs.iterdir())}


def scores_of(out: Path) -> dict[str, object]:
    return {name: record.metrics for name, paths in runs_of(out).items() if (record := read_record(paths))}


# --- what the commands do ------------------------------------------------------------------------------------------


def test_help_and_version_answer_fast():
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-m", "sasa_cli", "--help"], capture_output=True, text=True, check=True)
    assert all(name in result.stdout for name in ("train", "sweep", "report", "count-flops"))
    assert time.perf_counter() - start < 10  # the half second of a quiet machine is shown by the absence of torch
    assert sasa("--version").stdout.startswith("sasa ")


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_dry_run_writes_nothing(command: str, tiny: Path, out: Path):
    result = sasa(command, tiny, "--dry-run", "--out", out)
    assert result.exit_code == 0, result.output
    assert "CCCA" in result.stdout
    assert not out.exists()


def test_the_plan_as_json(tiny: Path, out: Path):
    plan = json.loads(sasa("sweep", tiny, "--dry-run", "--json", "--out", out).stdout)
    assert plan["experiment"] == "tiny"
    assert [run["seed"] for run in plan["runs"]] == [0, 0, 1, 1]
    assert {run["status"] for run in plan["runs"]} == {"missing"}
    assert plan["runs"][1]["cell"] == {"model.stages": "CCCA"}
    assert all(run["flops"] > 0 and run["params"] > 0 for run in plan["runs"])


def test_train_then_train_again(tiny: Path, out: Path):
    result = sasa("train", tiny, "--seed", 3, "--json", "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["status"], record["seed"], record["epochs_done"]) == ("done", 3, 2)
    paths = runs_of(out)[record["run_id"]]
    for file in (paths.spec, paths.record, paths.metrics, paths.checkpoint, paths.best, paths.log):
        assert file.is_file(), file
    again = json.loads(sasa("train", tiny, "--seed", 3, "--json", "--out", out, "--device", "cpu").stdout)
    assert again == record
    fresh = json.loads(sasa("train", tiny, "--seed", 3, "--json", "--out", out, "--fresh", "--device", "cpu").stdout)
    assert fresh["metrics"] == record["metrics"]
    assert fresh["started"] != record["started"]


@pytest.mark.slow
def test_threads_of_a_sweep_are_those_of_all_its_runs_also_when_one_is_trained_alone(tiny: Path, out: Path):
    assert sasa("sweep", tiny, "--jobs", 2, "--out", out, "--device", "cpu").exit_code == 0
    (planned,) = {record.environment.threads for record in records_of(out) if record.environment}
    for paths in runs_of(out).values():
        paths.record.unlink()
        paths.checkpoint.unlink()
    alone = json.loads(sasa("train", tiny, "--json", "--out", out, "--device", "cpu").stdout)
    assert alone["environment"]["threads"] == planned
    assert sasa("sweep", tiny, "--jobs", 1, "--out", out, "--device", "cpu").exit_code == 0
    assert {record.environment.threads for record in records_of(out) if record.environment} == {planned}


def records_of(out: Path) -> list[RunRecord]:
    return [record for paths in runs_of(out).values() if (record := read_record(paths))]


def test_the_spec_file_of_a_run_trains_it_again(tiny: Path, out: Path, tmp_path: Path):
    first = json.loads(sasa("train", tiny, "--json", "--out", out).stdout)
    spec = runs_of(out)[first["run_id"]].spec
    second = json.loads(sasa("train", spec, "--json", "--out", tmp_path / "other").stdout)
    assert second["run_id"] == first["run_id"]
    assert second["metrics"] == first["metrics"]


@pytest.mark.slow
def test_sweep_then_report(tiny: Path, out: Path):
    result = sasa("sweep", tiny, "--jobs", 2, "--json", "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert {run["status"] for run in json.loads(result.stdout)["runs"]} == {"done"}
    before = {name: paths.record.read_bytes() for name, paths in runs_of(out).items()}
    assert sasa("sweep", tiny, "--out", out).exit_code == 0
    assert before == {name: paths.record.read_bytes() for name, paths in runs_of(out).items()}
    report = sasa("report", out / "tiny", "--json")
    assert report.exit_code == 0, report.output
    paths = [Path(path) for path in json.loads(report.stdout)["paths"]]
    assert {"report.md", "report.html"} <= {path.name for path in paths}
    assert all(path.is_file() for path in paths)
    assert sasa("report", out / "tiny", "--check").exit_code == 0


def test_count_flops_as_json():
    payload = json.loads(sasa("count-flops", "sasa_resnet50", "--json").stdout)
    (model,) = payload["models"]
    assert (model["params"], model["flops"], model["flops_executed"]) == (18015504, 6966317056, 6806155264)
    assert model["macs"] * 2 == model["flops"]
    assert sum(stage["params"] for stage in model["stages"]) == model["params"]


def test_count_flops_shorthands():
    payload = json.loads(sasa("count-flops", "sasa_resnet50", "--stages", "CCAA", "--json").stdout)
    assert payload["models"][0]["params"] == 18481832
    payload = json.loads(sasa("count-flops", "sasa_resnet50", "--spatial-extent", "11", "--json").stdout)
    assert payload["models"][0]["flops"] == 7790006272


@pytest.mark.parametrize("form", ["table", "csv", "md", "tex", "json"])
@pytest.mark.parametrize("by", ["model", "stage", "layer"])
def test_count_flops_prints_every_form(form: str, by: str):
    result = sasa("count-flops", "sasa_resnet26", "--by", by, "--format", form)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) >= 2


def test_count_flops_explains_each_product():
    lines = sasa("count-flops", "sasa_resnet26", "--explain", "--format", "csv").stdout.splitlines()
    rows = list(csv.DictReader(lines))
    assert [row["kind"] for row in rows if row["layer"] == "layer1.0.conv2"] == ["attention k=7 heads=8"] * 6
    assert sum(int(row["macs"]) for row in rows) == 2_242_155_520  # half of the 4.48431104 GFLOPs


def test_count_flops_of_an_experiment_and_of_other_models():
    payload = json.loads(sasa("count-flops", "demo", "--json").stdout)
    assert len(payload["models"]) == 9
    other = json.loads(sasa("count-flops", "resnet50", "--json").stdout)["models"][0]
    assert (other["params"], other["macs"]) == (25557032, 4089184256)


# --- what they say to bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (("stages: CCCA", "stagess: CCCA"), ["tiny.yaml:5", "model.stagess", "did you mean 'stages'"]),
        (("spatial_extent: 3", "spatial_extent: 4"), ["tiny.yaml:6", "model.attention.spatial_extent", "4 is even"]),
        (("heads: 4", "heads: 3"), ["tiny.yaml:6", "model.attention.heads", "3 does not divide"]),
        (("stages: CCCA", "stages: CCA"), ["tiny.yaml:5", "model.stages", "'CCA'"]),
        (("width: 0.125", "width: 0.13"), ["tiny.yaml:4", "model.width", "0.13"]),
        (("epochs: 2", "epochs: many"), ["tiny.yaml:8", "recipe.epochs", "'many'"]),
        (("[CCCC, CCCA]", "[CCCC, CCXA]"), ["tiny.yaml:10", "'CCXA'"]),
        (("layers: [1, 1, 1, 1]", "layers: [1, 1"), ["tiny.yaml:", "no valid YAML"]),
    ],
)
@pytest.mark.parametrize("command", ["train", "sweep", "count-flops"])
def test_a_wrong_experiment_is_refused_before_anything_is_written(command, edit, says, tiny: Path, out: Path):
    tiny.write_text(TINY.replace(*edit))
    result = sasa(command, tiny, *([] if command == "count-flops" else ["--out", out]))
    assert result.exit_code == 2, result.output
    assert all(part in result.stderr for part in says), result.stderr
    assert "Traceback" not in result.output
    assert not out.exists()


def test_an_unknown_optimizer_is_refused_before_training(tiny: Path, out: Path):
    for command in ("train", "sweep"):
        result = sasa(command, tiny, "--set", "recipe.optimizer=sdg", "--out", out)
        assert result.exit_code == 2, result.output
        assert "sdg" in result.stderr
        assert "sgd" in result.stderr


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_an_unknown_backend_is_refused_before_training(command: str, tiny: Path, out: Path):
    result = sasa(command, tiny, "--set", "model.attention.backend=abacus", "--out", out)
    assert result.exit_code == 2, result.output
    assert "model.attention.backend: 'abacus' is none; allowed are auto, " in result.stderr
    assert not list(out.rglob("record.json"))


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_missing_images(command: str, tiny: Path, out: Path, tmp_path: Path):
    result = sasa(command, tiny, "--set", "data.name=cifar10", "--data-dir", tmp_path / "none", "--out", out)
    assert result.exit_code == 3, result.output
    assert "cifar-10-batches-bin" in result.stderr
    assert str(tmp_path / "none") in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_truncated_file_of_images(command: str, tiny: Path, out: Path, tmp_path: Path):
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(bytes(3073 * 20))
    (folder / "data_batch_3.bin").write_bytes(bytes(3073 * 20 - 7))
    result = sasa(command, tiny, "--set", "data.name=cifar10", "--data-dir", tmp_path / "data", "--out", out)
    assert result.exit_code == 3, result.output
    assert "data_batch_3.bin" in result.stderr
    assert f"{3073 * 20 - 7:,}" in result.stderr


def test_a_corrupt_checkpoint(tiny: Path, out: Path):
    record = json.loads(sasa("train", tiny, "--json", "--out", out).stdout)
    paths = runs_of(out)[record["run_id"]]
    paths.checkpoint.write_bytes(b"not a checkpoint")
    record["status"] = "interrupted"
    write_text(paths.record, json.dumps(record | {"metrics": None}))
    result = sasa("train", tiny, "--out", out)
    assert result.exit_code == 1, result.output
    assert str(paths.checkpoint) in result.stderr
    assert "--fresh" in result.stderr
    assert "Traceback" not in result.output
    assert sasa("train", tiny, "--out", out, "--fresh").exit_code == 0


@pytest.mark.slow
def test_a_corrupt_record(tiny: Path, out: Path):
    assert sasa("sweep", tiny, "--out", out).exit_code == 0
    name, paths = next(iter(runs_of(out).items()))
    paths.record.write_text('{"status": "done"')
    status = json.loads(sasa("sweep", tiny, "--status", "--json", "--out", out).stdout)
    assert {run["run_id"]: run["status"] for run in status["runs"]}[name] == "failed"
    report = sasa("report", out / "tiny")
    assert report.exit_code == 0, report.output
    assert "record.json" in report.stderr
    assert name in (out / "tiny" / "report" / "report.md").read_text()
    assert sasa("sweep", tiny, "--out", out).exit_code == 0
    assert read_record(paths) is not None


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_results_folder_that_cannot_be_written(command: str, tiny: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    result = sasa(command, tiny, "--out", tmp_path / "file" / "results")
    assert result.exit_code == 1, result.output
    assert str(tmp_path / "file") in result.stderr
    assert "Traceback" not in result.output


def test_a_loss_that_is_not_finite(tiny: Path, out: Path):
    result = sasa("train", tiny, "--set", "recipe.lr=1e30", "--out", out)
    assert result.exit_code == 1, result.output
    (paths,) = runs_of(out).values()
    record = read_record(paths)
    assert record is not None
    assert record.error is not None
    assert (record.status, record.error.epoch) == ("failed", 1)
    assert record.error.step is not None
    assert f"step {record.error.step}" in result.stderr


@pytest.mark.slow
def test_a_sweep_goes_on_past_a_failed_run_and_retries_it(tiny: Path, out: Path):
    tiny.write_text(TINY.replace("model.stages: [CCCC, CCCA]", "recipe.lr: [1.0e30, 0.05]"))
    result = sasa("sweep", tiny, "--jobs", 1, "--json", "--out", out)
    assert result.exit_code == 4, result.output
    assert sorted(run["status"] for run in json.loads(result.stdout)["runs"]) == ["done", "done", "failed", "failed"]
    failed = [record for paths in runs_of(out).values() if (record := read_record(paths)) and record.error]
    assert all("Traceback" in record.error.traceback for record in failed)
    assert sasa("sweep", tiny, "--skip-failed", "--out", out).exit_code == 4
    assert sasa("sweep", tiny, "--fail-fast", "--jobs", 1, "--out", out).exit_code == 4
    report = sasa("report", out / "tiny")
    assert report.exit_code == 0
    assert "failed" in (out / "tiny" / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "demo", "--seed", "-1"],
        ["sweep", "demo", "--jobs", "0"],
        ["sweep", "demo", "--jobs", "many"],
        ["train", "demo", "--device", "tpu"],
        ["count-flops", "sasa_resnet50", "--format", "pdf"],
        ["count-flops", "sasa_resnet51"],
        ["count-flops", "resnet50", "--stages", "CCAA"],
        ["report", "/nowhere/at/all"],
        ["no-such-command"],
    ],
)
def test_wrong_usage(arguments: list[str]):
    result = sasa(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


# --- interruption --------------------------------------------------------------------------------------------------


def wait_for(paths: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a file appears, or the process that should make it is gone."""
    for _ in range(1200):
        if list(paths.glob(pattern)) or process.poll() is not None:
            return
        time.sleep(0.05)


@pytest.mark.slow
def test_train_interrupted_goes_on(tiny: Path, out: Path, tmp_path: Path):
    tiny.write_text(TINY.replace("epochs: 2", "epochs: 6"))
    process = sasa_process("train", tiny, "--out", out, "--device", "cpu")
    wait_for(out, "tiny/runs/*/checkpoint.pt", process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    (paths,) = runs_of(out).values()
    record = read_record(paths)
    assert record is not None
    assert record.status == "interrupted"
    assert record.epochs_done >= 1
    again = sasa("train", tiny, "--out", out, "--device", "cpu")
    assert again.exit_code == 0, again.output
    assert sasa("train", tiny, "--out", tmp_path / "whole", "--device", "cpu").exit_code == 0
    assert scores_of(out) == scores_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_sweep_gives_the_numbers_of_an_undisturbed_one(kill, tiny: Path, out: Path, tmp_path: Path):
    tiny.write_text(TINY.replace("epochs: 2", "epochs: 4"))
    process = sasa_process("sweep", tiny, "--jobs", 2, "--out", out, "--device", "cpu")
    wait_for(out, "tiny/runs/*/checkpoint.pt", process)
    os.kill(process.pid, kill)
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGKILL)
    for _ in range(200):  # the workers notice that their parent is gone, and let go of their runs
        status = json.loads(sasa("sweep", tiny, "--status", "--json", "--out", out).stdout)
        if all(run["status"] != "running" for run in status["runs"]):
            break
        time.sleep(0.1)
    assert any(run["status"] == "missing" for run in status["runs"])
    again = sasa("sweep", tiny, "--jobs", 2, "--out", out, "--device", "cpu")
    assert again.exit_code == 0, again.output
    assert sasa("sweep", tiny, "--jobs", 2, "--out", tmp_path / "whole", "--device", "cpu").exit_code == 0
    assert scores_of(out) == scores_of(tmp_path / "whole")


def test_two_processes_never_train_the_same_run(tiny: Path, out: Path):
    from sasa_cli.runs.lock import locked

    assert sasa("train", tiny, "--out", out).exit_code == 0
    (paths,) = runs_of(out).values()
    with locked(paths):
        result = sasa("train", tiny, "--out", out, "--fresh")
        assert result.exit_code == 1, result.output
        assert "another process" in result.stderr
