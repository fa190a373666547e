"""Loss and accuracy of a network on a split."""

import math
from collections.abc import Iterable

import torch
from timm.task import ClassificationEvaluator
from torch import Tensor, nn

from sasa_cli.errors import RunError
from sasa_cli.runs.record import Scores
from sasa_cli.training.optimization import Precision


class NonFiniteLossError(RunError):
    """A loss is NaN or infinite: nothing after it means anything."""

    def __init__(self, message: str, epoch: int | None = None, step: int | None = None) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step


def evaluate(
    model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], precision: Precision, *, split: str, epoch: int
) -> Scores:
    """Scores over all batches of `loader`: images (B, C, H, W) and classes (B,), on the model's device.

    Hits are counted as integers, so that scores of equal predictions are equal. With fewer than five classes, top-5
    counts all of them. `split` and `epoch` only name the place in errors.

    Raises:
        NonFiniteLossError: the mean loss is NaN or infinite.
    """
    model.eval()
    evaluator = ClassificationEvaluator(precision.device)
    with torch.inference_mode():
        for images, labels in loader:
            evaluator.update(precision.run(model, images), labels)
    scores = Scores(**evaluator.compute())
    if not math.isfinite(scores.loss):
        raise NonFiniteLossError(f"the loss on {split} after epoch {epoch} is {scores.loss}", epoch)
    return scores
