"""The parts of the CPU kernel by themselves, in C++: packing there and back, and how far exp2 and log2 are off."""

import re
import subprocess
from pathlib import Path

import pytest

from .native import COMPILER, INSTRUCTION_SETS, SOURCES, compiled

HERE = Path(__file__).parent
BOUNDS = r"Largest error.*?([\d.]+) ulp in float32, ([\d.]+) ulp in float64.*?"
STATED = re.compile(BOUNDS + r"\nSASA_INLINE Vector<S> (\w+)_lanes", re.DOTALL)
Report = dict[tuple[str, str], list[str]]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")


def stated() -> dict[tuple[str, str], float]:
    """The bounds that the comments of the functions state."""
    text = re.sub(r"\ntemplate <class S>", "", (SOURCES / "vectors.h").read_text())
    found: dict[tuple[str, str], float] = {}
    for single, double, name in STATED.findall(text):
        found |= {(name, "float32"): float(single), (name, "float64"): float(double)}
    return found


@pytest.fixture(scope="module", params=INSTRUCTION_SETS)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    program = compiled(HERE / "parts.cpp", tmp_path_factory.mktemp("parts"), INSTRUCTION_SETS[request.param])
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    return {(words[0], words[1]): words[2:] for words in map(str.split, lines)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_what_is_packed_comes_back_and_nothing_else_is_written(report: Report, dtype: str):
    assert report["packing", dtype][0] == "ok", report["packing", dtype]
    assert int(report["packing", dtype][1]) >= 300


def test_bfloat16_rounds_to_the_nearest_even(report: Report):
    assert report["bfloat16", "rounding"] == ["ok", "0"]


@pytest.mark.parametrize("function", ["exp2", "log2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_errors_are_within_the_stated_bounds(report: Report, function: str, dtype: str):
    measured, bound = float(report[function, dtype][1]), stated()[function, dtype]
    assert bound / 1.5 < measured <= bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_places_of_no_weight_and_nan(report: Report, dtype: str):
    assert report["exp2-edges", dtype] == ["ok"]
