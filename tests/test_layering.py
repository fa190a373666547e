"""Which room may import which: data flows from YAML to spec to model to training to record to report."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sasa_cli

PACKAGE = Path(sasa_cli.__file__).parent
FOUNDATION = {"errors", "spec", "kinds", "runs"}
ROOMS = """
cli         -> launchers training experiment counting reporting rendering bench
launchers   -> training data experiment counting
training    -> models attention data experiment counting.macs
models      -> attention
attention   ->
data        ->
experiment  -> data.catalog counting.macs
counting    -> rendering paper experiment data.catalog
reporting   -> rendering paper experiment counting
bench       -> rendering models attention training counting.formulations
rendering   ->
paper       ->
"""
ARROWS = {room: set(arrows.split()) for room, arrows in (line.split("->") for line in ROOMS.strip().splitlines())}
ARROWS = {room.strip(): arrows | FOUNDATION for room, arrows in ARROWS.items()}
ARROWS |= {"errors": set(), "kinds": set(), "spec": {"errors", "kinds"}, "runs": {"errors", "spec"}}
TORCH_FREE = ["cli", "experiment", "runs", "counting", "paper", "rendering", "reporting", "launchers"]
WITH_TORCH = {"counting.foreign", "counting.counters", "counting.formulations"}  # imported where they are needed


def imports_of(file: Path) -> set[str]:
    """The modules of this package that a file imports, without the package's name: `models.stem`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sasa_cli."):
            found |= {f"{node.module}.{alias.name}".removeprefix("sasa_cli.") for alias in node.names}
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(file: Path):
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    allowed = tuple(f"{name}." for name in ARROWS[room] | {room})
    assert [name for name in imports_of(file) if not f"{name}.".startswith(allowed)] == []


def test_nothing_imports_the_command_line():
    importers = [
        file.relative_to(PACKAGE)
        for file in PACKAGE.rglob("*.py")
        if any(name.startswith("cli.") for name in imports_of(file))
    ]
    assert {importer.parts[0] for importer in importers} == {"__main__.py", "cli"}


@pytest.mark.parametrize("room", TORCH_FREE)
def test_what_needs_no_torch_imports_none(room: str):
    files = sorted((PACKAGE / room).rglob("*.py"))
    modules = {".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") for file in files}
    imports = "; ".join(f"import sasa_cli.{module}" for module in sorted(modules - WITH_TORCH))
    code = f"{imports}; import sys; print(sorted({{'torch', 'timm', 'torchvision'}} & set(sys.modules)))"
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
    assert names <= allowed | {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}


def test_the_package_has_few_files_outside_its_rooms():
    top = {file.name for file in PACKAGE.glob("*.py")}
    assert top == {"__init__.py", "__main__.py", "errors.py", "spec.py", "kinds.py"}


LONGEST_README = 40  # lines: a page


@pytest.mark.parametrize(
    "room", sorted({file.parent for file in PACKAGE.rglob("__init__.py")} - {PACKAGE}), ids=lambda room: room.name
)
def test_each_room_says_what_lives_in_it(room: Path):
    if room.name == "fashion_mnist_mini":
        return  # one file of images, described in `data`
    readme = (room / "README.md").read_text()
    assert readme.startswith("# ")
    assert readme.count("\n") <= LONGEST_README
    named = set(re.findall(r"`([\w/]+\.(?:py|h|cpp|yaml))`", readme))
    root = PACKAGE.parent
    missing = [n for n in named if not any((place / n).exists() for place in (room, PACKAGE, root, root / "tests"))]
    assert missing == []
