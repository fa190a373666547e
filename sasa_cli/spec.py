"""What a run is: frozen, validated specs that every other module takes as given. Imports no torch.

Each class is one section of an experiment file and refuses what cannot be built: unknown keys, wrong types
and impossible geometry. Combinations of several keys are reported as `KeyProblemsError`, so that the reader of
the file can point at the line of the key that is wrong.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sasa_cli.errors import KeyProblemsError
from sasa_cli.kinds import KINDS, attend, have_extent, have_pool, kinds_of

STAGE_COUNT = 4
STEM_CHANNELS = 64
STAGE_CHANNELS = (64, 128, 256, 512)  # channels of the 3x3 (or attention) of each stage at width 1
EXTENT_LIMIT = 99
EXPANSION = 4  # a bottleneck ends in EXPANSION times as many channels
SMALL_INPUT_LIMIT = 64  # images up to this size get the 3x3 stem, unless model.small_input says otherwise
DEPTHS: dict[str, tuple[int, int, int, int]] = {
    "sasa_resnet26": (1, 2, 4, 1),
    "sasa_resnet38": (2, 3, 5, 2),
    "sasa_resnet50": (3, 4, 6, 3),
}
# Settings of attention that an attention stem follows too.
STEM_SETTINGS = ("position", "content", "embedding")
HASH_DIGITS = 8
# Settings that joined after the first runs, and what those runs did: with that value they stay out of a run's hash,
# so that earlier runs keep their names.
EARLIER_VALUES = {("model", "attention", "pool"): "after", ("recipe", "threads"): None}


def _tuple_from_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _stage_letters(value: Any) -> Any:
    """`[conv, attention, ...]` as letters; text is taken as it is."""
    if isinstance(value, list | tuple):
        letters = {kind.name: kind.letter for kind in KINDS.values()}
        unknown = [item for item in value if item not in letters]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no kind of stage; allowed are {', '.join(letters)}")
        value = "".join(letters[item] for item in value)
    if isinstance(value, str) and (len(value) != STAGE_COUNT or set(value) - set(KINDS)):
        allowed = ", ".join(f"{kind.letter} ({kind.name})" for kind in KINDS.values())
        raise ValueError(f"{value!r} is not one letter for each of {STAGE_COUNT} stages; allowed are {allowed}")
    return value


def _stem_mapping(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _extents(value: Any) -> Any:
    """One odd number, or one for each stage."""
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(numbers) not in (1, STAGE_COUNT) or any(type(number) is not int for number in numbers):
        raise ValueError(f"{value!r} is no spatial extent; allowed are one odd number or a list of {STAGE_COUNT}")
    for number in numbers:
        if number % 2 == 0:
            raise ValueError(f"{number} is even; a window centred on its pixel needs an odd extent")
        if not 1 <= number <= EXTENT_LIMIT:
            raise ValueError(f"{number} is out of range; allowed are odd numbers from 1 to {EXTENT_LIMIT}")
    return numbers if len(numbers) > 1 else numbers[0]


Float = Annotated[float, Field(allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[Float, Field(ge=0, lt=1)]
Extents = Annotated[int | tuple[int, int, int, int], BeforeValidator(_extents, json_schema_input_type=int | list[int])]
FourInts = Annotated[tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt], BeforeValidator(_tuple_from_list)]
StageLetters = Annotated[str, Field(pattern=f"^[{''.join(KINDS)}]{{{STAGE_COUNT}}}$")]
StageName = Literal["conv", "attention", "depthwise"]  # of `KINDS`
StageKinds = Annotated[str, BeforeValidator(_stage_letters, json_schema_input_type=StageLetters | list[StageName])]
Position = Literal["relative", "absolute", "none"]
Border = Literal["zero", "mask"]
StemKind = Literal["conv", "attention"]


class Section(BaseModel):
    """Base of all specs: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class AttentionSpec(Section):
    """The attention of the attention stages (paper, section 3.1); a depthwise stage has its extent and pool, too."""

    spatial_extent: Extents = 7
    """k: the window is k x k pixels, centred on the query; one number, or one for each stage."""
    heads: PositiveInt = 8
    """Of each attention stage; they split its channels."""
    position: Position = "relative"
    """What tells places apart: learned offsets in the logits, a sinusoid added to the input, or nothing (Table 5)."""
    content: bool = True
    """False drops q.k (and with it W_K) from the logits: the paper's Table 6."""
    border: Border = "zero"
    """zero: places outside the map take part with zero key and value; mask: they take no part."""
    embedding: Literal["shared", "per_head"] = "shared"
    """Whether all heads share one relative embedding; the paper does not say."""
    pool: Literal["after", "before"] = "after"
    """Where a stage begins with stride 2: attention and then the 2x2 average pool, as in the paper, or the pool first.
    Attention then has a quarter of the pixels: 6.1 instead of 7.0 GFLOPs for a ResNet-50."""
    backend: str = "auto"
    """What computes attention; `sasa list backends` has them. auto: the fastest that runs."""

    @model_validator(mode="after")
    def _logits_exist(self) -> Self:
        if not self.content and self.position != "relative":
            message = f"false leaves no logits with position {self.position!r}; allowed with position 'relative'"
            raise KeyProblemsError([(("content",), message)])
        return self


class StemSpec(Section):
    """What comes before stage 1 (paper, section 3.2 and appendix A.1)."""

    kind: StemKind = "conv"
    """Also written alone: `stem: attention`."""
    values: Literal["spatial", "conv", "plain"] = "spatial"
    """How an attention stem computes values: spatially aware mixture, 4x4 convolution, or one projection."""
    mixtures: PositiveInt = 4
    """Number m of value projections that are mixed by position; the paper does not state it."""
    heads: PositiveInt = 4
    """Of an attention stem."""


Stem = Annotated[StemSpec, BeforeValidator(_stem_mapping, json_schema_input_type=StemKind | StemSpec)]


class ModelSpec(Section):
    """A ResNet of bottlenecks in which the stem and each stage is convolution or another kind (`kinds.py`)."""

    name: Literal["sasa_resnet26", "sasa_resnet38", "sasa_resnet50"] | None = None
    """The network whose `layers` these are."""
    layers: FourInts | None = None
    """Bottlenecks in each stage; from `name` where absent."""
    width: Annotated[Float, Field(gt=0)] = 1.0
    """Multiplies the channels of stem and stages."""
    stem: Stem = StemSpec()
    """What comes before stage 1."""
    stages: StageKinds = "AAAA"
    """One letter for each stage, C (conv), A (attention) or D (depthwise), or a list of these words."""
    attention: AttentionSpec = AttentionSpec()
    """The attention of the attention stages."""
    small_input: bool | None = None
    """The stem for small images (3x3, stride 1, no pool); absent: decided by data.image_size."""

    @model_validator(mode="after")
    def _geometry(self) -> Self:
        problems = list(self.problems())
        if problems:
            raise KeyProblemsError(problems)
        return self

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """What does not fit together: keys, and a message for each."""
        if self.name is None and self.layers is None:
            yield ("name",), f"missing; allowed are {', '.join(DEPTHS)}, or give `layers`"
        if any((channels * self.width) % 1 or (channels * self.width) % 2 for channels in STAGE_CHANNELS):
            yield (
                ("width",),
                f"{self.width} gives {STAGE_CHANNELS[0] * self.width:g} channels in stage 1; "
                f"allowed are multiples of {2 / STAGE_CHANNELS[0]:g}, which keep channels even",
            )
            return
        for stage, (kind, channels) in enumerate(zip(kinds_of(self.stages), self.channels, strict=True), 1):
            if kind.attends:
                problem = heads_problem(channels, self.attention.heads, self.attention.position)
                if problem:
                    yield ("attention", "heads"), f"{problem} in stage {stage}"
                    break
        if self.stem.kind == "attention":
            problem = heads_problem(self.stem_channels, self.stem.heads, self.attention.position)
            if problem:
                yield ("stem", "heads"), f"{problem} in the stem"

    @property
    def depth(self) -> tuple[int, int, int, int]:
        """Bottlenecks in each stage."""
        return self.layers if self.layers is not None else DEPTHS[self.name or "sasa_resnet50"]

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels between the two 1x1 convolutions of the bottlenecks of each stage."""
        one, two, three, four = (round(channels * self.width) for channels in STAGE_CHANNELS)
        return one, two, three, four

    @property
    def stem_channels(self) -> int:
        return round(STEM_CHANNELS * self.width)

    @property
    def extents(self) -> tuple[int, int, int, int]:
        """k of each stage; without meaning where its kind has no spatial extent."""
        k = self.attention.spatial_extent
        return k if isinstance(k, tuple) else (k, k, k, k)

    def canonical(self, image_size: int) -> Self:
        """The same network with everything decided and everything without effect at its default.

        Two specs that build the same network become equal, so that they share a run: a net of convolutions has no
        spatial extent, one that attends nowhere no heads, and `layers` that a name stands for is that name.
        """
        names = {depth: name for name, depth in DEPTHS.items()}
        small = self.small_input if self.small_input is not None else image_size <= SMALL_INPUT_LIMIT
        return self.model_copy(
            update={
                "name": names.get(self.depth),
                "layers": None if self.depth in names else self.depth,
                "stem": self._canonical_stem(),
                "attention": self._canonical_attention(),
                "small_input": small,
            }
        )

    def _canonical_stem(self) -> StemSpec:
        if self.stem.kind == "conv":
            return StemSpec()
        if self.stem.values != "spatial":
            return self.stem.model_copy(update={"mixtures": StemSpec().mixtures})
        return self.stem

    def _canonical_attention(self) -> AttentionSpec:
        spec = self.attention
        embedding = spec.embedding if spec.position == "relative" else "shared"
        decided: dict[str, Any] = {"pool": spec.pool} if have_pool(self.stages) else {}
        if have_extent(self.stages):
            decided["spatial_extent"] = self._canonical_extent()
        if attend(self.stages):
            unused = {"pool": "after"}  # an attention stage has an extent, but the first has no pool
            return spec.model_copy(update=unused | decided | {"embedding": embedding})
        if self.stem.kind == "attention":
            decided |= {"position": spec.position, "content": spec.content, "embedding": embedding}
        return AttentionSpec(**decided)

    def _canonical_extent(self) -> Extents:
        """One number where all stages that have an extent have the same; 1 for those that have none."""
        pairs = list(zip(kinds_of(self.stages), self.extents, strict=True))
        used = {k for kind, k in pairs if kind.has_extent}
        one, two, three, four = (k if kind.has_extent else 1 for kind, k in pairs)
        return used.pop() if len(used) == 1 else (one, two, three, four)


def heads_problem(channels: int, heads: int, position: Position) -> str | None:
    """Why `channels` cannot be split into `heads` with this position term, or None."""
    if channels % heads:
        divisors = [n for n in range(1, channels + 1) if channels % n == 0 and n <= 64]
        return f"{heads} does not divide the {channels} channels; allowed are {divisors}"
    if position == "relative" and (channels // heads) % 2:
        return f"{heads} leaves heads of {channels // heads} channels, which row and column cannot halve"
    if position == "absolute" and channels % 4:
        return f"{channels} channels cannot hold sine and cosine of row and column; a multiple of 4 can"
    return None


class DataSpec(Section):
    """Images: where they come from and how they are split."""

    name: str = "fashion-mnist-mini"
    """A data set; `sasa list data` has those known by name."""
    root: str | None = None
    """The folder of the images; goes before `--data-dir`."""
    image_size: Annotated[int, Field(ge=8, le=4096)] = 32
    """Side in pixels of what the network sees."""
    num_classes: Annotated[int, Field(ge=2)] | None = None
    """Known for the data sets that sasa knows by name; to be given for others."""
    val_fraction: Annotated[Float, Field(gt=0, lt=1)] = 0.1
    """Share of the training images that is held out: the best epoch is chosen on it."""
    train_images: PositiveInt | None = None
    """Train on this many images only (the same ones for every seed); absent: on all."""


class Recipe(Section):
    """How a run is trained."""

    epochs: PositiveInt = 10
    """Passes over the training images."""
    batch_size: PositiveInt = 128
    """Images of one update."""
    optimizer: str = "sgd"
    """Any optimizer of timm; its `sgd` is Nesterov."""
    lr: Annotated[Float, Field(gt=0)] = 0.1
    """The highest learning rate, after warm-up."""
    lr_batch_size: PositiveInt | None = None
    """The batch size that `lr` is meant for: at another one it is scaled in proportion (Goyal et al., 2017, section
    2.1). Absent: `lr` is taken as it is."""
    momentum: Fraction = 0.9
    """Of optimizers that have one."""
    weight_decay: Annotated[Float, Field(ge=0)] = 5e-4
    """On kernels, matrices and relative embeddings, not on batch norm and biases."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the learning rate falls."""
    decay_epochs: PositiveInt = 30
    """Epochs between the steps of schedule `step`; each multiplies lr by 0.1."""
    min_lr: Annotated[Float, Field(ge=0)] = 0.0
    """Where the cosine ends."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """In which the learning rate grows linearly; part of `epochs`."""
    label_smoothing: Fraction = 0.0
    """Share of the target that all classes divide (Szegedy et al., 2016)."""
    mixup_alpha: Annotated[Float, Field(ge=0)] = 0.0
    """Of mixup (Zhang et al., 2018); 0: none."""
    cutmix_alpha: Annotated[Float, Field(ge=0)] = 0.0
    """Of CutMix (Yun et al., 2019); 0: none."""
    augmentation: Literal["none", "crop-flip", "resized-crop", "randaugment"] = "crop-flip"
    """Of training images."""
    ema_decay: Annotated[Float, Field(gt=0, lt=1)] | None = None
    """Of a moving average of the weights, which is then what is judged; absent: none."""
    drop_path_rate: Fraction = 0.0
    """Stochastic depth of the last bottleneck, falling linearly to 0 at the first."""
    clip_grad_norm: Annotated[Float, Field(gt=0)] | None = None
    """The largest norm of the gradient; absent: any."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision."""
    channels_last: bool = False
    """Layout of maps in memory."""
    compile: bool = False
    """Through `torch.compile`."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes; has no effect on the numbers."""
    threads: PositiveInt | None = None
    """Of torch on the CPU: another number sums in another order, and a trained network ends elsewhere. Absent: a sweep
    gives all of its runs the same number."""

    @model_validator(mode="after")
    def _durations(self) -> Self:
        if self.warmup_epochs > self.epochs:
            message = f"{self.warmup_epochs} is more than the {self.epochs} epochs; allowed are at most as many"
            raise KeyProblemsError([(("warmup_epochs",), message)])
        return self

    def canonical(self) -> Self:
        """The same recipe with `lr` as it is applied, for this batch size."""
        if self.lr_batch_size is None:
            return self
        return self.model_copy(update={"lr": self.lr * self.batch_size / self.lr_batch_size, "lr_batch_size": None})


class RunSpec(Section):
    """One spec with one seed: what one folder under `runs/` holds."""

    experiment: str
    label: str
    """What differs from the other cells, readable: `k7-CCAA`."""
    cell: dict[str, Any]
    model: ModelSpec
    data: DataSpec
    recipe: Annotated[Recipe, AfterValidator(Recipe.canonical)]
    seed: Annotated[int, Field(ge=0)]
    hash_digits: PositiveInt = HASH_DIGITS
    """More only where that many are the same in another cell of the sweep."""

    def settings(self) -> dict[str, Any]:
        """All that the numbers depend on but the seed, by dotted key: `model.attention.heads`."""

        def flat(prefix: str, node: Any) -> dict[str, Any]:
            if not isinstance(node, dict):
                return {prefix: node}
            return {key: leaf for name, below in node.items() for key, leaf in flat(f"{prefix}.{name}", below).items()}

        identity = json.loads(self.identity)
        return {key: leaf for section, node in identity.items() for key, leaf in flat(section, node).items()}

    @property
    def identity(self) -> str:
        """All that the numbers depend on but the seed: two specs are of one cell when these are equal."""
        return _identity(self.model, self.data, self.recipe)

    @property
    def cell_hash(self) -> str:
        """Stands for `identity` in names."""
        return _digest(self.identity, self.hash_digits)

    @property
    def run_id(self) -> str:
        with_seed = self.identity.removesuffix("}") + f', "seed": {self.seed}}}'  # stays in the order of the keys
        return f"{self.label}-s{self.seed}-{_digest(with_seed, self.hash_digits)}"


@functools.lru_cache(maxsize=4096)  # asked for each run several times, and the seeds of a cell have the same
def _identity(model: ModelSpec, data: DataSpec, recipe: Recipe) -> str:
    """All that the numbers depend on but the seed, as JSON with its keys in order."""
    # Where the images lie and how many processes read them differ between machines, not between results; the
    # batch size that lr was meant for is part of lr by now.
    identity: dict[str, Any] = {
        "model": model.model_dump(mode="json"),
        "data": data.model_dump(mode="json", exclude={"root"}),
        "recipe": recipe.model_dump(mode="json", exclude={"workers", "lr_batch_size"}),
    }
    for (*sections, key), value in EARLIER_VALUES.items():
        section = functools.reduce(dict.__getitem__, sections, identity)
        if section[key] == value:
            del section[key]
    return json.dumps(identity, sort_keys=True)


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
