"""`local_attention`, and the same of packed maps: two operators of PyTorch with one schema, and backends behind them.

As operators they are opaque to autograd, autocast, `torch.compile`, `torch.export` and FLOP counters, so each of those
is told what it needs to know: the backward operator, what is cast, the shapes and the FLOPs. All of it is said once,
in `_Operator`, for both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.utils.flop_counter import register_flop_formula

from sasa_cli.attention.choice import decide
from sasa_cli.attention.problem import Inputs, describe


def local_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    *,
    spatial_extent: int,
    border: str = "zero",
    content: bool = True,
    backend: str = "auto",
) -> Tensor:
    """Local self-attention with relative position embeddings.

    For pixel (i, j) of head n, with the k x k window N_k(i, j) centred on it::

        y_ij = sum_{(a, b) in N_k(i, j)} softmax_ab(q_ij . k_ab + q_ij . r_{a - i, b - j}) v_ab

    (Stand-Alone Self-Attention in Vision Models, Ramachandran et al., 2019, arXiv 1906.05909, equation (3).)
    Logits are not scaled by 1 / sqrt(D). First derivatives only. Sums and softmax are computed in float32 for half
    precision maps, in the dtype of the maps otherwise; on CUDA the weights are rounded to half precision before they
    meet the values, as tensor cores want them. Autocast casts maps to its dtype, as it does for matrix
    products, but for float64; embeddings keep theirs, and gradients have the dtype of what was given.

    Args:
        query: ``(B, N, D, H, W)`` with N heads, any strides.
        key: like ``query``; None is allowed, and anything else not read, if ``content`` is False.
        value: like ``query``.
        row_embedding: ``(D // 2, k)``, shared by the heads, or ``(N, D // 2, k)``. Index 0 is offset ``-(k // 2)``;
            it goes with the first half of the query's channels. None for no position term.
        column_embedding: likewise, with the second half of the query's channels.
        spatial_extent: k, odd; the window may be larger than the map.
        border: ``"zero"``, a place outside the map has zero key and value and takes part with the logit q . r;
            ``"mask"``, it takes no part.
        content: False drops q . k.
        backend: one of `available_backends`, or ``"auto"`` for what `choose_backend` says.

    Returns:
        ``(B, N, D, H, W)`` in the dtype and memory order of ``query``.

    Raises:
        ValueError: for arguments other than these, or a backend that cannot compute them.
        NotImplementedError: under forward-mode differentiation.
    """
    if key is None and content:
        raise ValueError("key must be given with content=True, got None.")
    inputs = Inputs(query, key if content else None, value, row_embedding, column_embedding)
    _refuse_forward_mode(*inputs)
    output: Tensor = torch.ops.sasa.local_attention(*inputs, spatial_extent, border, backend)[0]
    return output


def packed_local_attention(
    maps: Tensor,
    row_embedding: Tensor | None,
    column_embedding: Tensor | None,
    *,
    spatial_extent: int,
    border: str = "zero",
    backend: str = "auto",
) -> Tensor:
    """`local_attention` of queries, keys and values side by side in one map, as one 1x1 convolution makes them.

    The same bits, by the same backends, which read parts of the map as they lie. What it saves is in the backward pass:
    they write one gradient, where those of three maps would have to be joined by a copy.

    Args:
        maps: ``(B, P, N, D, H, W)``, any strides: queries, keys and values for P = 3; queries and values for P = 2,
            where logits hold no q . k.
        row_embedding: as for `local_attention`, like everything else.

    Returns:
        ``(B, N, D, H, W)`` in the dtype and order of dimensions in memory of ``maps``.

    Raises:
        ValueError: for arguments other than these, or a backend that cannot compute them.
        NotImplementedError: under forward-mode differentiation.
    """
    _refuse_forward_mode(maps, row_embedding, column_embedding)
    arguments = (maps, row_embedding, column_embedding, spatial_extent, border, backend)
    output: Tensor = torch.ops.sasa.packed_local_attention(*arguments)[0]
    return output


def _refuse_forward_mode(*tensors: Tensor | None) -> None:
    """PyTorch drops the tangents of what enters an operator without a rule for them, and would return zeros."""
    if torch.compiler.is_compiling():
        return
    if any(tensor is not None and unpack_dual(tensor).tangent is not None for tensor in tensors):
        raise NotImplementedError(
            "local attention has no forward-mode derivative (jvp); sasa_cli.models.plain_torch(network) has"
        )


def split_maps(maps: Tensor, row_embedding: Tensor | None, column_embedding: Tensor | None) -> Inputs:
    """The parts of ``maps`` as views.

    Raises:
        ValueError: if ``maps`` has not two or three of them.
    """
    if maps.dim() != 6 or maps.shape[1] not in (2, 3):
        raise ValueError(f"maps must have shape (B, 2 or 3, N, D, H, W), got {tuple(maps.shape)}.")
    query, *keys, value = maps.unbind(1)
    return Inputs(query, keys[0] if keys else None, value, row_embedding, column_embedding)


NAMESPACE = "sasa"
EMBEDDINGS = "Tensor? row_embedding, Tensor? column_embedding"
SETTINGS = "int spatial_extent, str border, str backend"
SETTING_COUNT = SETTINGS.count(",") + 1
AUTOCAST_KEYS = {"cpu": "AutocastCPU", "cuda": "AutocastCUDA", "mps": "AutocastMPS", "xpu": "AutocastXPU"}
"""By type of device. An operator that autocast does not know on a device runs there in the dtype of its maps."""
TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)
Shape = tuple[int, ...]
_DEFINITIONS = torch.library.Library(NAMESPACE, "DEF")  # they last as long as it does


@dataclass(frozen=True)
class _Operator:
    """One operator with its backward: `schema` names its maps, `split` finds queries, keys and values in its tensors.

    Both take tensors or None, then `SETTINGS`. The operator gives the output ``(B, N, D, H, W)`` and the log-sum-exp of
    the logits ``(B, N, H, W)``, see `Backend`; its backward, which takes these and the gradient of the output, too, the
    gradients of those tensors that are not None.
    """

    name: str
    schema: str
    split: Callable[..., Inputs]
    shape_of: Callable[..., tuple[Shape, bool]]
    """Of its maps' shapes: that of the query, and whether there are keys."""

    @property
    def maps(self) -> int:
        """How many of its tensors are maps; the embeddings follow."""
        return self.schema.count("Tensor")

    def register(self) -> None:
        backward = f"{self.name}_backward"
        tensors, results = f"{self.schema}, {EMBEDDINGS}", "Tensor output, Tensor lse"
        schemas = {
            self.name: f"({tensors}, {SETTINGS}) -> (Tensor, Tensor)",
            backward: f"(Tensor grad_output, {tensors}, {results}, {SETTINGS}) -> Tensor[]",
        }
        for name, schema in schemas.items():
            _DEFINITIONS.define(name + schema, tags=TAGS)
        forward = f"{NAMESPACE}::{self.name}"
        torch.library.impl(forward, "default", self.compute)
        torch.library.impl(f"{NAMESPACE}::{backward}", "default", self.differentiate)
        torch.library.register_fake(forward, self.fake)
        torch.library.register_fake(f"{NAMESPACE}::{backward}", self.fake_backward)
        torch.library.register_autograd(forward, self.call_backward, setup_context=self.keep)
        torch.library.register_autograd(f"{NAMESPACE}::{backward}", _refuse_second_derivative)
        for device, key in AUTOCAST_KEYS.items():
            _DEFINITIONS.impl(self.name, self.cast(device), key)
        register_flop_formula(getattr(torch.ops.sasa, self.name))(self.flops)
        register_flop_formula(getattr(torch.ops.sasa, backward))(self.backward_flops)

    def compute(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, spatial_extent, border, backend = arguments
        inputs = self.split(*tensors)
        problem = describe(inputs, spatial_extent, border)
        with torch.autocast(problem.device, enabled=False):
            return decide(problem, backend).backend.forward(problem, inputs)

    def fake(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, spatial_extent, border, _ = arguments
        inputs = self.split(*tensors)
        problem = describe(inputs, spatial_extent, border)
        query = inputs.query
        batch, heads, _, height, width = query.shape
        return torch.empty_like(query), query.new_empty((batch, heads, height, width), dtype=problem.compute_dtype)

    def differentiate(self, grad_output: Tensor, *arguments: Any) -> list[Tensor]:
        *tensors, output, lse, spatial_extent, border, backend = arguments
        inputs, gradients = self.split(*tensors), [None if each is None else torch.empty_like(each) for each in tensors]
        parts = self.split(*gradients)
        problem = describe(inputs, spatial_extent, border)
        with torch.autocast(problem.device, enabled=False):
            decide(problem, backend).backend.backward(problem, grad_output, inputs, output, lse, parts)
        return [gradient for gradient in gradients if gradient is not None]

    def fake_backward(self, grad_output: Tensor, *arguments: Any) -> list[Tensor]:
        return [torch.empty_like(tensor) for tensor in self._tensors(arguments) if tensor is not None]

    def keep(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.settings = inputs[-SETTING_COUNT:]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[:-SETTING_COUNT], *output)

    def call_backward(self, ctx: Any, grad_output: Tensor, grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        backward = getattr(torch.ops.sasa, f"{self.name}_backward")
        gradients = iter(backward(grad_output, *saved, *ctx.settings))
        of_tensors = (None if tensor is None else next(gradients) for tensor in self._tensors(saved))
        return (*of_tensors, *(None for _ in ctx.settings))

    def cast(self, device: str) -> Callable[..., tuple[Tensor, Tensor]]:
        """What autocast calls: maps are cast, and nothing else; PyTorch's own rule would cast the embeddings, too."""

        def cast(tensor: Tensor | None) -> Tensor | None:
            if tensor is None or not tensor.is_floating_point() or tensor.dtype == torch.float64:
                return tensor
            return tensor.to(torch.get_autocast_dtype(device))

        def call(*arguments: Any) -> tuple[Tensor, Tensor]:
            maps = [cast(tensor) for tensor in arguments[: self.maps]]
            with torch.autocast(device, enabled=False):
                result: tuple[Tensor, Tensor] = getattr(torch.ops.sasa, self.name)(*maps, *arguments[self.maps :])
            return result

        return call

    def flops(self, *arguments: Any, **kwargs: Any) -> int:
        """FLOPs, 2 per multiply-add, of q . k, q . r and a . v over all k * k places, those outside the map counted.

        The plain convention of the paper's tables, the same for every backend: not what one of them executes.
        """
        query, content = self.shape_of(*arguments[: self.maps])
        position, spatial_extent = arguments[self.maps] is not None, arguments[-SETTING_COUNT]
        products = 1 + content + position
        return int(2 * products * math.prod(query) * spatial_extent**2)

    def backward_flops(self, grad_output: Shape, *arguments: Any, **kwargs: Any) -> int:
        """Twice the forward FLOPs: each product has two factors to differentiate by; recomputation is not counted."""
        return 2 * self.flops(*arguments)

    def _tensors(self, arguments: tuple[Any, ...]) -> tuple[Tensor | None, ...]:
        return arguments[: self.maps + EMBEDDINGS.count("Tensor")]


def _refuse_second_derivative(ctx: Any, *gradients: Any) -> None:
    raise RuntimeError(
        "local attention has no autograd formula of its backward pass: first derivatives only; "
        "sasa_cli.models.plain_torch(network) has all"
    )


_Operator(
    "local_attention",
    "Tensor query, Tensor? key, Tensor value",
    split=Inputs,
    shape_of=lambda query, key, value: (query, key is not None),
).register()
_Operator(
    "packed_local_attention",
    "Tensor maps",
    split=split_maps,
    shape_of=lambda maps: ((maps[0], *maps[2:]), maps[1] == 3),
).register()
