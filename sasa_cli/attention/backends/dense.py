"""Backend ``dense``: all H * W x H * W logits by matrix products; for small maps.

Position, window and border enter as features, so that one product of queries and keys gives complete logits:

- a query has H more features, its position logits towards the rows of the map, and W towards the columns, hugely
  negative outside its window; the key of pixel (a, b) has the one-hot codes of a and b.
- the places of a window that lie outside the map are one more key, with zero value. With the zero border its logit
  is the log of their summed exp(q . r); with a masked border it is hugely negative.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sasa_cli.attention.backends.eager import EagerKernel, eager_backend
from sasa_cli.attention.backends.relative import add_relative_backward, outside, relative_logits, window_places
from sasa_cli.attention.problem import Inputs, Problem

# Finite, because the zeros of one-hot codes multiply it; its exp is zero in float32 and float64.
NEVER = -1e30


class _Position(NamedTuple):
    """Position logits of a slice of the batch, and those of the places outside the map.

    ``rows``, ``columns``: ``(k, B, N, H, W)`` as from `relative_logits`. ``beyond``: ``(B, N, H, W)``, the log of
    the summed exp over all places outside. ``beyond_by_row``, ``beyond_by_column``: ``(k, B, N, H, W)``, the same
    over those of one window row or column.
    """

    rows: Tensor
    columns: Tensor
    beyond: Tensor
    beyond_by_row: Tensor
    beyond_by_column: Tensor


def _position(problem: Problem, inputs: Inputs) -> _Position:
    rows, columns = relative_logits(problem, inputs)
    k, device = problem.spatial_extent, rows.device
    if problem.border == "mask":
        never = torch.full_like(rows, NEVER)
        return _Position(rows, columns, never[0], never, never)
    row_outside = outside(problem.height, k, device)[:, None, None, :, None]
    column_outside = outside(problem.width, k, device)[:, None, None, None, :]
    by_row = rows + _partners(columns, column_outside, row_outside)
    by_column = columns + _partners(rows, row_outside, column_outside)
    beyond = by_row.logsumexp(dim=0).clamp_min(NEVER)
    return _Position(rows, columns, beyond, by_row, by_column)


def _partners(logits: Tensor, is_outside: Tensor, other_outside: Tensor) -> Tensor:
    """Log-sum-exp of the columns that make a place outside for each window row; or of the rows for each column.

    In a row outside the map every place is outside, in a row inside those of the columns outside.
    """
    only_outside = logits.masked_fill(~is_outside, -torch.inf).logsumexp(dim=0)
    return torch.where(other_outside, logits.logsumexp(dim=0), only_outside)  # (k, B, N, H, W)


def _gather(source: Tensor, index: Tensor, axis: int, fill: float) -> Tensor:
    """``result[s, ..., i, ...] = source[index[s, i], ..., i, ...]`` with i on ``axis``; ``fill`` where out of range."""
    shape = [index.shape[0], 1, 1, 1, 1]
    shape[axis] = index.shape[1]
    index = index.view(shape)
    indices = index.clamp(0, source.shape[0] - 1).expand(-1, *source.shape[1:])
    return source.gather(0, indices).masked_fill_((index < 0) | (index >= source.shape[0]), fill)


def _towards_map(logits: Tensor, axis: int, length: int) -> Tensor:
    """Logits by window index ``(k, B, N, H, W)`` to logits by row (axis 3) or column (axis 4) of the map."""
    place = torch.arange(length, device=logits.device)
    window_index = place[:, None] - place + logits.shape[0] // 2  # (places of keys, places of queries)
    return _gather(logits, window_index, axis, NEVER)


def _towards_window(gradients: Tensor, axis: int, k: int) -> Tensor:
    """Adjoint of `_towards_map`."""
    return _gather(gradients, window_places(gradients.shape[0], k, gradients.device), axis, 0.0)


def _query_features(problem: Problem, inputs: Inputs, position: _Position) -> Tensor:
    """``(B, N, F, H * W)`` with F = D + H + W + 1, or H + W + 1 without content."""
    rows = _towards_map(position.rows, 3, problem.height)  # (H, B, N, H, W)
    columns = _towards_map(position.columns, 4, problem.width)  # (W, B, N, H, W)
    features = torch.cat([rows, columns, position.beyond[None]]).movedim(0, 2)  # (B, N, H + W + 1, H, W)
    if problem.content:
        features = torch.cat([inputs.query, features], dim=2)  # (B, N, F, H, W)
    return features.flatten(-2)


def _key_features(problem: Problem, inputs: Inputs) -> Tensor:
    """``(B, N, F, H * W + 1)``; the last key stands for all places outside the map."""
    height, width, pixels = problem.height, problem.width, problem.pixels
    pixel = torch.arange(pixels, device=inputs.value.device)
    codes = inputs.value.new_zeros(height + width + 1, pixels + 1)
    codes[pixel // width, pixel] = 1.0
    codes[height + pixel % width, pixel] = 1.0
    codes[-1, -1] = 1.0
    codes = codes.expand(*inputs.value.shape[:2], -1, -1)
    if inputs.key is None:
        return codes
    return torch.cat([F.pad(inputs.key.flatten(-2), (0, 1)), codes], dim=2)


def _forward(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
    queries = _query_features(problem, inputs, _position(problem, inputs))
    logits = queries.mT @ _key_features(problem, inputs)  # (B, N, H * W, H * W + 1)
    weights = logits.softmax(dim=-1)
    lse = logits.amax(dim=-1) - weights.amax(dim=-1).log()  # (B, N, H * W)
    output = inputs.value.flatten(-2) @ weights[..., :-1].mT  # (B, N, D, H * W)
    return output.view_as(inputs.value), lse.view(lse.shape[:2] + inputs.value.shape[-2:])


def _backward(problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor) -> Inputs:
    position = _position(problem, inputs)
    queries, keys = _query_features(problem, inputs, position), _key_features(problem, inputs)
    # Softmax again: exp(logits - lse) costs several times as much where exp underflows, and most places are masked.
    weights = (queries.mT @ keys).softmax(dim=-1)  # (B, N, H * W, H * W + 1)
    grad = grad_output.flatten(-2)  # (B, N, D, H * W)
    values = F.pad(inputs.value.flatten(-2), (0, 1))  # (B, N, D, H * W + 1)
    grad_logits = grad.mT @ values
    # Their mean is output . grad, too; but the output may have been rounded.
    grad_logits = grad_logits.sub_((grad_logits * weights).sum(dim=-1, keepdim=True)).mul_(weights)  # softmax backward

    shape = inputs.query.shape
    grad_features = (keys @ grad_logits.mT).view(*shape[:2], -1, *shape[-2:])  # (B, N, F, H, W)
    content = shape[2] if problem.content else 0
    grad_query, grad_rows, grad_columns, grad_beyond = torch.split(
        grad_features, [content, problem.height, problem.width, 1], dim=2
    )
    direct = Inputs(
        query=grad_query if problem.content else torch.zeros_like(inputs.query),
        key=(inputs.query.flatten(-2) @ grad_logits[..., :-1]).view(shape) if problem.content else None,
        value=(grad @ weights[..., :-1]).view(shape),
        row_embedding=None,
        column_embedding=None,
    )
    grad_beyond = grad_beyond.movedim(2, 0)  # (1, B, N, H, W)
    return add_relative_backward(
        inputs,
        direct,
        _towards_window(grad_rows.movedim(2, 0), 3, problem.spatial_extent)
        + grad_beyond * (position.beyond_by_row - position.beyond).exp(),
        _towards_window(grad_columns.movedim(2, 0), 4, problem.spatial_extent)
        + grad_beyond * (position.beyond_by_column - position.beyond).exp(),
    )


def _elements_per_image(problem: Problem) -> int:
    """Logits, weights, their gradients and the product of both."""
    return 4 * problem.heads * problem.pixels**2


BACKEND = eager_backend("dense", EagerKernel(_forward, _backward, _elements_per_image))
