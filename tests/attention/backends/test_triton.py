"""Backend ``triton`` without a GPU: its kernels under Triton's interpreter, and what the compiler makes of them."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sasa_cli.attention import choose_backend
from sasa_cli.attention.backends.triton import launch
from sasa_cli.attention.problem import Inputs, Problem

from ..cases import Case
from .test_backends import assert_equals_reference

HERE = Path(__file__).parent
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = launch.find_spec("triton") is not None

needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="needs the package triton")
from_outside = pytest.mark.skipif(INTERPRETED or not HAS_TRITON, reason="needs Triton, not interpreting")
under_interpreter = pytest.mark.skipif(not INTERPRETED, reason="run by test_under_the_interpreter")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

# Heads that fill no group, tiles beyond the map, channels beyond D, windows beyond the map.
RAGGED = [
    Case(3, (1, 3, 6, 5, 3), "mask", layout="channels_last"),
    Case(3, (2, 3, 8, 2, 9), position="per_head", layout="fused"),
    Case(5, (1, 5, 12, 3, 2), "mask", position="per_head", layout="channels_last"),
    Case(3, (1, 2, 5, 3, 4), position="none", layout="channels_last"),
    Case(3, (1, 3, 64, 2, 3), content=False, layout="channels_last"),
]


# Interpreting takes about 0.1 s per window place and tile, so that large windows meet few tiles.
QUICK = ["interpreter_small", "float32 and k3-1x3x2x3x9-mask", "float64 and k3 and mask-per_head-no_content"]
QUICK += ["empty", "test_logits and 9e+12 and float32 and k3-2x2x4x5x6-mask-per_head"]
THOROUGH = [
    "under_interpreter",
    "test_float64 and (k1- or k3 or k5)",
    "test_float64 and k7-2x2x4x5x6 and mask-per_head",
    "test_float64 and k11 and zero-shared-contiguous",
    "test_float32 and k3",
    "test_bfloat16",
    *("memory_order", "uniform", "large_logits", "not_read"),
    *("opcheck", "compiles", "autocast", "checkpointing"),
    *("huge_embeddings_of_a_row", "stays_in_the_window"),
    *("test_logits and 9e+12", "not_finite and nan"),
]


@from_outside
@pytest.mark.parametrize(
    "names", [pytest.param(QUICK, id="quick"), pytest.param(THOROUGH, id="thorough", marks=pytest.mark.slow)]
)
def test_under_the_interpreter(names: list[str]) -> None:
    """These tests of this folder, in a process of their own: Triton reads the variable when it defines a kernel."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", f"{__package__}.interpreted", "-p", "no:cacheprovider"]
    chosen = f"triton and ({' or '.join(f'({name})' for name in names)})"
    files = [HERE / f"test_{name}.py" for name in ("triton", "backends", "extreme_values")]
    files += [HERE.parent / f"test_{name}.py" for name in ("operator", "reference")]
    result = subprocess.run(
        [*command, *files, "-k", chosen], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    assert re.search(r"\d+ passed", result.stdout), result.stdout


@under_interpreter
@pytest.mark.parametrize("case", RAGGED, ids=str)
def test_ragged_under_interpreter(case: Case) -> None:
    assert_equals_reference("triton", case, torch.float32, 1e-5)


@under_interpreter
@pytest.mark.parametrize("case", [Case(3), Case(5, border="mask", layout="fused")], ids=str)
def test_float16_under_interpreter(case: Case) -> None:
    assert_equals_reference("triton", case, torch.float16, 2**-9)


@under_interpreter
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_same_bits_twice_under_interpreter_small(dtype: torch.dtype) -> None:
    case = Case(3, (2, 3, 8, 5, 6), "mask", position="per_head", layout="channels_last")
    inputs = case.inputs(dtype)
    first, second = (case.output_and_gradients(inputs, "triton") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@on_gpu
@needs_triton
@pytest.mark.parametrize("spatial_extent", [3, 7, 11, 19])
@pytest.mark.parametrize("head_dim", [8, 16, 32, 64])
@pytest.mark.parametrize("layout", ["contiguous", "fused"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2**-9), (torch.bfloat16, 2**-6)], ids=str
)
def test_cuda(spatial_extent: int, head_dim: int, layout: str, dtype: torch.dtype, tolerance: float) -> None:
    """Values, gradients, and the same bits again; logits of the size that training starts with."""
    case = Case(spatial_extent, (2, 4, head_dim, 13, 10), "mask", position="per_head", layout=layout)
    assert_equals_reference("triton", case, dtype, tolerance, device="cuda")
    inputs = Inputs(*(tensor.detach().cuda().requires_grad_() for tensor in case.inputs(dtype)))
    first, second = (case.output_and_gradients(inputs, "triton") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@on_gpu
@needs_triton
@pytest.mark.parametrize("case", RAGGED, ids=str)
def test_cuda_ragged(case: Case) -> None:
    assert_equals_reference("triton", case, torch.float32, 1e-5, device="cuda")


def on_cuda(**changes: Any) -> Problem:
    return replace(Case(3).problem(torch.float32), device="cuda", **changes)


def test_forcing_it_without_triton_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="backend 'triton' cannot compute this: it needs the package triton"):
        choose_backend(on_cuda(), "triton")


@needs_triton
@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="there is a GPU, or none needed")
def test_forcing_it_without_a_gpu_says_so() -> None:
    with pytest.raises(ValueError, match="backend 'triton' cannot compute this: it needs an NVIDIA GPU"):
        choose_backend(on_cuda(), "triton")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_dim": 160}, "it takes head dimensions up to 128, not 160"),
        ({"spatial_extent": 21}, "it takes spatial extents up to 19, not 21"),
        ({"device": "mps"}, "it runs on NVIDIA GPUs, not on mps"),
    ],
)
@pytest.mark.skipif(INTERPRETED, reason="the interpreter takes any device")
def test_says_what_it_does_not_take(changes: dict[str, Any], message: str) -> None:
    assert launch.BACKEND.supports(replace(on_cuda(), **changes)) == message
    assert launch.BACKEND.supports(on_cuda()) is None


@pytest.mark.parametrize("side", [7, 14, 28, 56])
@pytest.mark.parametrize("head_dim", [1, 6, 8, 64, 128])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_tiles_hold_one_load_per_thread_and_waste_little(side: int, head_dim: int, dtype: torch.dtype) -> None:
    problem = on_cuda(head_dim=head_dim, heads=8, height=side, width=side, dtype=dtype)
    tile = launch.choose_tile(problem)
    wide = 1 << (head_dim - 1).bit_length()
    assert tile.heads * tile.height * tile.width * wide * dtype.itemsize == launch.tile_bytes(problem)
    assert tile.heads == 1 or tile.heads * wide * dtype.itemsize <= 128
    covered = -(-side // tile.height) * tile.height * -(-side // tile.width) * tile.width
    if tile.height * tile.width <= 16:
        assert covered <= 1.31 * side**2
