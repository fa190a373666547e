"""How weights are updated: optimizer, learning rate, loss, mixing of images and precision, all of them timm's.

Weight decay acts on convolution kernels, matrices and relative embeddings: timm leaves out whatever has one dimension
(batch norm and biases) and what a model names in `no_weight_decay`.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.data import Mixup
from timm.loss import create_classification_loss
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from sasa_cli.errors import SpecError
from sasa_cli.spec import Recipe

STEP_DECAY = 0.1  # factor at each step of schedule `step`
Network = Callable[[Tensor], Tensor]  # images (B, C, H, W) to logits (B, classes)
AMP_DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def mixes_images(recipe: Recipe) -> bool:
    """Whether the images of a batch are mixed, in pairs."""
    return recipe.mixup_alpha > 0 or recipe.cutmix_alpha > 0


def create_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The optimizer of the recipe over all parameters of `model`. Raises `SpecError` where it takes no such values."""
    try:
        optimizer: Optimizer = create_optimizer_v2(
            model, recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum
        )
    except (TypeError, ValueError) as error:
        raise SpecError(f"recipe.optimizer: {recipe.optimizer!r} cannot be made from this recipe: {error}") from error
    return optimizer


def create_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> Scheduler:
    """The learning rate as a function of the number of updates, `steps` to the epoch.

    Warm-up is linear and part of the epochs; the first of its n updates has lr / n.
    """
    schedule: Scheduler = create_scheduler_v2(
        optimizer,
        sched=recipe.schedule,
        num_epochs=recipe.epochs,
        decay_epochs=recipe.decay_epochs,
        decay_rate=STEP_DECAY,
        min_lr=recipe.min_lr,
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.lr / max(1, recipe.warmup_epochs * steps),
        step_on_epochs=False,
        updates_per_epoch=steps,
    )[0]
    return schedule


@dataclass(frozen=True)
class Precision:
    """Where and in which number format the network runs."""

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> "Precision":
        """As the recipe asks for."""
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        return cls(device, AMP_DTYPES[recipe.amp], layout)

    def run(self, network: Network, images: Tensor) -> Tensor:
        """Logits (B, classes) in float32 of `images` (B, C, H, W) on the device."""
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype) if mixed else contextlib.nullcontext():
            return network(images.to(memory_format=self.memory_format)).float()


@dataclass(frozen=True)
class Objective:
    """The loss of a batch, which the optimizer makes smaller."""

    network: Network
    criterion: nn.Module
    mixup: Mixup | None
    precision: Precision

    @classmethod
    def of(cls, recipe: Recipe, model: nn.Module, num_classes: int, precision: Precision) -> "Objective":
        """As the recipe asks for. Compilation concerns training only: evaluation runs the model as it is."""
        mixup = None
        if mixes_images(recipe):
            mixup = Mixup(
                recipe.mixup_alpha,
                recipe.cutmix_alpha,
                label_smoothing=recipe.label_smoothing,
                num_classes=num_classes,
            )
        criterion = create_classification_loss("ce", smoothing=recipe.label_smoothing, soft_targets=mixup is not None)
        network = torch.compile(model) if recipe.compile else model
        return cls(network, criterion, mixup, precision)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of `images` (B, C, H, W), which mixup changes in place, with classes `labels` (B,)."""
        if self.mixup is not None:
            images, labels = self.mixup(images, labels)
        loss: Tensor = self.criterion(self.precision.run(self.network, images), labels)
        return loss
