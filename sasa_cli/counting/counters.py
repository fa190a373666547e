"""What counters that trace a network report for one attention layer, measured here and now."""

import importlib
import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sasa_cli.counting.explain import CounterReadings, CounterRow
from sasa_cli.counting.formulations import FORMULATIONS, LayerAsWritten
from sasa_cli.counting.macs import count_attention
from sasa_cli.spec import AttentionSpec

CHANNELS, HEIGHT, WIDTH, HEADS, EXTENT = 64, 14, 14, 8, 7  # of the layer that is counted


def read_counters() -> CounterReadings:
    """Every counter on every formulation of the same layer; those that are not installed say so."""
    macs, without_position = (
        count_attention(AttentionSpec(heads=HEADS, position=position), EXTENT, (CHANNELS, HEIGHT, WIDTH)).macs
        for position in ("relative", "none")
    )
    return CounterReadings(
        layer=f"{CHANNELS} channels, {HEIGHT}x{WIDTH} pixels, k = {EXTENT}, {HEADS} heads",
        macs=macs,
        macs_without_position=without_position,
        rows=tuple(_read(counter, formulation) for counter in COUNTERS for formulation in FORMULATIONS),
    )


def _read(counter: str, formulation: str) -> CounterRow:
    package, count = COUNTERS[counter]
    version = _version(package)
    if version is None:
        return CounterRow(counter, None, formulation, None)
    layer = LayerAsWritten(FORMULATIONS[formulation], CHANNELS, HEADS, EXTENT).eval()
    image = torch.zeros(1, CHANNELS, HEIGHT, WIDTH)
    try:
        return CounterRow(counter, version, formulation, _quietly(count, layer, image))
    except Exception as error:  # whatever another package's counter may raise is its reading
        return CounterRow(counter, version, formulation, None, f"{type(error).__name__}: {error}")


def _version(package: str) -> str | None:
    try:
        module = importlib.import_module(package)
    except ImportError:
        return None
    return str(getattr(module, "__version__", "version unknown"))


def _quietly(count: Callable[[nn.Module, Tensor], int], layer: nn.Module, image: Tensor) -> int:
    """Counters warn about every operation that they skip; here the number itself says so."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return count(layer, image)
    finally:
        logging.disable(logging.NOTSET)


def _torch(layer: nn.Module, image: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        layer(image)
    return counter.get_total_flops() // 2


def _fvcore(layer: nn.Module, image: Tensor) -> int:
    from fvcore.nn import FlopCountAnalysis

    return int(FlopCountAnalysis(layer, image).total())  # MACs under the name of FLOPs


def _thop(layer: nn.Module, image: Tensor) -> int:
    import thop

    macs, _params = thop.profile(layer, inputs=(image,), verbose=False)
    return int(macs)


def _torchinfo(layer: nn.Module, image: Tensor) -> int:
    import torchinfo

    return int(torchinfo.summary(layer, input_data=image, verbose=0).total_mult_adds)


COUNTERS: dict[str, tuple[str, Callable[[nn.Module, Tensor], int]]] = {
    "torch FlopCounterMode / 2": ("torch", _torch),
    "fvcore": ("fvcore", _fvcore),
    "thop": ("thop", _thop),
    "torchinfo": ("torchinfo", _torchinfo),
}
