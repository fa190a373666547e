"""The residual bottleneck with local self-attention in the place of its 3x3 convolution."""

from dataclasses import dataclass
from typing import Any, ClassVar

from timm.models.resnet import Bottleneck

from sasa_cli.models.attention import LocalSelfAttention
from sasa_cli.spec import AttentionSpec, ModelSpec


class AttentionBottleneck(Bottleneck):
    """timm's `Bottleneck` whose `conv2`, and nothing else, is a `LocalSelfAttention` (paper, section 3.1).

    Batch norm and ReLU follow it as they follow the 3x3. Of the arguments that only a convolution has, `dilation`
    and `cardinality` change nothing in the attention: where `output_stride` takes the stride away, the pool goes
    and the window stays k x k neighbouring pixels; the projections are always dense.
    """

    def __init__(self, *args: Any, attention: AttentionSpec, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        conv = self.conv2
        factory = {key: kwargs.get(key) for key in ("device", "dtype")}
        layer = LocalSelfAttention(conv.in_channels, conv.out_channels, attention, stride=conv.stride[0], **factory)
        self.register_module("conv2", layer)


@dataclass(frozen=True)
class AttentionBottlenecks:
    """Builds the bottlenecks of one attention stage; stands where timm's `ResNet` takes a class of blocks."""

    attention: AttentionSpec
    expansion: ClassVar[int] = Bottleneck.expansion

    def __call__(self, *args: Any, **kwargs: Any) -> AttentionBottleneck:
        return AttentionBottleneck(*args, attention=self.attention, **kwargs)


def stage_blocks(model: ModelSpec) -> tuple[type[Bottleneck] | AttentionBottlenecks, ...]:
    """What builds the bottlenecks of each stage."""
    return tuple(
        AttentionBottlenecks(model.attention.model_copy(update={"spatial_extent": extent}))
        if kind == "A"
        else Bottleneck
        for kind, extent in zip(model.stages, model.extents, strict=True)
    )
