"""Time and peak memory of steps: interleaved in one process, so that a slow moment of the machine hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from sasa_cli.training.devices import DEVICES, MIB


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one step."""

    median_ms: float
    low_ms: float
    """First quartile."""
    high_ms: float
    """Third quartile."""
    repeats: int


Name = TypeVar("Name")


def interleaved(
    steps: Mapping[Name, Callable[[], None]],
    device: torch.device,
    *,
    repeats: int,
    budget_seconds: float,
    warm_up: int = 1,
) -> dict[Name, Timing]:
    """Time each step in turn, `repeats` times round, or fewer rounds (at least 3) once the budget is spent.

    Before that go `warm_up` rounds that are not timed.
    """
    samples: dict[Name, list[float]] = {name: [] for name in steps}
    for _ in range(warm_up):
        for step in steps.values():
            step()
    start = time.perf_counter()
    for round_ in range(repeats):
        if round_ >= 3 and time.perf_counter() - start > budget_seconds:
            break
        for name, step in steps.items():
            samples[name].append(_milliseconds(step, device))
    return {name: _summary(times) for name, times in samples.items()}


def _milliseconds(step: Callable[[], None], device: torch.device) -> float:
    wait = DEVICES[device.type].wait
    wait(device)
    start = time.perf_counter()
    step()
    wait(device)
    return 1e3 * (time.perf_counter() - start)


def _summary(times: Sequence[float]) -> Timing:
    low, median, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else (times[0],) * 3
    return Timing(median, low, high, len(times))


def peak_extra_mib(step: Callable[[], None], device: torch.device) -> float:
    """The most memory that one step takes on top of what it starts from, in MiB.

    On a CPU it is the growth of the process's resident peak, which only Linux can start afresh; the allocator must
    give pages back for that (see `child`).
    """
    step()
    if device.type == "cuda":
        DEVICES["cuda"].reset_peak_memory(device)
        before = torch.cuda.memory_allocated(device) / MIB
        step()
        return DEVICES["cuda"].peak_memory_mib(device) - before
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_kib("VmRSS")
    step()
    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)
