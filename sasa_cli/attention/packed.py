"""`packed_local_attention`: queries, keys and values side by side in one map, as one 1x1 convolution makes them.

Computed by the same backends as `local_attention`, which read parts of the map as they lie. What it saves is in the
backward pass: they write one gradient, where those of three maps would have to be joined by a copy.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sasa_cli.attention import dispatch
from sasa_cli.attention.problem import Inputs
from sasa_cli.attention.registration import products_flops, register_autocast, register_gradients


def packed_local_attention(
    maps: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    *,
    spatial_extent: int,
    border: str = "zero",
    backend: str = "auto",
) -> Tensor:
    """`local_attention` of the parts of ``maps``, with the same bits.

    Args:
        maps: ``(B, P, N, D, H, W)``, any strides: queries, keys and values for P = 3; queries and values for P = 2,
            where logits hold no q . k.
        row_embedding: as for `local_attention`, like everything else.

    Returns:
        ``(B, N, D, H, W)`` in the dtype and order of dimensions in memory of ``maps``.

    Raises:
        ValueError: for arguments other than these, or a backend that cannot compute them.
    """
    arguments = (maps, row_embedding, column_embedding, spatial_extent, border, backend)
    output: Tensor = torch.ops.sasa.packed_local_attention(*arguments)[0]
    return output


def split_maps(maps: Tensor, row_embedding: Tensor | None, column_embedding: Tensor | None) -> Inputs:
    """The parts of ``maps`` as views.

    Raises:
        ValueError: if ``maps`` has not two or three of them.
    """
    if maps.dim() != 6 or maps.shape[1] not in (2, 3):
        raise ValueError(f"maps must have shape (B, 2 or 3, N, D, H, W), got {tuple(maps.shape)}.")
    query, *keys, value = maps.unbind(1)
    return Inputs(query, keys[0] if keys else None, value, row_embedding, column_embedding)


@torch.library.custom_op("sasa::packed_local_attention", mutates_args=())
def _forward(
    maps: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    spatial_extent: int,
    border: str,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Output ``(B, N, D, H, W)`` and log-sum-exp of the logits ``(B, N, H, W)``; see `Backend`."""
    return dispatch.forward(split_maps(maps, row_embedding, column_embedding), spatial_extent, border, backend)


@_forward.register_fake
def _forward_fake(
    maps: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    spatial_extent: int,
    border: str,
    backend: str,
) -> tuple[Tensor, Tensor]:
    return dispatch.fake_forward(split_maps(maps, row_embedding, column_embedding), spatial_extent, border)


@torch.library.custom_op("sasa::packed_local_attention_backward", mutates_args=())
def _backward(
    grad_output: Tensor,
    maps: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    output: Tensor,
    lse: Tensor,
    spatial_extent: int,
    border: str,
    backend: str,
) -> list[Tensor]:
    """Gradients with respect to the maps, and to the embeddings unless they are None."""
    inputs = split_maps(maps, row_embedding, column_embedding)
    given = (maps, row_embedding, column_embedding)
    gradients = [torch.empty_like(tensor) for tensor in given if tensor is not None]
    grad_row, grad_column = gradients[1:] or (None, None)
    parts = split_maps(gradients[0], grad_row, grad_column)
    dispatch.backward(grad_output, inputs, output, lse, parts, spatial_extent, border, backend)
    return gradients


@_backward.register_fake
def _backward_fake(
    grad_output: Tensor,
    maps: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    output: Tensor,
    lse: Tensor,
    spatial_extent: int,
    border: str,
    backend: str,
) -> list[Tensor]:
    return [torch.empty_like(tensor) for tensor in (maps, row_embedding, column_embedding) if tensor is not None]


register_gradients("packed_local_attention", tensors=3)
register_autocast("packed_local_attention", maps=1)


def _flops(maps: torch.Size, row_embedding: torch.Size | None, spatial_extent: int) -> int:
    batch, parts, *others = maps
    position = row_embedding is not None
    return products_flops((batch, *others), spatial_extent, content=parts == 3, position=position)


@register_flop_formula(torch.ops.sasa.packed_local_attention)
def forward_flops(
    maps: torch.Size,
    row_embedding: torch.Size | None,
    column_embedding: torch.Size | None,
    spatial_extent: int,
    *settings: str,
    **kwargs: Any,
) -> int:
    """FLOPs of `products_flops`."""
    return _flops(maps, row_embedding, spatial_extent)


@register_flop_formula(torch.ops.sasa.packed_local_attention_backward)
def backward_flops(
    grad_output: torch.Size,
    maps: torch.Size,
    row_embedding: torch.Size | None,
    column_embedding: torch.Size | None,
    output: torch.Size,
    lse: torch.Size,
    spatial_extent: int,
    *settings: str,
    **kwargs: Any,
) -> int:
    """Twice the forward FLOPs, as for `local_attention`."""
    return 2 * _flops(maps, row_embedding, spatial_extent)
