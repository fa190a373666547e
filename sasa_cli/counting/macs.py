"""Parameters and multiply-accumulates (MACs) of a network, layer by layer, from its spec alone. Imports no torch.

Counted: convolutions, linear layers, the projections of queries, keys and values, q.k and q.r over all k x k places
(those outside the map too), a.v, and the mixture of values in an attention stem. Not counted: whatever works element
by element (batch norm, ReLU, softmax, sums, pooling) and what depends on parameters alone. Tracing would count how an
implementation happens to be written: torch's FlopCounterMode finds 66 %, 117 % or 201 % of the MACs of one layer when
it is a product and a sum, an einsum, or dense attention with a mask.

All numbers are exact integers. FLOPs are 2 x MACs (paper, footnote 4) and appear only where numbers are printed.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sasa_cli.spec import EXPANSION, AttentionSpec, ModelSpec, StemSpec

STEM_BLOCK = 4  # side of the blocks of an attention stem, and of the pool after it (paper, appendix A.1)
Shape = tuple[int, int, int]
Weights = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Product:
    """The MACs of one matrix product: `formula` names the factors, `sizes` are their values."""

    name: str
    formula: str
    sizes: tuple[int, ...]
    executed: tuple[int, ...] | None = None
    """Factors of what a factored implementation computes instead; None: nothing else."""

    @property
    def macs(self) -> int:
        return math.prod(self.sizes)

    @property
    def macs_executed(self) -> int:
        return math.prod(self.sizes if self.executed is None else self.executed)


@dataclass(frozen=True)
class LayerCount:
    """One layer for one image."""

    name: str
    """Dotted name of its module in the built model."""
    kind: str
    stage: str
    """stem, stage1 to stage4, or classifier."""
    shape: tuple[int, ...]
    """Of its output: (C, H, W), or (classes,)."""
    activations: int
    """Elements kept for the backward pass: its output; for attention also its queries, keys and values."""
    weights: Weights = field(default_factory=dict)
    """Shape of each parameter."""
    products: tuple[Product, ...] = ()

    @property
    def params(self) -> int:
        return sum(math.prod(shape) for shape in self.weights.values())

    @property
    def macs(self) -> int:
        return sum(product.macs for product in self.products)

    @property
    def macs_executed(self) -> int:
        return sum(product.macs_executed for product in self.products)


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

    @property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Every product in full (paper, equation 3)."""
        return sum(layer.macs for layer in self.layers)

    @property
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
    net = _Network(image)
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
    net = _Network(shape)
    net.attention("attention", spec, extent)
    return net.layers[0]


def count_convolution(kernel: int, shape: Shape) -> LayerCount:
    """One convolution from and to `shape`, (C, H, W)."""
    net = _Network(shape)
    net.conv("conv", shape[0], kernel)
    return net.layers[0]


class _Network:
    """Layers in the order in which the image passes them, and the shape that it has reached: (C, H, W), then (C,)."""

    def __init__(self, shape: Shape) -> None:
        self.stage = "stem"
        self.shape: tuple[int, ...] = shape
        self.layers: list[LayerCount] = []

    def add(
        self,
        name: str,
        kind: str,
        *,
        weights: Weights | None = None,
        products: Iterable[Product] = (),
        activations: int | None = None,
    ) -> None:
        """Append a layer whose output has the present shape."""
        kept = math.prod(self.shape) if activations is None else activations
        self.layers.append(LayerCount(name, kind, self.stage, self.shape, kept, weights or {}, tuple(products)))

    def conv(self, name: str, channels: int, kernel: int, stride: int = 1) -> None:
        """Convolution without bias, padded so that stride s leaves ceil(H / s) rows."""
        entry, height, width = self.shape
        self.shape = (channels, -(-height // stride), -(-width // stride))
        self.add(
            name,
            f"conv {kernel}x{kernel}" + (f"/{stride}" if stride > 1 else ""),
            weights={"weight": (channels, entry, kernel, kernel)},
            products=[Product("conv", "H W C_out C_in k^2", (*self.shape[1:], channels, entry, kernel**2))],
        )

    def batch_norm(self, name: str) -> None:
        self.add(name, "batch norm", weights={"weight": self.shape[:1], "bias": self.shape[:1]})

    def pool(self, name: str, kind: str, side: int, stride: int) -> None:
        channels, height, width = self.shape
        self.shape = (channels, -(-height // stride), -(-width // stride))
        self.add(name, f"{kind} pool {side}x{side}/{stride}")

    def global_pool(self, name: str) -> None:
        self.shape = self.shape[:1]
        self.add(name, "global average pool")

    def linear(self, name: str, features: int) -> None:
        entry = self.shape[0]
        self.shape = (features,)
        weights = {"weight": (features, entry), "bias": (features,)}
        self.add(name, "linear", weights=weights, products=[Product("linear", "classes C", (features, entry))])

    def attention(self, name: str, spec: AttentionSpec, extent: int) -> None:
        """Attention over the k x k pixels round each pixel (paper, equations 2 and 3)."""
        channels = self.shape[0]
        projections = ("query", "key", "value") if spec.content else ("query", "value")
        weights, products = _projections(projections, channels, self.shape)
        self.add(
            name,
            f"attention k={extent} heads={spec.heads}",
            weights=weights | _embeddings(spec, spec.heads, channels, extent),
            products=products + _window_products(spec, self.shape, extent, "k"),
            activations=(len(projections) + 1) * math.prod(self.shape),
        )

    def attention_stem(self, name: str, stem: StemSpec, spec: AttentionSpec, channels: int) -> None:
        """Attention inside each 4x4 block of the image (paper, appendix A.1); blocks at the edge are filled up."""
        entry, *sides = self.shape
        self.shape = (channels, *sides)
        filled = (channels, *(STEM_BLOCK * -(-side // STEM_BLOCK) for side in sides))
        projections = ("query", "key") if spec.content else ("query",)
        weights, products = _projections(projections, entry, filled)
        value_weights, value_products = _stem_values(stem, entry, filled)
        self.add(
            name,
            f"attention in {STEM_BLOCK}x{STEM_BLOCK} blocks heads={stem.heads}",
            weights=weights | value_weights | _embeddings(spec, stem.heads, channels, 2 * STEM_BLOCK - 1),
            products=products + value_products + _window_products(spec, filled, STEM_BLOCK, "4"),
            activations=(len(projections) + 1) * math.prod(filled) + math.prod(self.shape),
        )


def _projections(names: tuple[str, ...], entry: int, shape: tuple[int, ...]) -> tuple[Weights, list[Product]]:
    """Dense 1x1 projections without bias, each from `entry` channels to `shape`."""
    channels, height, width = shape
    weights: Weights = {f"{name}.weight": (channels, entry, 1, 1) for name in names}
    return weights, [Product(name, "H W C C_in", (height, width, channels, entry)) for name in names]


def _embeddings(spec: AttentionSpec, heads: int, channels: int, offsets: int) -> Weights:
    """Of row and column offsets, half of a head's channels each."""
    if spec.position != "relative":
        return {}
    shape: tuple[int, ...] = (channels // heads // 2, offsets)
    if spec.embedding == "per_head":
        shape = (heads, *shape)
    return {"row_embedding": shape, "column_embedding": shape}


def _window_products(spec: AttentionSpec, shape: tuple[int, ...], extent: int, symbol: str) -> list[Product]:
    """Logits and weighted sum over `extent` x `extent` places, for every pixel.

    r joins a row's embedding to a column's, so that q.r over all places needs no more than one product with half
    of the channels for each row and one for each column: k C instead of k^2 C for a pixel.
    """
    channels, height, width = shape
    formula, sizes = f"H W {symbol}^2 C", (height, width, extent**2, channels)
    products = []
    if spec.content:
        products.append(Product("q.k", formula, sizes))
    if spec.position == "relative":
        products.append(Product("q.r", formula, sizes, executed=(height, width, extent, channels)))
    return [*products, Product("a.v", formula, sizes)]


def _stem_values(stem: StemSpec, entry: int, shape: tuple[int, ...]) -> tuple[Weights, list[Product]]:
    """Values of an attention stem (paper, appendix A.1 and Table 7).

    The mixture's p(a, b, m) is a table of 4 x 4 x m numbers made of parameters alone; it is not counted.
    """
    channels, height, width = shape
    if stem.values == "plain":
        return _projections(("value",), entry, shape)
    if stem.values == "conv":
        sizes = (height, width, channels, entry, STEM_BLOCK**2)
        weights: Weights = {"value.weight": (channels, entry, STEM_BLOCK, STEM_BLOCK)}
        return weights, [Product("value", "H W C C_in 4^2", sizes)]
    half = channels // stem.heads // 2
    mixtures = (height, width, stem.mixtures)
    return {
        "value.weight": (channels, stem.mixtures * entry, 1, 1),
        "mixture_row_embedding": (half, STEM_BLOCK),
        "mixture_column_embedding": (half, STEM_BLOCK),
        "mixture_embedding": (stem.mixtures, half),
    }, [
        Product("value", "H W m C C_in", (*mixtures, channels, entry)),
        # The built stem mixes before it projects: C_in numbers for each pixel and mixture instead of C.
        Product("mixture", "H W m C", (*mixtures, channels), executed=(*mixtures, entry)),
    ]


def _stem(net: _Network, model: ModelSpec) -> None:
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


def _bottleneck(net: _Network, name: str, model: ModelSpec, stage: int, stride: int) -> None:
    """1x1, then 3x3 or attention, then 1x1; a 1x1 beside them where the shape changes."""
    entry, channels = net.shape, model.channels[stage]
    net.conv(f"{name}.conv1", channels, 1)
    net.batch_norm(f"{name}.bn1")
    if model.stages[stage] == "A":
        pool = (f"{name}.conv2.pool", "average", stride, stride)
        if stride > 1 and model.attention.pool == "before":
            net.pool(*pool)
        net.attention(f"{name}.conv2", model.attention, model.extents[stage])
        if stride > 1 and model.attention.pool == "after":
            net.pool(*pool)
    else:
        net.conv(f"{name}.conv2", channels, 3, stride)
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
    usual = _options(ModelSpec(name="sasa_resnet50").canonical(image_size))
    parts = [decided.name or f"sasa_resnet layers={_dashed(decided.layers)}"]
    parts += [decided.stages] if decided.stages != "AAAA" else []
    parts += [f"{key}={_dashed(value)}" for key, value in _options(decided).items() if value != usual[key]]
    return " ".join(parts)


def _options(model: ModelSpec) -> dict[str, object]:
    attention = model.attention.model_dump(exclude={"spatial_extent", "backend"})
    stem = {f"stem.{key}": value for key, value in model.stem.model_dump(exclude={"kind"}).items()}
    network = {"stem": model.stem.kind, "width": model.width, "small_input": model.small_input}
    return {"k": model.attention.spatial_extent} | attention | network | stem


def _dashed(value: object) -> str:
    """One number for each stage as `7-7-5-3`, truth values as in YAML."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
