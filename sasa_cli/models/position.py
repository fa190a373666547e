"""Position terms: learned embeddings of row and column offsets, and the fixed sinusoidal encoding of a pixel."""

import torch
from torch import Tensor, nn

from sasa_cli.spec import AttentionSpec


def offset_embedding(
    spec: AttentionSpec,
    heads: int,
    head_dim: int,
    offsets: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Parameter | None:
    """Uninitialised embeddings of the row (or column) offsets; None without relative position.

    Returns:
        ``(D // 2, offsets)``, or ``(N, D // 2, offsets)`` where `spec` wants them per head. Rows take the first half
        of a query's channels and columns the second (paper, equation 3).
    """
    if spec.position != "relative":
        return None
    shape: tuple[int, ...] = (head_dim // 2, offsets)
    if spec.embedding == "per_head":
        shape = (heads, *shape)
    return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))


def sinusoidal_encoding(maps: Tensor, channels: int) -> Tensor:
    """The encoding of Vaswani et al. (2017, section 3.5) in two dimensions, ``(C, H, W)`` in float32.

    The first half of the channels encodes the row, the second the column: sine and cosine in turn, of wavelengths
    from 2 pi to 10000 x 2 pi pixels.

    Args:
        maps: ``(B, any, H, W)``, of which size and device are read.
        channels: C.

    Raises:
        ValueError: if `channels` is no multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"{channels} channels cannot hold sine and cosine of row and column; a multiple of 4 can")
    rows = _encode(maps.new_ones([maps.shape[2]], dtype=torch.float32), channels // 2)  # (C / 2, H)
    columns = _encode(maps.new_ones([maps.shape[3]], dtype=torch.float32), channels // 2)  # (C / 2, W)
    by_row = rows.unsqueeze(2).expand(-1, -1, maps.shape[3])
    by_column = columns.unsqueeze(1).expand(-1, maps.shape[2], -1)
    return torch.cat([by_row, by_column])


def _encode(ones: Tensor, channels: int) -> Tensor:
    """Of as many places as there are ones: ``(channels, places)``.

    Counted with `cumsum`: `arange` of a size that is being traced is none of the functions that can be.
    """
    steps = torch.arange(0, channels, 2, device=ones.device)
    frequencies = torch.pow(10_000.0, -steps / channels)  # (channels / 2,)
    angles = frequencies.unsqueeze(1) * (ones.cumsum(0) - 1)  # (channels / 2, places)
    return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)
