"""Backend ``shift``: one window offset at a time, by shifting whole maps; memory is a few times the inputs.

Forward and backward are written by hand so that nothing of size k * k * D is ever stored: the backward pass computes
the weights again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sasa_cli.attention.backends.eager import EagerKernel, eager_backend
from sasa_cli.attention.backends.relative import add_relative_backward, outside, relative_logits
from sasa_cli.attention.problem import Inputs, Problem


@dataclass(frozen=True)
class Plane:
    """Maps flattened with rows of pitch P = W + 2R, so that each window offset is one step along the plane.

    A query plane has length H * P, its 2R extra columns being zero. A key plane adds R rows above and R + 1
    below, also zero, and window offset (a, b) of the whole query plane is its slice from a * P + b. What is
    computed in the extra columns is never looked at: their gradients are zero and `crop` drops them.
    """

    height: int
    width: int
    reach: int

    @property
    def pitch(self) -> int:
        return self.width + 2 * self.reach

    @property
    def length(self) -> int:
        return self.height * self.pitch

    def offsets(self) -> Iterator[tuple[int, int, slice]]:
        """Window row a, window column b and the slice of a key plane that lies there."""
        extent = 2 * self.reach + 1
        for a in range(extent):
            for b in range(extent):
                start = a * self.pitch + b
                yield a, b, slice(start, start + self.length)

    def flatten(self, maps: Tensor) -> Tensor:
        """``(..., H, W)`` to query planes ``(..., H * P)``."""
        return F.pad(maps, (0, 2 * self.reach)).flatten(-2)

    def crop(self, planes: Tensor) -> Tensor:
        """Query planes ``(..., H * P)`` back to ``(..., H, W)``."""
        return planes.view(*planes.shape[:-1], self.height, self.pitch)[..., : self.width]

    def flatten_framed(self, maps: Tensor) -> Tensor:
        """``(..., H, W)`` to key planes ``(..., (H + 2R + 1) * P)``."""
        r = self.reach
        return F.pad(maps, (r, r, r, r + 1)).flatten(-2)

    def crop_framed(self, planes: Tensor) -> Tensor:
        """Key planes ``(..., (H + 2R + 1) * P)`` back to ``(..., H, W)``."""
        r = self.reach
        rows = planes.view(*planes.shape[:-1], -1, self.pitch)  # (..., H + 2R + 1, P)
        return rows[..., r : r + self.height, r : r + self.width]


def _plane(problem: Problem) -> Plane:
    return Plane(problem.height, problem.width, problem.reach)


def _position_planes(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Row and column logits as planes ``(k, B, N, H * P)``; with a masked border -inf outside the map.

    With the zero border nothing needs doing: a place outside has zero key and value in the framed planes, and the
    logit q . r.
    """
    rows, columns = relative_logits(problem, inputs)  # (k, B, N, H, W) each
    if problem.border == "mask":
        k, device = problem.spatial_extent, rows.device
        rows = rows.masked_fill(outside(problem.height, k, device)[:, None, None, :, None], -torch.inf)
        columns = columns.masked_fill(outside(problem.width, k, device)[:, None, None, None, :], -torch.inf)
    plane = _plane(problem)
    return plane.flatten(rows), plane.flatten(columns)


def _logits(problem: Problem, inputs: Inputs, query: Tensor, key: Tensor | None) -> Tensor:
    """``(k, k, B, N, H * P)``, of planes."""
    plane = _plane(problem)
    rows, columns = _position_planes(problem, inputs)
    logits = rows[:, None] + columns
    if key is not None:
        product = torch.empty_like(query)
        for a, b, at in plane.offsets():
            torch.mul(query, key[..., at], out=product)
            logits[a, b] += product.sum(dim=2)
    return logits


def _forward(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
    plane = _plane(problem)
    query = plane.flatten(inputs.query)  # (B, N, D, H * P)
    key = None if inputs.key is None else plane.flatten_framed(inputs.key)
    value = plane.flatten_framed(inputs.value)
    logits = _logits(problem, inputs, query, key)
    peak = logits.amax(dim=(0, 1))
    weights = logits.sub_(peak).exp_()
    total = weights.sum(dim=(0, 1))
    lse = peak + total.log()  # (B, N, H * P)
    weights /= total

    output = torch.zeros_like(query)
    for a, b, at in plane.offsets():
        output.addcmul_(weights[a, b].unsqueeze(2), value[..., at])
    return plane.crop(output), plane.crop(lse)


def _backward(problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor) -> Inputs:
    plane = _plane(problem)
    query, grad = plane.flatten(inputs.query), plane.flatten(grad_output)  # (B, N, D, H * P)
    key = None if inputs.key is None else plane.flatten_framed(inputs.key)
    value = plane.flatten_framed(inputs.value)
    # Softmax again: logits minus their log-sum-exp would lose what the log-sum-exp of large ones is rounded by.
    logits = _logits(problem, inputs, query, key)
    weights = logits.flatten(0, 1).softmax(dim=0).view_as(logits)
    product, products = torch.empty_like(query), torch.empty_like(weights)
    for a, b, at in plane.offsets():
        torch.mul(grad, value[..., at], out=product)
        torch.sum(product, dim=2, out=products[a, b])
    # The mean of the products over the window is output . grad, too; but the output may have been rounded.
    mean = (weights * products).sum(dim=(0, 1))
    grad_logits = products.sub_(mean).mul_(weights)  # softmax backward

    grad_query, grad_key, grad_value = (torch.zeros_like(x) for x in (query, value, value))
    for a, b, at in plane.offsets():
        grad_value[..., at].addcmul_(weights[a, b].unsqueeze(2), grad)
        if key is not None:
            grad_key[..., at].addcmul_(grad_logits[a, b].unsqueeze(2), query)
            grad_query.addcmul_(grad_logits[a, b].unsqueeze(2), key[..., at])

    direct = Inputs(
        query=plane.crop(grad_query),
        key=None if key is None else plane.crop_framed(grad_key),
        value=plane.crop_framed(grad_value),
        row_embedding=None,
        column_embedding=None,
    )
    return add_relative_backward(inputs, direct, plane.crop(grad_logits.sum(dim=1)), plane.crop(grad_logits.sum(dim=0)))


def _elements_per_image(problem: Problem) -> int:
    """Weights, gradients of logits and their products in the backward pass, and its eight maps."""
    per_pixel = problem.heads * (3 * problem.spatial_extent**2 + 8 * problem.head_dim)
    return per_pixel * _plane(problem).length


BACKEND = eager_backend("shift", EagerKernel(_forward, _backward, _elements_per_image))
