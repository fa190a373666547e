"""What a run says of each epoch, and the table of them: `metrics.csv`. Imports no torch."""

import csv
import io
from dataclasses import dataclass

from sasa_cli.runs.record import Evaluation, Stored

COLUMNS = (  # up to lr as in timm's summary.csv
    *("epoch", "train_loss", "eval_loss", "eval_top1", "eval_top5", "lr"),
    *("ema_loss", "ema_top1", "ema_top5", "seconds", "images_per_second"),
)


class EpochRow(Stored):
    """One finished epoch."""

    train_loss: float
    """Mean over the updates, as optimised: with label smoothing, mixup and augmentation."""
    val: Evaluation
    lr: float
    """Of the last update."""
    train_images: int
    train_seconds: float
    seconds: float
    """Training and evaluation."""
    peak_memory_mib: float

    @property
    def epoch(self) -> int:
        """Counted from 1."""
        return self.val.epoch

    @property
    def images_per_second(self) -> float:
        """Training images over training seconds."""
        return self.train_images / self.train_seconds


@dataclass(frozen=True)
class Progress:
    """How far a run is: after an update, or with `row` after the evaluation that ends an epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    row: EpochRow | None = None


def best_row(rows: list[EpochRow]) -> EpochRow:
    """The epoch with the highest reported top-1 on val; the earlier one where several have it."""
    return max(rows, key=lambda row: (row.val.reported.top1, -row.epoch))


def metrics_csv(rows: list[EpochRow]) -> str:
    """The text of `metrics.csv`; numbers in full, so that they read back exactly."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        raw, ema = row.val.raw, row.val.ema
        averaged = (ema.loss, ema.top1, ema.top5) if ema else ("", "", "")
        trained = (row.epoch, row.train_loss, raw.loss, raw.top1, raw.top5, row.lr)
        table.writerow((*trained, *averaged, row.seconds, row.images_per_second))
    return text.getvalue()
