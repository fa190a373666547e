"""Backend ``triton``: fused kernels for GPUs, written in Triton; see `kernels`.

They read channels-last maps where they lie, and write results in any memory order. Maps in which the channels of a
pixel lie apart are copied first: that is one pass over them, where the kernels make k * k. Memory beyond that, inputs
and results is one number per pixel and head, and in the backward pass ``(D, k)`` per tile and head for the embeddings.

Triton is imported with the first call: PyTorch brings it on Linux, but not with its CPU builds.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.problem import Inputs, Problem

MAX_HEAD_DIM = 128
MAX_SPATIAL_EXTENT = 19
LINE_BYTES = 128  # of a GPU's cache
WARPS = 4
THREADS = WARPS * 32


@dataclass(frozen=True)
class Tile:
    """What one program computes: ``height * width`` pixels of ``heads`` neighbouring heads."""

    heads: int
    height: int
    width: int


def tile_bytes(problem: Problem) -> int:
    """Of one map: the widest load of each thread, 16 bytes; half as much where k column logits fill the registers."""
    return THREADS * (16 if problem.spatial_extent <= 11 else 8)


def choose_tile(problem: Problem) -> Tile:
    """The tile for a problem, pinned rather than tuned, so that every run sums in the same order."""
    wide = _power_of_two(problem.head_dim)
    rows = max(1, tile_bytes(problem) // (wide * problem.dtype.itemsize))
    per_line = LINE_BYTES // (wide * problem.dtype.itemsize)  # neighbouring heads fill a cache line
    heads = max(1, min(per_line, rows, _power_of_two(problem.heads)))
    pixels = rows // heads
    shapes = [(2**i, pixels // 2**i) for i in range(pixels.bit_length())]
    height, width = min(shapes, key=lambda shape: (_tiles(problem, *shape), abs(shape[0] - shape[1]), shape))
    return Tile(heads, height, width)


# Registers of a thread with these limits, for D = 8, 16, 32 and 64, sm_80 and sm_90, Triton 3.8, its own assembler:
#                       bfloat16: k = 3    7       11       19     float32: k = 3    7        11       19
#   forward                     60-72   56-72  123-128  123-128           56-64   52-64    64-78   124-128
#   backward_query            141-161     168  230-240  254-255         101-108  136-148  180-192  188-200
#   backward_key_value        113-128  99-121   96-121    72-80              72   64-72    64-72     48-56
# k = 13, 15 and 17 lie in between. Of k = 13 to 19 every D, dtype and border was compiled, and nothing spilled.
def register_limit(kernel: str, problem: Problem) -> int | None:
    """Most registers of a thread in a kernel of `kernels`, None for what the assembler chooses.

    Left to itself it spills one to four here and there, to fit one more program on a multiprocessor.
    """
    k, half_precision = problem.spatial_extent, problem.dtype.itemsize == 2
    if kernel == "backward_query":
        return 168 if k <= 7 else 240 if k <= 11 else 255
    if kernel == "backward_key_value":
        return 128 if half_precision else None
    return 128 if k > 7 else None


def _power_of_two(number: int) -> int:
    """The smallest that is at least ``number``."""
    return 1 << (number - 1).bit_length()


def _tiles(problem: Problem, height: int, width: int) -> int:
    return -(-problem.height // height) * -(-problem.width // width)


class _Launch:
    """One launch's grid, and the arguments that all three kernels have in common."""

    def __init__(self, problem: Problem, inputs: Inputs, read: Sequence[Tensor], written: Sequence[Tensor]) -> None:
        row = inputs.row_embedding
        tile = choose_tile(problem)
        self.tiles = problem.batch * _tiles(problem, tile.height, tile.width)
        self.grid = (self.tiles * -(-problem.heads // tile.heads),)
        strides = (tensor.stride() for tensor in (*read, *written))
        self.numbers = (*strides, problem.heads, problem.height, problem.width)
        self.constants: dict[str, Any] = {
            "D": problem.head_dim,
            "WIDE": _power_of_two(problem.head_dim),
            "K": problem.spatial_extent,
            "SHARED": row is not None and row.dim() == 2,
            "COMPUTE": _compute_type(problem),
            "ALIGNMENT": _alignment(read),
            "ALIGNMENT_OUT": _alignment(written),
            "GROUP": tile.heads,
            "TILE_HEIGHT": tile.height,
            "TILE_WIDTH": tile.width,
            "num_warps": WARPS,
        }


def _alignment(maps: Sequence[Tensor]) -> int:
    """A power of two up to 16 that divides the strides of batch, heads, rows and columns."""
    return math.gcd(16, *(stride for tensor in maps for axis, stride in enumerate(tensor.stride()) if axis != 2))


def _compute_type(problem: Problem) -> Any:
    import triton.language as tl

    return tl.float64 if problem.compute_dtype == torch.float64 else tl.float32


def _forward(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
    from sasa_cli.attention.backends.triton import kernels as programs

    output = torch.empty_like(inputs.query)
    query, key, value, row, column = _readable(inputs)
    lse = query.new_empty((problem.batch, problem.heads, problem.height, problem.width), dtype=problem.compute_dtype)
    if problem.batch:
        launch = _Launch(problem, inputs, (query, value if key is None else key, value), (output,))
        with torch.cuda.device_of(query):
            programs.forward[launch.grid](
                *(query, key, value, row, column, output, lse),
                *launch.numbers,
                MASKED=problem.border == "mask",
                maxnreg=register_limit("forward", problem),
                **launch.constants,
            )
    return output, lse


def _backward(
    problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor, gradients: Inputs
) -> None:
    from sasa_cli.attention.backends.triton import kernels as programs

    grad_query, grad_key, grad_value, *_ = gradients
    query, key, value, row, column = _readable(inputs)
    output, grad_output = _channels_last(output), _channels_last(grad_output)
    maps = (query, value if key is None else key, value)
    partials = None
    if problem.batch:
        delta = torch.empty_like(lse)
        launch = _Launch(problem, inputs, (*maps, output, grad_output), (grad_query,))
        if row is not None:
            parts = (launch.tiles, problem.heads, problem.spatial_extent, problem.head_dim)
            partials = lse.new_empty(parts)
        with torch.cuda.device_of(query):
            programs.backward_query[launch.grid](
                *(query, key, value, row, column, output, lse, grad_output, grad_query, partials, delta),
                *launch.numbers,
                MASKED=problem.border == "mask",
                maxnreg=register_limit("backward_query", problem),
                **launch.constants,
            )
            grads = (grad_value if grad_key is None else grad_key, grad_value)
            launch = _Launch(problem, inputs, (*maps, grad_output), grads)
            programs.backward_key_value[launch.grid](
                *(query, key, value, row, column, lse, grad_output, delta, grad_key, grad_value),
                *launch.numbers,
                maxnreg=register_limit("backward_key_value", problem),
                **launch.constants,
            )
    _sum_embedding_gradients(gradients, partials)


def _readable(inputs: Inputs) -> Inputs:
    """``inputs`` as the kernels read them: maps with the channels of a pixel together, embeddings contiguous."""
    query, key, value, row, column = inputs
    return Inputs(
        _channels_last(query),
        None if key is None else _channels_last(key),
        _channels_last(value),
        None if row is None else row.contiguous(),
        None if column is None else column.contiguous(),
    )


def _channels_last(maps: Tensor) -> Tensor:
    """``maps (B, N, D, H, W)``, copied if the D channels of a pixel and head lie apart."""
    if maps.stride(2) == 1:
        return maps
    return maps.permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2)


def _sum_embedding_gradients(gradients: Inputs, partials: Tensor | None) -> None:
    """The sum of ``partials (tiles, N, k, D)``, None for an empty batch, into the gradients of the embeddings."""
    row, column = gradients.row_embedding, gradients.column_embedding
    if row is None or column is None:
        return
    if partials is None:
        row.zero_()
        column.zero_()
        return
    total = partials.sum(dim=(0, 1) if row.dim() == 2 else 0).mT  # (D, k) or (N, D, k)
    first, second = total.chunk(2, dim=-2)
    row.copy_(first)
    column.copy_(second)


def _interpreted() -> bool:
    """Whether Triton runs kernels as Python, on tensors of any device."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _supports(problem: Problem) -> str | None:
    if problem.device != "cuda" and not _interpreted():
        return f"it runs on NVIDIA GPUs, not on {problem.device}"
    if problem.head_dim > MAX_HEAD_DIM:
        return f"it takes head dimensions up to {MAX_HEAD_DIM}, not {problem.head_dim}"
    if problem.spatial_extent > MAX_SPATIAL_EXTENT:
        return f"it takes spatial extents up to {MAX_SPATIAL_EXTENT}, not {problem.spatial_extent}"
    return None


def _missing() -> str | None:
    if find_spec("triton") is None:
        return "it needs the package triton, which PyTorch's CUDA builds for Linux install"
    if not (torch.version.cuda and torch.cuda.is_available()) and not _interpreted():
        return "it needs an NVIDIA GPU"
    return None


BACKEND = Backend("triton", _forward, _backward, supports=_supports, missing=_missing)
