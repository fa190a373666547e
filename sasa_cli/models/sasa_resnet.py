"""The networks as timm models: `sasa_resnet26`, `sasa_resnet38` and `sasa_resnet50`."""

from typing import Any, cast

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import ResNet
from torch import nn

from sasa_cli.errors import SpecError
from sasa_cli.models.arguments import MODEL_ARGUMENTS, model_spec
from sasa_cli.models.attention import LocalSelfAttention
from sasa_cli.models.bottleneck import stage_blocks
from sasa_cli.models.depthwise import DepthwiseConvolution
from sasa_cli.models.stem import BLOCK, StemAttention
from sasa_cli.spec import STEM_CHANNELS, ModelSpec

OWN_WEIGHTS = (LocalSelfAttention, DepthwiseConvolution, StemAttention)
STEM_ARGUMENTS = ("stem_type", "stem_width", "replace_stem_pool")  # of timm's ResNet


class SasaResNet(ResNet):
    """timm's `ResNet` in which the stem and each stage is convolution or another kind.

    Modules keep timm's names, so that weights of timm's `resnet50` load into the stages that are convolution. The
    attention of a bottleneck is its `conv2`, that of the stem `conv1`; an attention stem has no ReLU (`act1`), since
    the paper names attention, batch norm and a 4x4 max pool.

    Args:
        cfg: the network. `small_input` None means False.
        **kwargs: any argument of timm's `ResNet` but `block`, `layers` and `channels`, which `cfg` decides.

    Raises:
        SpecError: timm's arguments for a convolution stem come with a stem that they cannot describe.
    """

    def __init__(self, cfg: ModelSpec, **kwargs: Any) -> None:
        replaced = cfg.stem.kind == "attention" or cfg.small_input or cfg.stem_channels != STEM_CHANNELS
        if replaced:
            _refuse_stem_arguments(kwargs)
            # The one way to tell timm's ResNet that other than 64 channels leave the stem.
            kwargs |= {"stem_type": "deep", "stem_width": cfg.stem_channels // 2}
        blocks: Any = stage_blocks(cfg)
        super().__init__(block=blocks, layers=cfg.depth, channels=cfg.channels, **kwargs)
        self.spec = cfg
        if replaced:
            self._replace_stem(device=kwargs.get("device"), dtype=kwargs.get("dtype"))

    def _replace_stem(self, **factory: Any) -> None:
        channels, small = self.spec.stem_channels, self.spec.small_input
        if self.spec.stem.kind == "attention":
            stem = StemAttention(self.in_chans, channels, self.spec.stem, self.spec.attention, **factory)
            self.register_module("conv1", stem)
            self.register_module("act1", nn.Identity())
            self.register_module("maxpool", nn.MaxPool2d(BLOCK, ceil_mode=True))
        else:
            kernel, stride = (3, 1) if small else (7, 2)
            conv = nn.Conv2d(self.in_chans, channels, kernel, stride, padding=kernel // 2, bias=False, **factory)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            self.register_module("conv1", conv)
        if small:
            self.register_module("maxpool", nn.Identity())
        self._correct_reductions()

    def _correct_reductions(self) -> None:
        """How much smaller than the image each feature map is; timm takes a stem of stride 2 and a pool for granted."""
        before_pool, *stages = cast("list[dict[str, Any]]", self.feature_info)
        if self.spec.small_input or self.spec.stem.kind == "attention":
            before_pool["reduction"] = 1
        if self.spec.small_input:
            for stage in stages:
                stage["reduction"] //= 4

    def init_weights(self, zero_init_last: bool = True) -> None:
        """Draw new weights, as timm does; what replaces a convolution draws its own.

        Args:
            zero_init_last: start the last batch norm of each bottleneck, the one before the sum with the shortcut,
                at zero. The one after the attention has a ReLU behind it and would never leave zero.
        """
        super().init_weights(zero_init_last)
        for module in self.modules():
            if isinstance(module, OWN_WEIGHTS):
                module.init_weights()


def _refuse_stem_arguments(kwargs: dict[str, Any]) -> None:
    given = [f"{name}={kwargs[name]!r}" for name in STEM_ARGUMENTS if name in kwargs]
    if given:
        raise SpecError(f"{', '.join(given)}: allowed only with stem='conv', width=1 and small_input=False")


def _create(name: str, pretrained: bool, kwargs: dict[str, Any]) -> SasaResNet:
    arguments = {key: kwargs.pop(key) for key in MODEL_ARGUMENTS if key in kwargs}
    cfg = model_spec(name, arguments)
    overlay = _cfg_of_variant(cfg) | (kwargs.pop("pretrained_cfg_overlay", None) or {})
    model: SasaResNet = build_model_with_cfg(
        SasaResNet, name, pretrained, model_cfg=cfg, pretrained_cfg_overlay=overlay, **kwargs
    )
    return model


def _cfg_of_variant(cfg: ModelSpec) -> dict[str, Any]:
    """In which entries timm's configuration of this network differs from that of its registered name."""
    changes: dict[str, Any] = {}
    if cfg.small_input:
        changes |= {"input_size": (3, 32, 32), "pool_size": (4, 4), "crop_pct": 1.0}
    if cfg.stem.kind == "attention":
        projections = ("query", "key", "value") if cfg.attention.content else ("query", "value")
        changes["first_conv"] = tuple(f"conv1.{projection}" for projection in projections)
    return changes


def _default_cfg() -> dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "conv1",
        "classifier": "fc",
        "license": "apache-2.0",
        "paper_ids": "arXiv:1906.05909",
    }


default_cfgs = generate_default_cfgs(
    {f"{name}.untrained": _default_cfg() for name in ("sasa_resnet26", "sasa_resnet38", "sasa_resnet50")}
)


@register_model
def sasa_resnet26(pretrained: bool = False, **kwargs: Any) -> SasaResNet:
    """ResNet-26 with attention: 1, 2, 4 and 1 bottlenecks (paper, section 4.1)."""
    return _create("sasa_resnet26", pretrained, kwargs)


@register_model
def sasa_resnet38(pretrained: bool = False, **kwargs: Any) -> SasaResNet:
    """ResNet-38 with attention: 2, 3, 5 and 2 bottlenecks (paper, section 4.1)."""
    return _create("sasa_resnet38", pretrained, kwargs)


@register_model
def sasa_resnet50(pretrained: bool = False, **kwargs: Any) -> SasaResNet:
    """ResNet-50 with attention: 3, 4, 6 and 3 bottlenecks (paper, section 4.1)."""
    return _create("sasa_resnet50", pretrained, kwargs)
