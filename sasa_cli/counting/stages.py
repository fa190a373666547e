"""What stands between the two 1x1 convolutions of a bottleneck, by kind of stage; `kinds.py` leads here."""

from sasa_cli.counting.layers import Network
from sasa_cli.spec import ModelSpec


def count_convolution_stage(net: Network, name: str, model: ModelSpec, stage: int, stride: int) -> None:
    """A 3x3: 9 C^2 parameters and, for H x W pixels after the stride, 9 H W C^2 MACs."""
    net.conv(name, model.channels[stage], 3, stride)


def count_attention_stage(net: Network, name: str, model: ModelSpec, stage: int, stride: int) -> None:
    """Local self-attention (paper, equations 2 and 3), its pool after it or before."""
    _pooled_first(net, name, model, stride)
    net.attention(name, model.attention, model.extents[stage])
    _pooled_last(net, name, model, stride)


def count_depthwise_stage(net: Network, name: str, model: ModelSpec, stage: int, stride: int) -> None:
    """Values and a k x k filter for each channel: C^2 + C k^2 parameters and H W C (C + k^2) MACs; pools as attention.

    H x W are the pixels before the pool, or with `pool: before` after it.
    """
    _pooled_first(net, name, model, stride)
    net.depthwise(name, model.extents[stage])
    _pooled_last(net, name, model, stride)


def _pooled_first(net: Network, name: str, model: ModelSpec, stride: int) -> None:
    if model.attention.pool == "before":
        _pool(net, name, stride)


def _pooled_last(net: Network, name: str, model: ModelSpec, stride: int) -> None:
    if model.attention.pool == "after":
        _pool(net, name, stride)


def _pool(net: Network, name: str, stride: int) -> None:
    if stride > 1:
        net.pool(f"{name}.pool", "average", stride, stride)
