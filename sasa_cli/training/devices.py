"""Devices as one table: what each is called, how it waits and measures memory, and what it can compute.

To add one: a class with what differs, and a line in `DEVICES`. Importing this module imports no torch, so that the
command line and the launchers know the names.
"""

import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from sasa_cli.errors import SpecError

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""What `--device` takes."""
MIB = 2**20
PROCESSORS = Path("/proc/cpuinfo")  # on Linux


@dataclass(frozen=True)
class Device:
    """A kind of device, with the behaviour of a CPU; others override what differs."""

    name: str
    """As torch and `--device` call it."""
    title: str
    """As a message calls it."""
    memory_meaning: str
    """What `peak_memory_mib` measures."""
    steps_between_losses: int = 1
    """Reading a loss makes the program wait for the device, so that some are read for many steps at once."""
    only_warns: bool = False
    """Whether an operation without a deterministic form gives a warning here instead of an error."""
    pins_memory: bool = False
    """Whether images are copied faster from page-locked memory."""

    def count(self) -> int:
        """How many there are on this machine; runs of a sweep are divided between those that can be told apart."""
        return 1

    def precisions(self) -> tuple[str, ...]:
        """Values of `recipe.amp` that it can compute."""
        return ("off", "bf16")

    def full_name(self, device: "torch.device") -> str:
        """That of the processor."""
        if PROCESSORS.exists():
            for line in PROCESSORS.read_text(encoding="utf-8").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        return platform.processor() or platform.machine()

    def wait(self, device: "torch.device") -> None:
        """Until everything that was asked of it is done."""

    def reset_peak_memory(self, device: "torch.device") -> None:
        """Begin to measure anew, where that is possible."""

    def peak_memory_mib(self, device: "torch.device") -> float:
        """Most memory so far, as `memory_meaning` says."""
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


class Cuda(Device):
    """NVIDIA's GPUs, and AMD's, which torch calls the same."""

    def count(self) -> int:
        import torch

        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def precisions(self) -> tuple[str, ...]:
        import torch

        return ("off", "bf16", "fp16") if torch.cuda.is_bf16_supported() else ("off", "fp16")

    def full_name(self, device: "torch.device") -> str:
        import torch

        return torch.cuda.get_device_name(device)

    def wait(self, device: "torch.device") -> None:
        import torch

        torch.cuda.synchronize(device)

    def reset_peak_memory(self, device: "torch.device") -> None:
        import torch

        torch.cuda.reset_peak_memory_stats(device)

    def peak_memory_mib(self, device: "torch.device") -> float:
        import torch

        return torch.cuda.max_memory_allocated(device) / MIB


class Mps(Device):
    """The GPU of Apple's processors. Nobody has trained on one with this package yet."""

    def count(self) -> int:
        import torch

        return int(torch.backends.mps.is_available())

    def precisions(self) -> tuple[str, ...]:
        return ("off",)

    def wait(self, device: "torch.device") -> None:
        import torch

        torch.mps.synchronize()

    def peak_memory_mib(self, device: "torch.device") -> float:
        import torch

        return torch.mps.driver_allocated_memory() / MIB


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device("cpu", "CPU", "resident in the whole process"),
        Cuda(
            "cuda",
            "CUDA device",
            "allocated by tensors on the GPU",
            steps_between_losses=50,
            only_warns=True,
            pins_memory=True,
        ),
        Mps(
            "mps",
            "GPU of Apple's",
            "taken from the system for the GPU at the end of an epoch",
            steps_between_losses=50,
            only_warns=True,
        ),
    )
}
PREFERRED = ("cuda", "cpu")
"""What `auto` takes, the first that is there; others have to be asked for."""


def resolve_device(requested: DeviceName) -> "torch.device":
    """The device to train on. Raises `SpecError` where this machine has none of that name."""
    import torch

    if requested == "auto":
        return torch.device(next(name for name in PREFERRED if DEVICES[name].count()))
    if not DEVICES[requested].count():
        here = [name for name in get_args(DeviceName) if name == "auto" or DEVICES[name].count()]
        raise SpecError(
            f"--device {requested}: no {DEVICES[requested].title} is available here; allowed are {_listed(here)}"
        )
    return torch.device(requested)


def check_precision(amp: str, device: "torch.device") -> None:
    """Refuse a precision that this device has not. Raises `SpecError`."""
    allowed = DEVICES[device.type].precisions()
    if amp not in allowed:
        raise SpecError(
            f"recipe.amp: {amp} is not possible on this {DEVICES[device.type].title}; allowed are {_listed(allowed)}"
        )


def seed_everything(seed: int) -> None:
    """Seed all generators of random numbers: Python's, numpy's, and torch's on every device."""
    from timm.utils import random_seed

    random_seed(seed)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
