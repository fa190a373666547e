"""Local attention by `scaled_dot_product_attention`, which takes masks but no position term of its own.

Inside a window of k rows the row's number modulo k says which row it is, and so for columns. So position becomes
2 k features: slot s of a query holds its position logit towards the row (or column) of its window with number s
modulo k, and a key has the one-hot code of its own number. One product then gives q . k + q . r for every key inside
the window; the mask drops the others. What this asks of PyTorch is the same on every device, its derivative included.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sasa_cli.attention.backends.eager import EagerKernel
from sasa_cli.attention.problem import Inputs, Problem

ALIGNMENT = 8  # of head dimensions, in elements: what the fused kernels of CUDA take

Attend = Callable[[Problem, Inputs], Tensor]


@dataclass(frozen=True)
class Side:
    """Rows, or columns, of a tile: ``queries`` of them look at ``keys`` from ``start`` places before the first key.

    Window index a of query i is the key ``i + a - start``.
    """

    queries: int
    keys: int
    start: int
    extent: int

    def window_index(self, device: torch.device) -> Tensor:
        """``(queries, keys)``: the window index of each key, outside of ``range(k)`` where it is not in the window."""
        query, key = torch.arange(self.queries, device=device), torch.arange(self.keys, device=device)
        return key - query[:, None] + self.start

    def band(self, device: torch.device) -> Tensor:
        """``(queries, keys)``: whether the key is in the window of the query."""
        index = self.window_index(device)
        return (index >= 0) & (index < self.extent)

    def slot_index(self, device: torch.device) -> Tensor:
        """``(queries, k)``: the window index that slot s of a query stands for."""
        query, slot = torch.arange(self.queries, device=device), torch.arange(self.extent, device=device)
        return (slot - query[:, None] + self.start) % self.extent

    def codes(self, device: torch.device) -> Tensor:
        """``(keys, k)``, true in the slot of each key."""
        key, slot = torch.arange(self.keys, device=device), torch.arange(self.extent, device=device)
        return key[:, None] % self.extent == slot

    def slot_logits(self, query: Tensor, embedding: Tensor) -> Tensor:
        """Position logits of half the channels by slot.

        Args:
            query: ``(B, N, tiles, I, J, D / 2)`` with the places of this axis at I.
            embedding: ``(N, D / 2, k)``.

        Returns:
            ``(B, N, tiles, I, J, k)``.
        """
        window_index = torch.arange(self.extent, device=query.device)
        chosen = (self.slot_index(query.device).unsqueeze(-1) == window_index).to(embedding)  # (I, k slots, k)
        by_place = torch.einsum("nda,isa->nids", embedding, chosen)
        return torch.einsum("bntijd,nids->bntijs", query, by_place)


def position_logits(rows: Side, columns: Side, query: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Slot logits for rows and for columns, ``(B, N, tiles, I, J, k)`` each, in the dtype of the arithmetic.

    Args:
        rows: axis I.
        columns: axis J.
        query: ``(B, N, tiles, I, J, D)``.
        inputs: with embeddings ``(N, D / 2, k)``, or None for no position term, which gives zeros.
    """
    compute_dtype = torch.promote_types(query.dtype, torch.float32)
    if inputs.row_embedding is None or inputs.column_embedding is None:
        zeros = query.new_zeros((), dtype=compute_dtype).expand(*query.shape[:-1], rows.extent)
        return zeros, zeros
    first, second = query.to(compute_dtype).chunk(2, dim=-1)
    by_column = columns.slot_logits(second.transpose(3, 4), inputs.column_embedding)  # (B, N, tiles, J, I, k)
    return rows.slot_logits(first, inputs.row_embedding), by_column.transpose(3, 4)


def key_codes(rows: Side, columns: Side, device: torch.device) -> Tensor:
    """``(S, 2 k)`` for S keys, row by row: true in the two slots of each key."""
    shape = (rows.keys, columns.keys, rows.extent)
    by_row, by_column = rows.codes(device)[:, None].expand(shape), columns.codes(device).expand(shape)
    return torch.cat([by_row, by_column], dim=-1).flatten(0, 1)


def aligned(size: int) -> int:
    """``size`` rounded up to `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def feature_size(problem: Problem, logits: int) -> int:
    """Features of a query or a key with that many logits: D for content, and the logits in as many parts."""
    parts = 1 if problem.dtype == problem.compute_dtype else 2
    return aligned(problem.head_dim * problem.content + parts * logits)


def _rounded(logits: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Features whose sum is ``logits``: in half precision two, of which the second is what rounding the first lost.

    With one feature alone, the largest error of bfloat16 attention was up to 3.5 times that of the other backends.
    """
    if logits.dtype == dtype:
        return [logits]
    high = logits.to(dtype)
    return [high, (logits - high.to(logits.dtype)).to(dtype)]


def _join(parts: list[Tensor]) -> Tensor:
    """Features side by side, ``(..., F)``, with zeros up to the alignment."""
    size = sum(part.shape[-1] for part in parts)
    spare = parts[0].new_zeros(()).expand(*parts[0].shape[:-1], aligned(size) - size)
    return torch.cat([*parts, spare], dim=-1)


def is_fused(problem: Problem) -> bool:
    """Whether PyTorch has a kernel for it that takes masks and values of another size, and stores no logits."""
    return problem.device == "cuda" and problem.dtype != torch.float64


def attend(
    problem: Problem, query: Tensor, key: Tensor | None, value: Tensor, logits: Tensor, codes: Tensor, mask: Tensor
) -> Tensor:
    """Attention of tiles of queries to tiles of S keys, with the logits q . k + logits . codes.

    Args:
        problem: says which kernel of PyTorch there is for it; only that one is allowed, so none is taken in silence.
        query: ``(B, N, tiles, I, J, D)``.
        key: ``(B, N, tiles, S, D)``; None for no q . k.
        value: ``(B, N, tiles, S, D)``.
        logits: ``(B, N, tiles, I, J, L)``.
        codes: ``(S, L)``, true where a logit counts for a key.
        mask: ``(tiles or 1, I * J, S)``, true where a query sees a key; at least once for each query.

    Returns:
        ``(B, N, tiles, I, J, D)``.
    """
    batch, heads, tiles, _, _, head_dim = query.shape
    parts = _rounded(logits, query.dtype)
    shared = [codes.to(query.dtype).expand(batch, heads, tiles, -1, -1)] * len(parts)
    queries = _join(parts if key is None else [query, *parts])  # (B, N, tiles, I, J, F)
    keys = _join(shared if key is None else [key, *shared])  # (B, N, tiles, S, F)
    kernel = SDPBackend.EFFICIENT_ATTENTION if is_fused(problem) else SDPBackend.MATH
    with sdpa_kernel(kernel):
        output = F.scaled_dot_product_attention(
            queries.flatten(3, 4).flatten(0, 1),  # (B * N, tiles, I * J, F)
            keys.flatten(0, 1),
            _join([value]).flatten(0, 1),
            attn_mask=mask.unsqueeze(0),  # the fused kernels want all four dimensions
            scale=1.0,
        )
    if is_fused(problem) and output.grad_fn is not None:
        _fix_order_of_sums(output.grad_fn)
    return output[..., :head_dim].reshape(query.shape)


def _fix_order_of_sums(node: torch.autograd.graph.Node) -> None:
    """Make the backward pass of the fused kernel repeatable.

    It sums in a fixed order only where PyTorch is to raise errors for what it cannot repeat. That is asked for during
    this one step: matrix products would then want settings of cuBLAS that they can do without.
    """
    earlier = torch.get_deterministic_debug_mode()
    node.register_prehook(lambda grad_outputs: torch.set_deterministic_debug_mode("error"))
    node.register_hook(lambda grad_inputs, grad_outputs: torch.set_deterministic_debug_mode(earlier))


@contextlib.contextmanager
def _deterministic_mode_restored() -> Iterator[None]:
    earlier = torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(earlier)


@contextlib.contextmanager
def _recorded() -> Iterator[None]:
    """Lets autograd record what is computed inside of a custom operator, where PyTorch keeps it out.

    `torch.func.vjp` would do it in public, but its tensors fail under dispatch modes, such as those of opcheck.
    """
    key = torch._C.DispatchKey.AutogradFunctionality
    with torch._C._SetExcludeDispatchKeyGuard(key, False), torch.enable_grad():
        yield


def library_kernel(attention: Attend, elements_per_image: Callable[[Problem], int]) -> EagerKernel:
    """A kernel from its forward pass alone: the backward pass computes it again, and nothing is stored in between.

    Args:
        attention: ``(problem, inputs) -> output (B, N, D, H, W)``, differentiable.
        elements_per_image: as for `EagerKernel`.
    """

    def forward(problem: Problem, inputs: Inputs) -> tuple[Tensor, Tensor]:
        output = attention(problem, inputs)
        unknown = output.new_full((), torch.inf, dtype=problem.compute_dtype)
        return output, unknown.expand_as(output[:, :, 0])

    def backward(problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor) -> Inputs:
        given = {name: tensor for name, tensor in inputs._asdict().items() if tensor is not None}

        with _recorded(), _deterministic_mode_restored():
            leaves = {name: tensor.detach().requires_grad_() for name, tensor in given.items()}
            again = attention(problem, inputs._replace(**leaves))
            gradients = torch.autograd.grad(again, list(leaves.values()), grad_output, materialize_grads=True)
        return inputs._replace(**dict(zip(given, gradients, strict=True)))  # None stays None

    return EagerKernel(forward, backward, elements_per_image, packs=False)
