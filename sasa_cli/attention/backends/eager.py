"""What the eager backends share: computing slice by slice of the batch, whatever the layout and dtype."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.problem import Inputs, Problem

# Bytes of temporaries of one slice. On a CPU temporaries should stay in the second-level cache (touching
# fresh memory costs more than the arithmetic); on an accelerator a slice should be worth its kernel launches.
CPU_SLICE_BYTES = 8 * 2**20
ACCELERATOR_SLICE_BYTES = 64 * 2**20
# On an accelerator a slice may also take this many times the query. Output, log-sum-exp and gradients are 4.25 of them
# at 8 channels a head in half precision. The unfold formulation took 195 at k = 7, 56 x 56, measured on a CPU in
# float32; 3 % of that leave 1.6.
ACCELERATOR_SLICE_MAPS = 1.5


@dataclass(frozen=True)
class EagerKernel:
    """Local attention of one slice of the batch, with embeddings ``(N, D // 2, k)`` in the dtype of the arithmetic.

    Attributes:
        forward: ``(problem, inputs) -> (output, lse)``.
        backward: ``(problem, grad_output, inputs, output, lse) -> gradients``.
        elements_per_image: size of the temporaries for one image, in elements.
        packs: whether maps are made contiguous and brought to the dtype of the arithmetic first; else the kernel gets
            them as they are, and its temporaries have their dtype.
    """

    forward: Callable[[Problem, Inputs], tuple[Tensor, Tensor]]
    backward: Callable[[Problem, Tensor, Inputs, Tensor, Tensor], Inputs]
    elements_per_image: Callable[[Problem], int]
    packs: bool = True

    def slices(self, problem: Problem) -> Iterator[slice]:
        """Slices of the batch whose temporaries fit the budget, at least one image each."""
        dtype = problem.compute_dtype if self.packs else problem.dtype
        images = max(1, _budget(problem) // (self.elements_per_image(problem) * dtype.itemsize))
        for start in range(0, problem.batch, images):
            yield slice(start, start + images)

    def take(self, problem: Problem, inputs: Inputs, images: slice) -> Inputs:
        """What the kernel gets of ``inputs`` for these images."""
        query, key, value, row, column = inputs
        return Inputs(
            self.pack(problem, query[images]),
            None if key is None else self.pack(problem, key[images]),
            self.pack(problem, value[images]),
            None if row is None else _pack(problem, row.expand(_per_head_shape(problem))),
            None if column is None else _pack(problem, column.expand(_per_head_shape(problem))),
        )

    def pack(self, problem: Problem, maps: Tensor) -> Tensor:
        """Maps as the kernel wants them."""
        return _pack(problem, maps) if self.packs else maps


def _budget(problem: Problem) -> int:
    """Bytes that the temporaries of a slice may take."""
    if problem.device == "cpu":
        return CPU_SLICE_BYTES
    maps = problem.batch * problem.heads * problem.head_dim * problem.pixels * problem.dtype.itemsize
    return max(ACCELERATOR_SLICE_BYTES, int(ACCELERATOR_SLICE_MAPS * maps))


def eager_backend(name: str, kernel: EagerKernel) -> Backend:
    """A backend that runs ``kernel`` on slices of the batch; it takes any device, dtype, shape and layout."""

    def forward(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
        return _run_forward(kernel, problem, inputs)

    def backward(
        problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor, gradients: Inputs
    ) -> None:
        _run_backward(kernel, problem, grad_output, inputs, output, lse, gradients)

    return Backend(name, forward, backward)


def _run_forward(kernel: EagerKernel, problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
    output = torch.empty_like(inputs.query)
    lse_shape = (problem.batch, problem.heads, problem.height, problem.width)
    lse = output.new_empty(lse_shape, dtype=problem.compute_dtype)
    for images in kernel.slices(problem):
        output[images], lse[images] = kernel.forward(problem, kernel.take(problem, inputs, images))
    return output, lse


def _run_backward(
    kernel: EagerKernel,
    problem: Problem,
    grad_output: Tensor,
    inputs: Inputs,
    output: Tensor,
    lse: Tensor,
    gradients: Inputs,
) -> None:
    grad_query, grad_key, grad_value, *grad_embeddings = gradients
    totals = grad_query.new_zeros(2, *_per_head_shape(problem), dtype=problem.compute_dtype)
    for images in kernel.slices(problem):
        part = kernel.backward(
            problem,
            kernel.pack(problem, grad_output[images]),
            kernel.take(problem, inputs, images),
            kernel.pack(problem, output[images]),
            lse[images],
        )
        grad_query[images], grad_value[images] = part.query, part.value
        if grad_key is not None and part.key is not None:
            grad_key[images] = part.key
        if part.row_embedding is not None and part.column_embedding is not None:
            totals += torch.stack([part.row_embedding, part.column_embedding])
    for gradient, total in zip(grad_embeddings, totals, strict=True):
        if gradient is not None:
            gradient.copy_(total.sum_to_size(gradient.shape))


def _pack(problem: Problem, tensor: Tensor) -> Tensor:
    return tensor.to(problem.compute_dtype).contiguous()


def _per_head_shape(problem: Problem) -> tuple[int, int, int]:
    return problem.heads, problem.head_dim // 2, problem.spatial_extent
