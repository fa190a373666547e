"""One session of a run: from where the last one left off to the end, or to whatever ends it."""

import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from timm.utils import ModelEmaV3, NativeScaler
from torch import nn

from sasa_cli.attention import Problem, choose_backend, estimate_behind, refused_backends
from sasa_cli.data.catalog import check_available
from sasa_cli.data.loaders import Loader, Place, eval_loader, train_loader
from sasa_cli.data.splits import Splits, load_splits
from sasa_cli.errors import RunError
from sasa_cli.models import build_model
from sasa_cli.runs.files import write_text
from sasa_cli.runs.record import Environment, Evaluation, Metrics, Origin, RunRecord, Sitting
from sasa_cli.spec import RunSpec
from sasa_cli.training.allocator import keep_pages
from sasa_cli.training.checkpoint import TrainingState, load_best, load_checkpoint, save_epoch, settle_best
from sasa_cli.training.checks import check_pairs, run_problems
from sasa_cli.training.devices import DEVICES
from sasa_cli.training.environment import capture_environment
from sasa_cli.training.evaluation import evaluate
from sasa_cli.training.interruption import Interruption
from sasa_cli.training.journal import Journal
from sasa_cli.training.loop import TrainedEpoch, seed_epoch, train_epoch
from sasa_cli.training.optimization import Objective, Precision, create_optimizer, create_schedule
from sasa_cli.training.progress import EpochRow, Progress, best_row, metrics_csv

Listener = Callable[[Progress], None]


class Session:
    """Holds what the epochs of a run have in common."""

    def __init__(
        self, spec: RunSpec, journal: Journal, device: torch.device, data_dir: Path | None, listener: Listener | None
    ) -> None:
        """Load images and build the network.

        Raises:
            SpecError: the recipe does not fit the images.
            DataError: images missing or broken.
        """
        self.spec = spec
        self.journal = journal
        self.device = device
        self.listener = listener
        self.precision = Precision.of(spec.recipe, device)
        DEVICES[device.type].reset_peak_memory(device)
        self.journal.log(f"start of {spec.run_id}, {spec.recipe.epochs} epochs")
        environment = self._capture_environment()
        self.splits = self._load_splits(data_dir)
        self.origin = Origin(data=self.splits.fingerprint, environment=environment)
        journal.update(data=self.origin.data, environment=environment, earlier_sittings=())
        image_size = spec.data.image_size
        place = Place(device, pin_memory=DEVICES[device.type].pins_memory)
        self.train = train_loader(self.splits, spec.recipe, image_size=image_size, seed=spec.seed, place=place)
        self.val = eval_loader(self.splits, "val", spec.recipe, image_size=image_size, place=place)
        self.test = eval_loader(self.splits, "test", spec.recipe, image_size=image_size, place=place)
        self.state = self._new_state()
        self.objective = Objective.of(spec.recipe, self.state.model, self.splits.num_classes, self.precision)
        self._log_setting()

    def take_up_checkpoint(self) -> None:
        """Go on from the checkpoint, if there is one; a record is not needed.

        Raises:
            RunError: it is broken, or made from other images.
        """
        earlier = self.journal.record
        origin = load_checkpoint(self.journal.paths, self.spec.run_id, self.state, len(self.train))
        if not self.state.rows:
            return
        if origin is None and earlier.data is not None and earlier.environment is not None:
            origin = Origin(data=earlier.data, environment=earlier.environment)
        if origin is None:
            raise RunError(f"{self.journal.paths.checkpoint}: says not what it was trained on; start anew with --fresh")
        if origin.data.sha256 != self.origin.data.sha256:
            raise RunError(
                f"{self.journal.paths.folder}: this run began with other images (sha256 {origin.data.sha256[:8]}, "
                f"now {self.origin.data.sha256[:8]}); start anew with --fresh"
            )
        self._append_to(origin)

    def _append_to(self, origin: Origin) -> None:
        """Keep in the record and in checkpoints that the epochs so far were trained under `origin`; warn of others."""
        changes = origin.environment.differences(self.origin.environment)
        earlier = origin.earlier_sittings
        if changes:
            sitting = Sitting(until_epoch=len(self.state.rows), environment=origin.environment)
            earlier = (*earlier, sitting)
            _warn_always(
                f"{self.spec.run_id} goes on after epoch {sitting.until_epoch} with {', '.join(changes)}: its record "
                "says so, and reports keep it apart from runs that were trained under one condition"
            )
        self.origin = self.origin.model_copy(update={"earlier_sittings": earlier})
        self.journal.update(earlier_sittings=earlier)

    def _capture_environment(self) -> Environment:
        allocator = keep_pages() if self.device.type == "cpu" else None
        environment = capture_environment(self.device, self.precision.dtype, allocator)
        for name, value in environment.model_dump(exclude={"backends", "refused"}).items():
            self.journal.log(f"{name}: {value}")
        problems = run_problems(self.spec, self.device)
        requested = self.spec.model.attention.backend
        backends = {layer: choose_backend(problem, requested) for layer, problem in problems.items()}
        refused = self._refused_backends(problems.values())
        if requested == "auto":
            for estimate in sorted({text for problem in problems.values() if (text := estimate_behind(problem))}):
                _warn_always(f"attention {estimate}; `sasa bench` compares it with the others")
        for layer, backend in backends.items():
            self.journal.log(f"attention backend of {layer}: {backend}")
        return environment.model_copy(update={"backends": backends, "refused": refused})

    def _refused_backends(self, problems: Iterable[Problem]) -> dict[str, str]:
        """The attention backends that are preferred, but not here, and why; warns of each."""
        requested = self.spec.model.attention.backend
        instead: dict[str, set[str]] = {}
        refused: dict[str, str] = {}
        for problem in problems:
            for name, why in refused_backends(problem, requested).items():
                refused[name] = why
                instead.setdefault(name, set()).add(choose_backend(problem, requested))
        for name, why in refused.items():
            _warn_always(
                f"attention falls back to the slower {' and '.join(sorted(instead[name]))}, because backend "
                f"{name!r} does not run here: {why}"
            )
        return refused

    def _load_splits(self, data_dir: Path | None) -> Splits:
        check_available(self.spec.data, data_dir)
        splits = load_splits(self.spec.data, data_dir)
        check_pairs(self.spec.recipe, min(self.spec.recipe.batch_size, len(splits.train)))
        for note in splits.fingerprint.notes:
            self.journal.log(f"data: {note}")
        return splits

    def _new_state(self) -> TrainingState:
        recipe = self.spec.recipe
        seed_epoch(self.spec.seed, 0)
        model = build_model(self.spec.model, self.splits.num_classes, drop_path_rate=recipe.drop_path_rate)
        model.to(self.device).to(memory_format=self.precision.memory_format)
        optimizer = create_optimizer(model, recipe)
        return TrainingState(
            model=model,
            optimizer=optimizer,
            schedule=create_schedule(optimizer, recipe, len(self.train)),
            scaler=NativeScaler(self.device.type) if recipe.amp == "fp16" else None,
            ema=ModelEmaV3(model, decay=recipe.ema_decay) if recipe.ema_decay is not None else None,
        )

    def _log_setting(self) -> None:
        log = self.journal.log
        data = self.splits.fingerprint
        log(f"data: {data.name}, {data.train} train, {data.val} val and {data.test} test images")
        for group in self.state.optimizer.param_groups:
            parameters = sum(parameter.numel() for parameter in group["params"])
            log(f"optimizer: weight decay {group['weight_decay']:g} on {parameters} parameters")
        log(f"peak memory: {DEVICES[self.device.type].memory_meaning}")

    def run(self, interruption: Interruption) -> RunRecord:
        """Train the epochs that are missing, then look at test; gives the finished record.

        Args:
            interruption: Waits while an epoch is saved.

        Raises:
            RunError: a loss is not finite, or a file cannot be written.
        """
        done, epochs = len(self.state.rows), self.spec.recipe.epochs
        self.journal.log(f"resumes after epoch {done}" if done else "begins with epoch 1")
        settle_best(self.journal.paths, self.spec.run_id, self.state.rows)
        self._write_progress()
        for epoch in range(done + 1, epochs + 1):
            self._run_epoch(epoch, epochs, interruption)
        self._finish()
        return self.journal.record

    def _run_epoch(self, epoch: int, epochs: int, interruption: Interruption) -> None:
        listener = self.listener or (lambda progress: None)
        steps = len(self.train)
        trained = train_epoch(
            self.state,
            self.objective,
            self.train,
            epoch=epoch,
            seed=self.spec.seed,
            clip_grad_norm=self.spec.recipe.clip_grad_norm,
            report=lambda step, loss: listener(Progress(epoch, epochs, step, steps, loss)),
        )
        row = self._finished_row(epoch, trained)
        self.state.rows.append(row)
        with interruption.held():
            save_epoch(self.journal.paths, self.spec.run_id, self.state, self.origin)
            self._write_progress()
            self._log_epoch(row)
        listener(Progress(epoch, epochs, steps, steps, row.train_loss, row))

    def _finished_row(self, epoch: int, trained: TrainedEpoch) -> EpochRow:
        started = time.perf_counter()
        val = self._evaluate(self.val, "val", epoch)
        return EpochRow(
            train_loss=trained.loss,
            val=val,
            lr=trained.lr,
            train_images=trained.images,
            train_seconds=trained.seconds,
            seconds=trained.seconds + time.perf_counter() - started,
            peak_memory_mib=DEVICES[self.device.type].peak_memory_mib(self.device),
        )

    def _evaluate(self, loader: Loader, split: str, epoch: int) -> Evaluation:
        weights: dict[str, nn.Module] = {"raw": self.state.model}
        if self.state.ema is not None:
            weights["ema"] = self.state.ema.module
        scores = {
            name: evaluate(model, loader, self.precision, split=split, epoch=epoch) for name, model in weights.items()
        }
        return Evaluation(epoch=epoch, **scores)

    def _write_progress(self) -> None:
        rows = self.state.rows
        write_text(self.journal.paths.metrics, metrics_csv(rows))
        seconds = sum(row.train_seconds for row in rows)
        self.journal.update(
            epochs_done=len(rows),
            seconds=sum(row.seconds for row in rows),
            images_per_second=sum(row.train_images for row in rows) / seconds if rows else None,
            peak_memory_mib=max((row.peak_memory_mib for row in rows), default=None),
        )

    def _log_epoch(self, row: EpochRow) -> None:
        raw, ema = row.val.raw, row.val.ema
        self.journal.log(
            f"epoch {row.epoch}: train loss {row.train_loss:.4f}, val loss {raw.loss:.4f}, val top-1 {raw.top1:.2f} %"
            + (f" (EMA {ema.top1:.2f} %)" if ema else "")
            + f", {row.seconds:.1f} s, {row.images_per_second:.0f} images/s"
        )

    def _finish(self) -> None:
        """Look at test, with the last weights and with the best, and close the record."""
        started = time.perf_counter()
        rows = self.state.rows
        last, best = rows[-1], best_row(rows)
        test_last = test_best = self._evaluate(self.test, "test", last.epoch)
        if best is not last:
            load_best(self.journal.paths, self.spec.run_id, self.state, best.epoch)
            test_best = self._evaluate(self.test, "test", best.epoch)
        self.journal.update(
            status="done",
            seconds=self.journal.record.seconds + time.perf_counter() - started,
            metrics=Metrics(val_last=last.val, val_best=best.val, test_last=test_last, test_best=test_best),
        )
        self.journal.log(
            f"done: test top-1 {test_last.reported.top1:.2f} % with the last weights, "
            f"{test_best.reported.top1:.2f} % with the best on val (epoch {best.epoch})"
        )


def _warn_always(message: str) -> None:
    """Warn in every run of a process, not only in the first."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(message, stacklevel=1)
