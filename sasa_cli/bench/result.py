"""What a bench finds, as plain data: checks, times, and the machine that they come from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sasa_cli.bench.checks import Check
from sasa_cli.bench.contestants import Layout

Shape = tuple[int, int, int, int]
Mode = Literal["eager", "graph"]


@dataclass(frozen=True)
class Row:
    """Forward and backward of one contestant on one layer, or a training step of a network, in its faster layout."""

    name: str
    layout: Layout
    backend: str | None
    """The attention backend that did the work; None where there is none of ours."""
    shape: Shape
    """(B, C, H, W) of the layer, or of the images."""
    spatial_extent: int
    dtype: str
    mode: Mode
    """graph: replayed from a CUDA graph, so that kernel launches cost next to nothing."""
    median_ms: float | None
    low_ms: float | None
    """First quartile."""
    high_ms: float | None
    """Third quartile."""
    repeats: int
    kept_ms: float | None
    """The median once more, in a process whose allocator keeps freed pages; None where it could not be made to."""
    peak_extra_mib: float | None
    failure: str | None
    """Why there is no time, or no peak."""


@dataclass(frozen=True)
class BenchResult:
    """All that was checked and timed so far, and the machine."""

    environment: dict[str, Any]
    heads: int
    checks: tuple[Check, ...] = ()
    rows: tuple[Row, ...] = ()
    models: tuple[Row, ...] = ()

    @property
    def failures(self) -> list[str]:
        """A line for each check that did not pass and each contestant that gave no numbers."""
        wrong = [f"{check.backend}: {check.where}: {check.why}" for check in self.checks if not check.passed]
        rows = [row for row in (*self.rows, *self.models) if row.failure is not None]
        return wrong + [f"{row.name}: {where(row)}: {row.failure}" for row in rows]

    def payload(self) -> dict[str, Any]:
        """What `sasa bench --json` prints."""
        return self.environment | {
            "heads": self.heads,
            "checks": [asdict(check) | {"passed": check.passed} for check in self.checks],
            "rows": [asdict(row) for row in self.rows],
            "models": [asdict(row) for row in self.models],
        }


def where(row: Row) -> str:
    """`16 x 64 x 56 x 56, k = 7, bfloat16, graph`."""
    return f"{sizes(row.shape)}, k = {row.spatial_extent}, {row.dtype}, {row.mode}"


def sizes(shape: Sequence[int]) -> str:
    """`16 x 64 x 56 x 56`."""
    return " x ".join(map(str, shape))
