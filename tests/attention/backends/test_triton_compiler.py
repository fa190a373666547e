"""What Triton's compiler makes of the kernels for GPUs that need not be here: they compile, and nothing spills."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sasa_cli.attention.backends.triton import launch
from sasa_cli.attention.problem import Inputs, Problem, describe

triton = pytest.importorskip("triton", reason="needs the package triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from sasa_cli.attention.backends.triton import kernels  # noqa: E402

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
KERNELS = ("forward", "backward_query", "backward_key_value")
TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp64"}

pytestmark = pytest.mark.skipif(not CUOBJDUMP.exists(), reason="needs the cuobjdump of Triton")


class Launch:
    """Stands in for a kernel and keeps what it is launched with."""

    def __init__(self, name: str) -> None:
        self.kernel = getattr(kernels, name)

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def keep(*arguments: Any, **constants: Any) -> None:
            self.arguments, self.constants = arguments, constants

        return keep

    def compile(self, architecture: int) -> Any:
        """The kernel for these arguments, specialised as a launch does it: to ones, None and multiples of 16."""
        signature: dict[str, Any] = {}
        constants: dict[tuple[int, ...], Any] = {}
        attributes: dict[tuple[int, ...], list[Any]] = {}
        given = dict(zip(self.kernel.arg_names, self.arguments, strict=False)) | self.constants
        for index, (name, parameter) in enumerate(zip(self.kernel.arg_names, self.kernel.params, strict=True)):
            argument = given.pop(name)
            special = not parameter.do_not_specialize
            if isinstance(argument, tuple):
                signature[name] = tuple("constexpr" if number == 1 else "i32" for number in argument)
                constants |= {(index, place): 1 for place, number in enumerate(argument) if number == 1}
                multiples = [place for place, number in enumerate(argument) if number != 1 and number % 16 == 0]
                attributes |= {(index, place): [["tt.divisibility", 16]] for place in multiples}
                continue
            if isinstance(argument, torch.Tensor):
                signature[name] = f"*{TYPES[argument.dtype]}"
            elif name in self.constants or argument is None or (special and argument == 1):
                signature[name], constants[index,] = "constexpr", argument
                continue
            else:
                signature[name] = "i32"
            if isinstance(argument, torch.Tensor) or (special and argument % 16 == 0):
                attributes[index,] = [["tt.divisibility", 16]]
        source = ASTSource(self.kernel, signature, constants, attributes)
        return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=given)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Launch]:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    stand_ins = {name: Launch(name) for name in KERNELS}
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(kernels, name, stand_in)
    return stand_ins


def run_on_meta(problem: Problem, layout: str, per_head: bool) -> None:
    """Forward and backward of the backend on tensors without memory."""
    maps = torch.empty(2, problem.heads * problem.head_dim, *(problem.height, problem.width), dtype=problem.dtype)
    if layout == "channels_last":
        maps = maps.to(memory_format=torch.channels_last)
    query = maps.to("meta").unflatten(1, (problem.heads, problem.head_dim))
    shape = (problem.head_dim // 2, problem.spatial_extent)
    embedding = torch.empty((problem.heads, *shape) if per_head else shape, device="meta")
    inputs = Inputs(query, query, query, embedding, embedding)
    problem = describe(inputs, problem.spatial_extent, problem.border)
    output, lse = launch.BACKEND.forward(problem, inputs)
    gradients = launch.BACKEND.gradients(problem, output, inputs, output, lse)
    assert [g.shape for g in gradients] == [tensor.shape for tensor in inputs]


def resources(compiled: Any, path: Path) -> dict[str, int]:
    """Registers and bytes of stack of a thread."""
    path.write_bytes(compiled.asm["cubin"])
    command = [str(CUOBJDUMP), "--dump-resource-usage", str(path)]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(re.search(rf"{name}:(\d+)", usage)[1]) for name in ("REG", "STACK", "LOCAL")}


# With no limit on its registers, or 16 bytes a thread, one of the kernels spilled here.
HARD = {
    (8, 13, torch.float32, "zero", 80),
    (32, 13, torch.bfloat16, "zero", 80),
    (8, 15, torch.bfloat16, "zero", 90),
    (16, 15, torch.bfloat16, "zero", 90),
    (32, 15, torch.float32, "mask", 90),
    (64, 15, torch.float32, "mask", 90),
    (16, 17, torch.bfloat16, "mask", 90),
    (8, 19, torch.float16, "zero", 90),
    (16, 19, torch.float32, "mask", 90),
}


def parameters() -> list[Any]:
    quick = {(8, 7, torch.bfloat16, "mask", 90), (64, 3, torch.float32, "mask", 80)}
    # The widest windows compile slowly, and 16 bits of the one kind like those of the other.
    thorough = (
        {
            (head_dim, k, dtype, "mask", 90)
            for head_dim in (8, 16, 32, 64)
            for k in (3, 7, 11, 19)
            for dtype in (torch.float32, torch.bfloat16, torch.float16)
            if k <= 7 or (head_dim in (8, 64) and dtype != torch.float16)
        }
        | HARD
        | {
            (head_dim, 7, dtype, "mask", 80)
            for head_dim in (8, 16, 32, 64)
            for dtype in (torch.float32, torch.bfloat16)
        }
    )
    return [
        pytest.param(*values, marks=[] if values in quick else [pytest.mark.slow])
        for values in sorted(quick | thorough, key=str)
    ]


@pytest.mark.parametrize(("head_dim", "spatial_extent", "dtype", "border", "architecture"), parameters(), ids=str)
def test_compiles_without_spilling(
    head_dim: int,
    spatial_extent: int,
    dtype: torch.dtype,
    border: str,
    architecture: int,
    launches: dict[str, Launch],
    tmp_path: Path,
) -> None:
    problem = Problem(
        batch=2,
        heads=8,
        head_dim=head_dim,
        height=56,
        width=56,
        spatial_extent=spatial_extent,
        border=border,
        dtype=dtype,
    )
    run_on_meta(problem, "channels_last", per_head=False)
    for name, recorded in launches.items():
        compiled = recorded.compile(architecture)
        used = resources(compiled, tmp_path / f"{name}.cubin")
        assert (used["STACK"], used["LOCAL"]) == (0, 0), f"{name}: {used}"
        assert re.search(r"ld\.global\S*\.v[24]", compiled.asm["ptx"]), f"{name} reads channels one by one"


@pytest.mark.slow
@pytest.mark.parametrize("border", ["zero", "mask"])
@pytest.mark.parametrize(("layout", "per_head"), [("contiguous", False), ("contiguous", True), ("channels_last", True)])
def test_other_settings_compile_without_spilling(
    border: str, layout: str, per_head: bool, launches: dict[str, Launch], tmp_path: Path
) -> None:
    problem = Problem(
        batch=2, heads=8, head_dim=16, height=28, width=28, spatial_extent=7, border=border, dtype=torch.bfloat16
    )
    run_on_meta(problem, layout, per_head)
    for name, recorded in launches.items():
        used = resources(recorded.compile(90), tmp_path / f"{name}.cubin")
        assert used["STACK"] == 0, f"{name}: {used}"
