"""Peak memory of contestants, measured in a process whose allocator gives every page back.

With the default allocator a freed block stays with the process, so the growth of its resident peak would depend on
what ran before. `python -m sasa_cli.bench.memory` reads work on standard input and answers on standard output.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch

from sasa_cli.bench.contestants import Contestant, Workload, contestants
from sasa_cli.bench.timing import peak_extra_mib
from sasa_cli.errors import RunError

# Blocks above this many bytes are mapped on their own and unmapped when freed (glibc).
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def measure_peaks(work: Workload, chosen: Sequence[Contestant]) -> list[float | None]:
    """Peak extra MiB of each contestant; None for all where the system cannot tell. Raises `RunError`."""
    if work.device.type == "cuda":
        return [peak_extra_mib(contestant.step(work), work.device) for contestant in chosen]
    if not sys.platform.startswith("linux"):
        return [None] * len(chosen)
    question = {
        "shape": work.shape,
        "spatial_extent": work.spatial_extent,
        "heads": work.heads,
        "dtype": str(work.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "contestants": [(contestant.name, contestant.layout) for contestant in chosen],
    }
    child = subprocess.run(
        [sys.executable, "-m", "sasa_cli.bench.memory"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        env=os.environ | ALLOCATOR,
        check=False,
    )
    if child.returncode:
        raise RunError(f"peak memory could not be measured: {child.stderr.strip() or f'exit code {child.returncode}'}")
    peaks: list[float | None] = json.loads(child.stdout)
    return peaks


def _answer(question: dict[str, Any]) -> list[float]:
    torch.set_num_threads(question["threads"])
    work = Workload(
        tuple(question["shape"]),
        question["spatial_extent"],
        question["heads"],
        getattr(torch, question["dtype"]),
        torch.device("cpu"),
    )
    known = {(contestant.name, contestant.layout): contestant for contestant in contestants(work)}
    return [peak_extra_mib(known[name, layout].step(work), work.device) for name, layout in question["contestants"]]


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
