import pytest
import timm
import torch
from torch import Tensor, nn

from sasa_cli.counting.foreign import count_foreign
from sasa_cli.counting.macs import count_model
from sasa_cli.errors import SpecError
from sasa_cli.spec import ModelSpec


def test_resnet50_is_counted_as_ours():
    traced = count_foreign("resnet50")
    ours = count_model(ModelSpec(name="sasa_resnet50", stages="CCCC"), image_size=224, num_classes=1000)
    assert (traced.params, traced.macs) == (25_557_032, 4_089_184_256)
    for quantity in ("params", "macs", "macs_executed", "activations"):
        theirs = {stage: getattr(part, quantity) for stage, part in traced.by_stage().items()}
        assert theirs == {stage: getattr(part, quantity) for stage, part in ours.by_stage().items()}


def test_attention_outside_of_any_leaf_module_is_counted():
    counted = count_foreign("halonet26t")
    assert counted.image == (3, 256, 256)  # its own
    assert list(counted.by_stage()) == ["stem", "stage1", "stage2", "stage3", "stage4", "classifier"]
    layers = [layer for layer in counted.layers if layer.kind == "HaloAttn"]
    assert layers
    assert all(layer.macs > 0 for layer in layers)


@pytest.mark.parametrize(
    ("name", "gigamacs"),
    [("vit_tiny_patch16_224", 1.254), ("mobilenetv3_small_100", 0.057)],  # the first through SDPA
)
def test_models_without_stages(name: str, gigamacs: float):
    counted = count_foreign(name)
    network = timm.create_model(name)
    assert round(counted.macs / 1e9, 3) == gigamacs
    assert counted.params == sum(parameter.numel() for parameter in network.parameters())
    assert {stage.partition(".")[0] for stage in counted.by_stage()} <= {"model", *dict(network.named_children())}


def test_image_size_and_classes():
    counted = count_foreign("resnet50", image_size=(96, 64), num_classes=10)
    assert counted.image == (3, 96, 64)
    assert counted.num_classes == 10
    assert counted.layers[-1].shape == (10,)
    patches = (96 // 16) ** 2
    first = count_foreign("vit_tiny_patch16_224", image_size=96).layers[0]
    assert first.weights["pos_embed"] == (1, 1 + patches, 192)


class Shared(nn.Module):
    """One linear layer called twice, another that shares its weight, and a container whose children are called."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 4
        self.default_cfg = {"input_size": (3, 8, 8)}
        self.first = nn.Linear(8, 8, bias=False)
        self.second = nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight
        self.pair = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.first, self.second, *self.pair):
            x = layer(x)
        return x @ x


def test_what_is_shared_or_called_out_of_order_is_counted_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timm, "is_model", lambda name: True)
    monkeypatch.setattr(timm, "create_model", lambda name: Shared())
    counted = count_foreign("shared")
    product = 3 * 8 * 8 * 8
    macs = {layer.name: layer.macs for layer in counted.layers}
    assert macs == {
        "Shared": product,
        "first": 2 * product,
        "second": product,
        "pair.0": product,
        "pair.1": product,
    }
    assert counted.params == 3 * 64


def test_the_caveat_says_what_a_counter_sees():
    (note,) = count_foreign("resnet18").notes
    assert note.startswith("resnet18 is traced")
    assert "scaled_dot_product_attention" in note


@pytest.mark.parametrize(
    ("name", "image_size", "message"),
    [
        ("resnet5o", None, "'resnet5o' is no model of timm or sasa; the nearest names are .*resnet50"),
        ("no such model at all", None, "is no model of timm or sasa$"),
        ("resnet50.no_such_tag", None, "Invalid pretrained tag"),
        ("halonet26t", 100, "halonet26t takes no images of 100x100 px"),
    ],
)
def test_what_cannot_be_counted(name: str, image_size: int | None, message: str):
    with pytest.raises(SpecError, match=message):
        count_foreign(name, image_size=image_size)


def test_counting_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    count_foreign("resnet18")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("name", "gigamacs"), [("cait_xxs24_224", 2.52), ("pit_ti_224", 0.71), ("vit_base_patch16_siglip_gap_224", 17.0)]
)
def test_families_that_view_a_parameter_before_their_first_layer_are_counted(name: str, gigamacs: float):
    """They were refused: "Expected gradient function to be set"."""
    counted = count_foreign(name)
    assert counted.macs / 1e9 == pytest.approx(gigamacs, rel=0.04)
    assert counted.params == sum(parameter.numel() for parameter in timm.create_model(name).parameters())


def test_a_size_that_a_model_does_not_take_is_answered_with_those_that_it_takes():
    with pytest.raises(SpecError) as raised:
        count_foreign("halonet26t", image_size=224)
    message = str(raised.value)
    assert "halonet26t takes no images of 224x224 px" in message
    assert "its own size is 256x256" in message
    assert "\n" not in message
