"""Mistakes found in public ports, written afresh: the comparison with the reference must catch each of them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from .cases import Case, Inputs

CASE = Case(3, (2, 4, 4, 5, 5))


def windows(maps: Tensor, k: int) -> Tensor:
    """``(B, N, D, H, W)`` to ``(B, N, D, k * k, H, W)``."""
    *_, height, width = maps.shape
    columns = F.unfold(maps.flatten(1, 2), k, padding=k // 2)  # (B, N * D * k * k, H * W)
    return columns.view(*maps.shape[:3], k * k, height, width)


def embedding(inputs: Inputs, k: int) -> Tensor:
    """r, ``(D, k * k)``."""
    rows = inputs.row_embedding.repeat_interleave(k, dim=-1)
    columns = inputs.column_embedding.repeat(1, k)
    return torch.cat([rows, columns])


def attend(logits: Tensor, values: Tensor) -> Tensor:
    return (logits.softmax(dim=-3) * values).sum(dim=3)


def right(inputs: Inputs, k: int) -> Tensor:
    keys = windows(inputs.key, k) + embedding(inputs, k)[..., None, None]
    logits = (inputs.query.unsqueeze(3) * keys).sum(dim=2, keepdim=True)
    return attend(logits, windows(inputs.value, k))


def no_sum_over_channels(inputs: Inputs, k: int) -> Tensor:
    keys = windows(inputs.key, k) + embedding(inputs, k)[..., None, None]
    return attend(inputs.query.unsqueeze(3) * keys, windows(inputs.value, k))


def logits_summed_across_heads(inputs: Inputs, k: int) -> Tensor:
    keys = windows(inputs.key, k) + embedding(inputs, k)[..., None, None]
    logits = (inputs.query.unsqueeze(3) * keys).sum(dim=(1, 2), keepdim=True)
    return attend(logits, windows(inputs.value, k))


def heads_with_rows_only_or_columns_only(inputs: Inputs, k: int) -> Tensor:
    """The embedding split over all channels before they are split into heads."""
    heads = inputs.query.shape[1]
    rows, columns = embedding(inputs, k).chunk(2)  # (D // 2, k * k) each
    r = torch.stack([(rows if n < heads // 2 else columns).repeat(2, 1) for n in range(heads)])  # (N, D, k * k)
    logits = (inputs.query.unsqueeze(3) * (windows(inputs.key, k) + r[..., None, None])).sum(dim=2, keepdim=True)
    return attend(logits, windows(inputs.value, k))


def windows_scrambled_by_reshape(inputs: Inputs, k: int) -> Tensor:
    """Pixels taken for window places: the axes of unfold are renamed, not moved."""
    batch, heads, head_dim, height, width = inputs.query.shape
    shape = (batch, heads, height, width, head_dim, k * k)
    keys, values = (windows(maps, k).reshape(shape).permute(0, 1, 4, 5, 2, 3) for maps in (inputs.key, inputs.value))
    logits = (inputs.query.unsqueeze(3) * (keys + embedding(inputs, k)[..., None, None])).sum(dim=2, keepdim=True)
    return attend(logits, values)


def position_from_sums_of_channels(inputs: Inputs, k: int) -> Tensor:
    """einsum with two letters for one channel axis: (sum q)(sum r) instead of q . r."""
    content = torch.einsum("bndhw,bndphw->bnphw", inputs.query, windows(inputs.key, k))
    position = torch.einsum("bndhw,cp->bnphw", inputs.query, embedding(inputs, k))
    return attend((content + position).unsqueeze(2), windows(inputs.value, k))


def rows_and_columns_exchanged(inputs: Inputs, k: int) -> Tensor:
    return right(inputs._replace(row_embedding=inputs.column_embedding, column_embedding=inputs.row_embedding), k)


def offsets_reversed(inputs: Inputs, k: int) -> Tensor:
    rows, columns = inputs.row_embedding.flip(-1), inputs.column_embedding.flip(-1)
    return right(inputs._replace(row_embedding=rows, column_embedding=columns), k)


def logits_scaled(inputs: Inputs, k: int) -> Tensor:
    return right(inputs._replace(query=inputs.query / math.sqrt(inputs.query.shape[2])), k)


BROKEN = [
    no_sum_over_channels,
    logits_summed_across_heads,
    heads_with_rows_only_or_columns_only,
    windows_scrambled_by_reshape,
    position_from_sums_of_channels,
    rows_and_columns_exchanged,
    offsets_reversed,
    logits_scaled,
]


def test_unfold_formulation_equals_the_reference() -> None:
    inputs = CASE.inputs()
    torch.testing.assert_close(right(inputs, 3), CASE.attend(inputs, "reference"))


@pytest.mark.parametrize("variant", BROKEN, ids=lambda variant: variant.__name__)
def test_broken_variants_differ_from_the_reference(variant) -> None:
    inputs = CASE.inputs()
    output, expected = variant(inputs, 3), CASE.attend(inputs, "reference")
    assert output.shape == expected.shape  # only the numbers give the mistake away
    assert (output - expected).abs().max() > 0.1
