"""`--dry-run` shows the plan, then checks what training would check, with its message and exit code."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasa_cli.cli.app import app

REFUSED = {
    "an unknown optimizer": ("recipe.optimizer=sdg", 2, "'sdg' is no optimizer of timm (did you mean 'sgd'?)"),
    "an unknown backend": (
        "model.attention.backend=cpuu",
        2,
        "'cpuu' is none (did you mean 'cpu'?); allowed are auto,",
    ),
    "too many images": ("data.train_images=4501", 2, "4501 is too many; allowed are up to 4500"),
    "no images": ("data={name: cifar10, root: nowhere}", 3, "cifar10: "),
    "no such folder": ("data={name: folder, num_classes: 2, root: nowhere}", 3, "nowhere/folder; give its path"),
    "an odd batch of mixed images": ("recipe={mixup_alpha: 0.2, batch_size: 63, epochs: 1}", 2, "batches of 63 images"),
}


@pytest.mark.parametrize("command", ["train", "sweep"])
@pytest.mark.parametrize("what", REFUSED)
def test_a_dry_run_refuses(what: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assignment, code, message = REFUSED[what]
    result = CliRunner().invoke(app, [command, "demo", "--dry-run", "--device", "cpu", "--set", assignment])
    assert result.exit_code == code, result.output
    assert "missing" in result.stdout  # the plan is shown all the same
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_dry_run_for_a_cluster_asks_nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["sweep", "demo", "--dry-run", "--set", "recipe.amp=fp16"]  # which needs a GPU
    assert CliRunner().invoke(app, command).exit_code == 2
    assert CliRunner().invoke(app, [*command, "--launcher", "slurm"]).exit_code == 0
