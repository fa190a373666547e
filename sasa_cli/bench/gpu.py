"""`make bench-gpu`: whether attention is right on a GPU, how long it takes, and how that compares with the goals.

Run as ``python -m sasa_cli.bench.gpu --out results``. It needs torch, timm, pydantic and wrapt of the package's
dependencies, and writes ``bench/gpu.json`` below the folder. Exit code 1: a check failed, or a contestant did; 2: no
CUDA device.
"""

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sasa_cli import __version__
from sasa_cli.attention import available_backends
from sasa_cli.bench.contestants import Workload
from sasa_cli.bench.gpu_checks import run_checks
from sasa_cli.bench.gpu_outcome import Layer, Outcome, goals, tables
from sasa_cli.bench.gpu_times import Effort, time_layer, time_training
from sasa_cli.errors import EXIT_OK, EXIT_RUN_FAILED, SasaError, SpecError
from sasa_cli.rendering.markdown import to_markdown
from sasa_cli.runs.files import make_folder, write_text
from sasa_cli.training.devices import DEVICES

RESNET50 = (
    Layer(64, 56, 3),
    Layer(128, 56, 1),
    Layer(128, 28, 3),
    Layer(256, 28, 1),
    Layer(256, 14, 5),
    Layer(512, 14, 1),
    Layer(512, 7, 2),
)


LAYER_EFFORT = Effort(repeats=15, budget_seconds=4.0)
MODEL_EFFORT = Effort(repeats=15, budget_seconds=30.0)


@dataclass(frozen=True)
class Settings:
    """What is checked and timed."""

    layers: tuple[Layer, ...] = RESNET50
    heads: int = 8
    check_batch: int = 2
    check_extents: tuple[int, ...] = (3, 7, 11)
    batch: int = 128
    spatial_extent: int = 7
    model: tuple[tuple[str, Any], ...] = (("name", "sasa_resnet50"),)
    images: tuple[int, int, int, int] = (128, 3, 224, 224)
    layer_effort: Effort = LAYER_EFFORT
    model_effort: Effort = MODEL_EFFORT


SMOKE = Settings(
    layers=(Layer(32, 8, 2),),
    heads=4,
    check_batch=1,
    check_extents=(3,),
    batch=2,
    spatial_extent=3,
    model=(("layers", (1, 1, 1, 1)), ("width", 0.25)),
    images=(2, 3, 32, 32),
    layer_effort=Effort(repeats=3, budget_seconds=0.1),
    model_effort=Effort(repeats=3, budget_seconds=0.1),
)


def run(settings: Settings, device: torch.device) -> Outcome:
    """Check, then time layers, then whole training steps."""
    shapes = [layer.shape(settings.check_batch) for layer in settings.layers]
    checks = run_checks(shapes, settings.check_extents, settings.heads, device, _progress)
    rows = []
    for layer in settings.layers:
        shape = layer.shape(settings.batch)
        _progress(f"time {' x '.join(map(str, shape))}, k = {settings.spatial_extent}")
        work = Workload(shape, settings.spatial_extent, settings.heads, torch.bfloat16, device)
        rows += time_layer(work, settings.layer_effort)
    _progress("training steps")
    images, extent = settings.images, settings.spatial_extent
    models = time_training(dict(settings.model), images, extent, device, settings.model_effort)
    return Outcome(settings.layers, tuple(checks), tuple(rows), tuple(models))


def payload(outcome: Outcome, settings: Settings, device: torch.device) -> dict[str, Any]:
    """What gpu.json holds."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": _environment(device),
        "settings": asdict(settings) | {"dtype": "bfloat16", "cudnn_benchmark": True},
        "goals": [asdict(goal) for goal in goals(outcome)],
        "checks": [asdict(check) | {"passed": check.passed} for check in outcome.checks],
        "layers": [asdict(row) for row in outcome.rows],
        "training": [asdict(row) for row in outcome.models],
    }


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        "device": DEVICES[device.type].full_name(device),
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "timm": _version("timm"),
        "sasa": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backends": available_backends(),
    }


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


def _progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the tables and write the file; gives the exit code."""
    parser = argparse.ArgumentParser("python -m sasa_cli.bench.gpu", description="Check and time attention on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of results; default: results")
    parser.add_argument("--smoke", action="store_true", help="tiny layers, on the CPU: whether this program works")
    options = parser.parse_args(arguments)
    try:
        return _main(options.out, options.smoke)
    except SasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _main(out: Path, smoke: bool) -> int:
    if not smoke and not torch.cuda.is_available():
        raise SpecError("needs a CUDA device, and none is available here; --smoke runs tiny layers on the CPU")
    device = torch.device("cpu" if smoke else "cuda")
    settings = SMOKE if smoke else Settings()
    folder = out / "bench"
    make_folder(folder)
    earlier = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True  # the convolution at its best
    try:
        outcome = run(settings, device)
    finally:
        torch.backends.cudnn.benchmark = earlier
    for table in tables(outcome):
        print(to_markdown(table))
    file = folder / ("gpu-smoke.json" if smoke else "gpu.json")
    write_text(file, json.dumps(payload(outcome, settings, device), indent=2) + "\n")
    _progress(f"wrote {file}" + ("; times and goals of a smoke run mean nothing" if smoke else ""))
    return EXIT_RUN_FAILED if outcome.failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
