"""Compiles the CPU kernel of local attention, once per instruction set; all other metadata is in pyproject.toml.

The libraries are plain shared objects that ctypes loads: no Python or torch headers, any Python version. They are
optional: without a C++ compiler the package installs all the same, and `sasa_cli.attention.backends.cpu.kernel` says
why the kernel is missing.
"""

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCE = Path("sasa_cli/attention/backends/cpu")
# -fno-wrapv: setuptools hands on the flag that Python itself was built with, and it makes index arithmetic slower.
FLAGS = ["-std=c++17", "-O3", "-fno-wrapv", "-fopenmp", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-g0"]
ARITHMETIC = ["-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-Wno-ignored-attributes"]
# GCC warns of its own headers: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105593
ARITHMETIC += ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]
INSTRUCTION_SETS = {"baseline": []}
if platform.machine() in ("x86_64", "AMD64"):
    INSTRUCTION_SETS["avx2"] = ["-march=x86-64-v3"]
    INSTRUCTION_SETS["avx512"] = ["-march=x86-64-v4", "-mprefer-vector-width=512"]


class BuildLibraries(build_ext):
    """Names the libraries as `CpuKernel` looks for them."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"


class PlatformWheel(bdist_wheel):
    """The wheel depends on the platform, but on no version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            f"sasa_cli.attention.backends.cpu._kernel_{name}",
            sources=[str(SOURCE / "local_attention.cpp")],
            depends=[str(path) for path in sorted(SOURCE.glob("*.h"))],
            extra_compile_args=[*FLAGS, *ARITHMETIC, *flags],
            extra_link_args=["-fopenmp"],
            language="c++",
            optional=True,
        )
        for name, flags in INSTRUCTION_SETS.items()
    ],
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": PlatformWheel},
)
