"""Parameters and MACs of any timm model, read off a run on shapes without data.

Models of this package are counted from their formulas in `sasa_cli.counting.macs`; these ones can only be traced.
"""

import difflib
import re
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sasa_cli.counting.layers import LayerCount, Product
from sasa_cli.counting.macs import ModelCount
from sasa_cli.errors import SpecError

CAVEAT = (
    "traced: counts matrix products, convolutions and scaled_dot_product_attention as this implementation "
    "executes them, and nothing else; products written element by element are not seen"
)
REFUSALS = (RuntimeError, AssertionError, ValueError, TypeError, IndexError, KeyError)
# Names under which timm keeps its stages: `layer1` counts from one, `stages.0` from zero.
STAGE_PATTERN = re.compile(r"(?:layer|stage)(?P<one>\d+)(?:\.|$)|(?:layers|stages)\.(?P<zero>\d+)(?:\.|$)")


def count_foreign(
    name: str, *, image_size: int | tuple[int, int] | None = None, num_classes: int | None = None
) -> ModelCount:
    """Count a timm model for one image, on meta tensors.

    Args:
        name: Any name that `timm.create_model` takes.
        image_size: Side in pixels, or (height, width); None for the model's own.
        num_classes: Outputs of the classifier; None for the model's own.

    Raises:
        SpecError: timm has no such model, or it takes no images of this size.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        nearest = f"; the nearest names are {', '.join(close)}" if close else ""
        raise SpecError(f"{name!r} is no model of timm or sasa{nearest}")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    try:
        return _count(name, size, num_classes)
    except REFUSALS as error:
        if size is None:
            raise SpecError(f"{name} cannot be counted: {_words(error)}") from error
        own, others = _sizes(name, size, num_classes)
        near = f" ({', '.join(others)} work, too)" if others else ""
        raise SpecError(
            f"{name} takes no images of {size[0]}x{size[1]} px: {_words(error)}; its own size is {own}{near}"
        ) from error


def _count(name: str, size: tuple[int, int] | None, num_classes: int | None) -> ModelCount:
    with torch.device("meta"):
        network = _build(name, size, num_classes)
        image = (network.default_cfg["input_size"][0], *(size or network.default_cfg["input_size"][1:]))
        trace = _trace(network, image)
    return ModelCount(name, image, network.num_classes, tuple(_layers(network, trace)), notes=(f"{name} is {CAVEAT}.",))


def _sizes(name: str, size: tuple[int, int], num_classes: int | None) -> tuple[str, list[str]]:
    """The model's own size, and square ones near `size` that it takes."""
    own = timm.get_pretrained_cfg(name)
    default = "x".join(map(str, own.input_size[1:])) if own else "not stated"
    near = {step * round(max(size) / step) + offset for step in (32, 14) for offset in (-step, 0, step)}
    taken = [side for side in sorted(near - {max(size)}) if side > 0 and _takes(name, side, num_classes)]
    return default, [text for side in taken if (text := f"{side}x{side}") != default]


def _takes(name: str, side: int, num_classes: int | None) -> bool:
    try:
        _count(name, (side, side), num_classes)
    except REFUSALS:
        return False
    return True


def _words(error: Exception) -> str:
    """What an error of timm or torch says, in one line; an assertion often says nothing."""
    text = " ".join(str(error).split())
    return text if text else f"{type(error).__name__} in timm"


def _build(name: str, size: tuple[int, int] | None, num_classes: int | None) -> Any:
    arguments: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    network: Any = timm.create_model(name, **arguments)
    if size and network.default_cfg.get("fixed_input_size"):
        network = timm.create_model(name, **arguments, img_size=size)
    # The counter hooks what needs gradients, and fails on parameters that are viewed before the first layer.
    return network.eval().requires_grad_(requires_grad=False)


@dataclass
class _Trace:
    """What each module did in one forward pass, keyed by its dotted name."""

    flops: dict[str, int] = field(default_factory=dict)
    """Its own, without those of the modules that it calls."""
    elements: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def _trace(network: nn.Module, image: tuple[int, ...]) -> _Trace:
    """Attribute FLOPs to the innermost module that is running.

    Names, not calls, decide what a module belongs to: some models call the children of a container one by one.
    """
    trace, running, seen = _Trace(), [""], 0
    counter = FlopCounterMode(display=False)

    def settle() -> None:
        nonlocal seen
        total = counter.get_total_flops()
        trace.flops[running[-1]] = trace.flops.get(running[-1], 0) + total - seen
        seen = total

    def watch(name: str, module: nn.Module) -> None:
        def enter(*_: object) -> None:
            settle()
            running.append(name)

        def leave(_module: nn.Module, _inputs: object, output: object) -> None:
            settle()
            running.pop()
            if isinstance(output, torch.Tensor):
                trace.elements[name] = trace.elements.get(name, 0) + output.numel()
                trace.shapes[name] = tuple(output.shape[1:])

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    for name, module in network.named_modules():
        watch(name, module)
    with torch.no_grad(), counter:
        network(torch.empty(1, *image))
    return trace


def _layers(network: nn.Module, trace: _Trace) -> list[LayerCount]:
    """Modules that have parameters or MACs of their own, and pools."""
    layers = []
    counted: set[nn.Parameter] = set()  # a parameter that two modules share counts once
    stages = _stages([name for name, _ in network.named_modules()])
    for name, module in network.named_modules():
        kind = type(module).__name__
        weights = {
            key: tuple(parameter.shape)
            for key, parameter in module.named_parameters(recurse=False)
            if parameter not in counted
        }
        counted.update(module.parameters(recurse=False))
        macs = trace.flops.get(name, 0) // 2
        is_pool = "Pool" in kind and not any(module.children())
        if weights or macs or is_pool:
            products = (Product("traced", "FLOPs / 2", (macs,)),) if macs else ()
            elements, shape = trace.elements.get(name, 0), trace.shapes.get(name, ())
            layers.append(LayerCount(name or kind, kind, stages[name], shape, elements, weights, products))
    return layers


def _stages(names: list[str]) -> dict[str, str]:
    """The stage of each module: stem before `stage1`, classifier after the last one.

    Where timm's names show no stages, the outermost module stands for one.
    """
    found = {name: match for name in names if (match := STAGE_PATTERN.match(name))}
    if not found:
        return {name: name.partition(".")[0] or "model" for name in names}
    stages, current, last = {}, "stem", list(found)[-1]
    for name in names:
        if name in found:
            one, zero = found[name].groups()
            current = f"stage{int(one) if one else int(zero) + 1}"
        stages[name] = current
        if name == last:
            current = "classifier"
    return stages
