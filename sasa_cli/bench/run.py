"""`sasa bench` from the layers to be timed to a result that can be printed, stored and drawn."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from sasa_cli import __version__
from sasa_cli.attention import available_backends, choose_backend, instruction_set, why_unavailable
from sasa_cli.bench.child import kept_layer_times, kept_model_times, measure_peaks
from sasa_cli.bench.contestants import Layout, Workload, contestants
from sasa_cli.bench.timing import Timing, interleaved
from sasa_cli.bench.whole_model import training_steps
from sasa_cli.errors import SpecError
from sasa_cli.spec import heads_problem
from sasa_cli.training.allocator import allocator_settings
from sasa_cli.training.devices import DEVICES, DeviceName, resolve_device

Shape = tuple[int, int, int, int]
# The layers of a ResNet that a 3x3 convolution or attention stands in, as (B, C, H, W).
LAYERS_224: tuple[Shape, ...] = ((16, 64, 56, 56), (16, 128, 28, 28), (16, 256, 14, 14), (16, 512, 7, 7))
LAYERS_32: tuple[Shape, ...] = ((64, 64, 32, 32), (64, 128, 16, 16), (64, 256, 8, 8), (64, 512, 4, 4))
EXTENTS = (3, 7, 11)
MODEL_IMAGES: Shape = (16, 3, 224, 224)
MODEL_EXTENT = 7
MODEL_REPEATS = 15
MODEL_WARM_UP = 4  # rounds until a heap that keeps its pages has all that it needs
MODEL_BUDGET_SECONDS = 90.0


@dataclass(frozen=True)
class BenchOptions:
    """What is timed and how long."""

    shapes: tuple[Shape, ...] = LAYERS_224 + LAYERS_32
    extents: tuple[int, ...] = EXTENTS
    heads: int = 8
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    repeats: int = 15
    budget_seconds: float = 4.0
    """For each layer and k; at least three rounds are timed whatever they take."""
    whole_model: bool = True


def bench_options(shapes: Sequence[str], extents: Sequence[int], heads: int, device: DeviceName) -> BenchOptions:
    """The options that the command line asks for; whole models are timed unless it picks layers.

    Raises:
        SpecError: a shape is not four positive numbers, heads do not divide its channels, or an extent is even.
    """
    chosen = tuple(_shape(text, heads) for text in shapes)
    for extent in extents:
        if extent % 2 == 0:
            raise SpecError(f"--spatial-extent {extent}: even; a window centred on its pixel needs an odd extent")
    return BenchOptions(
        shapes=chosen or LAYERS_224 + LAYERS_32,
        extents=tuple(extents) or EXTENTS,
        heads=heads,
        device=resolve_device(device),
        whole_model=not chosen,
    )


def _shape(text: str, heads: int) -> Shape:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise SpecError(f"--shape {text}: allowed are four positive numbers B,C,H,W, as 16,64,56,56")
    batch, channels, height, width = map(int, parts)
    problem = heads_problem(channels, heads, "relative")
    if problem:
        raise SpecError(f"--shape {text}: --heads {problem}")
    return batch, channels, height, width


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
    kept_ms: float | None
    """The median once more, in a process whose allocator keeps freed pages; None where it could not be made to."""
    peak_extra_mib: float | None


@dataclass(frozen=True)
class BenchResult:
    """All rows, and the machine that they come from."""

    environment: dict[str, Any]
    heads: int
    rows: tuple[Row, ...]
    models: tuple[Row, ...]

    def payload(self) -> dict[str, Any]:
        """What `sasa bench --json` prints."""
        return self.environment | {
            "heads": self.heads,
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
    return BenchResult(_environment(options.device), options.heads, tuple(rows), tuple(models))


def _layer_rows(work: Workload, options: BenchOptions) -> list[Row]:
    entered = {(each.name, each.layout): each for each in contestants(work)}
    steps = {key: each.step(work) for key, each in entered.items()}
    timings = interleaved(steps, work.device, repeats=options.repeats, budget_seconds=options.budget_seconds)
    best = _faster_layouts(timings)
    steps.clear()  # their tensors are not needed while memory is measured
    chosen = [entered[name, layout] for name, (layout, _) in best.items()]
    peaks = measure_peaks(work, chosen)
    kept = kept_layer_times(work, chosen, options.repeats, options.budget_seconds)
    return [
        Row(
            name=name,
            layout=layout,
            backend=_backend_of(name, work),
            shape=work.shape,
            spatial_extent=work.spatial_extent,
            dtype=str(work.dtype).removeprefix("torch."),
            kept_ms=kept_ms,
            peak_extra_mib=peak,
            **asdict(timing),
        )
        for (name, (layout, timing)), kept_ms, peak in zip(best.items(), kept, peaks, strict=True)
    ]


def _model_rows(options: BenchOptions) -> list[Row]:
    steps = training_steps(MODEL_IMAGES, MODEL_EXTENT, options.device)
    timings = interleaved(
        steps, options.device, repeats=MODEL_REPEATS, budget_seconds=MODEL_BUDGET_SECONDS, warm_up=MODEL_WARM_UP
    )
    best = _faster_layouts(timings)
    steps.clear()  # their tensors are not needed while the other process measures
    names = [(net, layout) for net, (layout, _) in best.items()]
    how = (MODEL_REPEATS, MODEL_BUDGET_SECONDS, MODEL_WARM_UP)
    kept = kept_model_times(names, MODEL_IMAGES, MODEL_EXTENT, options.device, *how)
    return [
        Row(
            name=f"ResNet-26 {net}",
            layout=layout,
            backend=None,
            shape=MODEL_IMAGES,
            spatial_extent=MODEL_EXTENT,
            dtype="float32",
            kept_ms=kept_ms,
            peak_extra_mib=None,
            **asdict(timing),
        )
        for (net, (layout, timing)), kept_ms in zip(best.items(), kept, strict=True)
    ]


def _faster_layouts(timings: Mapping[tuple[str, Layout], Timing]) -> dict[str, tuple[Layout, Timing]]:
    """For each name the layout in which it is faster."""
    best: dict[str, tuple[Layout, Timing]] = {}
    for (name, layout), timing in timings.items():
        if name not in best or timing.median_ms < best[name][1].median_ms:
            best[name] = (layout, timing)
    return best


def _backend_of(name: str, work: Workload) -> str | None:
    if name.startswith("auto"):
        return choose_backend(work.problem, "auto")
    return name if name in available_backends() else None


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        "device": DEVICES[device.type].full_name(device),
        "threads": torch.get_num_threads(),
        "allocator": allocator_settings(),
        "sasa": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backends": available_backends(),
        "kernel": instruction_set() or f"missing: {why_unavailable()}",
    }
