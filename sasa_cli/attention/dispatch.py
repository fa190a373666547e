"""The backends, and a call of local attention computed by the one that it is decided for."""

import torch
from torch import Tensor

from sasa_cli.attention.backends import dense, halo, sdpa, shift
from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.backends.cpu import kernel
from sasa_cli.attention.backends.triton import launch
from sasa_cli.attention.choice import candidates, decide
from sasa_cli.attention.problem import Inputs, Problem, describe

BACKENDS: tuple[Backend, ...] = (
    kernel.BACKEND,
    sdpa.BACKEND,
    launch.BACKEND,
    halo.BACKEND,
    dense.BACKEND,
    shift.BACKEND,
)


def known_backends() -> list[str]:
    """Names of all backends, whether they run on this machine or not."""
    return [backend.name for backend in BACKENDS]


def available_backends() -> list[str]:
    """Names of the backends that run on this machine."""
    return [backend.name for backend in BACKENDS if backend.missing() is None]


def suitable_backends(problem: Problem) -> list[str]:
    """Names of the backends that ``"auto"`` would take for ``problem`` here, the preferred one first."""
    return [backend.name for backend in candidates(problem, BACKENDS) if backend.refusal(problem) is None]


def choose_backend(problem: Problem, backend: str = "auto") -> str:
    """The name of the backend that `local_attention` uses for ``problem`` with this ``backend`` argument.

    Raises:
        ValueError: if ``backend`` is unknown or cannot compute ``problem``; the message says why.
    """
    return decide(problem, backend, BACKENDS).backend.name


def refused_backends(problem: Problem, backend: str = "auto") -> dict[str, str]:
    """The backends that ``"auto"`` prefers to `choose_backend`'s, and why they cannot compute ``problem`` here.

    Empty where ``backend`` names one. Raises `ValueError` like `choose_backend`.
    """
    return decide(problem, backend, BACKENDS).refused


def forward(inputs: Inputs, spatial_extent: int, border: str, backend: str) -> tuple[Tensor, Tensor]:
    """Output ``(B, N, D, H, W)`` and log-sum-exp of the logits ``(B, N, H, W)``; see `Backend`."""
    problem = describe(inputs, spatial_extent, border)
    with torch.autocast(problem.device, enabled=False):
        return decide(problem, backend, BACKENDS).backend.forward(problem, inputs)


def fake_forward(inputs: Inputs, spatial_extent: int, border: str) -> tuple[Tensor, Tensor]:
    """What `forward` returns, without numbers."""
    describe(inputs, spatial_extent, border)
    query = inputs.query
    batch, heads, _, height, width = query.shape
    lse_dtype = torch.promote_types(query.dtype, torch.float32)
    return torch.empty_like(query), query.new_empty((batch, heads, height, width), dtype=lse_dtype)


def backward(
    grad_output: Tensor,
    inputs: Inputs,
    output: Tensor,
    lse: Tensor,
    gradients: Inputs,
    spatial_extent: int,
    border: str,
    backend: str,
) -> None:
    """Write the gradients of `forward` into ``gradients``; see `Backend`."""
    problem = describe(inputs, spatial_extent, border)
    with torch.autocast(problem.device, enabled=False):
        decide(problem, backend, BACKENDS).backend.backward(problem, grad_output, inputs, output, lse, gradients)
