"""What `sasa_cli.bench.gpu` found, against the goals and as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from sasa_cli.bench.gpu_checks import Check
from sasa_cli.bench.gpu_times import Mode, Time
from sasa_cli.rendering.table import Column, Table

OPERATORS_MS = 10.0  # all attention operators of a training step of ResNet-50, k = 7, batch 128, bfloat16
MEMORY_SHARE = 0.03  # of the extra memory of the unfold formulation, at 56 x 56
MODEL_RATIO = 1.15  # a training step with attention over one with convolution


@dataclass(frozen=True)
class Layer:
    """A layer of the network, and how many bottlenecks have it."""

    channels: int
    side: int
    count: int

    @property
    def title(self) -> str:
        return f"{self.channels} x {self.side} x {self.side}"

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """(B, C, H, W)."""
        return batch, self.channels, self.side, self.side


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


@dataclass(frozen=True)
class Outcome:
    """Everything that was checked and timed."""

    layers: tuple[Layer, ...]
    checks: tuple[Check, ...]
    rows: tuple[Time, ...]
    models: tuple[Time, ...]

    @property
    def failed(self) -> bool:
        """Whether a check did not pass or a contestant gave no numbers."""
        return not all(check.passed for check in self.checks) or any(
            row.failure is not None for row in (*self.rows, *self.models)
        )

    def layer_times(self, name: str, mode: Mode) -> list[float | None]:
        """Median ms of one contestant on each layer; None where it has none."""
        return [_median(self.row(name, layer, mode)) for layer in self.layers]

    def step_ms(self, name: str, mode: Mode) -> float | None:
        """Ms of all operators of a training step; None where one of them has no time."""
        times = self.layer_times(name, mode)
        if any(time is None for time in times):
            return None
        return sum(layer.count * time for layer, time in zip(self.layers, times, strict=True) if time is not None)

    def memory_share(self, layer: Layer) -> float | None:
        """Extra memory of auto over that of unfold."""
        ours, theirs = (self.row(name, layer, "eager") for name in ("auto", "unfold"))
        if not ours or not theirs or ours.peak_extra_mib is None or not theirs.peak_extra_mib:
            return None
        return ours.peak_extra_mib / theirs.peak_extra_mib

    def model_ratio(self, mode: Mode) -> float | None:
        """Training step with attention over that with convolution."""
        times = {row.name: row.median_ms for row in self.models if row.mode == mode}
        attention, convolution = times.get("attention"), times.get("conv")
        return None if attention is None or convolution is None else attention / convolution

    def row(self, name: str, layer: Layer, mode: Mode) -> Time | None:
        """What is known of one contestant on one layer."""
        same = (row for row in self.rows if (row.name, row.mode) == (name, mode))
        return next((row for row in same if row.shape[1:3] == (layer.channels, layer.side)), None)


def _median(row: Time | None) -> float | None:
    return None if row is None else row.median_ms


def goals(outcome: Outcome) -> list[Goal]:
    """The goals, in the mode in which they are meant: CUDA graphs where there are any."""
    mode = _modes(outcome)[-1]
    largest = max(layer.side for layer in outcome.layers)
    memory = [
        Goal(f"extra memory over unfold's, {layer.title}", MEMORY_SHARE, outcome.memory_share(layer))
        for layer in outcome.layers
        if layer.side == largest
    ]
    return [
        Goal("ms of all attention operators of a step", OPERATORS_MS, outcome.step_ms("auto", mode)),
        *memory,
        Goal("training step, attention over convolution", MODEL_RATIO, outcome.model_ratio(mode)),
    ]


def _modes(outcome: Outcome) -> list[Mode]:
    return list(dict.fromkeys(row.mode for row in outcome.rows))


def tables(outcome: Outcome) -> list[Table]:
    """Checks, times of layers, peak memory, training steps, goals, and everything that failed."""
    by_mode = [_layer_table(outcome, mode) for mode in _modes(outcome)]
    measured = [_check_table(outcome.checks), *by_mode, _memory_table(outcome), _model_table(outcome)]
    failures = [_failure_table(outcome)] if outcome.failed else []
    return [*measured, _goal_table(outcome), *failures]


def _check_table(checks: Sequence[Check]) -> Table:
    """One line for each backend and dtype."""
    columns = (
        *(Column("backend", "left"), Column("dtype", "left"), Column("passed"), Column("largest error")),
        *(Column("tolerance"), Column("same bits twice")),
    )
    kinds = dict.fromkeys((check.backend, check.dtype) for check in checks)
    rows = []
    for backend, dtype in kinds:
        same = [check for check in checks if (check.backend, check.dtype) == (backend, dtype)]
        errors = [check.error for check in same if check.error is not None]
        rows.append(
            (
                *(backend, dtype, f"{sum(check.passed for check in same)} of {len(same)}"),
                *(f"{max(errors):.1e}" if errors else "", f"{same[0].tolerance:.1e}"),
                f"{sum(check.repeats for check in same)} of {len(same)}",
            )
        )
    return Table("Against the reference in float64, output and all gradients", columns, tuple(rows))


def _layer_columns(outcome: Outcome) -> tuple[Column, ...]:
    return tuple(Column(f"{layer.count} of {layer.title}") for layer in outcome.layers)


def _names(outcome: Outcome) -> list[str]:
    return list(dict.fromkeys(row.name for row in outcome.rows))


def _layer_table(outcome: Outcome, mode: Mode) -> Table:
    columns = (Column("what", "left"), *_layer_columns(outcome), Column("all of a step"))
    rows = []
    for name in _names(outcome):
        times = [*outcome.layer_times(name, mode), outcome.step_ms(name, mode)]
        rows.append((name, *("" if time is None else f"{time:.2f}" for time in times)))
    return Table(f"Forward and backward of one layer, ms, {mode}", columns, tuple(rows))


def _memory_table(outcome: Outcome) -> Table:
    """Peak extra memory; it is the same in every mode."""
    rows = []
    for name in _names(outcome):
        found = [outcome.row(name, layer, "eager") for layer in outcome.layers]
        peaks = [None if row is None else row.peak_extra_mib for row in found]
        rows.append((name, *("" if peak is None else f"{peak:.1f}" for peak in peaks)))
    return Table("Peak extra memory of one layer, MiB", (Column("what", "left"), *_layer_columns(outcome)), tuple(rows))


def _model_table(outcome: Outcome) -> Table:
    columns = (Column("training step", "left"), Column("mode", "left"), Column("median ms"), Column("x conv"))
    rows = []
    for row in outcome.models:
        ratio = outcome.model_ratio(row.mode) if row.name == "attention" else None
        times = ("" if number is None else f"{number:.2f}" for number in (row.median_ms, ratio))
        rows.append((row.name, row.mode, *times))
    batch, _, height, width = outcome.models[0].shape
    return Table(f"A training step on {batch} images of {height} x {width} px", columns, tuple(rows))


def _goal_table(outcome: Outcome) -> Table:
    columns = (Column("goal", "left"), Column("at most"), Column("found"), Column("verdict", "left"))
    rows = tuple(
        (goal.what, f"{goal.limit:g}", "" if goal.value is None else f"{goal.value:.3g}", goal.verdict)
        for goal in goals(outcome)
    )
    return Table("Goals", columns, rows)


def _failure_table(outcome: Outcome) -> Table:
    checks = (check for check in outcome.checks if not check.passed)
    rows = [(check.backend, f"{_sizes(check.shape)}, {_settings(check)}", _why(check)) for check in checks]
    timed = (*outcome.rows, *outcome.models)
    rows += [(row.name, f"{_sizes(row.shape)}, {row.mode}", row.failure) for row in timed if row.failure is not None]
    return Table("Failures", (Column("what", "left"), Column("where", "left"), Column("why", "left")), tuple(rows))


def _settings(check: Check) -> str:
    return f"k = {check.spatial_extent}, {check.border} border, {check.dtype}"


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _why(check: Check) -> str:
    if check.error is None:
        return check.failure or ""
    if check.error <= check.tolerance:
        return "other bits the second time"
    return f"error {check.error:.1e}, tolerance {check.tolerance:.1e}"
