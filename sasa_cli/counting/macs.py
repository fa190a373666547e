"""Parameters and multiply-accumulates (MACs) of a network, layer by layer, from its spec alone. Imports no torch.

Counted: convolutions, linear layers, the projections of queries, keys and values, q.k and q.r over all k x k places
(those outside the map too), a.v, and the mixture of values in an attention stem. Not counted: whatever works element
by element (batch norm, ReLU, softmax, sums, pooling) and what depends on parameters alone. Tracing would count how an
implementation happens to be written: torch's FlopCounterMode finds 66 %, 117 % or 201 % of the MACs of one layer when
it is a product and a sum, an einsum, or dense attention with a mask.

All numbers are exact integers. FLOPs are 2 x MACs (paper, footnote 4) and appear only where numbers are printed.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property

from sasa_cli.counting.layers import STEM_BLOCK, LayerCount, Network, Shape
from sasa_cli.kinds import KINDS
from sasa_cli.spec import EXPANSION, AttentionSpec, ModelSpec


@dataclass(frozen=True)
class ModelCount:
    """The layers of a network, or of one of its stages, and their sums."""

    model: str
    image: Shape
    """(C, H, W) of the image that is counted."""
    num_classes: int
    layers: tuple[LayerCount, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know about these numbers."""

    @cached_property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Every product in full (paper, equation 3)."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def macs_executed(self) -> int:
        """As `macs`, but q.r factored into rows and columns."""
        return sum(layer.macs_executed for layer in self.layers)

    @property
    def activations(self) -> int:
        """Elements kept for the backward pass, for one image."""
        return sum(layer.activations for layer in self.layers)

    def by_stage(self) -> dict[str, "ModelCount"]:
        """The stages in order, each as the count of its layers."""
        stages: dict[str, list[LayerCount]] = {}
        for layer in self.layers:
            stages.setdefault(layer.stage, []).append(layer)
        return {stage: replace(self, layers=tuple(layers)) for stage, layers in stages.items()}


def count_model(
    model: ModelSpec, *, image_size: int | tuple[int, int], num_classes: int, in_chans: int = 3
) -> ModelCount:
    """Count the network that `model` describes, for one image.

    Args:
        model: Where `small_input` is None, the image size decides on the stem.
        image_size: Side in pixels, or (height, width).
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    decided = model.model_copy(update={"small_input": model.canonical(max(height, width)).small_input})
    image = (in_chans, height, width)
    net = Network(image)
    _stem(net, decided)
    for stage, depth in enumerate(decided.depth):
        net.stage = f"stage{stage + 1}"
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            _bottleneck(net, f"layer{stage + 1}.{block}", decided, stage, stride)
    net.stage = "classifier"
    net.global_pool("global_pool")
    net.linear("fc", num_classes)
    return ModelCount(model_label(decided, max(height, width)), image, num_classes, tuple(net.layers))


def count_attention(spec: AttentionSpec, extent: int, shape: Shape) -> LayerCount:
    """One attention layer with windows of `extent` x `extent` over a map of `shape`, (C, H, W)."""
    net = Network(shape)
    net.attention("attention", spec, extent)
    return net.layers[0]


def count_depthwise(extent: int, shape: Shape) -> LayerCount:
    """One depthwise convolution of `extent` x `extent` with its value projection, over a map of `shape`, (C, H, W)."""
    net = Network(shape)
    net.depthwise("depthwise", extent)
    return net.layers[0]


def count_convolution(kernel: int, shape: Shape) -> LayerCount:
    """One convolution from and to `shape`, (C, H, W)."""
    net = Network(shape)
    net.conv("conv", shape[0], kernel)
    return net.layers[0]


def _stem(net: Network, model: ModelSpec) -> None:
    attends = model.stem.kind == "attention"
    if attends:
        net.attention_stem("conv1", model.stem, model.attention, model.stem_channels)
    else:
        kernel, stride = (3, 1) if model.small_input else (7, 2)
        net.conv("conv1", model.stem_channels, kernel, stride)
    net.batch_norm("bn1")
    if not model.small_input:
        side, stride = (STEM_BLOCK, STEM_BLOCK) if attends else (3, 2)
        net.pool("maxpool", "max", side, stride)


def _bottleneck(net: Network, name: str, model: ModelSpec, stage: int, stride: int) -> None:
    """1x1, then the layer of the stage's kind, then 1x1; a 1x1 beside them where the shape changes."""
    entry, channels = net.shape, model.channels[stage]
    net.conv(f"{name}.conv1", channels, 1)
    net.batch_norm(f"{name}.bn1")
    KINDS[model.stages[stage]].count(net, f"{name}.conv2", model, stage, stride)
    net.batch_norm(f"{name}.bn2")
    net.conv(f"{name}.conv3", channels * EXPANSION, 1)
    net.batch_norm(f"{name}.bn3")
    if stride > 1 or entry[0] != channels * EXPANSION:
        net.shape = entry
        net.conv(f"{name}.downsample.0", channels * EXPANSION, 1, stride)
        net.batch_norm(f"{name}.downsample.1")


def model_label(model: ModelSpec, image_size: int) -> str:
    """The model's name and what differs from its defaults: `sasa_resnet50 CCAA k=5`.

    Options without effect are left out, as are those that the image size decides.
    """
    decided = model.canonical(image_size)
    usual = _usual_options(image_size)
    parts = [decided.name or f"sasa_resnet layers={_dashed(decided.layers)}"]
    parts += [decided.stages] if decided.stages != "AAAA" else []
    parts += [f"{key}={_dashed(value)}" for key, value in _options(decided).items() if value != usual[key]]
    return " ".join(parts)


@cache
def _usual_options(image_size: int) -> dict[str, object]:
    return _options(ModelSpec(name="sasa_resnet50").canonical(image_size))


def _options(model: ModelSpec) -> dict[str, object]:
    attention = model.attention.model_dump(exclude={"spatial_extent", "backend"})
    stem = {f"stem.{key}": value for key, value in model.stem.model_dump(exclude={"kind"}).items()}
    network = {"stem": model.stem.kind, "width": model.width, "small_input": model.small_input}
    return {"k": model.attention.spatial_extent} | attention | network | stem


def _dashed(value: object) -> str:
    """One number for each stage as `7-7-5-3`, truth values as in YAML."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
