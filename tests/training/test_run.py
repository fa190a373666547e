"""A run that nothing disturbs."""

import csv
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sasa_cli.attention import choice
from sasa_cli.counting.macs import count_model
from sasa_cli.data.loaders import Loader
from sasa_cli.errors import LockedError
from sasa_cli.experiment.file import load_experiment
from sasa_cli.experiment.sweep import expand_sweep
from sasa_cli.runs.lock import locked
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord, read_record
from sasa_cli.spec import RunSpec
from sasa_cli.training import session
from sasa_cli.training.run import Progress

from .runs import STEPS, Trainer, numbers, same_run, tiny, with_backend

Finished = tuple[RunSpec, RunPaths, RunRecord]


def test_a_run_leaves_its_files_and_nothing_else(finished: Finished) -> None:
    _, paths, _ = finished
    files = {"spec.yaml", "record.json", "metrics.csv", "checkpoint.pt", "best.pt", "log.txt", ".lock"}
    assert {file.name for file in paths.folder.iterdir()} == files


def test_record_says_what_was_trained_and_how_it_went(finished: Finished) -> None:
    spec, paths, record = finished
    assert read_record(paths) == record
    assert (record.status, record.run_id, record.epochs_done, record.error) == ("done", spec.run_id, 2, None)
    count = count_model(spec.model, image_size=32, num_classes=10)
    assert (record.params, record.macs, record.macs_executed) == (count.params, count.macs, count.macs_executed)
    assert record.data is not None
    assert (record.data.train, record.data.val, record.data.test) == (192, 100, 1000)
    assert (record.data.mean, record.data.std) == ((0.2176,) * 3, (0.3309,) * 3)
    assert record.seconds > 0
    assert record.images_per_second is not None
    assert 192 * 2 / record.images_per_second < record.seconds
    assert record.peak_memory_mib is not None
    assert record.peak_memory_mib > 50
    assert record.environment is not None
    assert (record.environment.device, record.environment.threads) == ("cpu", 1)
    assert record.environment.dtype == "float32"
    assert record.environment.backends.keys() == {"layer4.0.conv2"}


def test_best_epoch_is_the_one_with_the_highest_ema_accuracy_on_val(finished: Finished) -> None:
    _, paths, record = finished
    assert record.metrics is not None
    rows = list(csv.DictReader(paths.metrics.read_text().splitlines()))
    best = max(float(row["ema_top1"]) for row in rows)
    assert record.metrics.val_best.reported.top1 == best
    assert record.metrics.val_last.epoch == record.metrics.test_last.epoch == 2
    assert record.metrics.test_best.epoch == record.metrics.val_best.epoch
    last = record.metrics.val_last
    assert last.ema is not None
    assert last.ema != last.raw
    assert float(rows[1]["eval_loss"]) == last.raw.loss
    assert float(rows[1]["ema_loss"]) == last.ema.loss


def test_spec_file_gives_the_same_run_again(finished: Finished) -> None:
    spec, paths, _ = finished
    assert [run.run_id for run in expand_sweep(load_experiment(str(paths.spec)))] == [spec.run_id]


def test_log_names_environment_backends_and_epochs(finished: Finished) -> None:
    _, paths, _ = finished
    log = paths.log.read_text()
    for words in ("torch: ", "threads: 1", "backend of layer4.0.conv2: ", "epoch 2: train loss ", "done: test top-1"):
        assert words in log


def test_a_run_that_is_done_is_not_trained_again(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny(epochs=1)
    record = train(spec)
    monkeypatch.setattr("sasa_cli.training.run.Session", None)
    assert train(spec) == record


def test_fresh_forgets_what_was_there(train: Trainer) -> None:
    spec = tiny(epochs=1)
    first = train(spec)
    train.paths(spec).record.write_text("no record")
    again = train(spec, resume=False)
    assert again.metrics == first.metrics
    assert train.paths(spec).log.read_text().count("begins with epoch 1") == 1


@pytest.mark.parametrize("stages", ["CCCC", "AAAA"])
def test_networks_learn(train: Trainer, stages: str) -> None:
    losses: list[float] = []
    spec = tiny(stages, epochs=5, batch_size=16, augmentation="none")
    record = train(spec, lambda progress: losses.append(progress.row.train_loss) if progress.row else None)
    assert losses[-1] < 0.7 * losses[0]
    assert record.metrics is not None
    assert record.metrics.test_last.raw.top1 > 30  # chance is 10


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(train: Trainer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"mixup_alpha": 0.2, "drop_path_rate": 0.2}
    spec, other = tiny("CCCA", **settings), tiny("CCCA", seed=1, **settings)
    again = Trainer(tmp_path / "again")
    for trainer in (train, again):
        trainer(spec)
    train(other)
    assert same_run(train.paths(spec), again.paths(spec))
    assert numbers(train.paths(other))[1] != numbers(train.paths(spec))[1]


def test_each_epoch_has_batches_of_its_own(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []
    monkeypatch.setattr(Loader, "set_epoch", lambda self, epoch: epochs.append(epoch))
    train(tiny(epochs=3))
    assert epochs == [1, 2, 3]


def test_test_images_are_looked_at_only_when_training_is_over(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[str, int]] = []
    evaluate = session.evaluate

    def counted(*arguments: Any, split: str, epoch: int) -> Any:
        looks.append((split, epoch))
        return evaluate(*arguments, split=split, epoch=epoch)

    monkeypatch.setattr(session, "evaluate", counted)
    record = train(tiny(epochs=3))
    assert record.metrics is not None
    best = record.metrics.val_best.epoch
    tests = [("test", 3)] + ([("test", best)] if best != 3 else [])
    assert looks == [("val", 1), ("val", 2), ("val", 3), *tests]


def test_best_weights_are_tested_where_the_last_are_not_the_best(
    train: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "best_row", lambda rows: rows[0])
    two_epochs = train(tiny(epochs=2, schedule="constant"))
    monkeypatch.undo()
    one_epoch = train(tiny(epochs=1, schedule="constant"))
    assert two_epochs.metrics is not None
    assert one_epoch.metrics is not None
    assert two_epochs.metrics.test_best == one_epoch.metrics.test_last
    assert two_epochs.metrics.test_last != two_epochs.metrics.test_best


@pytest.mark.parametrize(
    "recipe",
    [
        {"label_smoothing": 0.1},
        {"mixup_alpha": 0.2, "cutmix_alpha": 1.0, "label_smoothing": 0.1},
        {"ema_decay": 0.9, "drop_path_rate": 0.1},
        {"amp": "bf16", "channels_last": True, "ema_decay": 0.9},
        {"optimizer": "adamw", "lr": 1e-3, "clip_grad_norm": 1.0},
        {"optimizer": "lookahead_sgd", "schedule": "step", "warmup_epochs": 1},
        {"augmentation": "randaugment", "batch_size": 500, "schedule": "constant"},
    ],
    ids=lambda recipe: "-".join(recipe),
)
def test_recipes_run(train: Trainer, recipe: dict[str, Any]) -> None:
    spec = tiny("CCCA", **recipe)
    record = train(spec)
    assert record.status == "done"
    assert record.environment is not None
    assert record.environment.dtype == ("bfloat16" if "amp" in recipe else "float32")
    assert (numbers(train.paths(spec))[1][6] != "") == ("ema_decay" in recipe)


@pytest.mark.slow
def test_compiled_run(train: Trainer) -> None:
    spec, plain = tiny("CCCA", compile=True), tiny("CCCA")
    compiled, eager = train(spec), train(plain)
    assert compiled.metrics is not None
    assert eager.metrics is not None
    assert compiled.metrics.val_last.raw.loss == pytest.approx(eager.metrics.val_last.raw.loss, rel=0.05)


def test_listener_hears_every_update_and_every_epoch(train: Trainer) -> None:
    heard: list[Progress] = []
    train(tiny(), heard.append)
    updates = [(progress.epoch, progress.step) for progress in heard if progress.row is None]
    assert updates == [(epoch, step) for epoch in (1, 2) for step in range(1, STEPS + 1)]
    assert [progress.row.epoch for progress in heard if progress.row] == [1, 2]
    assert {(progress.epochs, progress.steps) for progress in heard} == {(2, STEPS)}


def test_record_is_running_while_the_run_trains(train: Trainer) -> None:
    spec = tiny()
    seen: list[tuple[str, int]] = []

    def look(progress: Progress) -> None:
        record = read_record(train.paths(spec))
        assert record is not None
        seen.append((record.status, record.epochs_done))

    train(spec, look)
    assert seen == [("running", 0)] * STEPS + [("running", 1)] * (STEPS + 1) + [("running", 2)]


def test_two_processes_cannot_train_one_run(train: Trainer) -> None:
    spec = tiny()
    train.paths(spec).folder.mkdir()
    with locked(train.paths(spec)), pytest.raises(LockedError):
        train(spec)
    assert not train.paths(spec).record.exists()


def test_sigterm_interrupts(train: Trainer) -> None:
    spec, handler = tiny(), signal.getsignal(signal.SIGTERM)

    def terminate(progress: Progress) -> None:
        if progress.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        train(spec, terminate)
    assert signal.getsignal(signal.SIGTERM) == handler
    record = json.loads(train.paths(spec).record.read_text())
    assert (record["status"], record["epochs_done"]) == ("interrupted", 1)


def test_a_missing_kernel_is_announced_and_recorded(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = [replace(b, missing=lambda: "no compiler") if b.name == "cpu" else b for b in choice.BACKENDS]
    monkeypatch.setattr(choice, "BACKENDS", tuple(absent))
    spec = tiny("CCAA", epochs=1)
    says = "attention falls back to the slower dense, because backend 'cpu' does not run here: no compiler"
    for seed in (0, 1):  # every run says so, not only the first of a process
        again = spec.model_copy(update={"seed": seed})
        with pytest.warns(UserWarning, match=says):
            record = train(again)
        assert record.environment.refused == {"cpu": "no compiler"}
        assert set(record.environment.backends.values()) == {"dense"}
        assert f"UserWarning: {says}" in train.paths(again).log.read_text()


def test_nothing_is_refused_without_attention_or_where_a_backend_is_named(
    train: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = [replace(b, missing=lambda: "no compiler") if b.name == "cpu" else b for b in choice.BACKENDS]
    monkeypatch.setattr(choice, "BACKENDS", tuple(absent))
    for spec in (tiny("CCCC", epochs=1), with_backend(tiny("CCCA", epochs=1), "shift")):
        assert train(spec).environment.refused == {}
        assert "falls back" not in train.paths(spec).log.read_text()


def test_a_backend_chosen_by_an_estimate_is_announced(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "estimate_behind", lambda problem: "backend 'x' is an estimate on y")
    spec = tiny("CCCA", epochs=1)
    with pytest.warns(UserWarning, match="attention backend 'x' is an estimate on y; `sasa bench` compares it"):
        train(spec)
    assert "is an estimate on y" in train.paths(spec).log.read_text()
