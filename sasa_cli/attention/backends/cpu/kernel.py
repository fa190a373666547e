"""Backend ``cpu``: the fused C++ kernel of ``cpu/local_attention.cpp``, called through ctypes.

The package's build compiles it once per instruction set, where it finds a compiler; the best one that this processor
runs is loaded on first use. It reads and writes tensors of any strides, so neither layout is copied.
"""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.problem import Inputs, Problem

INSTRUCTION_SETS = ("avx512", "avx2", "baseline")  # best first
TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}  # SasaType


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("stride", ctypes.c_int64 * 5))


class _Problem(ctypes.Structure):
    """`SasaProblem` of ``cpu/local_attention.h``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "heads", "head_dim", "height", "width", "spatial_extent")),
        *((name, ctypes.c_int64) for name in ("embedding_heads", "threads", "type", "mask_border")),
        *((name, _Tensor) for name in ("query", "key", "value", "out", "log_sum_exp")),
        *((name, _Tensor) for name in ("grad_out", "grad_query", "grad_key", "grad_value")),
        *((name, ctypes.c_void_p) for name in ("row_embedding", "column_embedding")),
        *((name, ctypes.c_void_p) for name in ("grad_row_embedding", "grad_column_embedding")),
    )


class CpuKernel:
    """The compiled kernel for one instruction set.

    Args:
        instruction_set: one of `INSTRUCTION_SETS`.
        directory: where the compiled libraries lie.

    Raises:
        OSError: if the library is not there, cannot be loaded, or is not for this processor; the message says which.
    """

    def __init__(self, instruction_set: str, directory: Path = Path(__file__).parent) -> None:
        path = directory / f"_kernel_{instruction_set}.so"
        if not path.exists():
            raise OSError("it was not built when the package was installed, which takes a C++ compiler")
        library = ctypes.CDLL(str(path))
        if not library.sasa_runs_here():
            raise OSError(f"this processor lacks the instructions of its {instruction_set} build")
        self.instruction_set = instruction_set
        self._forward = library.sasa_forward
        self._backward = library.sasa_backward

    def forward(self, problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Output ``(B, N, D, H, W)`` and log-sum-exp ``(B, N, H, W)``; see `Backend`."""
        out = torch.empty_like(inputs.query)
        lse_shape = (problem.batch, problem.heads, problem.height, problem.width)
        lse = out.new_empty(lse_shape, dtype=problem.compute_dtype)
        embeddings = _embeddings(problem, inputs)
        call = _describe(problem, inputs, embeddings, out, lse)
        _check(self._forward(ctypes.byref(call)))
        return out, lse

    def backward(
        self, problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor, gradients: Inputs
    ) -> None:
        """Writes the gradients with respect to ``inputs``; see `Backend`."""
        embeddings = _embeddings(problem, inputs)
        grad_embeddings = [torch.empty_like(embedding) for embedding in embeddings]

        call = _describe(problem, inputs, embeddings, output, lse)
        call.grad_out, call.grad_query = _tensor(grad_output), _tensor(gradients.query)
        call.grad_value = _tensor(gradients.value)
        if gradients.key is not None:
            call.grad_key = _tensor(gradients.key)
        if grad_embeddings:
            call.grad_row_embedding, call.grad_column_embedding = (grad.data_ptr() for grad in grad_embeddings)
        _check(self._backward(ctypes.byref(call)))

        if gradients.row_embedding is not None and gradients.column_embedding is not None:
            gradients.row_embedding.copy_(grad_embeddings[0])
            gradients.column_embedding.copy_(grad_embeddings[1])


def _embeddings(problem: Problem, inputs: Inputs) -> list[Tensor]:
    """The embeddings as the kernel reads them: contiguous, in the dtype of the arithmetic; empty without any."""
    given = (embedding for embedding in (inputs.row_embedding, inputs.column_embedding) if embedding is not None)
    return [embedding.to(problem.compute_dtype).contiguous() for embedding in given]


def _tensor(tensor: Tensor) -> _Tensor:
    return _Tensor(tensor.data_ptr(), tensor.stride())


def _describe(problem: Problem, inputs: Inputs, embeddings: list[Tensor], out: Tensor, lse: Tensor) -> _Problem:
    call = _Problem(
        batch=problem.batch,
        heads=problem.heads,
        head_dim=problem.head_dim,
        height=problem.height,
        width=problem.width,
        spatial_extent=problem.spatial_extent,
        threads=torch.get_num_threads(),
        type=TYPES[problem.dtype],
        mask_border=problem.border == "mask",
        query=_tensor(inputs.query),
        value=_tensor(inputs.value),
        out=_tensor(out),
        log_sum_exp=_tensor(lse.unsqueeze(2)),  # (B, N, 1, H, W)
    )
    if inputs.key is not None:
        call.key = _tensor(inputs.key)
    if embeddings:
        call.embedding_heads = problem.heads if embeddings[0].dim() == 3 else 1
        call.row_embedding, call.column_embedding = (embedding.data_ptr() for embedding in embeddings)
    return call


def _check(status: int) -> None:
    if status:
        raise MemoryError("the attention kernel could not allocate its workspace.")


@functools.cache
def _load() -> CpuKernel | str:
    """The kernel for the best instruction set that runs here, or why there is none."""
    reasons = []
    for instruction_set in INSTRUCTION_SETS:
        try:
            return CpuKernel(instruction_set)
        except OSError as error:
            reasons.append(str(error))
    return "; ".join(dict.fromkeys(reasons))


def why_unavailable() -> str | None:
    """Why the kernel does not run on this machine, or None where it does."""
    kernel = _load()
    return kernel if isinstance(kernel, str) else None


def _loaded() -> CpuKernel:
    kernel = _load()
    if isinstance(kernel, str):
        raise RuntimeError(f"the attention kernel for the CPU does not run here: {kernel}.")
    return kernel


def instruction_set() -> str | None:
    """The instruction set of the kernel that runs here, one of `INSTRUCTION_SETS`, or None where none does."""
    kernel = _load()
    return None if isinstance(kernel, str) else kernel.instruction_set


def _forward(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
    return _loaded().forward(problem, inputs)


def _backward(
    problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor, gradients: Inputs
) -> None:
    _loaded().backward(problem, grad_output, inputs, output, lse, gradients)


def _supports(problem: Problem) -> str | None:
    if problem.device != "cpu":
        return f"it runs on the CPU, not on {problem.device}"
    if problem.dtype not in TYPES:
        return f"it takes float32, float64 and bfloat16, not {problem.dtype}"
    return None


BACKEND = Backend("cpu", _forward, _backward, supports=_supports, missing=why_unavailable)
