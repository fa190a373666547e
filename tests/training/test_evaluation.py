import pytest
import torch
from timm.utils import accuracy
from torch import nn

from sasa_cli.spec import Recipe
from sasa_cli.training.evaluation import NonFiniteLossError, evaluate
from sasa_cli.training.optimization import Precision

PRECISION = Precision.of(Recipe(), torch.device("cpu"))


class Table(nn.Module):
    """Gives the images, which are logits already; only in evaluation."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return images[:, :, 0, 0]


@pytest.mark.parametrize("classes", [3, 10])
def test_scores_are_means_over_images_not_over_batches(classes: int) -> None:
    logits, labels = torch.randn(70, classes, 1, 1), torch.randint(classes, (70,))
    batches = [(logits[:64], labels[:64]), (logits[64:], labels[64:])]  # the last one is short
    scores = evaluate(Table(), batches, PRECISION, split="val", epoch=1)
    flat = logits[:, :, 0, 0]
    top1, top5 = accuracy(flat, labels, topk=(1, 5))
    assert scores.loss == pytest.approx(nn.functional.cross_entropy(flat, labels).item())
    assert (scores.top1, scores.top5) == pytest.approx((top1.item(), top5.item()))


def test_loss_that_is_not_finite_is_an_error() -> None:
    batches = [(torch.full((2, 3, 1, 1), torch.nan), torch.tensor([0, 1]))]
    with pytest.raises(NonFiniteLossError, match="the loss on test after epoch 4 is nan") as caught:
        evaluate(Table(), batches, PRECISION, split="test", epoch=4)
    assert (caught.value.epoch, caught.value.step) == (4, None)
