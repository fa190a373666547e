"""Backend ``halo``: square tiles of queries, each with the keys in reach of it; for large maps on an accelerator.

A tile of t rows looks at t + k - 1 rows of the map framed with zeros, so that the zero border needs nothing more.
"""

from dataclasses import dataclass

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

# Largest side of a tile. A larger tile masks more of its logits, a smaller one copies each key more often.
SIDE, SIDE_OF_SMALL_WINDOWS = 8, 4  # k up to 3


@dataclass(frozen=True)
class _Tiling:
    """The map cut into ``down`` x ``across`` tiles with queries at ``rows`` and ``columns``.

    The last tiles may have spare queries beyond the map.
    """

    down: int
    across: int
    rows: Side
    columns: Side

    @classmethod
    def of(cls, problem: Problem) -> "_Tiling":
        (down, rows), (across, columns) = (
            _cut(length, problem.spatial_extent) for length in (problem.height, problem.width)
        )
        return cls(down, across, rows, columns)

    @property
    def count(self) -> int:
        return self.down * self.across

    def _frame(self, maps: Tensor, reach: int) -> Tensor:
        """``(..., H, W)`` with ``reach`` zeros around the map and its spare queries."""
        below = self.down * self.rows.queries - maps.shape[-2]
        right = self.across * self.columns.queries - maps.shape[-1]
        return F.pad(maps, (reach, reach + right, reach, reach + below))

    def queries(self, maps: Tensor) -> Tensor:
        """``(..., H, W)`` to ``(..., tiles, I, J)``."""
        sides = (self.down, self.rows.queries, self.across, self.columns.queries)
        framed = self._frame(maps, 0)
        cut = framed.view(*maps.shape[:-2], *sides).transpose(-3, -2)  # (..., down, across, I, J)
        return cut.flatten(-4, -3)

    def keys(self, maps: Tensor) -> Tensor:
        """``(..., H, W)`` to ``(..., tiles, S)``, zero outside of the map."""
        framed = self._frame(maps, self.rows.extent // 2)
        cut = framed.unfold(-2, self.rows.keys, self.rows.queries).unfold(-2, self.columns.keys, self.columns.queries)
        return cut.flatten(-2).flatten(-3, -2)

    def join(self, tiles: Tensor, height: int, width: int) -> Tensor:
        """``(..., tiles, I, J)`` back to ``(..., H, W)``."""
        by_row = tiles.view(*tiles.shape[:-3], self.down, self.across, *tiles.shape[-2:]).transpose(-3, -2)
        joined = by_row.flatten(-2).flatten(-3, -2)  # (..., down, I, across, J) as (..., down * I, across * J)
        return joined[..., :height, :width]

    def mask(self, problem: Problem, device: torch.device) -> Tensor:
        """``(tiles or 1, I * J, S)``: the window of each query; with a masked border only its places on the map.

        Spare queries see their whole window: nobody looks at them, but a softmax over nothing is NaN.
        """
        band = self.rows.band(device)[:, None, :, None] & self.columns.band(device)[None, :, None, :]
        band = band.flatten(2).flatten(0, 1)  # (I * J, S)
        if problem.border == "zero":
            return band.unsqueeze(0)
        on_map = torch.ones(problem.height, problem.width, device=device)
        spare_query = self.queries(on_map).flatten(-2) == 0  # (tiles, I * J)
        return band & (spare_query.unsqueeze(-1) | (self.keys(on_map) > 0).unsqueeze(1))


def _cut(length: int, spatial_extent: int) -> tuple[int, Side]:
    """How many tiles cover ``length`` places, with sides that leave the fewest of them spare."""
    count = -(-length // (SIDE if spatial_extent > 3 else SIDE_OF_SMALL_WINDOWS))
    side = -(-length // count)
    return count, Side(side, side + spatial_extent - 1, 0, spatial_extent)


def _attention(problem: Problem, inputs: Inputs) -> Tensor:
    tiling = _Tiling.of(problem)
    device = inputs.query.device
    query = tiling.queries(inputs.query).movedim(2, -1)  # (B, N, tiles, I, J, D)
    value = tiling.keys(inputs.value).movedim(2, -1)  # (B, N, tiles, S, D)
    key = None if inputs.key is None else tiling.keys(inputs.key).movedim(2, -1)
    logits = torch.cat(position_logits(tiling.rows, tiling.columns, query, inputs), dim=-1)
    codes = key_codes(tiling.rows, tiling.columns, device)
    output = attend(problem, query, key, value, logits, codes, tiling.mask(problem, device))
    return tiling.join(output.movedim(-1, 2), problem.height, problem.width)


def _elements_per_image(problem: Problem) -> int:
    """Queries, keys and values with all features, the output and all gradients; logits where PyTorch stores them."""
    tiling = _Tiling.of(problem)
    queries = tiling.rows.queries * tiling.columns.queries
    keys = tiling.rows.keys * tiling.columns.keys
    features = feature_size(problem, 2 * problem.spatial_extent)
    value = aligned(problem.head_dim)
    per_tile = (
        2 * (queries + keys) * features + 2 * (2 * queries + keys) * value + 16 * queries * problem.spatial_extent
    )
    logits = 0 if is_fused(problem) else 3 * queries * keys
    return problem.heads * tiling.count * (per_tile + logits)


KERNEL = library_kernel(_attention, _elements_per_image)
BACKEND = eager_backend("halo", KERNEL)
