"""The residual bottleneck with another layer in the place of its 3x3 convolution."""

from dataclasses import dataclass
from typing import Any, ClassVar

from timm.models.resnet import Bottleneck

from sasa_cli.kinds import kinds_of
from sasa_cli.models.attention import LocalSelfAttention
from sasa_cli.models.depthwise import DepthwiseConvolution
from sasa_cli.spec import AttentionSpec, ModelSpec

Layer = type[LocalSelfAttention | DepthwiseConvolution]


class ReplacedBottleneck(Bottleneck):
    """timm's `Bottleneck` whose `conv2`, and nothing else, is another layer (paper, section 3.1).

    Batch norm and ReLU follow it as they follow the 3x3. Of the arguments that only a convolution has, `dilation`
    and `cardinality` change nothing in it: where `output_stride` takes the stride away, the pool goes and the window
    stays k x k neighbouring pixels; the projections are always dense.
    """

    def __init__(self, *args: Any, layer: Layer, spec: AttentionSpec, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        conv = self.conv2
        factory = {key: kwargs.get(key) for key in ("device", "dtype")}
        self.register_module(
            "conv2", layer(conv.in_channels, conv.out_channels, spec, stride=conv.stride[0], **factory)
        )


@dataclass(frozen=True)
class ReplacedBottlenecks:
    """Builds the bottlenecks of one stage; stands where timm's `ResNet` takes a class of blocks."""

    layer: Layer
    spec: AttentionSpec
    expansion: ClassVar[int] = Bottleneck.expansion

    def __call__(self, *args: Any, **kwargs: Any) -> ReplacedBottleneck:
        return ReplacedBottleneck(*args, layer=self.layer, spec=self.spec, **kwargs)


Blocks = type[Bottleneck] | ReplacedBottlenecks


def stage_blocks(model: ModelSpec) -> tuple[Blocks, ...]:
    """What builds the bottlenecks of each stage."""
    return tuple(kind.build(model, extent) for kind, extent in zip(kinds_of(model.stages), model.extents, strict=True))


def convolution_blocks(model: ModelSpec, extent: int) -> Blocks:
    """Those of timm, with their 3x3."""
    return Bottleneck


def attention_blocks(model: ModelSpec, extent: int) -> Blocks:
    """With local self-attention over `extent` x `extent` pixels."""
    return ReplacedBottlenecks(LocalSelfAttention, _with_extent(model, extent))


def depthwise_blocks(model: ModelSpec, extent: int) -> Blocks:
    """With a depthwise convolution of `extent` x `extent` pixels over a value projection."""
    return ReplacedBottlenecks(DepthwiseConvolution, _with_extent(model, extent))


def _with_extent(model: ModelSpec, extent: int) -> AttentionSpec:
    return model.attention.model_copy(update={"spatial_extent": extent})
