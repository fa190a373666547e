"""Backend ``sdpa``: every query looks at the whole map through a mask; for small maps on an accelerator.

With the zero border the places of a window that lie outside the map are one more key, with zero value, whose logit
is the log of their summed exp(q . r).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sasa_cli.attention.backends.eager import eager_backend
from sasa_cli.attention.backends.library import (
    Side,
    aligned,
    attend,
    feature_size,
    is_fused,
    key_codes,
    library_kernel,
    position_logits,
)
from sasa_cli.attention.problem import Inputs, Problem

NEVER = -1e30  # finite, because log-sum-exp has no gradient where all is infinite


def _axes(problem: Problem) -> tuple[Side, Side]:
    k, reach = problem.spatial_extent, problem.reach
    return Side(problem.height, problem.height, reach, k), Side(problem.width, problem.width, reach, k)


def _outside(axis: Side, device: torch.device) -> Tensor:
    """``(queries, k)``: whether the place that a slot stands for lies outside the map."""
    place = torch.arange(axis.queries, device=device)[:, None] + axis.slot_index(device) - axis.start
    return (place < 0) | (place >= axis.keys)


def _band(rows: Side, columns: Side, device: torch.device) -> Tensor:
    """``(H * W, H * W)``: whether a pixel, on the second axis, is in the window of another."""
    band = rows.band(device)[:, None, :, None] & columns.band(device)[None, :, None, :]  # (H, W, H, W)
    return band.flatten(2).flatten(0, 1)


def _beyond(row_outside: Tensor, column_outside: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """Log of the summed exp over the places of each window outside the map; hugely negative where there are none.

    Args:
        row_outside: ``(H, k)`` from `_outside`.
        column_outside: ``(W, k)``.
        by_row: slot logits ``(B, N, 1, H, W, k)``.
        by_column: likewise.

    Returns:
        ``(B, N, 1, H, W)``.
    """
    row_outside = row_outside[:, None]  # (H, 1, k)
    # In a row outside the map every place is outside, in a row inside those of the columns outside.
    outer_rows = by_row.masked_fill(~row_outside, NEVER).logsumexp(-1) + by_column.logsumexp(-1)
    inner_rows = by_row.masked_fill(row_outside, NEVER).logsumexp(-1)
    return torch.logaddexp(outer_rows, inner_rows + by_column.masked_fill(~column_outside, NEVER).logsumexp(-1))


def _as_keys(maps: Tensor, problem: Problem) -> Tensor:
    """``(B, N, D, H, W)`` to ``(B, N, 1, S, D)``: all pixels, and with the zero border one zero for those outside."""
    keys = maps.flatten(3).mT.unsqueeze(2)
    return F.pad(keys, (0, 0, 0, 1)) if problem.border == "zero" else keys


def _attention(problem: Problem, inputs: Inputs) -> Tensor:
    rows, columns = _axes(problem)
    device = inputs.query.device
    query = inputs.query.movedim(2, -1).unsqueeze(2)  # (B, N, 1, H, W, D): the map is the only tile
    value = _as_keys(inputs.value, problem)
    key = None if inputs.key is None else _as_keys(inputs.key, problem)
    by_row, by_column = position_logits(rows, columns, query, inputs)
    logits = torch.cat([by_row, by_column], dim=-1)  # (B, N, 1, H, W, 2 k)
    codes, mask = key_codes(rows, columns, device), _band(rows, columns, device)
    if problem.border == "zero":
        row_outside, column_outside = _outside(rows, device), _outside(columns, device)
        some = row_outside.any(-1)[:, None] | column_outside.any(-1)  # (H, W)
        beyond = _beyond(row_outside, column_outside, by_row, by_column).where(some, 0.0)
        logits = torch.cat([logits, beyond.unsqueeze(-1)], dim=-1)
        codes = torch.block_diag(codes, codes.new_ones(1, 1))
        mask = torch.cat([mask, some.flatten().unsqueeze(-1)], dim=-1)
    output = attend(problem, query, key, value, logits, codes, mask.unsqueeze(0))
    return output.squeeze(2).movedim(-1, 2)


def _elements_per_image(problem: Problem) -> int:
    """Queries, keys and values with all features, the output and all gradients; logits where PyTorch stores them."""
    features = feature_size(problem, 2 * problem.spatial_extent + 1)
    per_pixel = 4 * features + 8 * aligned(problem.head_dim) + 16 * problem.spatial_extent
    logits = 0 if is_fused(problem) else 3 * problem.pixels
    return problem.heads * problem.pixels * (per_pixel + logits)


KERNEL = library_kernel(_attention, _elements_per_image)
BACKEND = eager_backend("sdpa", KERNEL)
