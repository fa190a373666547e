"""One epoch of training."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from timm.utils import AverageMeter, dispatch_clip_grad, random_seed
from torch import Tensor

from sasa_cli.data.loaders import Loader
from sasa_cli.training.checkpoint import TrainingState
from sasa_cli.training.evaluation import NonFiniteLossError
from sasa_cli.training.optimization import Objective

# Reading the loss makes the program wait for a GPU, so there it is read for many steps at once.
STEPS_BETWEEN_LOSSES = {"cpu": 1, "cuda": 50}
UPDATE_STREAM = 1  # sets these seeds apart from those of the batches


@dataclass(frozen=True)
class TrainedEpoch:
    """What one epoch of updates gave."""

    loss: float
    """Mean over the updates."""
    lr: float
    """Of the last update."""
    images: int
    seconds: float


def update_seeds(seed: int, epoch: int, steps: int) -> list[int]:
    """A seed for each update of an epoch (0: for the first weights), from the run's seed."""
    seeds: list[int] = np.random.SeedSequence((seed, epoch, UPDATE_STREAM)).generate_state(steps).tolist()
    return seeds


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

    Dropped paths and mixed images depend on `seed`, epoch and step alone, whatever ran before.

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
    steps = len(loader)
    interval = STEPS_BETWEEN_LOSSES[objective.precision.device.type]
    mean_loss, unread, images_seen = AverageMeter(), [], 0
    state.model.train()
    loader.set_epoch(epoch)
    for step, ((images, labels), update_seed) in enumerate(
        zip(loader, update_seeds(seed, epoch, steps), strict=True), 1
    ):
        random_seed(update_seed)
        lr = state.optimizer.param_groups[0]["lr"]
        unread.append(_update(state, objective, images, labels, clip_grad_norm))
        state.schedule.step_update((epoch - 1) * steps + step)
        images_seen += len(images)
        if len(unread) == interval or step == steps:
            for place, loss in enumerate(torch.stack(unread).tolist(), step - len(unread) + 1):
                if not math.isfinite(loss):
                    raise NonFiniteLossError(f"the loss is {loss} in epoch {epoch}, step {place}", epoch, place)
                mean_loss.update(loss)
            report(step, mean_loss.val)
            unread.clear()
    return TrainedEpoch(mean_loss.avg, lr, images_seen, time.perf_counter() - started)


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
