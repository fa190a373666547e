"""The table of calls on which every backend must equal the reference."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sasa_cli.attention import Problem, available_backends, choose_backend, local_attention, reference_local_attention
from sasa_cli.attention.problem import Inputs


@dataclass(frozen=True)
class Case:
    spatial_extent: int
    shape: tuple[int, int, int, int, int] = (2, 2, 4, 5, 6)  # B, N, D, H, W
    border: str = "zero"
    content: bool = True
    position: str = "shared"  # shared | per_head | none
    layout: str = "contiguous"  # contiguous | channels_last | fused: one of q, k, v split off one channels-last map

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape))
        content = "" if self.content else "-no_content"
        return f"k{self.spatial_extent}-{shape}-{self.border}-{self.position}{content}-{self.layout}"

    def problem(self, dtype: torch.dtype) -> Problem:
        batch, heads, head_dim, height, width = self.shape
        return Problem(
            batch=batch,
            heads=heads,
            head_dim=head_dim,
            height=height,
            width=width,
            spatial_extent=self.spatial_extent,
            border=self.border,
            content=self.content,
            position=self.position != "none",
            dtype=dtype,
        )

    def inputs(self, dtype: torch.dtype = torch.float64) -> Inputs:
        """Random tensors that require gradients, the same numbers in every dtype up to rounding."""
        random = torch.Generator().manual_seed(0)
        _, heads, head_dim, *_ = self.shape
        per_head = (heads, head_dim // 2, self.spatial_extent)
        embedding_shape = per_head if self.position == "per_head" else per_head[1:]
        query, key, value = self._maps(random, dtype)
        row, column = (
            torch.randn(embedding_shape, dtype=torch.float64, generator=random).to(dtype).requires_grad_()
            for _ in range(2)
        )
        if self.position == "none":
            return Inputs(query, key, value, None, None)
        return Inputs(query, key, value, row, column)

    def _maps(self, random: torch.Generator, dtype: torch.dtype) -> Iterator[Tensor]:
        batch, heads, head_dim, height, width = self.shape
        channels = heads * head_dim
        fused = torch.randn(batch, 3 * channels, height, width, dtype=torch.float64, generator=random).to(dtype)
        if self.layout != "contiguous":
            fused = fused.to(memory_format=torch.channels_last)
        for maps in fused.split(channels, dim=1):
            if self.layout != "fused":
                maps = maps.clone(memory_format=torch.preserve_format)
            yield maps.unflatten(1, (heads, head_dim)).detach().requires_grad_()

    def attend(self, inputs: Inputs, backend: str) -> Tensor:
        """`local_attention` with the settings of this case, or the reference for the backend ``"reference"``."""
        settings = {"spatial_extent": self.spatial_extent, "border": self.border, "content": self.content}
        if backend == "reference":
            return reference_local_attention(*inputs, **settings)
        return local_attention(*inputs, **settings, backend=backend)

    def output_and_gradients(self, inputs: Inputs, backend: str) -> dict[str, Tensor]:
        """The result and its gradients by name, for one fixed random gradient of the result."""
        output = self.attend(inputs, backend)
        given = {name: tensor for name, tensor in inputs._asdict().items() if tensor is not None}
        random = torch.Generator().manual_seed(1)
        grad_output = torch.randn(self.shape, dtype=torch.float64, generator=random).to(output)
        # Tensors that the settings leave unused have a zero gradient.
        gradients = torch.autograd.grad(output, list(given.values()), grad_output, materialize_grads=True)
        return {"output": output.detach(), **dict(zip(given, gradients, strict=True))}


def computes(backend: str, problem: Problem) -> bool:
    try:
        return choose_backend(problem, backend) == backend
    except ValueError:
        return False


SETTINGS = [
    Case(k, border=border, content=content, position=position)
    for k in (1, 3, 5, 7, 11)
    for border in ("zero", "mask")
    for content in (True, False)
    for position in ("shared", "per_head", "none")
]
SHAPES = [
    Case(k, shape, border)
    for shape in ((1, 3, 2, 3, 9), (1, 1, 2, 1, 1), (3, 2, 4, 9, 8), (2, 8, 2, 7, 7), (2, 2, 4, 1, 12))
    for k in (3, 7)
    for border in ("zero", "mask")
]
LAYOUTS = [
    replace(case, layout=layout)
    for case in (Case(3), Case(5, (1, 2, 4, 9, 5), "mask", position="per_head"))
    for layout in ("channels_last", "fused")
]
# The layers of a ResNet at 224 px with 8 heads, for two images: one group of lanes of the widest vectors.
LAYERS = [
    Case(7, (2, 8, channels // 8, side, side), border, layout="channels_last")
    for side, channels in ((56, 64), (28, 128), (14, 256), (7, 512))
    for border in ("zero", "mask")
]
ODD_HEAD_DIM = [Case(3, (2, 2, 3, 5, 5), position="none"), Case(3, (2, 4, 1, 5, 5), position="none")]
CASES = [*SETTINGS, *SHAPES, *LAYOUTS, *ODD_HEAD_DIM]
# Of those that this machine has, the ones that take tensors on the CPU.
CPU_BACKENDS = [name for name in available_backends() if computes(name, Case(3).problem(torch.float32))]
