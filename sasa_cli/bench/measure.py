"""Times and peak memory of layers and of training steps; what fails is one more row, and the others go on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from sasa_cli.attention import available_backends, choose_backend
from sasa_cli.bench.checks import one_line
from sasa_cli.bench.child import kept_layer_times, kept_model_times, measure_peaks
from sasa_cli.bench.contestants import LAYOUTS, Contestant, Layout, Step, Workload, contestants
from sasa_cli.bench.result import Mode, Row, Shape
from sasa_cli.bench.timing import Timing, interleaved
from sasa_cli.bench.whole_model import training_steps

Key = tuple[str, Layout]
ON_A_GPU: Layout = "channels-last"  # in which networks train fastest there
ONE_LAYOUT = ("unfold", "timm-halo")  # contestants that have no other
WARM_UP_STEPS = 3  # before a step is captured


@dataclass(frozen=True)
class Effort:
    """How long each comparison may take; at least three rounds are timed whatever they take."""

    repeats: int
    budget_seconds: float
    warm_up: int = 1


@dataclass(frozen=True)
class Training:
    """A training step that is timed with convolution and with attention."""

    name: str
    images: Shape
    spatial_extent: int
    dtype: torch.dtype
    """Of autocast; float32 for none."""
    device: torch.device


def time_layer(work: Workload, modes: Sequence[Mode], effort: Effort) -> list[Row]:
    """All contestants on one layer, each in the layout that is faster for it."""
    entered = {(each.name, each.layout): each for each in contestants(work) if _enters(each, work.device)}
    rows: list[Row] = []
    for mode in modes:
        builds = {key: _build(each, work) for key, each in entered.items()}
        best = _faster_layouts(_timed(builds, mode, work.device, effort))
        chosen = [entered[name, layout] for name, (layout, _) in best.items()]
        peaks = _peaks(work, chosen)
        ask = partial(kept_layer_times, work, chosen, effort.repeats, effort.budget_seconds)
        kept = _kept(ask, len(chosen), mode)
        for (name, (layout, timing)), kept_ms, peak in zip(best.items(), kept, peaks, strict=True):
            backend = _backend_of(name, work)
            row = _row(name, layout, work.shape, work.spatial_extent, work.dtype, mode, timing, peak)
            rows.append(row(backend, kept_ms))
    return rows


def time_training(step: Training, modes: Sequence[Mode], effort: Effort) -> list[Row]:
    """A training step of one architecture with convolution and with attention."""
    layouts = list(LAYOUTS) if step.device.type == "cpu" else [ON_A_GPU]
    rows: list[Row] = []
    for mode in modes:
        builds = training_steps(step.name, step.images, step.spatial_extent, step.device, step.dtype, layouts)
        best = _faster_layouts(_timed(builds, mode, step.device, effort))
        keys = [(net, layout) for net, (layout, _) in best.items()]
        how = (effort.repeats, effort.budget_seconds, effort.warm_up)
        what = (step.images, step.spatial_extent, step.dtype, step.device)
        kept = _kept(partial(kept_model_times, step.name, keys, *what, *how), len(keys), mode)
        for (net, (layout, timing)), kept_ms in zip(best.items(), kept, strict=True):
            row = _row(f"{step.name} {net}", layout, step.images, step.spatial_extent, step.dtype, mode, timing, None)
            rows.append(row(None, kept_ms))
    return rows


def captured(step: Step) -> Step:
    """`step` as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay(owner_of_the_tensors: Step = step) -> None:
        graph.replay()

    return replay


def _enters(contestant: Contestant, device: torch.device) -> bool:
    """On a CPU everything in both layouts; on a GPU, where time is dear, in the one in which networks train."""
    return device.type == "cpu" or contestant.layout == ON_A_GPU or contestant.name in ONE_LAYOUT


def _build(contestant: Contestant, work: Workload) -> Callable[[], Step]:
    return lambda: contestant.step(work)


def _timed(
    builds: Mapping[Key, Callable[[], Step]], mode: Mode, device: torch.device, effort: Effort
) -> dict[Key, Timing | str]:
    """The timing of each step, or why it failed, in the order of `builds`."""
    steps: dict[Key, Step] = {}
    failures: dict[Key, str] = {}
    for key, build in builds.items():
        try:
            step = build()
            steps[key] = captured(step) if mode == "graph" else step
            steps[key]()
        except Exception as error:
            steps.pop(key, None)
            failures[key] = one_line(error)
    timings: dict[Key, Timing] = {}
    try:
        timings = interleaved(
            steps, device, repeats=effort.repeats, budget_seconds=effort.budget_seconds, warm_up=effort.warm_up
        )
    except Exception as error:
        failures |= dict.fromkeys(steps, f"not in turn with the others: {one_line(error)}")
    steps.clear()  # their tensors are not needed while memory is measured
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return {key: timings[key] if key in timings else failures[key] for key in builds}


def _faster_layouts(timings: Mapping[Key, Timing | str]) -> dict[str, tuple[Layout, Timing | str]]:
    """For each name the layout in which it is faster; a failure only where it fails in every layout."""
    best: dict[str, tuple[Layout, Timing | str]] = {}
    for (name, layout), timing in timings.items():
        known = best[name][1] if name in best else None
        if known is None or _milliseconds(timing) < _milliseconds(known):
            best[name] = (layout, timing)
    return best


def _milliseconds(timing: Timing | str) -> float:
    return timing.median_ms if isinstance(timing, Timing) else float("inf")


def _peaks(work: Workload, chosen: Sequence[Contestant]) -> list[float | str | None]:
    """Peak extra MiB of each, or why it failed; None where the system cannot tell."""
    # On a GPU each alone, because one of them may run out of memory.
    groups = [list(chosen)] if work.device.type == "cpu" else [[each] for each in chosen]
    peaks: list[float | str | None] = []
    for group in groups:
        try:
            peaks += measure_peaks(work, group)
        except Exception as error:
            peaks += [one_line(error)] * len(group)
    return peaks


def _kept(ask: Callable[[], list[float | None]], count: int, mode: Mode) -> list[float | None]:
    """Times with pages that are kept; none in a graph, nor where a contestant takes the other process down."""
    try:
        return ask() if mode == "eager" else [None] * count
    except Exception:  # why is in the row of the contestant that fails here, too
        return [None] * count


def _backend_of(name: str, work: Workload) -> str | None:
    if name.startswith("auto"):
        return choose_backend(work.problem, "auto")
    return name if name in available_backends() else None


def _row(
    name: str,
    layout: Layout,
    shape: Shape,
    extent: int,
    dtype: torch.dtype,
    mode: Mode,
    timing: Timing | str,
    peak: float | str | None,
) -> Callable[[str | None, float | None], Row]:
    failures = dict.fromkeys(each for each in (timing, peak) if isinstance(each, str))
    timed = timing if isinstance(timing, Timing) else None

    def row(backend: str | None, kept_ms: float | None) -> Row:
        return Row(
            name=name,
            layout=layout,
            backend=backend,
            shape=shape,
            spatial_extent=extent,
            dtype=str(dtype).removeprefix("torch."),
            mode=mode,
            median_ms=timed.median_ms if timed else None,
            low_ms=timed.low_ms if timed else None,
            high_ms=timed.high_ms if timed else None,
            repeats=timed.repeats if timed else 0,
            kept_ms=kept_ms,
            peak_extra_mib=None if isinstance(peak, str) else peak,
            failure="; ".join(failures) or None,
        )

    return row
