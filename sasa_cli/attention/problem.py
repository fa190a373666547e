"""One call of local attention without its numbers: checked, and small enough to choose a backend by."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BORDERS = ("zero", "mask")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Inputs(NamedTuple):
    """The tensors of one call, or the gradients with respect to them.

    ``query``, ``key`` and ``value`` are ``(B, N, D, H, W)``, the embeddings ``(D // 2, k)`` or ``(N, D // 2, k)``.
    Without a key the logits hold no q . k; without embeddings they hold no q . r.
    """

    query: Tensor
    key: Tensor | None
    value: Tensor
    row_embedding: Tensor | None
    column_embedding: Tensor | None


def empty_like(inputs: Inputs) -> Inputs:
    """New tensors of the same shapes, dtypes and memory order, for gradients."""
    query, value = torch.empty_like(inputs.query), torch.empty_like(inputs.value)
    key, row, column = (
        None if tensor is None else torch.empty_like(tensor)
        for tensor in (inputs.key, inputs.row_embedding, inputs.column_embedding)
    )
    return Inputs(query, key, value, row, column)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Shape and settings of one call."""

    batch: int
    heads: int
    head_dim: int
    height: int
    width: int
    spatial_extent: int
    border: str = "zero"
    content: bool = True
    position: bool = True
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    @property
    def reach(self) -> int:
        """k // 2, the largest offset from the centre of the window."""
        return self.spatial_extent // 2

    @property
    def pixels(self) -> int:
        """H * W."""
        return self.height * self.width

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of logits, sums and the log-sum-exp: at least float32."""
        return torch.promote_types(self.dtype, torch.float32)


def describe(inputs: Inputs, spatial_extent: int, border: str) -> Problem:
    """Check one call and describe it.

    Raises:
        ValueError: for tensors or settings that `local_attention` does not take; the message gives the value and
            what is allowed.
    """
    if spatial_extent < 1 or spatial_extent % 2 == 0:
        raise ValueError(f"spatial_extent must be odd and at least 1, got {spatial_extent}.")
    if border not in BORDERS:
        raise ValueError(f"border must be {' or '.join(map(repr, BORDERS))}, got {border!r}.")
    _check_maps(inputs)
    _check_embeddings(inputs, spatial_extent)
    batch, heads, head_dim, height, width = inputs.query.shape
    return Problem(
        batch=batch,
        heads=heads,
        head_dim=head_dim,
        height=height,
        width=width,
        spatial_extent=spatial_extent,
        border=border,
        content=inputs.key is not None,
        position=inputs.row_embedding is not None,
        dtype=inputs.query.dtype,
        device=inputs.query.device.type,
    )


def _check_maps(inputs: Inputs) -> None:
    query = inputs.query
    if query.dim() != 5 or 0 in query.shape[1:]:
        raise ValueError(f"query must have shape (B, N, D, H, W), none but B zero, got {tuple(query.shape)}.")
    if query.dtype not in DTYPES:
        raise ValueError(f"query must be float16, bfloat16, float32 or float64, got {query.dtype}.")
    for name, tensor in (("key", inputs.key), ("value", inputs.value)):
        if tensor is None:
            continue
        if tensor.shape != query.shape:
            raise ValueError(f"{name} must have the shape of query, {tuple(query.shape)}, got {tuple(tensor.shape)}.")
        _check_kind(name, tensor, query, (query.dtype,))


def _check_embeddings(inputs: Inputs, spatial_extent: int) -> None:
    query, row, column = inputs.query, inputs.row_embedding, inputs.column_embedding
    if row is None and column is None:
        return
    if row is None or column is None:
        given = "column_embedding" if row is None else "row_embedding"
        raise ValueError(f"row_embedding and column_embedding must be given together, got only {given}.")
    heads, head_dim = query.shape[1:3]
    if head_dim % 2:
        raise ValueError(f"position embeddings need an even head dimension D, got D = {head_dim}.")
    shared = (head_dim // 2, spatial_extent)
    per_head = (heads, *shared)
    # Under autocast the maps are half precision while parameters stay float32.
    dtypes = (query.dtype, torch.promote_types(query.dtype, torch.float32))
    for name, tensor in (("row_embedding", row), ("column_embedding", column)):
        if tuple(tensor.shape) not in (shared, per_head):
            raise ValueError(
                f"{name} must have shape (D // 2, k) = {shared} or (N, D // 2, k) = {per_head}, "
                f"got {tuple(tensor.shape)}."
            )
        _check_kind(name, tensor, query, dtypes)
    if row.dim() != column.dim():
        raise ValueError(
            "row_embedding and column_embedding must both be shared or both be per head, "
            f"got {tuple(row.shape)} and {tuple(column.shape)}."
        )


def _check_kind(name: str, tensor: Tensor, query: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    if tensor.dtype not in dtypes or tensor.device != query.device:
        allowed = " or ".join(dict.fromkeys(str(dtype) for dtype in dtypes))
        raise ValueError(f"{name} must be {allowed} on {query.device}, got {tensor.dtype} on {tensor.device}.")
