"""The position term q . r in factored form: r joins a row and a column embedding, so 2 k products give all k * k."""

import torch
from torch import Tensor

from sasa_cli.attention.problem import Inputs, Problem


def relative_logits(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The parts of q . r that belong to each row offset and to each column offset.

    Args:
        problem: gives k.
        inputs: with embeddings ``(N, D // 2, k)``, or None for no position term.

    Returns:
        Two tensors ``(k, B, N, H, W)``: the window place (a, b) has the logit ``first[a] + second[b]``. Zero
        without a position term.
    """
    query, row, column = inputs.query, inputs.row_embedding, inputs.column_embedding
    if row is None or column is None:
        batch, heads, _, height, width = query.shape
        zeros = query.new_zeros(problem.spatial_extent, batch, heads, height, width)
        return zeros, zeros.clone()
    first, second = query.chunk(2, dim=2)  # (B, N, D / 2, H, W) each
    return torch.einsum("ndk,bndhw->kbnhw", row, first), torch.einsum("ndk,bndhw->kbnhw", column, second)


def add_relative_backward(
    inputs: Inputs, gradients: Inputs, grad_row_logits: Tensor, grad_column_logits: Tensor
) -> Inputs:
    """``gradients`` completed by what reaches query and embeddings through `relative_logits`."""
    row, column = inputs.row_embedding, inputs.column_embedding
    if row is None or column is None:
        return gradients
    first, second = inputs.query.chunk(2, dim=2)  # (B, N, D / 2, H, W) each
    grad_first = torch.einsum("ndk,kbnhw->bndhw", row, grad_row_logits)
    grad_second = torch.einsum("ndk,kbnhw->bndhw", column, grad_column_logits)
    return gradients._replace(
        query=gradients.query + torch.cat([grad_first, grad_second], dim=2),
        row_embedding=torch.einsum("bndhw,kbnhw->ndk", first, grad_row_logits),
        column_embedding=torch.einsum("bndhw,kbnhw->ndk", second, grad_column_logits),
    )


def window_places(length: int, spatial_extent: int, device: torch.device) -> Tensor:
    """``(k, length)``: the place ``i + a - k // 2`` at window index a of place i, inside the map or not."""
    offsets = torch.arange(spatial_extent, device=device) - spatial_extent // 2
    return offsets[:, None] + torch.arange(length, device=device)


def outside(length: int, spatial_extent: int, device: torch.device) -> Tensor:
    """``(k, length)``: whether window index a of place i lies outside a map of ``length`` rows or columns."""
    places = window_places(length, spatial_extent, device)
    return (places < 0) | (places >= length)
