"""A run that is stopped and taken up again is the run that would have been anyway."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from sasa_cli.errors import DataError, RunError
from sasa_cli.runs.record import read_record
from sasa_cli.spec import RunSpec
from sasa_cli.training import checkpoint, session
from sasa_cli.training.run import Progress

from .runs import STEPS, Trainer, numbers, same_run, tiny

RECIPES: list[dict[str, Any]] = [
    {"warmup_epochs": 1, "label_smoothing": 0.1},
    {"optimizer": "adamw", "ema_decay": 0.9, "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "drop_path_rate": 0.2},
]


class StopError(Exception):
    """Raised in the middle of a run."""


def stop_at(train: Trainer, spec: RunSpec, epoch: int, step: int) -> None:
    """Train until that update is done, and fail."""

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (epoch, step):
            raise StopError("enough")

    with pytest.raises(RunError, match="StopError: enough"):
        train(spec, stop)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Trainer:
    """For the undisturbed run."""
    return Trainer(tmp_path / "undisturbed")


@pytest.mark.parametrize("recipe", RECIPES, ids=["sgd", "adamw-ema-mixup-droppath"])
@pytest.mark.parametrize("place", [(1, 2), (2, 1), (2, STEPS), (3, 2)], ids=str)
def test_resumed_run_has_the_bits_of_an_undisturbed_one(
    train: Trainer, elsewhere: Trainer, recipe: dict[str, Any], place: tuple[int, int]
) -> None:
    spec = tiny("CCCA", epochs=3, **recipe)
    stop_at(train, spec, *place)
    stopped = read_record(train.paths(spec))
    assert stopped is not None
    assert (stopped.status, stopped.epochs_done) == ("failed", place[0] - 1)
    record = train(spec)
    undisturbed = elsewhere(spec)
    assert same_run(train.paths(spec), elsewhere.paths(spec))
    assert (record.metrics, record.error, record.started) == (undisturbed.metrics, None, stopped.started)


@pytest.mark.slow
def test_loader_processes_change_neither_the_run_nor_its_resumption(train: Trainer, elsewhere: Trainer) -> None:
    settings: dict[str, Any] = {"epochs": 3, "drop_path_rate": 0.5}
    with_processes = tiny(workers=2, **settings)
    stop_at(train, with_processes, 2, 1)
    train(with_processes)
    elsewhere(tiny(**settings))
    assert same_run(train.paths(with_processes), elsewhere.paths(with_processes))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training.runs import Trainer, tiny

def kill(progress):
    if (progress.epoch, progress.step) == (2, 2):
        os.kill(os.getpid(), signal.SIGKILL)

Trainer(Path(sys.argv[2]))(tiny("CCCA", ema_decay=0.9, epochs=3), kill)
"""


@pytest.mark.slow
def test_killed_process_is_resumed_to_the_same_bits(train: Trainer, elsewhere: Trainer) -> None:
    spec = tiny("CCCA", ema_decay=0.9, epochs=3)
    tests = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tests), str(train.root)], check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    record = read_record(train.paths(spec))
    assert record is not None
    assert (record.status, record.epochs_done) == ("running", 1)
    train(spec)
    elsewhere(spec)
    assert same_run(train.paths(spec), elsewhere.paths(spec))


def test_run_that_was_killed_before_the_test_images_is_finished(
    train: Trainer, elsewhere: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny(ema_decay=0.5)
    monkeypatch.setattr("sasa_cli.training.session.Session._finish", lambda self: None)
    train(spec)
    monkeypatch.undo()
    heard: list[Progress] = []
    record = train(spec, heard.append)
    assert heard == []
    assert record.metrics == elsewhere(spec).metrics
    assert record.environment is not None


def test_table_is_rewritten_from_the_checkpoint(train: Trainer, elsewhere: Trainer) -> None:
    spec = tiny("CCCA", epochs=3)
    stop_at(train, spec, 3, 1)
    table = train.paths(spec).metrics
    table.write_text(table.read_text() + table.read_text())
    train(spec)
    assert [row[0] for row in numbers(train.paths(spec))] == ["epoch", "1", "2", "3"]


def test_seconds_add_up_over_sessions(train: Trainer) -> None:
    spec = tiny(epochs=3)
    stop_at(train, spec, 3, 1)
    stopped = read_record(train.paths(spec))
    record = train(spec)
    assert stopped is not None
    assert 0 < stopped.seconds < record.seconds


def test_log_goes_on_and_tells_what_changed(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny(epochs=2)
    stop_at(train, spec, 2, 1)
    earlier = timm.__version__
    monkeypatch.setattr(timm, "__version__", "2.0")
    with pytest.warns(UserWarning, match=f"goes on after epoch 1 with timm 2.0 instead of {earlier}: "):
        train(spec)
    log = train.paths(spec).log.read_text()
    assert log.count("start of") == 2
    assert "StopError: enough" in log
    assert f"goes on after epoch 1 with timm 2.0 instead of {earlier}" in log
    assert "resumes after epoch 1" in log


def test_leftovers_of_a_killed_session_are_removed(train: Trainer) -> None:
    spec = tiny(epochs=1)
    folder = train.paths(spec).folder
    folder.mkdir()
    leftover, other = folder / ".checkpoint.pt.x8_2kd1s", folder / "notes.txt"
    leftover.touch()
    other.touch()
    train(spec)
    assert not leftover.exists()
    assert other.exists()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("harm", ["cut", "text", "empty", "code", "parts"])
def test_broken_checkpoint_is_one_clear_message(
    train: Trainer, harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tiny()
    stop_at(train, spec, 2, 1)
    file = train.paths(spec).checkpoint
    content = file.read_bytes()
    match harm:
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "text":
            file.write_text("weights")
        case "empty":
            file.write_bytes(b"")
        case "code":
            file.write_bytes(pickle.dumps(Evil()))
        case "parts":
            torch.save({"run_id": spec.run_id, "state_dict": {}}, file)
    with pytest.raises(RunError, match=r"checkpoint\.pt: cannot be read .*; start anew with --fresh$"):
        train(spec)
    assert not Path("evil").exists()
    assert train(spec, resume=False).status == "done"


def test_files_of_another_run_are_refused(train: Trainer) -> None:
    spec, other = tiny(), tiny(seed=1)
    for run in (spec, other):
        stop_at(train, run, 2, 1)
    train.paths(other).checkpoint.replace(train.paths(spec).checkpoint)
    with pytest.raises(
        RunError, match=rf"checkpoint\.pt: belongs to run {other.run_id}, not to {spec.run_id}; start anew"
    ):
        train(spec)
    train.paths(other).record.replace(train.paths(spec).record)
    with pytest.raises(
        RunError, match=rf"record\.json: belongs to run {other.run_id}, not to {spec.run_id}; start anew"
    ):
        train(spec)


def test_other_images_are_refused(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny()
    stop_at(train, spec, 2, 1)
    monkeypatch.setattr("sasa_cli.data.splits.SPLIT_SEED", 1)
    with pytest.raises(RunError, match=r"this run began with other images .*; start anew with --fresh"):
        train(spec)


def test_best_weights_of_another_epoch_are_refused(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sasa_cli.training.session.best_row", lambda rows: rows[0])
    spec = tiny(epochs=3)
    stop_at(train, spec, 3, 1)
    content = torch.load(train.paths(spec).best, weights_only=True)
    torch.save(content | {"epoch": 2}, train.paths(spec).best)
    with pytest.raises(RunError, match=r"best\.pt: holds epoch 2, but epoch 1 is the best; start anew with --fresh"):
        train(spec)


def test_every_sitting_is_in_the_record_and_in_the_checkpoint(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, first = tiny(epochs=3), timm.__version__
    stop_at(train, spec, 2, 1)
    monkeypatch.setattr(timm, "__version__", "2.0")
    with pytest.warns(UserWarning, match="timm 2.0 instead of"):
        stop_at(train, spec, 3, 1)
    train.paths(spec).record.unlink()  # the checkpoint alone knows
    monkeypatch.setattr(timm, "__version__", "3.0")
    with pytest.warns(UserWarning, match=r"timm 3.0 instead of 2.0"):
        record = train(spec)
    sittings = [(sitting.until_epoch, sitting.environment.timm) for sitting in record.earlier_sittings]
    assert sittings == [(1, first), (2, "2.0")]
    assert record.environment is not None
    assert record.environment.timm == "3.0"


def test_a_checkpoint_of_other_images_is_refused_without_a_record(
    train: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny()
    stop_at(train, spec, 2, 1)
    train.paths(spec).record.unlink()
    monkeypatch.setattr("sasa_cli.data.splits.SPLIT_SEED", 1)
    with pytest.raises(RunError, match=r"this run began with other images .*; start anew with --fresh"):
        train(spec)


def test_a_resumed_run_keeps_its_threads(train: Trainer) -> None:
    spec = tiny(epochs=2)
    stop_at(train, spec, 2, 1)
    record = train(spec, threads=2)
    assert record.environment is not None
    assert (record.environment.threads, record.earlier_sittings) == (1, ())


def test_threads_of_the_recipe_come_first_and_are_what_a_run_is(train: Trainer) -> None:
    spec = tiny(epochs=1, threads=2)
    record = train(spec, threads=1)
    assert record.environment is not None
    assert record.environment.threads == 2
    assert spec.cell_hash != tiny(epochs=1).cell_hash


def test_killed_between_best_weights_and_checkpoint_and_repeated_with_a_lower_score(
    train: Trainer, elsewhere: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second epoch was the best, and its weights were written; repeated, it is not the best any more."""
    spec = tiny("CCCA", epochs=3)
    save, saved = checkpoint._save, []

    def die(file: Path, content: dict[str, Any]) -> None:
        saved.append(file.name)
        if saved.count("checkpoint.pt") == 2:
            raise StopError("enough")
        save(file, content)

    monkeypatch.setattr(checkpoint, "_save", die)
    monkeypatch.setattr(checkpoint, "best_row", lambda rows: rows[-1])
    with pytest.raises(RunError, match="StopError: enough"):
        train(spec)
    assert train.paths(spec).next_best.exists()
    monkeypatch.undo()
    for module in (checkpoint, session):
        monkeypatch.setattr(module, "best_row", lambda rows: rows[0])
    record = train(spec)
    undisturbed = elsewhere(spec)
    assert record.metrics == undisturbed.metrics
    assert not train.paths(spec).next_best.exists()


def test_killed_before_the_best_weights_got_their_name(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny(epochs=2)
    for module in (checkpoint, session):
        monkeypatch.setattr(module, "best_row", lambda rows: rows[0])
    stop_at(train, spec, 2, 1)
    train.paths(spec).best.replace(train.paths(spec).next_best)
    record = train(spec)
    assert record.metrics is not None
    assert record.metrics.test_best.epoch == 1


def test_fresh_keeps_the_old_run_until_the_new_one_can_begin(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny(epochs=1)
    train(spec)
    folder = train.paths(spec).folder
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def missing(*arguments: Any) -> None:
        raise DataError("no images")

    monkeypatch.setattr(session, "load_splits", missing)
    with pytest.raises(DataError, match="no images"):
        train(spec, resume=False)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_an_error_nobody_expects_keeps_the_record_of_a_finished_run(
    train: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny(epochs=1)
    record = train(spec)
    monkeypatch.setattr(session, "load_splits", lambda *arguments: 1 // 0)
    with pytest.raises(RunError, match="ZeroDivisionError"):
        train(spec, resume=False)
    assert read_record(train.paths(spec)) == record
    assert "ZeroDivisionError" in train.paths(spec).log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_an_epoch_is_saved_waits(
    train: Trainer, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Else the record knows nothing of an epoch that the checkpoint has."""
    spec, save = tiny(epochs=2), session.save_epoch

    def save_and_interrupt(*arguments: Any) -> None:
        save(*arguments)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(session, "save_epoch", save_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(spec)
    record = read_record(train.paths(spec))
    assert record is not None
    assert (record.status, record.epochs_done) == ("interrupted", 1)


def test_other_settings_under_the_same_name_are_refused(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight digits of a hash can be the same; a finished run of other settings is not this one."""
    monkeypatch.setattr("sasa_cli.spec._digest", lambda text, digits: "c0111de5")
    train(tiny(epochs=1, lr=0.05))
    with pytest.raises(RunError, match=r"spec\.yaml: other settings under the same name CCCC-s0-c0111de5; train them"):
        train(tiny(epochs=1, lr=0.06))
