"""Tiny runs on the built-in images, about a second each, and what two runs have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord
from sasa_cli.spec import AttentionSpec, DataSpec, ModelSpec, Recipe, RunSpec
from sasa_cli.training.run import Progress, RunOptions, train_run

STEPS = 3  # updates in an epoch of a tiny run


def tiny(stages: str = "CCCC", *, seed: int = 0, data: dict[str, Any] | None = None, **recipe: Any) -> RunSpec:
    """192 images in batches of 64; the stem for large images leaves maps of 8 x 8, which are quick."""
    model = ModelSpec(
        layers=(1, 1, 1, 1),
        width=0.125,
        stages=stages,
        attention=AttentionSpec(spatial_extent=3, heads=4),
        small_input=False,
    )
    return RunSpec(
        experiment="tiny",
        label=stages,
        cell={"model.stages": stages},
        model=model.canonical(32),
        data=DataSpec(**{"train_images": 192, "val_fraction": 0.02} | (data or {})),
        recipe=Recipe(**{"epochs": 2, "batch_size": 64, "lr": 0.05} | recipe),
        seed=seed,
    )


def with_backend(spec: RunSpec, backend: str) -> RunSpec:
    """`spec` with another attention backend."""
    attention = spec.model.attention.model_copy(update={"backend": backend})
    return spec.model_copy(update={"model": spec.model.model_copy(update={"attention": attention})})


class Trainer:
    """Trains specs below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def paths(self, spec: RunSpec) -> RunPaths:
        return RunPaths(self.root / spec.run_id)

    def __call__(self, spec: RunSpec, listener: Callable[[Progress], None] | None = None, **options: Any) -> RunRecord:
        settings = RunOptions(**{"device": "cpu", "threads": 1} | options)
        return train_run(spec, self.paths(spec), settings, listener)


def numbers(paths: RunPaths) -> list[list[str]]:
    """`metrics.csv` without the last two columns, which are times."""
    return [line.split(",")[:-2] for line in paths.metrics.read_text().splitlines()]


def weights(file: Path) -> dict[str, torch.Tensor]:
    """Raw and averaged weights of a checkpoint by name."""
    content = torch.load(file, weights_only=True)
    parts = [part for part in ("state_dict", "state_dict_ema") if part in content]
    return {f"{part}.{name}": tensor for part in parts for name, tensor in content[part].items()}


def same_weights(left: Path, right: Path) -> bool:
    """Whether two checkpoints hold the same weights, bit for bit."""
    one, other = weights(left), weights(right)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def same_run(left: RunPaths, right: RunPaths) -> bool:
    """Whether two folders hold the same metrics and weights."""
    return (
        numbers(left) == numbers(right)
        and same_weights(left.checkpoint, right.checkpoint)
        and same_weights(left.best, right.best)
    )
