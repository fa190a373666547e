"""What the commands show on a terminal: tables, progress and plain lines where there is no terminal. No torch."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich import progress as bars
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.plan import PlannedRun
from sasa_cli.runs.record import RunRecord
from sasa_cli.runs.state import RunState, Status, state_of
from sasa_cli.spec import RunSpec
from sasa_cli.training.progress import Progress

STATUS_STYLE: dict[Status, str] = {
    "done": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "missing": "dim",
}
REFRESH_SECONDS = 2.0
SHOWN_RUNS = 500  # nobody reads more, and a terminal takes seconds for some thousands


def megas(count: int) -> str:
    """A count of parameters in millions."""
    return f"{count / 1e6:.3f} M"


def gigas(count: int) -> str:
    """A count of operations in billions."""
    return f"{count / 1e9:.4g} G"


def sweep_table(runs: Sequence[PlannedRun], states: Sequence[RunState]) -> Table:
    """One row for each run: its cell, cost and state; of a very long sweep the first rows."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header, justify in [("run", "left"), ("params", "right"), ("FLOPs (2 x MACs)", "right"), ("status", "left")]:
        table.add_column(header, justify=justify, no_wrap=header == "run")  # type: ignore[arg-type]
    table.add_column("test top-1 %", justify="right")
    table.add_column("note", overflow="fold")
    for run, state in zip(runs[:SHOWN_RUNS], states, strict=False):
        status = Text(state.status, style=STATUS_STYLE[state.status])
        score = _last_test(state.record)
        table.add_row(run.run_id, megas(run.params), gigas(2 * run.macs), status, score, state.note)
    if len(runs) > SHOWN_RUNS:
        table.add_row(f"and {len(runs) - SHOWN_RUNS:,} more, which --json lists")
    return table


def _last_test(record: RunRecord | None) -> str:
    done = record is not None and record.status == "done" and record.metrics is not None
    return f"{record.metrics.test_last.reported.top1:.2f}" if done and record and record.metrics else ""


def attention_line(record: RunRecord) -> str:
    """Which backends computed attention, and on what: a fallback is never silent."""
    told = record.environment
    if told is None or not told.backends:
        return "attention: none in this net"
    kernel = f", compiled kernel {told.kernel or 'missing: see log.txt'}" if told.device == "cpu" else ""
    backends = ", ".join(dict.fromkeys(told.backends.values()))
    return f"attention: backend {backends}{kernel}; {told.device_name}, {told.threads} threads"


def tally(states: Sequence[RunState]) -> str:
    """`12 done, 2 failed`."""
    counts = Counter[str](state.status for state in states)
    return ", ".join(f"{counts[status]} {status}" for status in STATUS_STYLE if counts[status])


class SweepDisplay:
    """Shows a sweep while it runs: a live table on a terminal, a line for each event elsewhere."""

    def __init__(self, console: Console, runs: Sequence[PlannedRun], results: ExperimentPaths, todo: int) -> None:
        self.console = console
        self.runs = runs
        self.results = results
        self.todo = todo
        self.ended: dict[str, RunState] = {}
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal and not console.quiet else None
        self.next_refresh = 0.0

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._refresh()
            self.live.stop()

    def started(self, spec: RunSpec) -> None:
        if not self.live:
            self.console.print(f"started {spec.run_id}", highlight=False)

    def finished(self, spec: RunSpec, state: RunState) -> None:
        self.ended[spec.run_id] = state
        if not self.live:
            score = f": test top-1 {_last_test(state.record)} %" if state.status == "done" else ""
            seconds = f" in {state.record.seconds:.0f} s" if state.record and state.status == "done" else ""
            note = f": {state.note}" if state.note else ""
            self.console.print(
                f"[{len(self.ended)}/{self.todo}] {state.status} {spec.run_id}{score}{seconds}{note}",
                highlight=False,
            )

    def tick(self) -> None:
        if self.live and time.monotonic() >= self.next_refresh:
            self._refresh()

    def _refresh(self) -> None:
        states = [state_of(self.results.run(run.run_id)) for run in self.runs]
        table = sweep_table(self.runs, states)
        table.caption = f"{tally(states)} of {len(self.runs)} runs"
        if self.live:
            self.live.update(table, refresh=True)
        self.next_refresh = time.monotonic() + REFRESH_SECONDS


class TrainDisplay:
    """Shows one run while it trains: a bar on a terminal, a line for each epoch elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = bars.Progress(
            bars.TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("loss {task.fields[loss]:.3f}"),
            bars.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal or console.quiet,
        )
        self.task = self.bar.add_task("", total=None, epoch=0, epochs=0, loss=0.0)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, progress: Progress) -> None:
        done = (progress.epoch - 1) * progress.steps + progress.step
        self.bar.update(
            self.task,
            completed=done,
            total=progress.epochs * progress.steps,
            epoch=progress.epoch,
            epochs=progress.epochs,
            loss=progress.loss,
        )
        if progress.row is not None:
            row = progress.row
            self.console.print(
                f"epoch {row.epoch}/{progress.epochs}: train loss {row.train_loss:.4f}, "
                f"val top-1 {row.val.reported.top1:.2f} %, {row.images_per_second:.0f} images/s",
                highlight=False,
            )
