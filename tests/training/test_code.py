"""The fingerprint of the code: blind to words and places, not to what is computed."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sasa_cli.training.code import PACKAGE, code_fingerprint, training_modules

Change = Callable[[Path], None]


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    copy = tmp_path / "elsewhere" / "sasa_cli"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.npz"))
    yield copy
    code_fingerprint.cache_clear()


def fingerprint(package: Path) -> str:
    code_fingerprint.cache_clear()
    return code_fingerprint(package)


def replaced(name: str, old: str, new: str) -> Change:
    def change(package: Path) -> None:
        file = package / name
        text = file.read_text()
        assert old in text, f"{name} has no {old!r}"
        file.write_text(text.replace(old, new, 1))

    return change


def moved(package: Path) -> None:
    """A room and a file get other names; whoever imports them follows."""
    (package / "models" / "stem.py").rename(package / "models" / "root.py")
    (package / "data").rename(package / "images")
    for file in package.rglob("*.py"):
        text = file.read_text().replace("sasa_cli.models.stem", "sasa_cli.models.root")
        file.write_text(re.sub(r"\bsasa_cli\.data\b", "sasa_cli.images", text))


def appended(name: str, text: str) -> Change:
    def change(package: Path) -> None:
        (package / name).write_text((package / name).read_text() + text)

    return change


KERNEL = "attention/backends/cpu/local_attention.cpp"
SAME: dict[str, Change] = {
    "nothing": lambda package: None,
    "a comment": appended("training/loop.py", "\n# Words.\n"),
    "a docstring of a module": replaced("models/stem.py", '"""', '"""Words. '),
    "a docstring of a function": replaced("training/loop.py", '"""Update the weights once', '"""Once'),
    "a docstring of a field": replaced("spec.py", '"""Loader processes;', '"""Processes;'),
    "blank lines and quotes": replaced("spec.py", '"sasa_resnet26"', "\n\n    'sasa_resnet26'"),
    "a comment in C++": appended(KERNEL, "\n// words\n/* more\n words */\n"),
    "white space in C++": replaced(KERNEL, "{", "  {\n"),
    "a counter of other models": replaced("counting/foreign.py", "// 2", "// 3"),
    "what a report says": appended("reporting/report.py", "\nLATER = 1\n"),
    "how a run is recorded": replaced("runs/record.py", "indent=2", "indent=3"),
    "the places of files": moved,
}
OTHER: dict[str, Change] = {
    "a constant in Python": replaced("spec.py", "(64, 128, 256, 512)", "(64, 128, 256, 513)"),
    "an operator": replaced("training/loop.py", "(epoch - 1) * steps", "(epoch + 1) * steps"),
    "the table of kinds": replaced("kinds.py", "pools=True", "pools=False"),
    "a lazily imported kernel": appended("attention/backends/triton/kernels.py", "\nLATER = 1\n"),
    "a layer behind a dotted name": replaced("models/depthwise.py", "extent // 2", "extent // 3"),
    "a constant in C++": appended(KERNEL, "\nstatic const int later = 1;\n"),
    "a header": appended("attention/backends/cpu/vectors.h", "\n#define LATER 1\n"),
    "a slash in a C++ string": appended(KERNEL, '\nstatic const char *later = "// no comment";\n'),
    "counts of parameters": replaced("counting/layers.py", "kernel**2", "kernel**3"),
    "the split of the images": replaced("data/splits.py", "SPLIT_SEED = ", "SPLIT_SEED = 1 + "),
}


@pytest.mark.parametrize("name", SAME)
def test_words_and_places_change_nothing(package: Path, name: str) -> None:
    SAME[name](package)
    assert fingerprint(package) == fingerprint(PACKAGE)


@pytest.mark.parametrize("name", OTHER)
def test_what_is_computed_changes_it(package: Path, name: str) -> None:
    OTHER[name](package)
    assert fingerprint(package) != fingerprint(PACKAGE)


def test_two_strings_of_cpp_are_told_apart(package: Path) -> None:
    appended(KERNEL, '\nstatic const char *later = "// one";\n')(package)
    one = fingerprint(package)
    replaced(KERNEL, "// one", "// two")(package)
    assert fingerprint(package) != one


def test_it_is_about_what_training_uses() -> None:
    names = {file.relative_to(PACKAGE).as_posix() for file in training_modules()}
    assert {"kinds.py", "spec.py", "counting/macs.py", "counting/stages.py", "data/splits.py"} <= names
    assert {"models/depthwise.py", "attention/backends/triton/kernels.py", "training/session.py"} <= names
    rooms = {name.split("/")[0] for name in names if "/" in name}
    assert rooms == {"attention", "counting", "data", "models", "training"}
    assert "counting/foreign.py" not in names
