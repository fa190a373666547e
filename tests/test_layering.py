"""Which module may import which: data flows from YAML to spec to model to training to record to report."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sasa_cli

PACKAGE = Path(sasa_cli.__file__).parent
FOUNDATION = {"spec", "record", "errors"}
ALLOWED = {
    "errors": set(),
    "spec": set(),
    "record": {"errors"},
    "plan": {"record"},
    "yaml_source": {"errors"},
    "matching": FOUNDATION | {"macs", "data"},
    "experiment": FOUNDATION | {"yaml_source", "matching"},
    "sweep": FOUNDATION | {"experiment", "yaml_source"},
    "macs": FOUNDATION,
    "paper": FOUNDATION | {"macs"},
    "attention": {"errors"},
    "models": FOUNDATION | {"attention", "macs"},
    "data": FOUNDATION,
    "training": FOUNDATION | {"attention", "models", "data", "macs", "experiment"},
    "targets": FOUNDATION | {"data", "macs", "matching", "experiment", "sweep", "models"},
    "launchers": FOUNDATION | {"training", "targets", "data", "macs", "experiment", "plan"},
    "reporting": FOUNDATION | {"macs", "plan", "paper", "matching", "experiment"},
    "bench": FOUNDATION | {"attention", "models", "training", "reporting", "macs"},
    "options": set(),
    "counting": FOUNDATION | {"targets", "paper", "matching", "reporting", "bench", "yaml_source"},
    "terminal": FOUNDATION | {"launchers", "plan", "training"},
}
TORCH_FREE = [
    "sasa_cli",
    "sasa_cli.cli",
    "sasa_cli.terminal",
    "sasa_cli.sweep",
    "sasa_cli.macs",
    "sasa_cli.matching",
    "sasa_cli.paper.tables",
    "sasa_cli.plan",
    "sasa_cli.record",
    "sasa_cli.targets",
    "sasa_cli.counting",
    "sasa_cli.launchers.local",
    "sasa_cli.launchers.planning",
    "sasa_cli.data.catalog",
    "sasa_cli.reporting.report",
    "sasa_cli.reporting.count_tables",
    "sasa_cli.reporting.explanation",
]


def part_of(module: str) -> str:
    """`sasa_cli.models.stem` is of the part `models`."""
    return module.split(".")[1] if "." in module else "sasa_cli"


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {part_of(name) for name in names if name.startswith("sasa_cli.")}
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(file: Path):
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in ("cli", "__init__", "__main__"):
        return
    assert part in ALLOWED, f"{part} has no place in the layering: give it one"
    assert imports_of(file) <= ALLOWED[part] | {part}


def test_nothing_imports_the_command_line():
    importers = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if "cli" in imports_of(file)}
    assert importers == {"__main__.py"}


@pytest.mark.parametrize("module", TORCH_FREE)
def test_what_needs_no_torch_imports_none(module: str):
    code = f"import {module}, sys; print(sorted({{'torch', 'timm', 'torchvision'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_check_for_torch_can_fail():
    code = "import sasa_cli.models, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "True"


def test_the_top_level_is_what_a_reader_expects():
    root = PACKAGE.parent
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    names = {line.split("/")[0] for line in tracked.stdout.splitlines() if not line.startswith(".")}
    allowed = {"sasa_cli", "experiments", "results", "tests", "pyproject.toml", "setup.py", "Makefile"}
    assert names <= allowed | {"README.md", "LICENSE", "CHANGELOG.md", "MANIFEST.in"}
