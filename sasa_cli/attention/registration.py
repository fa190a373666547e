"""What the custom operators of attention tell PyTorch alike: their gradients, how autocast casts them, their FLOPs."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("sasa", "IMPL")  # registrations last as long as it does


def register_gradients(operator: str, tensors: int) -> None:
    """Have ``sasa::<operator>_backward`` differentiate ``sasa::<operator>``.

    The operator takes ``tensors`` tensors or None, then k, border and backend, and returns output and log-sum-exp. Its
    backward operator takes the gradient of the output, those tensors, what was returned, and the same settings.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *given, ctx.spatial_extent, ctx.border, ctx.backend = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*given, *output)

    def differentiate(ctx: Any, grad_output: Tensor, grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        settings = (ctx.spatial_extent, ctx.border, ctx.backend)
        gradients = iter(getattr(torch.ops.sasa, f"{operator}_backward")(grad_output, *saved, *settings))
        return (*(None if tensor is None else next(gradients) for tensor in saved[:tensors]), None, None, None)

    torch.library.register_autograd(f"sasa::{operator}", differentiate, setup_context=setup_context)


def register_autocast(operator: str, maps: int) -> None:
    """Have autocast cast the first ``maps`` arguments of ``sasa::<operator>``, and none of the others.

    PyTorch's own `register_autocast` would take one fixed dtype, and cast the embeddings as well.
    """
    _LIBRARY.impl(operator, _cast_call(operator, maps, "cpu"), "AutocastCPU")
    _LIBRARY.impl(operator, _cast_call(operator, maps, "cuda"), "AutocastCUDA")


def _cast_call(operator: str, maps: int, device: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def cast(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or not tensor.is_floating_point() or tensor.dtype == torch.float64:
            return tensor
        return tensor.to(torch.get_autocast_dtype(device))

    def call(*arguments: Tensor | None) -> tuple[Tensor, Tensor]:
        tensors = [cast(tensor) for tensor in arguments[:maps]]
        with torch.autocast(device, enabled=False):
            result: tuple[Tensor, Tensor] = getattr(torch.ops.sasa, operator)(*tensors, *arguments[maps:])
        return result

    return call


def products_flops(query: tuple[int, ...], spatial_extent: int, *, content: bool, position: bool) -> int:
    """FLOPs, 2 per multiply-add, of q . k, q . r and a . v over all k * k places, those outside the map counted.

    The plain convention of the paper's tables, the same for every backend: not what one of them executes.
    ``query`` is the shape ``(B, N, D, H, W)``.
    """
    products = 1 + content + position  # a . v, q . k, q . r
    return 2 * products * math.prod(query) * spatial_extent**2
