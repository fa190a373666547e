"""The attention stem: attention inside the 4x4 blocks of the image (paper, section 3.2 and appendix A.1)."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from timm.models import register_notrace_module
from torch import Tensor, nn

from sasa_cli.models.position import offset_embedding, sinusoidal_encoding
from sasa_cli.spec import AttentionSpec, StemSpec, heads_problem

BLOCK = 4  # side of a block, and of the max pool after the stem
OFFSETS = 2 * BLOCK - 1  # rows of a block lie -3 to 3 apart


@register_notrace_module  # one node in a graph of torch.fx
class StemAttention(nn.Module):
    """Self-attention among the 16 pixels of each aligned 4x4 block; no window slides.

    For pixel (i, j) of each head, with the block M(i, j) that it lies in::

        y_ij = sum_{(a, b) in M(i, j)} softmax_ab(q_ij . k_ab + q_ij . r_{a - i, b - j}) v_ab

    q = W_Q x and k = W_K x as in the stages. The values are, by `stem.values`:

    - "spatial": v_ab = (sum_m p(a, b, m) W_V^m) x_ab with p(a, b, m) = softmax_m((row_a + col_b) . nu_m), where
      (a, b) is the place inside the block; p is shared by the heads.
    - "conv": a 4x4 convolution at every pixel, zero-padded by 1 at the top and left, by 2 at the bottom and right.
    - "plain": one projection W_V.

    Choices where the paper is silent: q.r has embeddings of its own for the offsets -3 to 3 (appendix A.1 writes q.k
    alone, but the FLOPs of Table 7 fit with q.r); row_a, col_b and nu_m have D // 2 channels; with position
    "absolute" the sinusoidal encoding of the place inside the block is added to queries and keys, as the three
    channels of an image cannot hold it. An image whose sides are no multiples of 4 is filled up with zeros at the
    bottom and right; those pixels take part as keys, and are cut off from the result.

    Args:
        in_channels: C_in of the image.
        out_channels: C_out = N D.
        stem: values, mixtures m and heads N.
        attention: position, content and embedding.

    Raises:
        ValueError: if `out_channels` cannot be split into these heads.
    """

    __constants__: ClassVar = ["absolute", "block", "convolves", "mixes"]  # by which TorchScript leaves branches out

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stem: StemSpec,
        attention: AttentionSpec,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if problem := heads_problem(out_channels, stem.heads, attention.position):
            raise ValueError(f"stem.heads: {problem}")
        if stem.values == "spatial" and out_channels < 2 * stem.heads:
            raise ValueError(f"stem.heads: {stem.heads} leaves one channel a head; values 'spatial' need two")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.stem = stem
        self.attention = attention
        self.heads = stem.heads
        self.head_dim = out_channels // stem.heads
        self.block = BLOCK
        self.absolute = attention.position == "absolute"
        self.convolves = stem.values == "conv"
        self.mixes = stem.values == "spatial"

        self.query = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory)
        self.key = nn.Conv2d(in_channels, out_channels, 1, bias=False, **factory) if attention.content else None
        shape = (stem.heads, self.head_dim, OFFSETS)
        self.row_embedding = offset_embedding(attention, *shape, **factory)
        self.column_embedding = offset_embedding(attention, *shape, **factory)

        self.value = nn.Conv2d(
            in_channels * (stem.mixtures if self.mixes else 1),
            out_channels,
            BLOCK if self.convolves else 1,
            bias=False,
            **factory,
        )
        if self.mixes:
            half = self.head_dim // 2
            self.mixture_row_embedding = nn.Parameter(torch.empty(half, BLOCK, **factory))
            self.mixture_column_embedding = nn.Parameter(torch.empty(half, BLOCK, **factory))
            self.mixture_embedding = nn.Parameter(torch.empty(stem.mixtures, half, **factory))
        self.init_weights()

    def init_weights(self) -> None:
        """Draw new weights, such that q.k, q.r and the logits of the mixture start with a variance of about 1."""
        for name, weight in self.named_parameters():
            fan_in = weight[0].numel()
            if name == "value.weight":
                nn.init.normal_(weight, std=fan_in**-0.5)
            elif name in ("query.weight", "key.weight"):
                nn.init.normal_(weight, std=fan_in**-0.5 * self.head_dim**-0.25)
            else:
                nn.init.normal_(weight, std=self.head_dim**-0.25)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C_in, H, W)`` to ``(B, C_out, H, W)``."""
        height, width = x.shape[2], x.shape[3]
        x = F.pad(x, [0, -width % self.block, 0, -height % self.block])
        query = self._positioned(self.query(x))
        key = None
        if self.key is not None:
            key = self._positioned(self.key(x))
        value = self._split(self.value(self._value_input(x)))
        y = self._logits(query, key).softmax(dim=-1) @ value  # (B, N, H / 4, W / 4, 16, D)
        return _join_blocks(y, self.block)[..., :height, :width]

    def _positioned(self, projected: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, N, H / 4, W / 4, 16, D)``, with the absolute encoding where there is one."""
        split = self._split(projected)
        if self.absolute:
            encoding = sinusoidal_encoding(projected[:, :, : self.block, : self.block], self.heads * self.head_dim)
            # Channels are dealt out to the heads in turn, so that each head gets rows and columns.
            dealt = encoding.view(self.head_dim, self.heads, 1, 1, -1).permute(1, 2, 3, 4, 0)  # (N, 1, 1, 16, D)
            split = split + dealt.to(split.dtype)
        return split

    def _split(self, projected: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, N, H / 4, W / 4, 16, D)``: heads, blocks, and the pixels of each block."""
        rows = projected.unflatten(2, (-1, self.block))  # (B, C, H / 4, 4, W)
        columns = rows.unflatten(4, (-1, self.block))  # (B, C, H / 4, 4, W / 4, 4)
        blocks = columns.unflatten(1, (self.heads, self.head_dim))  # (B, N, D, H / 4, 4, W / 4, 4)
        split: Tensor = blocks.permute(0, 1, 3, 5, 4, 6, 2).flatten(4, 5)
        return split

    def _logits(self, query: Tensor, key: Tensor | None) -> Tensor:
        """``(B, N, H / 4, W / 4, 16, 16)``: for each pixel of a block, its logit towards each of them."""
        logits = torch.zeros_like(query[..., :1])
        if self.row_embedding is not None and self.column_embedding is not None:
            logits = _offset_logits(query, self.row_embedding, self.column_embedding, self.block)
        if key is not None:
            logits = query @ key.mT + logits
        return logits

    def _value_input(self, x: Tensor) -> Tensor:
        """What the convolution `value` gets so that it computes the values of `stem.values`."""
        if self.convolves:
            x = F.pad(x, [1, 2, 1, 2])
        if self.mixes:
            # (sum_m p_m W_V^m) x is one projection of the m images p_m x side by side.
            p = self.mixture_weights().repeat(1, x.shape[2] // self.block, x.shape[3] // self.block)  # (m, H, W)
            x = (p.unsqueeze(1) * x.unsqueeze(1)).flatten(1, 2)  # (B, m C_in, H, W)
        return x

    def mixture_weights(self) -> Tensor:
        """p(a, b, m) as ``(m, 4, 4)``; sums to one over m."""
        places = self.mixture_row_embedding.unsqueeze(2) + self.mixture_column_embedding.unsqueeze(1)  # (D / 2, 4, 4)
        return torch.einsum("md,dab->mab", self.mixture_embedding, places).softmax(dim=0)


def _offset_logits(query: Tensor, row_embedding: Tensor, column_embedding: Tensor, block: int) -> Tensor:
    """q.r of all pairs of pixels of a block, from one product for each row of the block and one for each column.

    Args:
        query: ``(B, N, H / 4, W / 4, 16, D)``.
        row_embedding: ``(D // 2, 7)`` or ``(N, D // 2, 7)``; index 3 is the query's own row.
        column_embedding: likewise.
        block: 4, as for `_join_blocks`: TorchScript reads no globals.

    Returns:
        ``(B, N, H / 4, W / 4, 16, 16)``.
    """
    heads = query.shape[1]
    place = torch.arange(block, device=row_embedding.device)
    index = place - place[:, None] + block - 1  # (4, 4): offset of place a from the query's place i
    rows = row_embedding.expand(heads, -1, -1)[:, :, index]  # (N, D / 2, 4, 4)
    columns = column_embedding.expand(heads, -1, -1)[:, :, index]
    first, second = query.unflatten(4, (block, block)).chunk(2, dim=-1)
    row_logits = torch.einsum("bnhwijd,ndia->bnhwija", first, rows)
    column_logits = torch.einsum("bnhwijd,ndjc->bnhwijc", second, columns)
    logits = row_logits.unsqueeze(-1) + column_logits.unsqueeze(-2)  # (B, N, H / 4, W / 4, 4, 4, 4, 4)
    return logits.flatten(6, 7).flatten(4, 5)


def _join_blocks(blocks: Tensor, block: int) -> Tensor:
    """``(B, N, H / 4, W / 4, 16, D)`` back to ``(B, N D, H, W)``."""
    pixels = blocks.unflatten(4, (block, block))
    maps: Tensor = pixels.permute(0, 1, 6, 2, 4, 3, 5)  # (B, N, D, H / 4, 4, W / 4, 4)
    return maps.flatten(5, 6).flatten(3, 4).flatten(1, 2)
