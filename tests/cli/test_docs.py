"""The README: every command in it works, every file it names exists, and every command and option has its help."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sasa_cli.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ (sasa .+)$", README, flags=re.MULTILINE)
# The same commands on few images and for one epoch: that they work is shown here, what they find elsewhere.
SMALLER = ["--set", "data.train_images=100", "--set", "recipe.epochs=1", "--set", "seeds=[0]"]


def commands() -> dict[str, object]:
    return dict(get_command(app).commands)


def run(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_readme_shows_each_command():
    assert {shlex.split(line)[1] for line in SHOWN} == set(commands())


@pytest.mark.slow
def test_the_commands_of_the_readme_work_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for line in SHOWN:
        _, command, *arguments = shlex.split(line.partition(" > ")[0], comments=True)
        if command in ("train", "sweep"):
            arguments += SMALLER
        if command == "bench":
            arguments += ["--shape", "2,16,8,8", "--spatial-extent", "3"]
        run([command, *arguments])


def test_the_counts_that_the_readme_shows_are_those_that_the_command_prints():
    line, shown = re.search(r"^\$ (sasa count-flops .+)\n((?:.+\n)+?)```", README, flags=re.MULTILINE).groups()
    assert shown.split() == run(shlex.split(line)[1:]).split()


def test_what_the_readme_shows_of_finding_ones_way_is_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```console\n(\$ sasa init .+?)```", README, flags=re.MULTILINE | re.DOTALL)
    for line, shown in re.findall(r"^\$ (sasa [^>\n]+?)(?: >.+)?\n((?:[^$].*\n)*)", block, flags=re.MULTILINE):
        printed = run(shlex.split(line)[1:])
        assert shown.split() == printed.split() or line == "sasa schema"


def test_the_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test"} <= named <= targets


def test_what_a_command_writes_is_apart_from_committed_evidence():
    """A sweep in a fresh checkout trains, and overwrites nothing that is committed."""
    command = ["git", "check-ignore", "results/demo", "results/bench/bench.json"]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert ignored.stdout.split() == ["results/demo", "results/bench/bench.json"]
    tracked = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split("/")[1] for line in tracked.stdout.splitlines()} == {"published"}


def test_the_files_that_the_readme_names_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_has_its_help(name: str):
    command = commands()[name]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"
    assert "Usage" in run([name, "--help"])
