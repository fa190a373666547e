"""What users of timm expect of any model."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.layers import BlurPool2d
from torch import nn

from sasa_cli.errors import SpecError
from sasa_cli.models import LocalSelfAttention

from .networks import VARIANTS, images, small_network

NAMES = ("sasa_resnet26", "sasa_resnet38", "sasa_resnet50")
STEMS = {"conv": {}, "attention": {"stem": "attention"}, "small": {"small_input": True}}
each_variant = pytest.mark.parametrize("kwargs", VARIANTS.values(), ids=VARIANTS)
each_stem = pytest.mark.parametrize("stem", STEMS)


# --- registration --------------------------------------------------------------------------------------------------


def test_networks_are_registered():
    assert timm.list_models("sasa_*") == sorted(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["import sasa_cli, timm", "import timm, sasa_cli"])
def test_importing_the_package_is_enough_in_either_order(order: str):
    code = f"{order}; print(timm.is_model('sasa_resnet50'))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_pretrained_weights_do_not_exist():
    with pytest.raises(RuntimeError, match="No pretrained weights exist for sasa_resnet50"):
        timm.create_model("sasa_resnet50", pretrained=True, device="meta")


def test_default_configuration_is_that_of_imagenet():
    network = small_network(in_chans=1)
    assert network.default_cfg is network.pretrained_cfg
    assert network.pretrained_cfg["architecture"] == "sasa_resnet26"
    assert resolve_model_data_config(network)["mean"] == (0.485, 0.456, 0.406)
    assert timm.get_pretrained_cfg("sasa_resnet50").input_size == (3, 224, 224)


# --- shapes --------------------------------------------------------------------------------------------------------


@each_variant
def test_every_variant_classifies(kwargs: dict[str, Any]):
    assert small_network(**kwargs).eval()(images()).shape == (2, 10)


@each_stem
@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47), (31, 62)])
def test_any_size_gives_the_feature_sizes_of_a_strided_convnet(stem: str, height: int, width: int):
    network = small_network(features_only=True, **STEMS[stem])
    for feature, reduction in zip(network(images(1, 3, height, width)), network.feature_info.reduction(), strict=True):
        assert feature.shape[2:] == (-(-height // reduction), -(-width // reduction))


@each_stem
@pytest.mark.parametrize("channels", [1, 4])
def test_images_may_have_other_than_three_channels(stem: str, channels: int):
    assert small_network(in_chans=channels, **STEMS[stem])(images(2, channels)).shape == (2, 10)


@pytest.mark.parametrize("stages", ["AAAA", "CCCC", "CAAC"])
@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_output_stride_keeps_parameters_and_drops_strides(stages: str, output_stride: int):
    network = small_network(stages=stages, output_stride=output_stride).eval()
    network.load_state_dict(small_network(stages=stages).state_dict())
    assert network.forward_features(images()).shape[2:] == (32 // output_stride,) * 2
    assert network.feature_info[-1]["reduction"] == output_stride


def test_without_stride_attention_keeps_its_window():
    layer = small_network(output_stride=16).layer4[0].conv2
    assert isinstance(layer.pool, nn.Identity)
    assert layer.spatial_extent == 7


def test_depth_width_and_extents_are_those_asked_for():
    network = timm.create_model(
        "sasa_resnet26", layers=[1, 2, 1, 3], width=0.5, spatial_extent=[3, 5, 7, 9], heads=4, stages="CAAA"
    )
    assert [len(stage) for stage in (network.layer1, network.layer2, network.layer3, network.layer4)] == [1, 2, 1, 3]
    assert network.conv1.out_channels == 32
    assert network.num_features == 1024
    attending = [module.spatial_extent for module in network.modules() if isinstance(module, LocalSelfAttention)]
    assert attending == [5, 5, 7, 9, 9, 9]


@pytest.mark.parametrize("small_input", [False, True])
def test_convolution_stem(small_input: bool):
    network = small_network(small_input=small_input)
    conv = network.conv1
    assert (conv.kernel_size, conv.stride) == (((3, 3), (1, 1)) if small_input else ((7, 7), (2, 2)))
    assert conv.bias is None
    assert isinstance(network.bn1, nn.BatchNorm2d)
    assert isinstance(network.act1, nn.ReLU)
    assert isinstance(network.maxpool, nn.Identity if small_input else nn.MaxPool2d)


def test_attention_stem_has_batch_norm_and_pool_but_no_relu():
    network = small_network(stem="attention").eval()
    assert isinstance(network.act1, nn.Identity)
    before_pool = network.act1(network.bn1(network.conv1(images())))
    assert (before_pool < 0).any()
    assert torch.equal(network.maxpool(before_pool), nn.functional.max_pool2d(before_pool, 4))


# --- features ------------------------------------------------------------------------------------------------------


@each_stem
@pytest.mark.parametrize("feature_cls", ["list", "hook", "getter", "fx"])
def test_features_by_every_extractor_of_timm(stem: str, feature_cls: str):
    network = small_network(features_only=True, feature_cls=feature_cls, out_indices=(0, 2, 4), **STEMS[stem])
    features = network.eval()(images())
    assert [feature.shape[1] for feature in features] == network.feature_info.channels()
    assert [32 // feature.shape[2] for feature in features] == network.feature_info.reduction()


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["CCCC", "CCAA", "AAAA"])
@torch.no_grad()
def test_backbone_of_a_detector_at_640_px(stages: str):
    """The maps that a RetinaNet takes, at the size of the paper's crops of COCO: stages 1 to 4."""
    backbone = timm.create_model("sasa_resnet50", features_only=True, out_indices=(1, 2, 3, 4), stages=stages).eval()
    assert backbone.feature_info.reduction() == [4, 8, 16, 32]
    assert backbone.feature_info.channels() == [256, 512, 1024, 2048]
    shapes = [tuple(feature.shape) for feature in backbone(images(1, 3, 640))]
    assert shapes == [(1, 256, 160, 160), (1, 512, 80, 80), (1, 1024, 40, 40), (1, 2048, 20, 20)]


def test_forward_is_features_then_head():
    network = small_network().eval()
    features = network.forward_features(images())
    assert features.shape == (2, 256, 1, 1)
    assert torch.equal(network.forward_head(features), network(images()))
    assert network.forward_head(features, pre_logits=True).shape == (2, 256)


def test_intermediates_are_the_stages():
    network = small_network().eval()
    last, intermediates = network.forward_intermediates(images())
    assert [maps.shape[1] for maps in intermediates] == [8, 32, 64, 128, 256]
    assert torch.equal(last, network.forward_features(images()))
    (stage2,) = network.forward_intermediates(images(), indices=[2], stop_early=True, intermediates_only=True)
    assert torch.equal(stage2, intermediates[2])


def test_classifier_can_be_replaced():
    network = small_network()
    assert network.get_classifier() is network.fc
    network.reset_classifier(3, "max")
    assert network(images()).shape == (2, 3)
    network.reset_classifier(0)
    assert network(images()).shape == (2, 256)


@pytest.mark.parametrize(("pool", "width"), [("avg", 256), ("max", 256), ("catavgmax", 512)])
def test_global_pools_of_timm(pool: str, width: int):
    assert small_network(global_pool=pool).get_classifier().in_features == width


def test_gradient_checkpointing_changes_no_gradient():
    network = small_network(stem="attention")
    gradients = []
    for enable in (False, True):
        network.set_grad_checkpointing(enable)
        network.zero_grad()
        network(images()).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    torch.testing.assert_close(*gradients)


def test_drop_rates_reach_the_network():
    network = small_network(drop_rate=0.5, drop_path_rate=0.3)
    assert network.drop_rate == 0.5
    assert [block[0].drop_path and block[0].drop_path.drop_prob for block in list(network.children())[4:8]] == [
        None,
        pytest.approx(0.1),
        pytest.approx(0.2),
        pytest.approx(0.3),
    ]
    torch.manual_seed(0)
    assert not torch.equal(network(images()), network(images()))


# --- other arguments of timm's ResNet ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        {"avg_down": True},
        {"block_args": {"attn_layer": "se"}},
        {"cardinality": 2, "base_width": 32},
        {"block_reduce_first": 2},
        {"act_layer": "gelu", "norm_layer": "groupnorm1"},
        {"drop_block_rate": 0.1},
        {"zero_init_last": False},
        {"aa_layer": BlurPool2d},
    ],
    ids=lambda kwargs: next(iter(kwargs)),
)
def test_arguments_of_a_resnet_work_in_attention_stages(kwargs: dict[str, Any]):
    assert small_network(**kwargs)(images()).shape == (2, 10)


def test_stems_of_timm_work_where_the_stem_is_a_convolution():
    network = timm.create_model("sasa_resnet26", layers=[1, 1, 1, 1], stem_type="deep", stem_width=16)
    assert isinstance(network.conv1, nn.Sequential)
    assert network(images()).shape == (2, 1000)


@pytest.mark.parametrize("kwargs", [{"stem": "attention", "width": 1.0}, {"small_input": True}, {"width": 0.25}])
def test_stems_of_timm_are_refused_elsewhere(kwargs: dict[str, Any]):
    with pytest.raises(SpecError, match="stem_type='deep', stem_width=16: allowed only with stem='conv', width=1"):
        small_network(stem_type="deep", stem_width=16, **kwargs)


# --- weights -------------------------------------------------------------------------------------------------------


@each_variant
def test_the_same_seed_gives_the_same_network(kwargs: dict[str, Any]):
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(small_network(**kwargs).state_dict())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert not torch.equal(weights[0]["layer4.0.conv1.weight"], weights[2]["layer4.0.conv1.weight"])


@each_variant
def test_weights_survive_a_state_dict_and_a_pickle(kwargs: dict[str, Any]):
    network = small_network(**kwargs).eval()
    other = small_network(**kwargs).eval()
    other.load_state_dict(network.state_dict())
    expected = network(images())
    assert torch.equal(other(images()), expected)
    assert torch.equal(pickle.loads(pickle.dumps(network))(images()), expected)
    assert torch.equal(copy.deepcopy(network)(images()), expected)


def test_drawing_weights_again_is_drawing_them_anew():
    network = small_network(stem="attention")
    before = copy.deepcopy(network.state_dict())
    network.init_weights()
    changed = {name for name, weight in network.state_dict().items() if not torch.equal(weight, before[name])}
    matrices = {name for name, weight in before.items() if weight.dim() > 1 and not name.startswith("fc")}
    assert changed == matrices


def test_a_timm_resnet50_loads_into_the_convolution_baseline():
    convnet = timm.create_model("resnet50", device="meta")
    baseline = timm.create_model("sasa_resnet50", stages="CCCC", device="meta")
    assert {k: v.shape for k, v in convnet.state_dict().items()} == {
        k: v.shape for k, v in baseline.state_dict().items()
    }


def test_the_convolution_baseline_is_timms_network():
    torch.manual_seed(0)
    convnet = timm.create_model("resnet50", layers=[1, 1, 1, 1], num_classes=10).eval()
    torch.manual_seed(0)
    baseline = timm.create_model("sasa_resnet50", layers=[1, 1, 1, 1], num_classes=10, stages="CCCC").eval()
    assert torch.equal(convnet(images()), baseline(images()))
    convnet.layer1[0].conv1.weight.data.add_(1)
    baseline.load_state_dict(convnet.state_dict(), strict=True)
    assert torch.equal(convnet(images()), baseline(images()))


def test_weights_of_a_convnet_load_into_the_stages_that_are_convolution():
    convnet, mixed = small_network(stages="CCCC"), small_network(stages="CCAA")
    result = mixed.load_state_dict(convnet.state_dict(), strict=False)
    assert result.unexpected_keys == ["layer3.0.conv2.weight", "layer4.0.conv2.weight"]
    layer = ("row_embedding", "column_embedding", "query.weight", "key.weight", "value.weight")
    assert result.missing_keys == [f"layer{stage}.0.conv2.{name}" for stage in (3, 4) for name in layer]


@pytest.mark.parametrize("stem", ["conv", "attention"])
def test_channels_last_gives_the_same(stem: str):
    network = small_network(stem=stem).eval()
    expected = network(images())
    network = network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(images().to(memory_format=torch.channels_last)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["per-head", "absolute"])
def test_compiled_network_gives_the_same_without_a_graph_break(name: str):
    network = small_network(**VARIANTS[name])
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for batch in (3, 2):  # the last batch of an epoch is smaller
        network.zero_grad()
        expected = network(images(batch))
        expected.sum().backward()
        gradients = [parameter.grad.clone() for parameter in network.parameters()]
        network.zero_grad()
        result = compiled(images(batch))
        result.sum().backward()
        torch.testing.assert_close(result, expected)
        torch.testing.assert_close([parameter.grad for parameter in network.parameters()], gradients)


@pytest.mark.slow
def test_network_can_be_exported():
    network = small_network(stem="attention").eval()
    exported = torch.export.export(network, (images(),))
    torch.testing.assert_close(exported.module()(images()), network(images()))
