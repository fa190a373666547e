"""`local_attention`: one custom operator of PyTorch, with the backends behind it.

As a custom operator it is opaque to autograd, `torch.compile`, `torch.export` and FLOP counters, so each of them is
told what it needs to know: the backward operator, the shapes (`register_fake`) and the FLOPs.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sasa_cli.attention import cpu_kernel, dense, halo, sdpa, shift, triton_kernel
from sasa_cli.attention.backend import Backend
from sasa_cli.attention.choice import candidates, decide
from sasa_cli.attention.problem import Inputs, Problem, describe

BACKENDS: tuple[Backend, ...] = (
    cpu_kernel.BACKEND,
    sdpa.BACKEND,
    triton_kernel.BACKEND,
    halo.BACKEND,
    dense.BACKEND,
    shift.BACKEND,
)


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


def local_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    *,
    spatial_extent: int,
    border: str = "zero",
    content: bool = True,
    backend: str = "auto",
) -> Tensor:
    """Local self-attention with relative position embeddings.

    For pixel (i, j) of head n, with the k x k window N_k(i, j) centred on it::

        y_ij = sum_{(a, b) in N_k(i, j)} softmax_ab(q_ij . k_ab + q_ij . r_{a - i, b - j}) v_ab

    (Stand-Alone Self-Attention in Vision Models, Ramachandran et al., 2019, arXiv 1906.05909, equation (3).)
    Logits are not scaled by 1 / sqrt(D). First derivatives only. Sums and softmax are computed in float32 for half
    precision maps, in the dtype of the maps otherwise; on CUDA the weights are rounded to half precision before they
    meet the values, as tensor cores want them. Autocast casts maps to its dtype, as it does for matrix
    products, but for float64; embeddings keep theirs, and gradients have the dtype of what was given.

    Args:
        query: ``(B, N, D, H, W)`` with N heads, any strides.
        key: like ``query``; None is allowed, and anything else not read, if ``content`` is False.
        value: like ``query``.
        row_embedding: ``(D // 2, k)``, shared by the heads, or ``(N, D // 2, k)``. Index 0 is offset ``-(k // 2)``;
            it goes with the first half of the query's channels. None for no position term.
        column_embedding: likewise, with the second half of the query's channels.
        spatial_extent: k, odd; the window may be larger than the map.
        border: ``"zero"``, a place outside the map has zero key and value and takes part with the logit q . r;
            ``"mask"``, it takes no part.
        content: False drops q . k.
        backend: one of `available_backends`, or ``"auto"`` for what `choose_backend` says.

    Returns:
        ``(B, N, D, H, W)`` in the dtype and memory order of ``query``.

    Raises:
        ValueError: for arguments other than these, or a backend that cannot compute them.
    """
    if key is None and content:
        raise ValueError("key must be given with content=True, got None.")
    inputs = Inputs(query, key if content else None, value, row_embedding, column_embedding)
    output: Tensor = torch.ops.sasa.local_attention(*inputs, spatial_extent, border, backend)[0]
    return output


@torch.library.custom_op("sasa::local_attention", mutates_args=())
def _forward(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    spatial_extent: int,
    border: str,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Output ``(B, N, D, H, W)`` and log-sum-exp of the logits ``(B, N, H, W)``; see `Backend`."""
    inputs = Inputs(query, key, value, row_embedding, column_embedding)
    problem = describe(inputs, spatial_extent, border)
    with torch.autocast(problem.device, enabled=False):
        return decide(problem, backend, BACKENDS).backend.forward(problem, inputs)


@_forward.register_fake
def _forward_fake(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    spatial_extent: int,
    border: str,
    backend: str,
) -> tuple[Tensor, Tensor]:
    describe(Inputs(query, key, value, row_embedding, column_embedding), spatial_extent, border)
    batch, heads, _, height, width = query.shape
    lse_dtype = torch.promote_types(query.dtype, torch.float32)
    return torch.empty_like(query), query.new_empty((batch, heads, height, width), dtype=lse_dtype)


@torch.library.custom_op("sasa::local_attention_backward", mutates_args=())
def _backward(
    grad_output: Tensor,
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    output: Tensor,
    lse: Tensor,
    spatial_extent: int,
    border: str,
    backend: str,
) -> list[Tensor]:
    """Gradients with respect to those of query, key, value and embeddings that are not None."""
    inputs = Inputs(query, key, value, row_embedding, column_embedding)
    problem = describe(inputs, spatial_extent, border)
    with torch.autocast(problem.device, enabled=False):
        chosen = decide(problem, backend, BACKENDS).backend
        gradients = chosen.backward(problem, grad_output, inputs, output, lse)
    return [gradient for gradient in gradients if gradient is not None]


@_backward.register_fake
def _backward_fake(
    grad_output: Tensor,
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    output: Tensor,
    lse: Tensor,
    spatial_extent: int,
    border: str,
    backend: str,
) -> list[Tensor]:
    inputs = (query, key, value, row_embedding, column_embedding)
    return [torch.empty_like(tensor) for tensor in inputs if tensor is not None]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.spatial_extent, ctx.border, ctx.backend = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*tensors, *output)


def _autograd(ctx: Any, grad_output: Tensor, grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    settings = (ctx.spatial_extent, ctx.border, ctx.backend)
    gradients = iter(torch.ops.sasa.local_attention_backward(grad_output, *tensors, *settings))
    return (*(None if tensor is None else next(gradients) for tensor in tensors[:5]), None, None, None)


_forward.register_autograd(_autograd, setup_context=_setup_context)


def _autocast(device: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """The operator under autocast. `register_autocast` would take one fixed dtype, and cast the embeddings as well."""

    def cast(maps: Tensor | None) -> Tensor | None:
        if maps is None or not maps.is_floating_point() or maps.dtype == torch.float64:
            return maps
        return maps.to(torch.get_autocast_dtype(device))

    def attend(
        query: Tensor, key: Tensor | None, value: Tensor, *others: Tensor | int | str | None
    ) -> tuple[Tensor, Tensor]:
        maps = [cast(query), cast(key), cast(value)]
        with torch.autocast(device, enabled=False):
            result: tuple[Tensor, Tensor] = torch.ops.sasa.local_attention(*maps, *others)
        return result

    return attend


_LIBRARY = torch.library.Library("sasa", "IMPL")  # registrations last as long as it does
_LIBRARY.impl("local_attention", _autocast("cpu"), "AutocastCPU")
_LIBRARY.impl("local_attention", _autocast("cuda"), "AutocastCUDA")


def _products_flops(query: torch.Size, key: torch.Size | None, row: torch.Size | None, spatial_extent: int) -> int:
    products = 1 + (key is not None) + (row is not None)  # a . v, q . k, q . r
    return 2 * products * math.prod(query) * spatial_extent**2


@register_flop_formula(torch.ops.sasa.local_attention)
def forward_flops(
    query: torch.Size,
    key: torch.Size | None,
    value: torch.Size,
    row_embedding: torch.Size | None,
    column_embedding: torch.Size | None,
    spatial_extent: int,
    *settings: str,
    **kwargs: Any,
) -> int:
    """FLOPs, 2 per multiply-add, of q . k, q . r and a . v over all k * k places, those outside the map counted.

    The plain convention of the paper's tables, the same for every backend: not what one of them executes.
    """
    return _products_flops(query, key, row_embedding, spatial_extent)


@register_flop_formula(torch.ops.sasa.local_attention_backward)
def backward_flops(
    grad_output: torch.Size,
    query: torch.Size,
    key: torch.Size | None,
    value: torch.Size,
    row_embedding: torch.Size | None,
    column_embedding: torch.Size | None,
    output: torch.Size,
    lse: torch.Size,
    spatial_extent: int,
    *settings: str,
    **kwargs: Any,
) -> int:
    """Twice the forward FLOPs: each product has two factors to differentiate by; recomputation is not counted."""
    return 2 * _products_flops(query, key, row_embedding, spatial_extent)
