"""What was aimed at on a GPU, for a ResNet-50 with attention in every stage, and whether it was reached."""

from dataclasses import dataclass

from sasa_cli.bench.result import BenchResult, Mode, Row, sizes
from sasa_cli.rendering.table import Column, Table

OPERATORS_MS = 10.0  # all attention operators of a training step of ResNet-50, k = 7, batch 128, bfloat16
MEMORY_SHARE = 0.03  # of the extra memory of the unfold formulation, at 56 x 56
MODEL_RATIO = 1.15  # a training step with attention over one with convolution
BATCH, EXTENT = 128, 7
# (C, H, W) of the layers of a ResNet-50 at 224 px in which attention stands, and how many bottlenecks have each.
RESNET50 = {
    (64, 56, 56): 3,
    (128, 56, 56): 1,
    (128, 28, 28): 3,
    (256, 28, 28): 1,
    (256, 14, 14): 5,
    (512, 14, 14): 1,
    (512, 7, 7): 2,
}
MEMORY_LAYER = (64, 56, 56)


@dataclass(frozen=True)
class Goal:
    """A number that was aimed at."""

    what: str
    limit: float
    value: float | None
    """None where something that it needs failed."""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.value <= self.limit else "missed"


def goals(result: BenchResult, dtype: str = "bfloat16") -> list[Goal]:
    """The goals, in the mode in which they are meant: CUDA graphs, if there are any. None where no layer is theirs."""
    rows = [row for row in result.rows if row.dtype == dtype and row.spatial_extent == EXTENT]
    if not any(row.shape == (BATCH, *MEMORY_LAYER) for row in rows):
        return []
    modes: list[Mode] = ["graph"] if any(row.mode == "graph" for row in rows) else ["eager"]
    mode = modes[0]
    ours, theirs = (_row(rows, name, MEMORY_LAYER, "eager") for name in ("auto", "unfold"))
    return [
        Goal("ms of all attention operators of a step", OPERATORS_MS, _step_ms(rows, mode)),
        Goal(f"extra memory over unfold's, {sizes(MEMORY_LAYER)}", MEMORY_SHARE, _share(ours, theirs)),
        Goal("training step, attention over convolution", MODEL_RATIO, _model_ratio(result, dtype, mode)),
    ]


def goal_table(found: list[Goal]) -> Table:
    """A row for each goal."""
    columns = (Column("goal", "left"), Column("at most"), Column("found"), Column("verdict", "left"))
    rows = tuple(
        (goal.what, f"{goal.limit:g}", "" if goal.value is None else f"{goal.value:.3g}", goal.verdict)
        for goal in found
    )
    return Table("Goals", columns, rows)


def _step_ms(rows: list[Row], mode: Mode) -> float | None:
    """Ms of all attention operators of a training step; None where one of them has no time."""
    found = [(count, _row(rows, "auto", layer, mode)) for layer, count in RESNET50.items()]
    times = [(count, row.median_ms) for count, row in found if row is not None and row.median_ms is not None]
    return sum(count * time for count, time in times) if len(times) == len(found) else None


def _share(ours: Row | None, theirs: Row | None) -> float | None:
    if ours is None or theirs is None or ours.peak_extra_mib is None or not theirs.peak_extra_mib:
        return None
    return ours.peak_extra_mib / theirs.peak_extra_mib


def _model_ratio(result: BenchResult, dtype: str, mode: Mode) -> float | None:
    times = {row.name.split()[-1]: row.median_ms for row in result.models if (row.mode, row.dtype) == (mode, dtype)}
    attention, convolution = times.get("attention"), times.get("conv")
    return None if attention is None or convolution is None else attention / convolution


def _row(rows: list[Row], name: str, layer: tuple[int, int, int], mode: Mode) -> Row | None:
    wanted = (name, (BATCH, *layer), mode)
    return next((row for row in rows if (row.name, row.shape, row.mode) == wanted), None)
