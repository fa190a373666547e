"""Local attention of plain PyTorch operations alone, for what cannot see behind an operator of ours."""

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_local_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    spatial_extent: int,
    border: str,
) -> Tensor:
    """`local_attention` for TorchScript, `torch.fx`, ONNX and `torch.func`; slower, with k * k copies of its inputs.

    Unfolds the windows: few operations, all of which those know. Computed in the dtype of the maps, and under autocast
    as PyTorch casts such operations. Derivatives of any order.

    Args:
        query: ``(B, N, D, H, W)``.
        key: like ``query``; None for logits without q . k.
        value: like ``query``.
        row_embedding: ``(D // 2, k)`` or ``(N, D // 2, k)``; None for no position term.
        column_embedding: likewise.
        spatial_extent: k, odd.
        border: ``"zero"`` or ``"mask"``, see `local_attention`.

    Returns:
        ``(B, N, D, H, W)``.
    """
    heads, height, width = query.shape[1], query.shape[3], query.shape[4]
    logits = torch.zeros_like(query[:, :, :1]).unsqueeze(3)  # (B, N, 1, 1, H, W)
    if key is not None:
        logits = (query[:, :, :, None, None] * _windows(key, spatial_extent)).sum(dim=2)  # (B, N, k, k, H, W)
    if row_embedding is not None and column_embedding is not None:
        first, second = query.chunk(2, dim=2)
        rows = torch.einsum("bndhw,nda->bnahw", first, row_embedding.expand(heads, -1, -1))
        columns = torch.einsum("bndhw,nda->bnahw", second, column_embedding.expand(heads, -1, -1))
        logits = logits + rows.unsqueeze(3) + columns.unsqueeze(2)
    logits = logits.expand(-1, -1, spatial_extent, spatial_extent, -1, -1)
    if border == "mask":
        everywhere = torch.ones_like(query[:1, :1, :1])
        inside = _windows(everywhere, spatial_extent)[:, :, 0]  # (1, 1, k, k, H, W)
        logits = logits.masked_fill(inside == 0, float("-inf"))
    weights = logits.flatten(2, 3).softmax(dim=2)  # (B, N, k * k, H, W)
    values = _windows(value, spatial_extent).flatten(3, 4)  # (B, N, D, k * k, H, W)
    return (weights.unsqueeze(2) * values).sum(dim=3).view(-1, heads, query.shape[2], height, width)


def _windows(maps: Tensor, spatial_extent: int) -> Tensor:
    """``(B, N, D, H, W)`` to ``(B, N, D, k, k, H, W)``, zero outside the map."""
    batch, heads, channels, height, width = maps.shape[0], maps.shape[1], maps.shape[2], maps.shape[3], maps.shape[4]
    unfolded = F.unfold(maps.flatten(1, 2), (spatial_extent, spatial_extent), padding=spatial_extent // 2)
    return unfolded.view(batch, heads, channels, spatial_extent, spatial_extent, height, width)
