"""`local_attention`: one custom operator of PyTorch, with the backends behind it.

As a custom operator it is opaque to autograd, `torch.compile`, `torch.export` and FLOP counters, so each of them is
told what it needs to know: the backward operator, the shapes (`register_fake`) and the FLOPs.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sasa_cli.attention import dispatch
from sasa_cli.attention.problem import Inputs, empty_like
from sasa_cli.attention.registration import products_flops, register_autocast, register_gradients


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
    return dispatch.forward(inputs, spatial_extent, border, backend)


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
    return dispatch.fake_forward(Inputs(query, key, value, row_embedding, column_embedding), spatial_extent, border)


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
    gradients = empty_like(inputs)
    dispatch.backward(grad_output, inputs, output, lse, gradients, spatial_extent, border, backend)
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


register_gradients("local_attention", tensors=5)
register_autocast("local_attention", maps=3)


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
    """FLOPs of `products_flops`."""
    return products_flops(query, spatial_extent, content=key is not None, position=row_embedding is not None)


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
    return 2 * products_flops(query, spatial_extent, content=key is not None, position=row_embedding is not None)
