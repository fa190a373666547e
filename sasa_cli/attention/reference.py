"""The definition of local self-attention, written to be read and to check the fast backends against."""

import torch
import torch.nn.functional as F
from torch import Tensor


def reference_local_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    *,
    spatial_extent: int,
    border: str,
    content: bool,
) -> Tensor:
    """Local self-attention with relative position embeddings, one window offset after the other.

    For pixel (i, j) of head n, with the k x k window N_k(i, j) centred on it::

        y_ij = sum_{(a, b) in N_k(i, j)} softmax_ab(q_ij . k_ab + q_ij . r_{a - i, b - j}) v_ab

    Equation (3) of Stand-Alone Self-Attention in Vision Models (Ramachandran et al., 2019, arXiv 1906.05909),
    section 2.2. r joins a row-offset and a column-offset embedding of D / 2 channels each; logits are not scaled by
    1 / sqrt(D). Memory is k * k times that of the inputs, and more.

    Args:
        query: ``(B, N, D, H, W)``.
        key: ``(B, N, D, H, W)``; not read, and may be None, if ``content`` is False.
        value: ``(B, N, D, H, W)``.
        row_embedding: ``(D // 2, k)`` or ``(N, D // 2, k)``, index 0 for offset ``-(k // 2)``; None for no
            position term.
        column_embedding: likewise, for the second half of the query's channels.
        spatial_extent: k, odd.
        border: ``"zero"``, a place outside the map has zero key and value and the logit q . r; ``"mask"``, it
            takes no part.
        content: whether the logits hold q . k.

    Returns:
        ``(B, N, D, H, W)``.
    """
    height, width = value.shape[-2:]
    reach = spatial_extent // 2
    frame = (reach, reach, reach, reach)
    padded_value = F.pad(value, frame)  # (B, N, D, H + 2R, W + 2R)
    padded_key = F.pad(key, frame) if key is not None else None
    inside = F.pad(value.new_ones(height, width), frame) > 0  # (H + 2R, W + 2R)

    logits, values = [], []
    for a in range(spatial_extent):
        for b in range(spatial_extent):
            rows, columns = slice(a, a + height), slice(b, b + width)
            logit = torch.zeros_like(query[:, :, 0])  # (B, N, H, W)
            if content and padded_key is not None:
                logit = logit + (query * padded_key[..., rows, columns]).sum(dim=2)
            if row_embedding is not None and column_embedding is not None:
                embedding = torch.cat([row_embedding[..., a], column_embedding[..., b]], dim=-1)  # (D,) or (N, D)
                logit = logit + (query * embedding[..., None, None]).sum(dim=2)
            if border == "mask":
                logit = logit.masked_fill(~inside[rows, columns], -torch.inf)
            logits.append(logit)
            values.append(padded_value[..., rows, columns])

    weights = torch.stack(logits).softmax(dim=0)  # (k * k, B, N, H, W)
    return (weights.unsqueeze(3) * torch.stack(values)).sum(dim=0)
