"""`sasa bench` from the layers to be timed to a result that can be printed, stored and drawn."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch

from sasa_cli import __version__
from sasa_cli.attention import available_backends, instruction_set, why_unavailable
from sasa_cli.bench.checks import run_checks
from sasa_cli.bench.contestants import Workload
from sasa_cli.bench.goals import BATCH, EXTENT, RESNET50
from sasa_cli.bench.measure import Effort, Training, time_layer, time_training
from sasa_cli.bench.result import BenchResult, Mode, Shape, sizes
from sasa_cli.errors import SpecError
from sasa_cli.spec import heads_problem
from sasa_cli.training.allocator import allocator_settings
from sasa_cli.training.devices import DEVICES, DeviceName, resolve_device

# The layers of a ResNet that a 3x3 convolution or attention stands in, as (B, C, H, W).
LAYERS_224: tuple[Shape, ...] = ((16, 64, 56, 56), (16, 128, 28, 28), (16, 256, 14, 14), (16, 512, 7, 7))
LAYERS_32: tuple[Shape, ...] = ((64, 64, 32, 32), (64, 128, 16, 16), (64, 256, 8, 8), (64, 512, 4, 4))
ON_A_GPU: tuple[Shape, ...] = tuple((BATCH, *layer) for layer in RESNET50)
EXTENTS = (3, 7, 11)
CHECK_BATCH = 2  # of a layer that is checked: the reference is slow, and takes much memory
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LAYER_EFFORT = Effort(repeats=15, budget_seconds=4.0)
# Warm-up: rounds until a heap that keeps its pages has all that it needs.
MODEL_EFFORT = Effort(repeats=15, budget_seconds=90.0, warm_up=4)
Save = Callable[[BenchResult], object]


@dataclass(frozen=True)
class BenchOptions:
    """What is checked and timed, and how long."""

    shapes: tuple[Shape, ...] = LAYERS_224 + LAYERS_32
    extents: tuple[int, ...] = EXTENTS
    heads: int = 8
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    modes: tuple[Mode, ...] = ("eager",)
    check: bool = False
    """Whether every backend is held against the definition first."""
    training: tuple[tuple[str, Shape], ...] = (("sasa_resnet26", (16, 3, 224, 224)),)
    """Networks whose training step is timed, with their images."""


def bench_options(
    shapes: Sequence[str],
    extents: Sequence[int],
    heads: int,
    device: DeviceName,
    *,
    dtypes: Sequence[str] = (),
    check: bool = False,
    graph: bool = False,
) -> BenchOptions:
    """The options that the command line asks for; whole models are timed unless it picks layers.

    Raises:
        SpecError: a shape is not four positive numbers, heads do not divide its channels, an extent is even, a dtype is
            unknown, or this device has no CUDA graphs.
    """
    chosen = tuple(_shape(text, heads) for text in shapes)
    for extent in extents:
        if extent % 2 == 0:
            raise SpecError(f"--spatial-extent {extent}: even; a window centred on its pixel needs an odd extent")
    unknown = [name for name in dtypes if name not in DTYPES]
    if unknown:
        raise SpecError(f"--dtype {unknown[0]}: allowed are {', '.join(DTYPES)}")
    found = resolve_device(device)
    on_gpu = found.type != "cpu"
    if graph and found.type != "cuda":
        raise SpecError(f"--graph: CUDA graphs need a CUDA device; the one of this bench is {found.type}")
    usual = ON_A_GPU if on_gpu else LAYERS_224 + LAYERS_32
    training = (("sasa_resnet50", (BATCH, 3, 224, 224)),) if on_gpu else BenchOptions.training
    return BenchOptions(
        shapes=chosen or usual,
        extents=tuple(extents) or ((EXTENT,) if on_gpu else EXTENTS),
        heads=heads,
        dtypes=tuple(DTYPES[name] for name in dtypes) or (torch.float32,),
        device=found,
        modes=("eager", "graph") if graph else ("eager",),
        check=check,
        training=() if chosen else training,
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


def run_bench(options: BenchOptions, progress: Callable[[str], None], save: Save) -> BenchResult:
    """Check, then time all layers, then whole training steps; `save` is called whenever there is more to keep."""
    result = BenchResult(_environment(options.device), options.heads)
    if options.check:
        small = [(min(shape[0], CHECK_BATCH), *shape[1:]) for shape in options.shapes]
        checks = run_checks(small, options.extents, options.heads, options.dtypes, options.device, progress)
        result = replace(result, checks=tuple(checks))
        save(result)
    with _convolutions_at_their_best():
        for shape, extent, dtype in _works(options):
            progress(f"time {sizes(shape)}, k = {extent}, {str(dtype).removeprefix('torch.')}")
            work = Workload(shape, extent, options.heads, dtype, options.device)
            result = replace(result, rows=(*result.rows, *time_layer(work, options.modes, LAYER_EFFORT)))
            save(result)
        for name, images in options.training:
            for dtype in options.dtypes:
                progress(f"time a training step of {name}, {str(dtype).removeprefix('torch.')}")
                step = Training(name, images, EXTENT, dtype, options.device)
                result = replace(result, models=(*result.models, *time_training(step, options.modes, MODEL_EFFORT)))
                save(result)
    return result


def _works(options: BenchOptions) -> Iterator[tuple[Shape, int, torch.dtype]]:
    return ((s, e, d) for s in options.shapes for e in options.extents for d in options.dtypes)


@contextmanager
def _convolutions_at_their_best() -> Iterator[None]:
    """cuDNN tries its algorithms, as whoever trains a network of one size has it do."""
    earlier = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = earlier


def _environment(device: torch.device) -> dict[str, Any]:
    told = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": DEVICES[device.type].full_name(device),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "allocator": allocator_settings(),
        "sasa": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backends": available_backends(),
        "kernel": instruction_set() or f"missing: {why_unavailable()}",
    }
    if device.type == "cuda":
        told |= {"driver": _driver(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        told |= {"triton": _version("triton"), "timm": _version("timm")}
    return told


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    """The version of the GPU's driver; None where its tool is not there."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip().partition("\n")[0]
