"""A spec is checked once and kept, and a network is counted once, however many runs there are."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from typer.testing import CliRunner

from sasa_cli.cli.app import app

CHECK, COUNT = "_geometry", "count_model"  # of a `ModelSpec`, and of a network
MATCHING = """
name: matching
model: {name: sasa_resnet26, attention: {heads: 2}, match: {budget: params, to: sasa_resnet26, stages: CCCC}}
sweep: {model.stages: [CCCA, CCAA, CAAA, AAAA]}
seeds: [0, 1, 2]
"""
LONG = """
name: long
model: {{name: sasa_resnet26}}
sweep:
  recipe.lr: [{rates}]
  model.stages: [CCCC, CCAA, AAAA]
  model.attention.spatial_extent: [3, 7]
seeds: [0, 1, 2, 3]
"""


@pytest.fixture
def calls() -> Iterator[Counter[str]]:
    counted: Counter[str] = Counter()

    def watch(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name in (CHECK, COUNT):
            counted[frame.f_code.co_name] += 1

    sys.setprofile(watch)
    yield counted
    sys.setprofile(None)


def planned(*arguments: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--dry-run", "--json"])
    assert result.exit_code == 0, result.output


def test_a_run_of_the_demo_is_checked_as_often_as_its_sweep_has_cells(calls: Counter[str]):
    planned("train", "demo")  # whose label is that of the cell of the sweep, ten with one that stands twice
    assert calls[CHECK] <= 12  # 76 before
    assert calls[COUNT] == 1


def test_a_width_is_found_without_checking_each_that_is_tried(calls: Counter[str], tmp_path: Path):
    file = tmp_path / "matching.yaml"
    file.write_text(MATCHING)
    planned("sweep", str(file))
    assert calls[CHECK] <= 20  # 4,210 before


@pytest.mark.parametrize("rates", [5, 20])
def test_runs_cost_no_more_than_a_check_for_each_cell_and_a_count_for_each_network(
    rates: int, calls: Counter[str], tmp_path: Path
):
    file = tmp_path / "long.yaml"
    file.write_text(LONG.format(rates=", ".join(str(0.01 * (1 + rate)) for rate in range(rates))))
    planned("sweep", str(file))
    assert calls[COUNT] == 5
    assert calls[CHECK] <= 6 * rates + 10
