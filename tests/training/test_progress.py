import csv

from sasa_cli.runs.record import Evaluation, Scores
from sasa_cli.training.progress import EpochRow, best_row, metrics_csv


def row(epoch: int, top1: float, ema_top1: float | None = None) -> EpochRow:
    ema = None if ema_top1 is None else Scores(loss=0.25, top1=ema_top1, top5=99.5)
    return EpochRow(
        train_loss=1 / 3,
        val=Evaluation(epoch=epoch, raw=Scores(loss=0.1 + 0.2, top1=top1, top5=90.0), ema=ema),
        lr=0.05,
        train_images=100,
        train_seconds=4.0,
        seconds=5.0,
        peak_memory_mib=10.0,
    )


def test_best_epoch_is_the_first_of_the_highest() -> None:
    assert best_row([row(1, 50), row(2, 70), row(3, 70), row(4, 60)]).epoch == 2


def test_moving_average_decides_where_there_is_one() -> None:
    assert best_row([row(1, 90, 10), row(2, 10, 90)]).epoch == 2


def test_table_has_the_columns_of_timm_and_ours_and_reads_back_exactly() -> None:
    text = metrics_csv([row(1, 50), row(2, 60, 70)])
    assert text.splitlines()[0] == (
        "epoch,train_loss,eval_loss,eval_top1,eval_top5,lr,ema_loss,ema_top1,ema_top5,seconds,images_per_second"
    )
    first, second = csv.DictReader(text.splitlines())
    assert float(first["train_loss"]) == 1 / 3
    assert float(first["eval_loss"]) == 0.1 + 0.2
    assert float(first["images_per_second"]) == 25
    assert (first["ema_top1"], second["ema_top1"]) == ("", "70.0")
