"""Stage kinds are a table: whoever meets a letter asks it, and nothing falls through to a 3x3 convolution."""

import ast
import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import sasa_cli
from sasa_cli import kinds
from sasa_cli.cli.app import app
from sasa_cli.counting.layers import Network, Product
from sasa_cli.counting.macs import count_depthwise, count_model
from sasa_cli.kinds import KINDS, StageKind
from sasa_cli.models.attention import LocalSelfAttention
from sasa_cli.models.build import build_model
from sasa_cli.models.depthwise import DepthwiseConvolution
from sasa_cli.spec import AttentionSpec, ModelSpec

PACKAGE = Path(sasa_cli.__file__).parent


def small(stages: str, **attention: object) -> ModelSpec:
    settings = {"heads": 2} | attention
    text = {"layers": [1, 2, 1, 1], "width": 0.125, "stages": stages, "attention": settings}
    return ModelSpec.model_validate(text).canonical(32)


@pytest.mark.parametrize("stages", ["CCDD", "DDDD", "ADCD", "DCCA"])
@pytest.mark.parametrize("extent", [3, 7])
@pytest.mark.parametrize("pool", ["after", "before"])
def test_counts_are_those_of_the_built_network(stages: str, extent: int, pool: str):
    spec = small(stages, spatial_extent=extent, pool=pool)
    network = build_model(spec, num_classes=10).eval()
    counted = count_model(spec, image_size=32, num_classes=10)
    assert counted.params == sum(parameter.numel() for parameter in network.parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert shapes == {f"{layer.name}.{key}": shape for layer in counted.layers for key, shape in layer.weights.items()}
    outputs: dict[str, tuple[int, ...]] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, __, out, name=name: outputs.__setitem__(name, tuple(out.shape[1:])))
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    assert {name: outputs[name] for name in outputs if name.endswith("conv3")} == {
        layer.name: layer.shape for layer in counted.layers if layer.name.endswith("conv3")
    }


@pytest.mark.parametrize(("channels", "side", "extent"), [(8, 6, 3), (16, 5, 7), (4, 9, 1)])
def test_a_depthwise_layer_costs_what_a_counter_of_convolutions_sees(channels: int, side: int, extent: int):
    layer = DepthwiseConvolution(channels, channels, AttentionSpec(spatial_extent=extent))
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, channels, side, side))
    counted = count_depthwise(extent, (channels, side, side))
    assert counted.macs == counter.get_total_flops() // 2 == side**2 * channels * (channels + extent**2)
    assert counted.params == channels**2 + channels * extent**2


def test_a_resnet_50_of_depthwise_stages_at_224_px():
    """By hand: 9 C^2 of every 3x3 become C^2 + 49 C, here for 3, 4, 6 and 3 bottlenecks of 64 to 512 channels."""
    convolutions = count_model(ModelSpec(name="sasa_resnet50", stages="CCCC"), image_size=224, num_classes=1000)
    depthwise = count_model(ModelSpec(name="sasa_resnet50", stages="DDDD"), image_size=224, num_classes=1000)
    saved = sum(blocks * (8 * c * c - 49 * c) for blocks, c in ((3, 64), (4, 128), (6, 256), (3, 512)))
    assert convolutions.params - depthwise.params == saved
    assert depthwise.params == 25_557_032 - saved


def test_the_layer_is_attention_with_fixed_weights():
    """Where every logit is equal, attention is the mean of its window: a filter of 1 / k^2 on the same values."""
    spec = AttentionSpec(spatial_extent=3, heads=2, position="none")
    attention, depthwise = LocalSelfAttention(8, 8, spec, stride=2), DepthwiseConvolution(8, 8, spec, stride=2)
    nn.init.zeros_(attention.query.weight)
    nn.init.constant_(depthwise.filter.weight, 1 / 9)
    depthwise.value.load_state_dict(attention.value.state_dict())
    image = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(depthwise(image), attention(image))


def test_new_weights_keep_the_variance():
    torch.manual_seed(0)
    layer = DepthwiseConvolution(64, 64, AttentionSpec(spatial_extent=7))
    out = layer(torch.relu(torch.randn(8, 64, 32, 32)))
    assert 0.7 < out[:, :, 3:-3, 3:-3].std().item() < 1.3


def test_names_and_letters_mean_the_same():
    names = ModelSpec.model_validate({"name": "sasa_resnet26", "stages": ["conv", "attention", "depthwise", "conv"]})
    assert names.stages == "CADC"
    model = timm.create_model("sasa_resnet26", stages="CCDD", spatial_extent=5)
    assert isinstance(model.layer4[0].conv2, DepthwiseConvolution)
    assert model.layer4[0].conv2.spatial_extent == 5


def test_what_only_attention_has_is_without_effect_in_a_depthwise_net():
    assert small("CCDD", heads=4, position="none", border="mask") == small("CCDD")
    assert small("CCDD", spatial_extent=3) != small("CCDD", spatial_extent=5)
    assert small("CCDD", pool="before") != small("CCDD")
    assert small("DCCC", pool="before") == small("DCCC")
    assert small("CCCC", spatial_extent=3) == small("CCCC")
    assert small("CADC", spatial_extent=[3, 5, 7, 9]).attention.spatial_extent == (1, 5, 7, 1)


class Shift(nn.Identity):
    """A stage kind that is none of ours: nothing at all in the place of the 3x3, and a pool for the stride."""

    def __init__(self, entry: int, channels: int, spec: AttentionSpec, *, stride: int, **factory: object) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride, ceil_mode=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(x)


def shift_blocks(model: ModelSpec, extent: int) -> object:
    from sasa_cli.models.bottleneck import ReplacedBottlenecks

    return ReplacedBottlenecks(Shift, model.attention)


def count_shift(net: Network, name: str, model: ModelSpec, stage: int, stride: int) -> None:
    net.add(name, "shift", products=[Product("nothing", "7", (7,))])
    if stride > 1:
        net.pool(f"{name}.pool", "average", stride, stride)


def test_a_fourth_kind_is_a_row_a_layer_and_a_counter(monkeypatch: pytest.MonkeyPatch):
    row = StageKind("S", "shift", builder=f"{__name__}:shift_blocks", counter=f"{__name__}:count_shift", pools=True)
    monkeypatch.setitem(kinds.KINDS, "S", row)
    spec = small("CCSS")
    network = build_model(spec, num_classes=10).eval()
    counted = count_model(spec, image_size=32, num_classes=10)
    assert isinstance(network.layer3[0].conv2, Shift)
    assert counted.params == sum(parameter.numel() for parameter in network.parameters())
    assert [layer.macs for layer in counted.layers if layer.kind == "shift"] == [7, 7]
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_an_unknown_letter_is_an_error_that_names_the_others():
    for stages in ("CCXA", ["conv", "conv", "shift", "conv"]):
        with pytest.raises(ValueError, match=r"allowed are .*attention.*depthwise"):
            ModelSpec.model_validate({"name": "sasa_resnet26", "stages": stages})
    with pytest.raises(KeyError):
        list(kinds.kinds_of("CCXA"))


def test_nobody_but_the_table_compares_letters():
    """`kind == "A"` with an `else` counted and built a third kind as a 3x3 convolution."""
    letters = set(KINDS)
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                compared = {side.value for side in sides if isinstance(side, ast.Constant)} & letters
                assert not compared, f"{file.relative_to(PACKAGE)}:{node.lineno} compares with {compared}"


DEPTHWISE = """
name: depthwise
model: {layers: [1, 2, 1, 1], width: 0.125, attention: {heads: 2, spatial_extent: 3}}
data: {train_images: 60}
recipe: {epochs: 1}
sweep: {model.stages: [CCAA, CCDD, [conv, conv, conv, depthwise]]}
seeds: [0, 1]
"""


@pytest.mark.slow
def test_depthwise_stages_are_trained_counted_and_reported(tmp_path: Path):
    file = tmp_path / "depthwise.yaml"
    file.write_text(DEPTHWISE)
    run = CliRunner().invoke(app, ["sweep", str(file), "--out", str(tmp_path), "--jobs", "2"])
    assert run.exit_code == 0, run.output
    records = [json.loads(record.read_text()) for record in tmp_path.glob("depthwise/runs/*/record.json")]
    assert {record["label"] for record in records} == {"CCAA", "CCDD", "CCCD"}
    params = {record["label"]: record["params"] for record in records}
    assert params["CCDD"] == count_model(small("CCDD", spatial_extent=3), image_size=32, num_classes=10).params
    assert CliRunner().invoke(app, ["report", str(tmp_path / "depthwise")]).exit_code == 0
    page = (tmp_path / "depthwise/report/report.md").read_text()
    assert "Attention is better than a depthwise convolution of the same extent (beyond the paper)" in page
    shown = CliRunner().invoke(app, ["count-flops", str(file), "--explain", "--format", "csv"]).stdout
    assert "depthwise 3x3" in shown
    assert "H W k^2 C" in shown
