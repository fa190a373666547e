"""What goes wrong is said once, clearly, and is in the record."""

import errno
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sasa_cli.attention import Problem, choice
from sasa_cli.errors import DataError, RunError, SasaError, SpecError
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import Failure, read_record
from sasa_cli.runs.state import state_of
from sasa_cli.spec import RunSpec
from sasa_cli.training.evaluation import NonFiniteLossError
from sasa_cli.training.run import Progress

from .runs import STEPS, Trainer, same_run, tiny, with_backend


def failure_of(paths: RunPaths) -> Failure:
    record = read_record(paths)
    assert record is not None
    assert record.status == "failed"
    assert record.error is not None
    return record.error


def test_loss_that_is_not_finite_stops_the_run_and_names_the_step(train: Trainer) -> None:
    spec = tiny(lr=1e30)
    with pytest.raises(NonFiniteLossError, match=r"the loss is (nan|inf) in epoch 1, step 2"):
        train(spec)
    failure = failure_of(train.paths(spec))
    assert (failure.kind, failure.epoch, failure.step) == ("NonFiniteLossError", 1, 2)
    assert "Traceback" in failure.traceback
    assert not train.paths(spec).checkpoint.exists()


def test_loss_on_val_that_is_not_finite_stops_the_run(train: Trainer) -> None:
    spec = tiny(data={"train_images": 64}, lr=1e30)  # one update, whose loss is still finite
    with pytest.raises(NonFiniteLossError, match="the loss on val after epoch 1 is nan"):
        train(spec)
    failure = failure_of(train.paths(spec))
    assert (failure.epoch, failure.step) == (1, None)


def test_loss_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(NonFiniteLossError("the loss is nan", 3, 4)))
    assert (str(error), error.epoch, error.step) == ("the loss is nan", 3, 4)


def test_any_other_error_becomes_a_run_error_with_its_traceback_on_record(train: Trainer) -> None:
    spec = tiny()

    def break_down(progress: Progress) -> None:
        raise MemoryError("no more of it")

    with pytest.raises(RunError, match=f"^{spec.run_id}: MemoryError: no more of it$") as caught:
        train(spec, break_down)
    assert isinstance(caught.value.__cause__, MemoryError)
    failure = failure_of(train.paths(spec))
    assert (failure.kind, failure.message) == ("MemoryError", "no more of it")
    assert "in break_down" in failure.traceback


def test_interruption_is_recorded_and_goes_on_up(train: Trainer) -> None:
    spec = tiny()

    def interrupt(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, interrupt)
    record = read_record(train.paths(spec))
    assert record is not None
    assert (record.status, record.epochs_done, record.error) == ("interrupted", 1, None)
    assert train(spec).status == "done"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"optimizer": "sdg"}, "recipe.optimizer: 'sdg' is no optimizer of timm (did you mean 'sgd'?)"),
        ({"optimizer": "adahessian"}, "recipe.optimizer: 'adahessian' needs second derivatives"),
        ({"optimizer": "fusedsgd"}, "recipe.optimizer: 'fusedsgd' does not run here: CUDA required"),
        ({"amp": "fp16"}, "recipe.amp: fp16 is not possible on this CPU; allowed are off and bf16"),
        ({"mixup_alpha": 0.2, "batch_size": 33}, "recipe.batch_size: batches of 33 images are odd"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_impossible_recipes_are_refused_before_anything_is_written(
    train: Trainer, recipe: dict[str, Any], message: str
) -> None:
    spec = tiny(**recipe)
    with pytest.raises(SpecError) as caught:
        train(spec)
    assert str(caught.value).startswith(message)
    assert not train.paths(spec).folder.exists()


def test_backend_that_does_not_run_here_is_refused(train: Trainer) -> None:
    with pytest.raises(SpecError, match=r"model\.attention\.backend: 'abacus' is none; allowed are auto, "):
        train(with_backend(tiny("AAAA"), "abacus"))


def test_backend_that_cannot_compute_a_layer_is_refused(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def supports(problem: Problem) -> str | None:
        return f"maps of 2 x 2 are too small, in {problem.dtype}" if problem.pixels == 4 else None

    picky = [replace(b, supports=supports) if b.name == "shift" else b for b in choice.BACKENDS]
    monkeypatch.setattr(choice, "BACKENDS", tuple(picky))
    spec = with_backend(tiny("CCAA", amp="bf16"), "shift")
    says = (
        r"model\.attention\.backend: layer4\.0\.conv2: backend 'shift' cannot compute this: maps .* in torch.bfloat16"
    )
    with pytest.raises(SpecError, match=says):
        train(spec)
    assert not train.paths(spec).folder.exists()


def test_absent_gpu_is_refused(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SpecError, match="--device cuda: no CUDA device is available here; allowed are auto and cpu"):
        train(tiny(), device="cuda")


@pytest.mark.parametrize(
    ("data", "recipe", "kind", "message"),
    [
        ({"name": "cifar10", "root": "/nowhere", "train_images": None}, {}, DataError, "cifar10: no "),
        ({"train_images": 10**6}, {}, SpecError, "data.train_images: 1000000 is too many"),
        ({"train_images": 33}, {"mixup_alpha": 0.2}, SpecError, "recipe.batch_size: batches of 33 images are odd"),
    ],
    ids=["absent", "too-many", "odd"],
)
def test_data_that_does_not_serve_leaves_no_record_of_a_run_that_never_began(
    train: Trainer, data: dict[str, Any], recipe: dict[str, Any], kind: type[SasaError], message: str
) -> None:
    spec = tiny(data=data, **recipe)
    with pytest.raises(kind, match=message):
        train(spec)
    assert [file.name for file in train.paths(spec).folder.iterdir()] == [".lock"]
    assert state_of(train.paths(spec)).status == "missing"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes fail, as on a full disk."""
    earlier, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (earlier, hard))


def train_until_full(train: Trainer, spec: RunSpec, size: int) -> str:
    """Train on a disk that is full after the first epoch; gives the message."""
    with file_size_limit(resource.RLIM_INFINITY):

        def fill(progress: Progress) -> None:
            if (progress.epoch, progress.step) == (2, STEPS) and progress.row is None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        with pytest.raises(RunError) as caught:
            train(spec, fill)
    return str(caught.value)


def test_full_disk_keeps_the_last_checkpoint(train: Trainer, tmp_path: Path) -> None:
    spec, elsewhere = tiny("CCCA"), Trainer(tmp_path / "undisturbed")
    paths = train.paths(spec)
    message = train_until_full(train, spec, 100_000)
    assert message in [f"{file}: cannot be written: File too large" for file in (paths.best, paths.checkpoint)]
    assert failure_of(paths).message == message
    assert not list(paths.folder.glob(".*.pt.*"))
    train(spec)
    elsewhere(spec)
    assert same_run(paths, elsewhere.paths(spec))


def test_disk_too_full_for_the_record_is_said_in_the_same_message(train: Trainer) -> None:
    spec = tiny()
    paths = train.paths(spec)
    message = train_until_full(train, spec, 10)
    assert message.endswith(
        f": cannot be written: File too large; nor could this be recorded: {paths.record}: cannot be written: "
        "File too large"
    )
    assert "\n" not in message
    record = read_record(paths)
    assert record is not None
    assert (record.status, record.epochs_done) == ("running", 1)


def test_broken_record_is_one_message(train: Trainer) -> None:
    spec = tiny()
    paths = train.paths(spec)
    paths.folder.mkdir()
    paths.record.write_text("{")
    with pytest.raises(RunError, match=r"record\.json: broken, .*; start anew with --fresh$"):
        train(spec)


def test_folder_that_cannot_be_made_is_one_message(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match="cannot make this folder for results: Permission denied"):
        train(tiny())
