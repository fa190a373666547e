import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sasa_cli.counting.layers import LayerCount
from sasa_cli.counting.macs import ModelCount, count_model, model_label
from sasa_cli.models import LocalSelfAttention, build_model
from sasa_cli.spec import DEPTHS, AttentionSpec, ModelSpec, StemSpec


def count(name: str = "sasa_resnet50", *, image_size: int = 224, num_classes: int = 1000, **options) -> ModelCount:
    return count_model(ModelSpec(name=name, **options), image_size=image_size, num_classes=num_classes)


# --- exact numbers of the full-size networks -----------------------------------------------------------------------

CONVOLUTION = {
    "sasa_resnet26": (13_696_552, 4_684_513_280),
    "sasa_resnet38": (19_626_792, 6_431_440_896),
    "sasa_resnet50": (25_557_032, 8_178_368_512),
}
ATTENTION = {
    "sasa_resnet26": (10_331_264, 4_484_311_040, 4_387_371_008),
    "sasa_resnet38": (14_173_384, 5_725_314_048, 5_596_763_136),
    "sasa_resnet50": (18_015_504, 6_966_317_056, 6_806_155_264),
}
PLACEMENT = {
    "CAAA": (18_089_064, 7_251_718_144),
    "CCAA": (18_481_832, 7_430_545_408),
    "CCCA": (20_839_784, 7_991_412_736),
    "ACCC": (25_483_472, 7_892_967_424),
    "AACC": (25_090_704, 7_714_140_160),
    "AAAC": (22_732_752, 7_153_272_832),
}
EXTENT = {3: 6_508_711_936, 5: 6_691_753_984, 7: 6_966_317_056, 9: 7_332_401_152, 11: 7_790_006_272}


@pytest.mark.parametrize("name", DEPTHS)
def test_convolution_networks(name: str):
    counted = count(name, stages="CCCC")
    assert (counted.params, 2 * counted.macs) == CONVOLUTION[name]
    assert counted.macs_executed == counted.macs


@pytest.mark.parametrize("name", DEPTHS)
def test_attention_networks(name: str):
    counted = count(name)
    assert (counted.params, 2 * counted.macs, 2 * counted.macs_executed) == ATTENTION[name]


@pytest.mark.parametrize("stages", PLACEMENT)
def test_placement_of_attention(stages: str):
    counted = count(stages=stages)
    assert (counted.params, 2 * counted.macs) == PLACEMENT[stages]


@pytest.mark.parametrize("extent", EXTENT)
def test_spatial_extent(extent: int):
    assert 2 * count(attention=AttentionSpec(spatial_extent=extent)).macs == EXTENT[extent]


def attention_stem(values: str) -> StemSpec:
    return StemSpec(kind="attention", values=values, mixtures=5)


# The convention's column of a cross-check with the paper, in G: Tables 1 (full attention), 5, 6 and 7.
PAPER_CELLS = [
    ("sasa_resnet26", {"stem": attention_stem("spatial")}, 4.724),
    ("sasa_resnet38", {"stem": attention_stem("spatial")}, 5.965),
    ("sasa_resnet50", {"stem": attention_stem("spatial")}, 7.206),
    ("sasa_resnet50", {"attention": AttentionSpec(position="none")}, 6.779),
    ("sasa_resnet50", {"attention": AttentionSpec(position="absolute")}, 6.779),
    ("sasa_resnet50", {"attention": AttentionSpec(content=False)}, 6.137),
    ("sasa_resnet50", {"stem": attention_stem("plain")}, 7.096),
    ("sasa_resnet50", {"stem": attention_stem("conv")}, 7.385),
]
# With the pool before attention, which the paper's own numbers rule out: attention then works on the pooled map.
POOL_BEFORE = [
    ("sasa_resnet26", "AAAA", 3_635_784_704),
    ("sasa_resnet38", "AAAA", 4_876_787_712),
    ("sasa_resnet50", "AAAA", 6_117_790_720),
    ("sasa_resnet50", "CAAA", 6_403_191_808),
    ("sasa_resnet50", "CCAA", 6_901_740_544),
    ("sasa_resnet50", "CCCA", 7_738_074_112),
    ("sasa_resnet50", "AACC", 7_394_418_688),
    ("sasa_resnet50", "AAAC", 6_558_085_120),
]


@pytest.mark.parametrize(("name", "options", "gigaflops"), PAPER_CELLS)
def test_flops_of_the_papers_cells(name: str, options: dict, gigaflops: float):
    assert round(2 * count(name, **options).macs / 1e9, 3) == gigaflops


@pytest.mark.parametrize(("name", "stages", "flops"), POOL_BEFORE)
def test_flops_with_the_pool_before_attention(name: str, stages: str, flops: int):
    counted = count(name, stages=stages, attention=AttentionSpec(pool="before"))
    assert 2 * counted.macs == flops
    assert counted.params == count(name, stages=stages).params


def test_the_pool_makes_no_difference_where_no_stage_has_one():
    assert 2 * count(stages="ACCC", attention=AttentionSpec(pool="before")).macs == PLACEMENT["ACCC"][1]


def test_parameters_without_content_drop_the_keys():
    assert count(attention=AttentionSpec(content=False)).params == 16_758_032


# --- against the networks that are built ---------------------------------------------------------------------------

MODELS = st.builds(
    ModelSpec,
    layers=st.tuples(*[st.integers(1, 2)] * 4),
    width=st.sampled_from([0.25, 0.5]),
    stages=st.text("AC", min_size=4, max_size=4),
    stem=st.builds(
        StemSpec,
        kind=st.sampled_from(["conv", "attention"]),
        values=st.sampled_from(["spatial", "conv", "plain"]),
        mixtures=st.integers(1, 3),
        heads=st.sampled_from([1, 2, 4]),
    ),
    attention=st.one_of(
        st.builds(
            AttentionSpec,
            spatial_extent=st.sampled_from([1, 3, 5, (3, 5, 7, 1)]),
            heads=st.sampled_from([1, 2, 4]),
            position=st.sampled_from(["relative", "absolute", "none"]),
            embedding=st.sampled_from(["shared", "per_head"]),
            pool=st.sampled_from(["after", "before"]),
        ),
        st.builds(AttentionSpec, spatial_extent=st.just(3), heads=st.just(4), content=st.just(False)),
    ),
    small_input=st.booleans(),
)
SIDES = st.integers(8, 41)


def outputs_of(model: nn.Module, image: Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of what each module returns for one image; attention is seen before its pool."""
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(name: str, module: nn.Module) -> None:
        def after(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            shapes[name] = tuple(inputs[0].shape[1:])

        if isinstance(module, LocalSelfAttention) and module.spec.pool == "after":
            module.pool.register_forward_pre_hook(before)
        else:
            module.register_forward_hook(after)

    for name, module in model.named_modules():
        watch(name, module)
    with torch.no_grad():
        model.eval()(image)
    return shapes


@settings(max_examples=25, deadline=None)
@given(model=MODELS, height=SIDES, width=SIDES, num_classes=st.integers(1, 12), in_chans=st.sampled_from([1, 3]))
def test_parameters_and_shapes_are_those_of_the_built_network(
    model: ModelSpec, height: int, width: int, num_classes: int, in_chans: int
):
    counted = count_model(model, image_size=(height, width), num_classes=num_classes, in_chans=in_chans)
    built = build_model(model, num_classes, in_chans=in_chans)
    weights = {f"{layer.name}.{key}": shape for layer in counted.layers for key, shape in layer.weights.items()}
    assert weights == {name: tuple(parameter.shape) for name, parameter in built.named_parameters()}
    assert counted.params == sum(parameter.numel() for parameter in built.parameters())
    shapes = outputs_of(built, torch.zeros(1, in_chans, height, width))
    assert {layer.name: layer.shape for layer in counted.layers} == {
        layer.name: shapes[layer.name] for layer in counted.layers
    }


@settings(max_examples=10, deadline=None)
@given(model=MODELS, height=SIDES, width=SIDES)
def test_convolution_macs_are_those_that_run(model: ModelSpec, height: int, width: int):
    convolution = model.model_copy(update={"stages": "CCCC", "stem": StemSpec()})
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter:
        build_model(convolution, 10)(torch.empty(2, 3, height, width))
    counted = count_model(convolution, image_size=(height, width), num_classes=10)
    assert 2 * 2 * counted.macs == counter.get_total_flops()  # two images, two FLOPs for each MAC


@pytest.mark.parametrize("side", [16, 21])
@pytest.mark.parametrize("values", ["spatial", "conv", "plain"])
@pytest.mark.parametrize("position", ["relative", "none"])
def test_executed_macs_of_the_attention_stem_are_those_that_run(side: int, values: str, position: str):
    model = ModelSpec(
        layers=(1, 1, 1, 1),
        width=0.25,
        stages="CCCC",
        stem=StemSpec(kind="attention", values=values, mixtures=3),
        attention=AttentionSpec(position=position),
        small_input=False,
    )
    stem = build_model(model, 10).conv1
    (counted, *_) = count_model(model, image_size=side, num_classes=10).layers
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        stem(torch.zeros(1, 3, side, side))
    # The mixture is made of broadcast products, which a tracer does not see, and of a table of parameters.
    unseen = sum(product.macs_executed for product in counted.products if product.name == "mixture")
    table = 4 * 4 * 3 * (16 // 4 // 2) if values == "spatial" else 0
    assert 2 * (counted.macs_executed - unseen + table) == counter.get_total_flops()


# --- what a count says ---------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(model=MODELS, height=SIDES, width=SIDES)
def test_stages_sum_to_the_model_and_factoring_never_adds(model: ModelSpec, height: int, width: int):
    counted = count_model(model, image_size=(height, width), num_classes=10)
    stages = counted.by_stage()
    assert list(stages) == ["stem", "stage1", "stage2", "stage3", "stage4", "classifier"]
    for quantity in ("params", "macs", "macs_executed", "activations"):
        assert sum(getattr(stage, quantity) for stage in stages.values()) == getattr(counted, quantity)
    for layer in counted.layers:
        for product in layer.products:
            assert product.macs_executed <= product.macs


def layer_of(counted: ModelCount, name: str) -> LayerCount:
    return next(layer for layer in counted.layers if layer.name == name)


def test_one_attention_layer_by_hand():
    layer = layer_of(count(), "layer2.0.conv2")
    pixels, channels, extent = 56 * 56, 128, 7
    assert layer.shape == (128, 56, 56)  # at the resolution before the pool
    assert layer.params == 3 * channels**2 + 2 * (channels // 8 // 2) * extent
    assert layer.macs == pixels * (3 * channels**2 + 3 * extent**2 * channels)
    assert layer.macs_executed == pixels * (3 * channels**2 + (2 * extent**2 + extent) * channels)
    assert layer.activations == 4 * pixels * channels
    assert layer_of(count(), "layer2.0.conv2.pool").shape == (128, 28, 28)


def test_the_order_of_the_layers_is_that_of_the_pool():
    for pool, order in (("after", ["conv2", "conv2.pool"]), ("before", ["conv2.pool", "conv2"])):
        layers = count(attention=AttentionSpec(pool=pool)).layers
        found = [layer for layer in layers if layer.name.startswith("layer2.0.conv2")]
        assert [layer.name.removeprefix("layer2.0.") for layer in found] == order
        assert found[-1].shape == (128, 28, 28)


def test_small_images_get_the_small_stem_unless_told_otherwise():
    small, large = count(image_size=32), count(image_size=32, small_input=False)
    assert layer_of(small, "conv1").kind == "conv 3x3"
    assert layer_of(large, "conv1").kind == "conv 7x7/2"
    assert "maxpool" not in [layer.name for layer in small.layers]
    assert math.prod(layer_of(small, "layer1.0.conv1").shape[1:]) == 32 * 32


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"name": "sasa_resnet50"}, "sasa_resnet50"),
        (
            {"name": "sasa_resnet50", "stages": "CCAA", "attention": AttentionSpec(spatial_extent=5)},
            "sasa_resnet50 CCAA k=5",
        ),
        (
            {"name": "sasa_resnet26", "stages": "CCCC", "attention": AttentionSpec(spatial_extent=5)},
            "sasa_resnet26 CCCC",
        ),
        (
            {"layers": (1, 1, 1, 1), "attention": AttentionSpec(spatial_extent=(3, 5, 7, 9), content=False)},
            "sasa_resnet layers=1-1-1-1 k=3-5-7-9 content=false",
        ),
        ({"name": "sasa_resnet50", "attention": AttentionSpec(pool="before")}, "sasa_resnet50 pool=before"),
        (
            {"name": "sasa_resnet50", "stages": "ACCC", "attention": AttentionSpec(pool="before")},
            "sasa_resnet50 ACCC",
        ),
        ({"layers": (3, 4, 6, 3), "width": 0.5, "small_input": True}, "sasa_resnet50 width=0.5 small_input=true"),
        (
            {"name": "sasa_resnet38", "stem": StemSpec(kind="attention", values="plain", mixtures=9)},
            "sasa_resnet38 stem=attention stem.values=plain",
        ),
    ],
)
def test_labels_name_what_differs(options: dict, label: str):
    assert model_label(ModelSpec(**options), 224) == label
