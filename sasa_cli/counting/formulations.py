"""One attention layer written in three ways that compute the same and that counters count differently.

Each is the operator of `sasa_cli.attention` with relative positions and border `mask`, after its three projections.
They are here to be counted and timed, not to be trained.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]


class LayerAsWritten(nn.Module):
    """Projections of queries, keys and values, and attention in the words of `attend`."""

    def __init__(self, attend: Attend, channels: int, heads: int, spatial_extent: int) -> None:
        super().__init__()
        self.attend, self.heads, self.spatial_extent = attend, heads, spatial_extent
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3))
        half = channels // heads // 2
        self.row_embedding = nn.Parameter(torch.randn(half, spatial_extent))
        self.column_embedding = nn.Parameter(torch.randn(half, spatial_extent))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        query, key, value = (
            layer(maps).unflatten(1, (self.heads, -1)) for layer in (self.query, self.key, self.value)
        )  # (B, N, D, H, W) each
        embedding = window_embedding(self.row_embedding, self.column_embedding)
        return self.attend(query, key, value, embedding, self.spatial_extent).flatten(1, 2)


def window_embedding(row_embedding: Tensor, column_embedding: Tensor) -> Tensor:
    """r of every place of a window, (D, k, k), from those of rows and columns, (D // 2, k) each."""
    extent = row_embedding.shape[-1]
    rows = row_embedding[:, :, None].expand(-1, extent, extent)
    columns = column_embedding[:, None, :].expand(-1, extent, extent)
    return torch.cat([rows, columns])


def unfold_multiply_sum(
    query: Tensor, key: Tensor, value: Tensor, embedding: Tensor, extent: int, border: str = "mask"
) -> Tensor:
    """Windows side by side; each product is a broadcast `*` and a sum. So do the public ports, which add r to keys."""
    keys, values = _windows(key, extent), _windows(value, extent)  # (B, N, D, H, W, k, k)
    logits = (query[..., None, None] * (keys + embedding[:, None, None])).sum(2)  # (B, N, H, W, k, k)
    return (_weights(logits, border).unsqueeze(2) * values).sum((-2, -1))


def unfold_einsum(query: Tensor, key: Tensor, value: Tensor, embedding: Tensor, extent: int) -> Tensor:
    """Windows side by side; q.k, q.r and a.v are one einsum each."""
    logits = torch.einsum("bndhw,bndhwij->bnhwij", query, _windows(key, extent))
    logits = logits + torch.einsum("bndhw,dij->bnhwij", query, embedding)
    return torch.einsum("bnhwij,bndhwij->bndhw", _weights(logits, "mask"), _windows(value, extent))


def masked_dense(query: Tensor, key: Tensor, value: Tensor, embedding: Tensor, extent: int) -> Tensor:
    """torch's attention of every pixel to every pixel, with q.r as a bias that is minus infinity outside windows."""
    height, width = query.shape[-2:]
    bias = (query.unsqueeze(3) * embedding.flatten(1)[..., None, None]).sum(2).flatten(-2)  # (B, N, K, HW)
    place = _places(height, width, extent, query.device)  # (HW, HW)
    near = bias.transpose(-1, -2).gather(-1, place.clamp(min=0).expand(*bias.shape[:2], -1, -1))
    near = near.masked_fill(place < 0, -torch.inf)
    queries, keys, values = (maps.flatten(-2).transpose(-1, -2) for maps in (query, key, value))  # (B, N, HW, D) each
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=near, scale=1.0)
    return out.transpose(-1, -2).reshape(query.shape)


FORMULATIONS: dict[str, Attend] = {
    "unfold, multiply and sum": unfold_multiply_sum,
    "unfold, einsum": unfold_einsum,
    "dense attention with a mask": masked_dense,
}


def _windows(maps: Tensor, extent: int) -> Tensor:
    """(B, N, D, H, W) to (B, N, D, H, W, k, k), zeros outside the map; nothing is copied but the frame of zeros."""
    padded = F.pad(maps, [extent // 2] * 4)
    return padded.unfold(-2, extent, 1).unfold(-2, extent, 1)


def _weights(logits: Tensor, border: str) -> Tensor:
    """Softmax over the places of a window, (B, N, H, W, k, k); with border `mask` over those inside the map."""
    if border == "mask":
        height, width, extent = logits.shape[2:5]
        inside = _windows(logits.new_ones(1, 1, 1, height, width), extent)[:, :, 0]
        logits = logits.masked_fill(inside == 0, -torch.inf)
    return logits.flatten(-2).softmax(-1).view_as(logits)


def _places(height: int, width: int, extent: int, device: torch.device) -> Tensor:
    """For each pixel and each other one, the latter's place in the window of the former; -1 outside: (HW, HW)."""
    rows = torch.arange(height, device=device).repeat_interleave(width)
    columns = torch.arange(width, device=device).repeat(height)
    down, right = (each[None, :] - each[:, None] + extent // 2 for each in (rows, columns))
    inside = (down >= 0) & (down < extent) & (right >= 0) & (right < extent)
    return torch.where(inside, down * extent + right, -1)
