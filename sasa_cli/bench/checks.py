"""Whether every attention backend computes the definition on this device, and the same bits each time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from sasa_cli.attention import Problem, available_backends, choose_backend, local_attention, reference_local_attention
from sasa_cli.attention.problem import BORDERS

# Largest difference, over the largest value (or 1) of the reference. The fused kernels for float32 split numbers for
# the tensor cores, those for bfloat16 round the weights of the softmax to 8 bits.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2**-5, torch.float16: 2**-8}
LINE = 200  # characters of an error


@dataclass(frozen=True)
class Check:
    """One backend on one layer, against the reference in float64 on the same numbers."""

    backend: str
    shape: tuple[int, int, int, int]
    """(B, C, H, W)."""
    spatial_extent: int
    border: str
    dtype: str
    error: float | None
    """The largest of result and gradients; None where it failed."""
    tolerance: float
    repeats: bool
    """Whether a second run gave the same bits."""
    failure: str | None

    @property
    def passed(self) -> bool:
        return self.error is not None and self.error <= self.tolerance and self.repeats

    @property
    def where(self) -> str:
        """`2 x 64 x 56 x 56, k = 7, zero border, bfloat16`."""
        return f"{' x '.join(map(str, self.shape))}, k = {self.spatial_extent}, {self.border} border, {self.dtype}"

    @property
    def why(self) -> str:
        """Of one that did not pass."""
        if self.error is None:
            return self.failure or ""
        if self.error <= self.tolerance:
            return "other bits the second time"
        return f"error {self.error:.1e}, tolerance {self.tolerance:.1e}"


def run_checks(
    shapes: Sequence[tuple[int, int, int, int]],
    extents: Sequence[int],
    heads: int,
    dtypes: Sequence[torch.dtype],
    device: torch.device,
    progress: Callable[[str], None],
) -> list[Check]:
    """All backends that run here, on all layers, in each dtype, with both borders."""
    checks: list[Check] = []
    for shape, extent in product(shapes, extents):
        progress(f"check {' x '.join(map(str, shape))}, k = {extent}")
        for border, dtype in product(BORDERS, dtypes):
            checks += _check_layer(shape, extent, border, dtype, heads, device)
    return checks


def _check_layer(
    shape: tuple[int, int, int, int], extent: int, border: str, dtype: torch.dtype, heads: int, device: torch.device
) -> Iterator[Check]:
    batch, channels, height, width = shape
    head_dim = channels // heads
    problem = Problem(
        batch=batch,
        heads=heads,
        head_dim=head_dim,
        height=height,
        width=width,
        spatial_extent=extent,
        border=border,
        dtype=dtype,
        device=device.type,
    )
    inputs, gradient = _random_inputs(problem, device)

    def reference(*given: Tensor) -> Tensor:
        return reference_local_attention(*given, spatial_extent=extent, border=border, content=True)

    expected = _results(reference, [tensor.double() for tensor in inputs], gradient.double())
    for backend in available_backends():
        if _computes(backend, problem):
            yield _check(backend, shape, problem, inputs, gradient, expected)


def _computes(backend: str, problem: Problem) -> bool:
    try:
        choose_backend(problem, backend)
    except ValueError:
        return False
    return True


def _random_inputs(problem: Problem, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Query, key, value and embeddings, with logits of a variance of about 1 as in a new network; a gradient."""
    random = torch.Generator().manual_seed(0)
    maps = (problem.batch, problem.heads, problem.head_dim, problem.height, problem.width)
    embedding = (problem.head_dim // 2, problem.spatial_extent)

    def draw(shape: tuple[int, ...], scale: float) -> Tensor:
        return (scale * torch.randn(shape, generator=random)).to(device, problem.dtype)

    small = problem.head_dim**-0.25
    query, key, value, gradient = draw(maps, small), draw(maps, small), draw(maps, 1.0), draw(maps, 1.0)
    return [query, key, value, draw(embedding, small), draw(embedding, small)], gradient


def _results(attend: Callable[..., Tensor], inputs: Sequence[Tensor], gradient: Tensor) -> list[Tensor]:
    """The output and the gradient with respect to each input."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = attend(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, gradient)]


def _check(
    backend: str,
    shape: tuple[int, int, int, int],
    problem: Problem,
    inputs: Sequence[Tensor],
    gradient: Tensor,
    expected: Sequence[Tensor],
) -> Check:
    def attend(*given: Tensor) -> Tensor:
        return local_attention(*given, spatial_extent=problem.spatial_extent, border=problem.border, backend=backend)

    error, repeats, failure = None, False, None
    try:
        first, second = (_results(attend, inputs, gradient) for _ in range(2))
        error = max(_difference(actual, right) for actual, right in zip(first, expected, strict=True))
        repeats = all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    except (
        Exception
    ) as reason:  # whatever a device does not like about one backend: the others are checked all the same
        failure = one_line(reason)
    return Check(
        backend=backend,
        shape=shape,
        spatial_extent=problem.spatial_extent,
        border=problem.border,
        dtype=str(problem.dtype).removeprefix("torch."),
        error=error,
        tolerance=TOLERANCES[problem.dtype],
        repeats=repeats,
        failure=failure,
    )


def one_line(error: Exception) -> str:
    """What is recorded of an error. Whatever one backend meets on a device, the others have their turn all the same."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LINE]}"


def _difference(actual: Tensor, expected: Tensor) -> float:
    return float((actual.double() - expected).abs().max() / expected.abs().max().clamp_min(1.0))
