"""Output that is closed, full, ASCII, or looks like markup: the work goes on, and its results are whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasa_cli.cli.app import app

EXPERIMENT = """
name: output
data: {train_images: 60}
recipe: {epochs: 1}
model: {width: 0.125, layers: [1, 1, 1, 1], stages: CCCC}
"""
SASA = [sys.executable, "-m", "sasa_cli"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "output.yaml"
    file.write_text(EXPERIMENT)
    return file


def statuses(folder: Path) -> list[str]:
    return [json.loads(record.read_text())["status"] for record in folder.glob("output/runs/*/record.json")]


@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">&-", "> /dev/full", "| head -c 1"])
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_stdout_that_is_closed_or_full_costs_no_work(file: Path, tmp_path: Path, redirection: str, command: str):
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    line = f"set -o pipefail; {sys.executable} -m sasa_cli {command} {file} --out {tmp_path} {redirection}"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (result.returncode, statuses(tmp_path)) == (0, ["done"]), result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    assert ("cannot be written any more: No space left" in result.stderr) == ("full" in redirection)


def test_an_ascii_terminal_gets_ascii(tmp_path: Path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    file = tmp_path / "größe.yaml"
    file.write_text(EXPERIMENT + "description: größer\n", encoding="utf-8")
    command = [*SASA, "train", str(file), "--dry-run", "--out", str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    result.stdout.decode("ascii")
    counted = subprocess.run([*SASA, "count-flops", "sasa_resnet26"], env=environment, capture_output=True, check=False)
    assert (counted.returncode, b"x" in counted.stdout) == (0, True)
    counted.stdout.decode("ascii")


def test_messages_that_look_like_markup_are_shown_as_they_are(file: Path, tmp_path: Path):
    """An error text with `[/...]` made sweep and status unusable for good."""
    arguments = [str(file), "--out", str(tmp_path)]
    assert CliRunner().invoke(app, ["train", *arguments]).exit_code == 0
    (record,) = tmp_path.glob("output/runs/*/record.json")
    told = json.loads(record.read_text())
    message = "bad [/tag] and [bold]loud[/bold] :smile: [link=file:///]x[/link]"
    told |= {"status": "failed", "error": {"kind": "RunError", "message": message, "traceback": ""}}
    record.write_text(json.dumps(told))
    shown = CliRunner().invoke(app, ["sweep", *arguments, "--status"])
    assert shown.exit_code == 0, shown.output
    assert message in " ".join(shown.stdout.split())


def test_a_folder_that_looks_like_markup_is_shown_as_it_is(file: Path, tmp_path: Path):
    out = tmp_path / "[red]results[/red]"
    result = CliRunner().invoke(app, ["train", str(file), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "[red]results[/red]" in result.stdout.replace("\n", "")
