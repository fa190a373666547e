"""Position terms: learned embeddings of row and column offsets, and the fixed sinusoidal encoding of a pixel."""

import torch
from torch import Tensor, nn

from sasa_cli.spec import AttentionSpec

LONGEST_WAVELENGTH = 10_000.0  # in units of 2 pi pixels (Vaswani et al., 2017, section 3.5)


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


def sinusoidal_encoding(channels: int, height: int, width: int, *, device: torch.device | str | None = None) -> Tensor:
    """The encoding of Vaswani et al. (2017, section 3.5) in two dimensions, ``(C, H, W)`` in float32.

    The first half of the channels encodes the row, the second the column: sine and cosine in turn, of wavelengths
    from 2 pi to 10000 x 2 pi pixels.

    Raises:
        ValueError: if `channels` is no multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"{channels} channels cannot hold sine and cosine of row and column; a multiple of 4 can")
    half = channels // 2

    def encode(length: int) -> Tensor:
        frequencies = LONGEST_WAVELENGTH ** (-torch.arange(0, half, 2, device=device) / half)  # (C / 4,)
        angles = frequencies[:, None] * torch.arange(length, device=device)  # (C / 4, length)
        return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)  # (C / 2, length)

    rows = encode(height)[:, :, None].expand(-1, -1, width)  # (C / 2, H, W)
    columns = encode(width)[:, None, :].expand(-1, height, -1)  # (C / 2, H, W)
    return torch.cat([rows, columns])
