"""One epoch of training."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from timm.utils import AverageMeter, dispatch_clip_grad
from torch import Tensor

from sasa_cli.data.loaders import Loader
from sasa_cli.training.checkpoint import TrainingState
from sasa_cli.training.devices import DEVICES, seed_everything
from sasa_cli.training.evaluation import NonFiniteLossError
from sasa_cli.training.optimization import Objective

TRAINING_STREAM = 1  # sets its seeds apart from those of the batches


@dataclass(frozen=True)
class TrainedEpoch:
    """What one epoch of updates gave."""

    loss: float
    """Mean over the updates."""
    lr: float
    """Of the last update."""
    images: int
    seconds: float


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed all generators of random numbers for one epoch of the run `seed`; epoch 0 is for the first weights."""
    seed_everything(int(np.random.SeedSequence((seed, epoch, TRAINING_STREAM)).generate_state(1)[0]))


def train_epoch(
    state: TrainingState,
    objective: Objective,
    loader: Loader,
    *,
    epoch: int,
    seed: int,
    clip_grad_norm: float | None,
    report: Callable[[int, float], None],
) -> TrainedEpoch:
    """Update the weights once for each batch of `epoch`.

    Dropped paths and mixed images depend on `seed`, epoch and step alone: the loader draws from generators of its own.

    Args:
        state: Changed in place.
        objective: The loss to make smaller.
        loader: Batches of train.
        epoch: Counted from 1.
        seed: Of the run.
        clip_grad_norm: Greatest norm of all gradients together; None: any.
        report: Called with step and loss, as often as the loss is read.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite; names the step.
    """
    started = time.perf_counter()
    steps, images_seen = len(loader), 0
    losses = _Losses(epoch)
    interval = DEVICES[objective.precision.device.type].steps_between_losses
    state.model.train()
    seed_epoch(seed, epoch)
    loader.set_epoch(epoch)
    for step, (images, labels) in enumerate(loader, 1):
        lr = state.optimizer.param_groups[0]["lr"]
        losses.unread.append(_update(state, objective, images, labels, clip_grad_norm))
        state.schedule.step_update((epoch - 1) * steps + step)
        images_seen += len(images)
        if step % interval == 0 or step == steps:
            report(step, losses.read())
    return TrainedEpoch(losses.meter.avg, lr, images_seen, time.perf_counter() - started)


class _Losses:
    """The losses of an epoch, left on the device until they are read."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.meter = AverageMeter()
        self.unread: list[Tensor] = []

    def read(self) -> float:
        """Read the new losses; gives the last. Raises `NonFiniteLossError`."""
        for loss in torch.stack(self.unread).tolist():
            self.meter.update(loss)
            if not math.isfinite(loss):
                step = self.meter.count
                raise NonFiniteLossError(f"the loss is {loss} in epoch {self.epoch}, step {step}", self.epoch, step)
        self.unread.clear()
        last: float = self.meter.val
        return last


def _update(
    state: TrainingState, objective: Objective, images: Tensor, labels: Tensor, clip_grad_norm: float | None
) -> Tensor:
    """One step of the optimizer; gives the loss before it, without waiting for the device."""
    state.optimizer.zero_grad()
    loss = objective(images, labels)
    if state.scaler is not None:
        state.scaler(loss, state.optimizer, clip_grad=clip_grad_norm, parameters=state.model.parameters())
    else:
        loss.backward()
        if clip_grad_norm is not None:
            dispatch_clip_grad(state.model.parameters(), clip_grad_norm)
        state.optimizer.step()
    if state.ema is not None:
        state.ema.update(state.model)
    return loss.detach()
