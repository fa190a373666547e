"""The machine a run trains on: its device, the settings of torch that make numbers repeat, and what is recorded."""

import contextlib
import hashlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import timm
import torch

import sasa_cli
from sasa_cli import __version__
from sasa_cli.attention import instruction_set
from sasa_cli.errors import SpecError
from sasa_cli.runs.record import Environment

GIT_SECONDS = 5.0
MIB = 2**20
PACKAGE = Path(sasa_cli.__file__).parent
NUMBERS_COME_FROM = ("attention", "data", "models", "training")
SOURCES = (".py", ".cpp", ".h", ".cu")
PROCESSORS = Path("/proc/cpuinfo")  # on Linux
# Without a fixed workspace, cuBLAS may sum in another order each time; read when CUDA starts.
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def resolve_device(requested: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device to train on. Raises `SpecError` where CUDA is asked for and absent."""
    available = torch.cuda.is_available()
    if requested == "cuda" and not available:
        raise SpecError("--device cuda: no CUDA device is available here; allowed are auto and cpu")
    return torch.device("cuda" if available and requested != "cpu" else "cpu")


@contextlib.contextmanager
def repeatable(device: torch.device, threads: int | None) -> Iterator[None]:
    """Deterministic kernels and `threads` threads (None: torch's choice) inside the block.

    On a GPU a kernel that has no deterministic form gives a warning instead of an error.
    """
    memory: Any = torch.utils.deterministic  # its property is hidden from type checkers
    earlier_threads = torch.get_num_threads()
    earlier_mode = torch.get_deterministic_debug_mode()
    earlier_fill = memory.fill_uninitialized_memory
    earlier_benchmark = torch.backends.cudnn.benchmark
    os.environ.setdefault(*CUBLAS_WORKSPACE)
    try:
        torch.set_num_threads(threads or earlier_threads)
        torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
        memory.fill_uninitialized_memory = False  # costs time; no kernel here reads such memory
        torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.set_num_threads(earlier_threads)
        torch.set_deterministic_debug_mode(earlier_mode)
        memory.fill_uninitialized_memory = earlier_fill
        torch.backends.cudnn.benchmark = earlier_benchmark


def capture_environment(device: torch.device, dtype: torch.dtype, allocator: str | None = None) -> Environment:
    """What the numbers of a run come from besides its spec; the backends are not known before the first step."""
    return Environment(
        sasa=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        timm=timm.__version__,
        platform=platform.platform(),
        device=device.type,
        device_name=device_name(device),
        threads=torch.get_num_threads(),
        dtype=str(dtype).removeprefix("torch."),
        git_commit=_git_commit(),
        code=code_fingerprint(PACKAGE),
        kernel=instruction_set() if device.type == "cpu" else None,
        allocator=allocator,
        backends={},
    )


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if PROCESSORS.exists():
        for line in PROCESSORS.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_mib(device: torch.device) -> float:
    """Most memory so far: allocated tensors on CUDA, resident memory of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


@cache
def code_fingerprint(package: Path) -> str:
    """SHA-256 over the sources in `package` that the numbers of a run come from, each with its path.

    A commit changes with every word of the documentation, and there is none in an installed package; this changes with
    the code of the networks, their operator, the images and the training, and with nothing else.
    """
    digest = hashlib.sha256()
    for part in NUMBERS_COME_FROM:
        for file in sorted((package / part).rglob("*")):
            if file.suffix in SOURCES:
                content = file.read_bytes()
                digest.update(f"{file.relative_to(package).as_posix()} {len(content)}\n".encode())
                digest.update(content)
    return digest.hexdigest()


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
