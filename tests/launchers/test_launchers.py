"""Launchers: the machine divided between runs, deaths recorded, and the same runs through Ray and Slurm."""

import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasa_cli.cli.app import app
from sasa_cli.errors import SasaError, SpecError, SweepIncompleteError
from sasa_cli.experiment.file import load_experiment
from sasa_cli.experiment.sweep import expand_sweep
from sasa_cli.launchers import LAUNCHERS, find_launcher, local, slurm
from sasa_cli.launchers.cores import available_cores
from sasa_cli.launchers.interface import LaunchOptions
from sasa_cli.launchers.job import Job, Refusal, ended_state
from sasa_cli.launchers.preflight import Machine
from sasa_cli.launchers.remaining import remaining, require_all_done
from sasa_cli.runs.paths import ExperimentPaths, RunPaths
from sasa_cli.runs.record import read_record
from sasa_cli.runs.state import RunState, state_of
from sasa_cli.spec import RunSpec
from sasa_cli.training.devices import DEVICES

SMALL = [
    "data.train_images=64",
    "recipe.epochs=1",
    "model.width=0.125",
    "sweep={model.stages: [CCCC, CCCA]}",
    "seeds=[0]",
]


@pytest.fixture
def specs() -> list[RunSpec]:
    return expand_sweep(load_experiment("demo", SMALL))


class Witness:
    """Notes what a launcher tells."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: dict[str, RunState] = {}

    def started(self, spec: RunSpec) -> None:
        self.begun.append(spec.run_id)

    def finished(self, spec: RunSpec, state: RunState) -> None:
        self.ended[spec.run_id] = state

    def tick(self) -> None: ...


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    listing = Path(f"/proc/{process}/task/{process}/children")
    if not listing.exists():
        pytest.skip("needs /proc to find the worker")
    return [int(child) for child in listing.read_text().split()]


def test_every_launcher_can_be_found():
    assert all(callable(find_launcher(name).launch) for name in LAUNCHERS)


@pytest.mark.parametrize(("jobs", "runs", "expected"), [(1, 5, 1), (2, 5, 2), (8, 3, 3)])
def test_cores_are_divided_between_the_runs(jobs: int, runs: int, expected: int, specs: list[RunSpec]):
    slots = local._slots(Machine("cpu", 1), LaunchOptions(jobs=jobs), specs[:1] * runs)
    assert len(slots) == expected
    assert {slot.threads for slot in slots} == {max(1, available_cores() // expected)}


def test_each_gpu_gets_a_run(specs: list[RunSpec]):
    five = specs[:1] * 5
    slots = local._slots(Machine("cuda", 2), LaunchOptions(), five)
    assert [slot.gpu for slot in slots] == [0, 1]
    assert [slot.gpu for slot in local._slots(Machine("cuda", 2), LaunchOptions(jobs=4), five)] == [0, 1, 0, 1]


def test_the_last_run_of_a_sweep_has_the_threads_of_the_rest(specs: list[RunSpec]):
    """Two cores, two runs at a time: the third would get both cores, and end some points elsewhere."""
    planned = local.LOCAL.threads(LaunchOptions(), len(specs))
    (alone,) = local._slots(Machine("cpu", 1), LaunchOptions(threads=planned), specs[-1:])
    assert alone.threads == planned == max(1, available_cores() // min(available_cores(), len(specs)))


def test_what_remains(specs: list[RunSpec]):
    states = [RunState("failed"), RunState("interrupted")]
    assert remaining(specs, states, retry_failed=True) == specs
    assert remaining(specs, states, retry_failed=False) == specs[1:]
    assert remaining(specs, [RunState("done"), RunState("running")], retry_failed=True) == []


def job_that_stopped(spec: RunSpec, folder: Path, status: str) -> Job:
    """A job that has trained, with a record that says so much."""
    job = Job(spec, ExperimentPaths(folder).run(spec.run_id), "cpu", None, 1)
    assert job() is None
    done = read_record(job.paths)
    assert done is not None
    job.paths.record.write_text(done.model_copy(update={"status": status, "metrics": None}).model_dump_json())
    return job


def test_a_death_without_a_word_is_recorded(specs: list[RunSpec], tmp_path: Path):
    job = job_that_stopped(specs[0], tmp_path, "running")
    assert state_of(job.paths).status == "interrupted"
    state = ended_state(job.paths, None, "the process died with exit code -9")
    assert (state.status, state.note) == ("failed", "the process died with exit code -9")
    assert "exit code -9" in state_of(job.paths).note


def test_a_refusal_leaves_what_an_earlier_attempt_came_to(specs: list[RunSpec], tmp_path: Path):
    """As one with a wrong --data-dir: the run is interrupted as before, and no report counts it as failed."""
    job = job_that_stopped(specs[0], tmp_path, "interrupted")
    state = ended_state(job.paths, Refusal("cifar10: no images", 3, locked=False), None)
    assert (state.status, state.note) == ("failed", "cifar10: no images")
    assert state_of(job.paths).status == "interrupted"


def test_a_run_that_another_process_trains_is_no_failure(tmp_path: Path):
    refusal = Refusal("another process is training this run", 1, locked=True)
    assert ended_state(RunPaths(tmp_path), refusal, None).status == "running"


def test_a_broken_record_is_set_aside(specs: list[RunSpec], tmp_path: Path):
    job = Job(specs[0], ExperimentPaths(tmp_path).run(specs[0].run_id), "cpu", None, 1)
    job.paths.folder.mkdir(parents=True)
    job.paths.record.write_text("{")
    assert job() is None
    assert state_of(job.paths).status == "done"
    assert (job.paths.folder / "record.json.broken").read_text() == "{"


@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_failed_run(specs: list[RunSpec], tmp_path: Path):
    results = ExperimentPaths(tmp_path)
    long = specs[0].model_copy(update={"recipe": specs[0].recipe.model_copy(update={"epochs": 500})})

    class Killer(Witness):
        def tick(self) -> None:
            if results.run(long.run_id).record.exists():
                for server in children(os.getpid()):
                    for worker in children(server):
                        os.kill(worker, signal.SIGKILL)

    witness = Killer()
    local.launch_local([long], results, LaunchOptions(jobs=1, device="cpu"), witness)
    assert witness.ended[long.run_id].status == "failed"
    assert "exit code -9" in witness.ended[long.run_id].note


@pytest.mark.slow
def test_slurm_jobs_train_the_runs(specs: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    submitit = pytest.importorskip("submitit", reason="submitit is not installed")
    # Without Slurm at hand, submitit's own local executor takes the same jobs.
    monkeypatch.setattr(slurm, "_executor", lambda results: submitit.LocalExecutor(results.folder / "slurm"))
    monkeypatch.setattr(slurm, "DEFAULTS", {"timeout_min": 5, "cpus_per_task": 1})
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.2)
    witness = Witness()
    slurm.launch_slurm(specs, ExperimentPaths(tmp_path), LaunchOptions(device="cpu"), witness)
    assert [witness.ended[spec.run_id].status for spec in specs] == ["done", "done"]


def test_slurm_is_refused_where_there_is_none(specs: list[RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecError, match="no Slurm here"):
        slurm.launch_slurm(specs, ExperimentPaths(tmp_path), LaunchOptions(), Witness())


@pytest.mark.slow
def test_ray_tasks_train_the_runs(specs: list[RunSpec], tmp_path: Path):
    pytest.importorskip("ray", reason="Ray is not installed")
    witness = Witness()
    find_launcher("ray").launch(specs, ExperimentPaths(tmp_path), LaunchOptions(device="cpu"), witness)
    assert [witness.ended[spec.run_id].status for spec in specs] == ["done", "done"]


@pytest.mark.slow
def test_a_login_node_without_a_gpu_sends_runs_that_need_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What only the machine that trains can tell is not refused where the sweep is started, but in each run."""
    submitit = pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setattr(slurm, "_executor", lambda results: submitit.LocalExecutor(results.folder / "slurm"))
    monkeypatch.setattr(slurm, "DEFAULTS", {"timeout_min": 5, "cpus_per_task": 1})
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.2)
    if DEVICES["cuda"].count():
        pytest.skip("there is a GPU here")
    arguments = ["demo", *(word for text in SMALL for word in ("--set", text)), "--set", "recipe.amp=fp16"]
    arguments += ["--device", "cuda", "--out", str(tmp_path)]
    sent = CliRunner().invoke(app, ["sweep", *arguments, "--launcher", "slurm"])
    assert "started CCCC-s0" in sent.stdout
    assert sent.exit_code == 4, sent.output
    assert "2 of 2 runs are not done" in sent.stderr
    assert sent.stderr.count("failed: --device cuda: no CUDA device is available here") == 2
    here = CliRunner().invoke(app, ["sweep", *arguments, "--launcher", "local"])
    assert (here.exit_code, "started" in here.stdout) == (2, False)
    assert "--device cuda: no CUDA device" in here.stderr


@pytest.mark.parametrize("setting", ["recipe.optimizer=abacus", "model.attention.backend=abacus"])
def test_what_exists_nowhere_is_refused_before_it_is_sent(setting: str, tmp_path: Path):
    options = LaunchOptions(device="cuda")
    with pytest.raises(SasaError, match="abacus"):
        local.check_before_sending(expand_sweep(load_experiment("demo", [*SMALL, setting])), options)
    with pytest.raises(SasaError, match="cifar10: no cifar-10-batches-bin"):
        local.check_before_sending(expand_sweep(load_experiment("demo", [*SMALL, "data.name=cifar10"])), options)


def test_a_sweep_names_every_run_that_is_not_done(specs: list[RunSpec], tmp_path: Path):
    results = ExperimentPaths(tmp_path)
    first, second = (spec.run_id for spec in specs)
    states = [RunState("missing"), RunState("interrupted", note="after 2 epochs")]
    with pytest.raises(SweepIncompleteError) as raised:
        require_all_done(specs, states, results, {first: RunState("failed", note="no GPU")})
    assert str(raised.value).splitlines()[1:] == [
        f"  {results.run(first).folder}: failed: no GPU",
        f"  {results.run(second).folder}: interrupted: after 2 epochs",
    ]
    require_all_done(specs, [RunState("done"), RunState("running")], results, {})


@pytest.mark.parametrize(
    ("launcher", "setting", "message"),
    [
        ("local", "slurm_partition=x", "--launcher-set slurm_partition: nothing to set on this machine"),
        ("ray", "num_cpu=2", "--launcher-set: Invalid option keyword num_cpu"),
        ("ray", "num_cpus=two", "--launcher-set num_cpus: 'two' is not allowed; allowed are numbers above 0"),
        ("ray", "memory=-1", "--launcher-set: "),
    ],
)
def test_what_a_launcher_cannot_be_asked_for_is_one_line(
    launcher: str, setting: str, message: str, tmp_path: Path
) -> None:
    if launcher == "ray":
        pytest.importorskip("ray", reason="Ray is not installed")
    command = ["sweep", "demo", "--out", str(tmp_path), "--launcher", launcher, "--launcher-set", setting]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
