"""The CPU kernel under the sanitizers, over the table of calls; `make check-native` runs these.

ThreadSanitizer sees nothing of how the threads of OpenMP wait for each other; for it the kernel's tasks go to threads
of the C++ library. That each sanitizer would have spoken is shown with a fault made on purpose.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...cases import CASES, Case
from .native import COMPILER, INSTRUCTION_SETS, compiled

HERE = Path(__file__).parent
SANITIZERS = {
    "address and undefined": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fopenmp"),
    "thread": ("-fsanitize=thread", "-DSASA_STD_THREADS", "-pthread"),
}
FAULTS = {
    "memory": ("address and undefined", "heap-buffer-overflow"),
    "undefined": ("address and undefined", "signed integer overflow"),
    "race": ("thread", "data race"),
}
TYPES = {"float32": 0, "float64": 1, "bfloat16": 2}
# Several bands of rows to a group of planes, more planes than lanes, and lanes that are left over.
LARGER = [Case(7, (2, 8, 8, 28, 28)), Case(3, (5, 7, 6, 17, 13), "mask"), Case(11, (1, 2, 16, 40, 9))]

pytestmark = [
    pytest.mark.skipif(os.environ.get("SASA_NATIVE") != "1", reason="make check-native runs it"),
    pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler"),
    pytest.mark.slow,
]


def calls(threads: int) -> Iterator[str]:
    """Every case in every type, one to a line."""
    for case in (*CASES, *LARGER):
        batch, heads, head_dim, height, width = case.shape
        embeddings = {"none": 0, "shared": 1, "per_head": heads}[case.position]
        flags = (int(case.border == "mask"), int(case.content), int(case.layout != "contiguous"))
        for kind in TYPES.values():
            numbers = (batch, heads, head_dim, height, width, case.spatial_extent, embeddings, kind, *flags, threads)
            yield " ".join(map(str, numbers))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    of_machine = INSTRUCTION_SETS.get("avx2", ())  # wider vectors take minutes to compile
    built: dict[str, Path] = {}
    for name, flags in SANITIZERS.items():
        folder = tmp_path_factory.mktemp("driver")
        built[name] = compiled(HERE / "driver.cpp", folder, ("-g1", *of_machine, *flags), optimised=False)
    return built


@pytest.mark.parametrize("name", SANITIZERS)
@pytest.mark.parametrize("threads", [1, 4])
def test_the_kernel_over_the_table_of_calls(programs: dict[str, Path], name: str, threads: int):
    lines = list(calls(threads))
    done = subprocess.run([programs[name]], input="\n".join(lines), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{len(lines)} calls\n"), done.stderr[-5000:]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_made_on_purpose_is_found(programs: dict[str, Path], fault: str):
    name, message = FAULTS[fault]
    done = subprocess.run([programs[name], fault], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in done.stderr
