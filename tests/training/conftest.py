"""Tiny runs on the built-in images: about a second each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sasa_cli.record import RunPaths, RunRecord
from sasa_cli.spec import AttentionSpec, DataSpec, ModelSpec, Recipe, RunSpec
from sasa_cli.training.run import Progress, RunOptions, train_run

MakeSpec = Callable[..., RunSpec]


def make_spec(stages: str = "CCCC", *, seed: int = 0, data: dict[str, Any] | None = None, **recipe: Any) -> RunSpec:
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


@pytest.fixture(name="make_spec", scope="session")
def make_spec_fixture() -> MakeSpec:
    return make_spec


class Runner:
    """Trains specs below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def paths(self, spec: RunSpec) -> RunPaths:
        return RunPaths(self.root / spec.run_id)

    def __call__(
        self, spec: RunSpec, listener: Callable[[Progress], None] | None = None, **options: Any
    ) -> RunRecord:
        settings = RunOptions(**{"device": "cpu", "threads": 1} | options)
        return train_run(spec, self.paths(spec), settings, listener)


@pytest.fixture
def train(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, RunPaths, RunRecord]:
    """A run with a moving average that is done; tests read its folder only."""
    train = Runner(tmp_path_factory.mktemp("finished"))
    spec = make_spec("CCCA", ema_decay=0.5)
    return spec, train.paths(spec), train(spec)


def numbers(paths: RunPaths) -> list[list[str]]:
    """`metrics.csv` without the two columns of time."""
    return [line.split(",")[:-2] for line in paths.metrics.read_text().splitlines()]


def same_weights(left: Path, right: Path) -> bool:
    """Whether two checkpoints hold the same weights, bit for bit."""
    one, other = (torch.load(file, weights_only=True) for file in (left, right))
    keys = {"state_dict", "state_dict_ema"} & one.keys()
    return keys == {"state_dict", "state_dict_ema"} & other.keys() and all(
        one[key].keys() == other[key].keys()
        and all(torch.equal(one[key][name], other[key][name]) for name in one[key])
        for key in keys
    )


class Compare:
    """What two runs that should be one and the same have in common."""

    numbers = staticmethod(numbers)
    same_weights = staticmethod(same_weights)

    def same_run(self, left: RunPaths, right: RunPaths) -> bool:
        return (
            numbers(left) == numbers(right)
            and same_weights(left.checkpoint, right.checkpoint)
            and same_weights(left.best, right.best)
        )


@pytest.fixture
def compare() -> Compare:
    return Compare()
