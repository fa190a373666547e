"""`sasa bench` from the layers to be timed to a result that can be printed, stored and drawn."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from sasa_cli import __version__
from sasa_cli.attention import available_backends, choose_backend
from sasa_cli.bench.contestants import Contestant, Layout, Workload, contestants
from sasa_cli.bench.memory import measure_peaks
from sasa_cli.bench.timing import Timing, interleaved
from sasa_cli.bench.whole_model import training_steps
from sasa_cli.training.environment import device_name

Shape = tuple[int, int, int, int]
# The layers of a ResNet that a 3x3 convolution or attention stands in, as (B, C, H, W).
LAYERS_224: tuple[Shape, ...] = ((16, 64, 56, 56), (16, 128, 28, 28), (16, 256, 14, 14), (16, 512, 7, 7))
LAYERS_32: tuple[Shape, ...] = ((64, 64, 32, 32), (64, 128, 16, 16), (64, 256, 8, 8), (64, 512, 4, 4))
EXTENTS = (3, 7, 11)
MODEL_IMAGES: Shape = (16, 3, 224, 224)
MODEL_EXTENT = 7
ALLOCATOR_VARIABLES = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "PYTORCH_CUDA_ALLOC_CONF")


@dataclass(frozen=True)
class BenchOptions:
    """What is timed and how long."""

    shapes: tuple[Shape, ...] = LAYERS_224 + LAYERS_32
    extents: tuple[int, ...] = EXTENTS
    heads: int = 8
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    repeats: int = 15
    budget_seconds: float = 10.0
    """For each layer and k; at least three rounds are timed whatever they take."""
    whole_model: bool = True


@dataclass(frozen=True)
class Row:
    """One contestant on one layer, in the layout that is faster for it."""

    name: str
    layout: Layout
    backend: str | None
    """The attention backend that did the work; None where there is none of ours."""
    shape: Shape
    spatial_extent: int
    dtype: str
    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    peak_extra_mib: float | None


@dataclass(frozen=True)
class BenchResult:
    """All rows, and the machine that they come from."""

    environment: dict[str, Any]
    rows: tuple[Row, ...]
    models: tuple[Row, ...]

    def payload(self) -> dict[str, Any]:
        """What `sasa bench --json` prints."""
        return self.environment | {
            "rows": [asdict(row) for row in self.rows],
            "models": [asdict(row) for row in self.models],
        }


def run_bench(options: BenchOptions, progress: Callable[[str], None]) -> BenchResult:
    """Time all layers, then whole training steps. Raises `RunError` where memory cannot be measured."""
    rows: list[Row] = []
    for shape in options.shapes:
        for extent in options.extents:
            progress(f"{' x '.join(map(str, shape))}, k = {extent}")
            work = Workload(shape, extent, options.heads, options.dtype, options.device)
            rows += _layer_rows(work, options)
    models: Sequence[Row] = ()
    if options.whole_model:
        progress("training step of ResNet-26")
        models = _model_rows(options)
    return BenchResult(_environment(options.device), tuple(rows), tuple(models))


def _layer_rows(work: Workload, options: BenchOptions) -> list[Row]:
    entered = list(contestants(work))
    steps = {f"{each.name} {each.layout}": each.step(work) for each in entered}
    timings = interleaved(steps, work.device, repeats=options.repeats, budget_seconds=options.budget_seconds)
    best: dict[str, tuple[Contestant, Timing]] = {}
    for each in entered:
        timing = timings[f"{each.name} {each.layout}"]
        if each.name not in best or timing.median_ms < best[each.name][1].median_ms:
            best[each.name] = (each, timing)
    del steps
    peaks = measure_peaks(work, [each for each, _ in best.values()])
    return [
        _row(each.name, each.layout, _backend_of(each.name, work), work.shape, work.spatial_extent, timing, peak)
        for (each, timing), peak in zip(best.values(), peaks, strict=True)
    ]


def _backend_of(name: str, work: Workload) -> str | None:
    if name.startswith("auto"):
        return choose_backend(work.problem, "auto")
    return name if name in available_backends() else None


def _model_rows(options: BenchOptions) -> list[Row]:
    steps = training_steps(MODEL_IMAGES, MODEL_EXTENT, options.device)
    named = {f"{net} {layout}": step for (net, layout), step in steps.items()}
    timings = interleaved(named, options.device, repeats=5, budget_seconds=8 * options.budget_seconds)
    rows = []
    for net in dict.fromkeys(net for net, _ in steps):
        layouts: list[Layout] = [layout for other, layout in steps if other == net]
        layout = min(layouts, key=lambda each: timings[f"{net} {each}"].median_ms)
        timing = timings[f"{net} {layout}"]
        rows.append(_row(f"ResNet-26 {net}", layout, None, MODEL_IMAGES, MODEL_EXTENT, timing, None))
    return rows


def _row(
    name: str, layout: Layout, backend: str | None, shape: Shape, extent: int, timing: Timing, peak: float | None
) -> Row:
    return Row(
        name=name,
        layout=layout,
        backend=backend,
        shape=shape,
        spatial_extent=extent,
        dtype="float32",
        peak_extra_mib=peak,
        **asdict(timing),
    )


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "allocator": allocator_settings() or "default",
        "sasa": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backends": available_backends(),
    }


def allocator_settings() -> str:
    """What the environment tells the allocator, as `NAME=value` pairs; empty where it says nothing."""
    told = {name: value for name, value in os.environ.items() if name.startswith(ALLOCATOR_VARIABLES)}
    return " ".join(f"{name}={value}" for name, value in sorted(told.items()))
