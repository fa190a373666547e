"""What the eager backends share: computing slice by slice of the batch, whatever the layout and dtype."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sasa_cli.attention.backend import Backend
from sasa_cli.attention.problem import Inputs, Problem

# Bytes of temporaries of one slice. On a CPU temporaries should stay in the second-level cache (touching
# fresh memory costs more than the arithmetic); on an accelerator a slice should be worth its kernel launches.
CPU_SLICE_BYTES = 8 * 2**20
ACCELERATOR_SLICE_BYTES = 2**30


@dataclass(frozen=True)
class EagerKernel:
    """Local attention of one slice of the batch: contiguous tensors of one dtype, embeddings ``(N, D // 2, k)``.

    Attributes:
        forward: ``(problem, inputs) -> (output, lse)``.
        backward: ``(problem, grad_output, inputs, output, lse) -> gradients``.
        elements_per_image: size of the temporaries for one image, in elements.
    """

    forward: Callable[[Problem, Inputs], tuple[Tensor, Tensor]]
    backward: Callable[[Problem, Tensor, Inputs, Tensor, Tensor], Inputs]
    elements_per_image: Callable[[Problem], int]

    def slices(self, problem: Problem) -> Iterator[slice]:
        """Slices of the batch whose temporaries fit the budget, at least one image each."""
        budget = CPU_SLICE_BYTES if problem.device == "cpu" else ACCELERATOR_SLICE_BYTES
        images = max(1, budget // (self.elements_per_image(problem) * problem.compute_dtype.itemsize))
        for start in range(0, problem.batch, images):
            yield slice(start, start + images)


def eager_backend(name: str, kernel: EagerKernel, suits: Callable[[Problem], bool]) -> Backend:
    """A backend that runs ``kernel`` on slices of the batch; it takes any device, dtype, shape and layout."""

    def forward(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
        return _run_forward(kernel, problem, inputs)

    def backward(problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor) -> Inputs:
        return _run_backward(kernel, problem, grad_output, inputs, output, lse)

    return Backend(name, forward, backward, suits)


def _run_forward(kernel: EagerKernel, problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
    output = torch.empty_like(inputs.query)
    lse_shape = (problem.batch, problem.heads, problem.height, problem.width)
    lse = output.new_empty(lse_shape, dtype=problem.compute_dtype)
    for images in kernel.slices(problem):
        output[images], lse[images] = kernel.forward(problem, _take(problem, inputs, images))
    return output, lse


def _run_backward(
    kernel: EagerKernel, problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor
) -> Inputs:
    query, key, value, row, column = inputs
    grad_query, grad_value = torch.empty_like(query), torch.empty_like(value)
    grad_key = None if key is None else torch.empty_like(key)
    grad_embeddings = query.new_zeros(2, *_per_head_shape(problem), dtype=problem.compute_dtype)
    for images in kernel.slices(problem):
        part = kernel.backward(
            problem,
            _pack(problem, grad_output[images]),
            _take(problem, inputs, images),
            _pack(problem, output[images]),
            lse[images],
        )
        grad_query[images], grad_value[images] = part.query, part.value
        if grad_key is not None and part.key is not None:
            grad_key[images] = part.key
        if part.row_embedding is not None and part.column_embedding is not None:
            grad_embeddings += torch.stack([part.row_embedding, part.column_embedding])
    grad_row, grad_column = (
        None if embedding is None else torch.empty_like(embedding).copy_(total.sum_to_size(embedding.shape))
        for embedding, total in zip((row, column), grad_embeddings, strict=True)
    )
    return Inputs(grad_query, grad_key, grad_value, grad_row, grad_column)


def _take(problem: Problem, inputs: Inputs, images: slice) -> Inputs:
    query, key, value, row, column = inputs
    return Inputs(
        _pack(problem, query[images]),
        None if key is None else _pack(problem, key[images]),
        _pack(problem, value[images]),
        None if row is None else _pack(problem, row.expand(_per_head_shape(problem))),
        None if column is None else _pack(problem, column.expand(_per_head_shape(problem))),
    )


def _pack(problem: Problem, tensor: Tensor) -> Tensor:
    return tensor.to(problem.compute_dtype).contiguous()


def _per_head_shape(problem: Problem) -> tuple[int, int, int]:
    return problem.heads, problem.head_dim // 2, problem.spatial_extent
