"""What needs a process with an allocator of its own: peak memory, and times with pages that are kept.

With the default allocator some freed blocks stay with the process and others go back to the system. Peak memory is
therefore measured where every page goes back, and times are taken a second time where none does, which leaves out the
cost of fresh pages. `python -m sasa_cli.bench.child` reads a question on standard input and answers on standard output.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch

from sasa_cli.bench.contestants import LAYOUTS, Contestant, Layout, Step, Workload, contestants
from sasa_cli.bench.timing import interleaved, peak_extra_mib
from sasa_cli.bench.whole_model import training_steps
from sasa_cli.errors import RunError
from sasa_cli.training.allocator import KEPT, allocator_settings, keep_pages

# Blocks above this many bytes are mapped on their own and unmapped when freed (glibc).
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

Names = Sequence[tuple[str, Layout]]


def measure_peaks(work: Workload, chosen: Sequence[Contestant]) -> list[float | None]:
    """Peak extra MiB of each contestant; None for all where the system cannot tell. Raises `RunError`."""
    if work.device.type != "cpu":
        return [peak_extra_mib(contestant.step(work), work.device) for contestant in chosen]
    if not sys.platform.startswith("linux"):
        return [None] * len(chosen)
    names = [(contestant.name, contestant.layout) for contestant in chosen]
    return _ask({"measure": "memory", "names": names, **_layer(work)}, GIVING_BACK)


def kept_layer_times(
    work: Workload, chosen: Sequence[Contestant], repeats: int, budget_seconds: float
) -> list[float | None]:
    """Median ms of each contestant with pages that are kept; None for all where `keep_pages` cannot see to that."""
    names = [(contestant.name, contestant.layout) for contestant in chosen]
    return _kept_times(names, _layer(work), work.device, repeats, budget_seconds, warm_up=1)


def kept_model_times(
    network: str,
    names: Names,
    shape: Sequence[int],
    extent: int,
    dtype: torch.dtype,
    device: torch.device,
    repeats: int,
    budget_seconds: float,
    warm_up: int,
) -> list[float | None]:
    """The same for training steps of a whole network, with convolution and with attention, by layout."""
    what = {"network": network, "images": shape, "spatial_extent": extent, "dtype": _name(dtype)}
    return _kept_times(names, what, device, repeats, budget_seconds, warm_up)


def _kept_times(
    names: Names, what: dict[str, Any], device: torch.device, repeats: int, budget_seconds: float, warm_up: int
) -> list[float | None]:
    if device.type != "cpu" or allocator_settings() != "default":
        return [None] * len(names)
    how = {"measure": "time", "repeats": repeats, "budget_seconds": budget_seconds, "warm_up": warm_up}
    return _ask({**how, "names": names, **what}, {})


def _layer(work: Workload) -> dict[str, Any]:
    return {
        "shape": work.shape,
        "spatial_extent": work.spatial_extent,
        "heads": work.heads,
        "dtype": _name(work.dtype),
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _ask(question: dict[str, Any], environment: dict[str, str]) -> list[float | None]:
    child = subprocess.run(
        [sys.executable, "-m", "sasa_cli.bench.child"],
        input=json.dumps(question | {"threads": torch.get_num_threads()}),
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    if child.returncode:
        raise RunError(
            f"{question['measure']} could not be measured: {child.stderr.strip() or f'exit code {child.returncode}'}"
        )
    answer: list[float | None] = json.loads(child.stdout)
    return answer


def _answer(question: dict[str, Any]) -> list[float | None]:
    torch.set_num_threads(question["threads"])
    device = torch.device("cpu")
    names: list[tuple[str, Layout]] = [(name, layout) for name, layout in question["names"]]
    if question["measure"] == "memory":
        known = _contestants(question, device)
        return [peak_extra_mib(known[name].step(_workload(question, device)), device) for name in names]
    if keep_pages() != KEPT:
        return [None] * len(names)
    steps = _steps(question, names, device)
    how = {name: question[name] for name in ("repeats", "budget_seconds", "warm_up")}
    timings = interleaved(steps, device, **how)
    return [timings[name].median_ms for name in names]


def _steps(question: dict[str, Any], names: Names, device: torch.device) -> dict[tuple[str, Layout], Step]:
    if "images" in question:
        dtype, layouts = getattr(torch, question["dtype"]), list(LAYOUTS)
        images, extent = tuple(question["images"]), question["spatial_extent"]
        known = training_steps(question["network"], images, extent, device, dtype, layouts)
        return {name: known[name]() for name in names}
    work = _workload(question, device)
    entered = _contestants(question, device)
    return {name: entered[name].step(work) for name in names}


def _workload(question: dict[str, Any], device: torch.device) -> Workload:
    dtype = getattr(torch, question["dtype"])
    return Workload(tuple(question["shape"]), question["spatial_extent"], question["heads"], dtype, device)


def _contestants(question: dict[str, Any], device: torch.device) -> dict[tuple[str, Layout], Contestant]:
    return {(each.name, each.layout): each for each in contestants(_workload(question, device))}


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
