"""Times and peak memory for `sasa_cli.bench.gpu`; a contestant that fails is one more line, and the others go on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sasa_cli.attention import choose_backend
from sasa_cli.bench.child import measure_peaks
from sasa_cli.bench.contestants import Contestant, Layout, Step, Workload, contestants
from sasa_cli.bench.gpu_checks import one_line
from sasa_cli.bench.timing import Timing, interleaved
from sasa_cli.bench.whole_model import NETS, training_step

Mode = Literal["eager", "graph"]
LAYOUT: Layout = "channels-last"
ONE_LAYOUT = ("unfold", "timm-halo")  # contestants that have no other
WARM_UP_STEPS = 3  # before a step is captured


@dataclass(frozen=True)
class Effort:
    """How long each comparison may take."""

    repeats: int
    budget_seconds: float


@dataclass(frozen=True)
class Time:
    """Forward and backward of one contestant on one layer, or a training step of a network."""

    name: str
    backend: str | None
    """What did the work where the name is auto."""
    shape: tuple[int, int, int, int]
    """(B, C, H, W) of the layer, or of the images."""
    mode: Mode
    """graph: replayed from a CUDA graph, so that kernel launches cost next to nothing."""
    median_ms: float | None
    low_ms: float | None
    """First quartile."""
    high_ms: float | None
    """Third quartile."""
    repeats: int
    peak_extra_mib: float | None
    failure: str | None
    """Why there is no time, or no peak."""


def modes(device: torch.device) -> tuple[Mode, ...]:
    """In which ways steps are timed on this device."""
    return ("eager", "graph") if device.type == "cuda" else ("eager",)


def time_layer(work: Workload, effort: Effort) -> list[Time]:
    """All contestants on one layer, in the layout in which networks are trained, or the only one that they have."""
    chosen = [each for each in contestants(work) if each.layout == LAYOUT or each.name in ONE_LAYOUT]
    peaks = _peaks(work, chosen)
    backend = choose_backend(work.problem)
    rows: list[Time] = []
    for mode in modes(work.device):
        builds = {each.name: _build(each, work) for each in chosen}
        for name, timing in _timed(builds, mode, work.device, effort).items():
            peak = peaks[name]
            rows.append(_row(name, backend if name.startswith("auto") else None, work.shape, mode, timing, peak))
    return rows


def time_training(
    model: dict[str, Any], images: tuple[int, int, int, int], extent: int, device: torch.device, effort: Effort
) -> list[Time]:
    """Training steps of one architecture with convolution and with attention: bfloat16 autocast, channels-last.

    Args:
        model: keys of `ModelSpec`.
        images: (B, 3, H, W).
        extent: k.
        device: where they train.
        effort: how long.
    """

    def build(stages: str) -> Callable[[], Step]:
        return lambda: training_step(model | {"stages": stages}, LAYOUT, images, extent, device, torch.bfloat16)

    rows: list[Time] = []
    for mode in modes(device):
        builds = {net: build(stages) for net, stages in NETS.items()}
        timings = _timed(builds, mode, device, effort)
        rows += [_row(net, None, images, mode, timing, None) for net, timing in timings.items()]
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


def _build(contestant: Contestant, work: Workload) -> Callable[[], Step]:
    return lambda: contestant.step(work)


def _peaks(work: Workload, chosen: list[Contestant]) -> dict[str, float | str | None]:
    """Peak extra MiB of each, or why it failed; None where the system cannot tell."""
    # On a GPU each alone, because one of them may run out of memory.
    groups = [[each] for each in chosen] if work.device.type == "cuda" else [chosen]
    peaks: dict[str, float | str | None] = {}
    for group in groups:
        names = [each.name for each in group]
        try:
            peaks |= zip(names, measure_peaks(work, group), strict=True)
        except Exception as error:
            peaks |= dict.fromkeys(names, one_line(error))
    return peaks


def _timed(
    builds: Mapping[str, Callable[[], Step]], mode: Mode, device: torch.device, effort: Effort
) -> dict[str, Timing | str]:
    """The timing of each step, or why it failed, in the order of `builds`."""
    steps: dict[str, Step] = {}
    failures: dict[str, str] = {}
    for name, build in builds.items():
        try:
            step = build()
            steps[name] = captured(step) if mode == "graph" else step
            steps[name]()
        except Exception as error:
            steps.pop(name, None)
            failures[name] = one_line(error)
    timings: dict[str, Timing] = {}
    try:
        timings = interleaved(steps, device, repeats=effort.repeats, budget_seconds=effort.budget_seconds)
    except Exception as error:
        failures |= dict.fromkeys(steps, f"not in turn with the others: {one_line(error)}")
    steps.clear()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return {name: timings[name] if name in timings else failures[name] for name in builds}


def _row(
    name: str,
    backend: str | None,
    shape: tuple[int, int, int, int],
    mode: Mode,
    timing: Timing | str,
    peak: float | str | None,
) -> Time:
    failures = dict.fromkeys(each for each in (timing, peak) if isinstance(each, str))
    timed = timing if isinstance(timing, Timing) else None
    return Time(
        name=name,
        backend=backend,
        shape=shape,
        mode=mode,
        median_ms=timed.median_ms if timed else None,
        low_ms=timed.low_ms if timed else None,
        high_ms=timed.high_ms if timed else None,
        repeats=timed.repeats if timed else 0,
        peak_extra_mib=None if isinstance(peak, str) else peak,
        failure="; ".join(failures) or None,
    )
