"""The machine a run trains on: the settings of torch that make numbers repeat, and what is recorded of it."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import timm
import torch

from sasa_cli import __version__
from sasa_cli.attention import instruction_set
from sasa_cli.runs.record import Environment
from sasa_cli.training.code import code_fingerprint
from sasa_cli.training.devices import DEVICES

GIT_SECONDS = 5.0
LIBRARIES = ("numpy", "pillow", "torchvision")
# Without a fixed workspace, cuBLAS may sum in another order each time; read when CUDA starts.
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextlib.contextmanager
def repeatable(device: torch.device, threads: int | None) -> Iterator[None]:
    """Deterministic kernels and `threads` threads (None: torch's choice) inside the block.

    Where the device only warns, a kernel that has no deterministic form gives a warning instead of an error.
    """
    memory: Any = torch.utils.deterministic  # its property is hidden from type checkers
    earlier_threads = torch.get_num_threads()
    earlier_mode = torch.get_deterministic_debug_mode()
    earlier_fill = memory.fill_uninitialized_memory
    earlier_benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault(*CUBLAS_WORKSPACE)
    try:
        torch.set_num_threads(threads or earlier_threads)
        torch.use_deterministic_algorithms(True, warn_only=DEVICES[device.type].only_warns)
        memory.fill_uninitialized_memory = False  # costs time; no kernel here reads such memory
        torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.set_num_threads(earlier_threads)
        torch.set_deterministic_debug_mode(earlier_mode)
        memory.fill_uninitialized_memory = earlier_fill
        torch.backends.cudnn.benchmark = earlier_benchmark


def capture_environment(device: torch.device, dtype: torch.dtype, allocator: str | None = None) -> Environment:
    """What the numbers of a run come from besides its spec; the backends follow from the network."""
    return Environment(
        sasa=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        timm=timm.__version__,
        platform=platform.platform(),
        device=device.type,
        device_name=DEVICES[device.type].full_name(device),
        threads=torch.get_num_threads(),
        dtype=str(dtype).removeprefix("torch."),
        git_commit=_git_commit(),
        code=code_fingerprint(),
        kernel=instruction_set() if device.type == "cpu" else None,
        allocator=allocator,
        libraries={name: version(name) for name in LIBRARIES},
        backends={},
    )


def _git_commit() -> str | None:
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changes else commit


def _git(*arguments: str) -> str | None:
    """Output of a git command in the working folder; None without git, outside a repository or without a commit."""
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
