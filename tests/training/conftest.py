from pathlib import Path

import pytest

from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord
from sasa_cli.spec import RunSpec

from .runs import Trainer, tiny


@pytest.fixture
def train(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, RunPaths, RunRecord]:
    """A run with a moving average that is done; tests only read its folder."""
    trainer = Trainer(tmp_path_factory.mktemp("finished"))
    spec = tiny("CCCA", ema_decay=0.5)
    return spec, trainer.paths(spec), trainer(spec)
