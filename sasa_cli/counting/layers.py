"""What one layer costs: its parameters and the MACs of its products, from shapes alone. Imports no torch."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from sasa_cli.spec import AttentionSpec, StemSpec

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


class Network:
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

    def depthwise(self, name: str, extent: int) -> None:
        """A value projection and a k x k filter for each channel: C^2 + C k^2 parameters, H W C (C + k^2) MACs."""
        channels, height, width = self.shape
        weights, products = _projections(("value",), channels, self.shape)
        self.add(
            name,
            f"depthwise {extent}x{extent}",
            weights=weights | {"filter.weight": (channels, 1, extent, extent)},
            products=[*products, Product("filter", "H W k^2 C", (height, width, extent**2, channels))],
            activations=2 * math.prod(self.shape),
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
