"""C++ beside the kernel's sources, compiled for the tests."""

import platform
import shutil
import subprocess
from pathlib import Path

import sasa_cli.attention.backends.cpu

SOURCES = Path(sasa_cli.attention.backends.cpu.__file__).parent
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra")
# GCC warns of its own headers, as in setup.py.
QUIET = ("-Wno-psabi", "-Wno-ignored-attributes", "-Wno-uninitialized", "-Wno-maybe-uninitialized")


def _runs(flag: str) -> bool:
    """Whether this processor has what `flag` of /proc/cpuinfo says."""
    processors = Path("/proc/cpuinfo")
    return processors.exists() and f" {flag} " in processors.read_text()


INSTRUCTION_SETS: dict[str, tuple[str, ...]] = {"baseline": ()}
if platform.machine() in ("x86_64", "AMD64"):
    if _runs("avx2") and _runs("fma"):
        INSTRUCTION_SETS["avx2"] = ("-march=x86-64-v3",)
    if _runs("avx512vl") and _runs("avx512dq"):
        INSTRUCTION_SETS["avx512"] = ("-march=x86-64-v4", "-mprefer-vector-width=512")


def compiled(source: Path, folder: Path, flags: tuple[str, ...], *, optimised: bool = True) -> Path:
    """The program of a source, with the kernel's headers; warnings of it are errors."""
    program = folder / source.stem
    how = "-O3" if optimised else "-O1"
    command = [str(COMPILER), *FLAGS, *QUIET, "-Werror", how, *flags, f"-I{SOURCES}", str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program
