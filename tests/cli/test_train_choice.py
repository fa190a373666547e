"""What `sasa train` trains: the base of an experiment, a cell of its sweep, or a model on a data set without a file."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sasa_cli.cli.app import app


def plan(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments), "--dry-run", "--json", "--device", "cpu"])


def runs_of_sweep(name: str) -> dict[str, str]:
    shown = CliRunner().invoke(app, ["sweep", name, "--status", "--json"])
    return {run["label"]: run["run_id"] for run in json.loads(shown.stdout)["runs"] if run["seed"] == 0}


@pytest.mark.parametrize("cell", ["CCCC", "k3-CCAA", "k7-AAAA"])
def test_a_cell_is_the_run_of_the_sweep(cell: str) -> None:
    result = plan("demo", "--cell", cell)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["run_id"] == runs_of_sweep("demo")[cell]
    assert json.loads(plan("demo", "--cell", cell, "--seed", 5).stdout)["seed"] == 5


def test_an_unknown_cell_is_answered_with_the_nearest() -> None:
    result = plan("demo", "--cell", "k3-CCA")
    assert result.exit_code == 2
    assert "--cell: 'k3-CCA' is no cell (did you mean 'k3-CCCA'?); allowed are CCCC, k3-CCCA, " in result.stderr


def test_a_model_on_a_data_set_needs_no_file(tmp_path: Path) -> None:
    small = ["model.width=0.125", "model.attention.heads=2", "data.train_images=128", "recipe.epochs=1"]
    changes = [word for text in small for word in ("--set", text)]
    command = ["train", "--model", "sasa_resnet26:CCCA", *changes, "--out", str(tmp_path), "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["status"], record["experiment"]) == ("done", "sasa_resnet26-CCCA-fashion-mnist-mini")
    assert record["cell"] == {"model.stages": "CCCA", "model.attention.spatial_extent": 7}


def test_a_real_data_set_by_name(real_data_dir: Path) -> None:
    result = plan("--model", "sasa_resnet38:CCAA", "--data", "cifar10", "--data-dir", real_data_dir)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["label"] == "k7-CCAA"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give an experiment, or --model"),
        (["demo", "--model", "sasa_resnet26"], "and not both"),
        (["demo", "--data", "cifar10"], "--data goes with --model"),
        (["--model", "sasa_resnet27"], "'sasa_resnet27' is not allowed; allowed are 'sasa_resnet26'"),
        (["--model", "sasa_resnet26:CCX"], "'CCX' is not one letter for each of 4 stages"),
        (["--model", "sasa_resnet26", "--data", "cifer10"], "did you mean cifar10?"),
        (["--model", "sasa_resnet26", "--cell", "CCAA"], "'CCAA' is no cell"),
    ],
)
def test_what_does_not_go_together_is_said(arguments: list[str], message: str) -> None:
    result = plan(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
