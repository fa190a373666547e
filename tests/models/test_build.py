import json
from typing import Any

import pytest
import timm
import torch

from sasa_cli.attention import available_backends
from sasa_cli.errors import SpecError
from sasa_cli.models import LocalSelfAttention, attention_backends, attention_problems, build_model, model_kwargs
from sasa_cli.models.arguments import MODEL_ARGUMENTS, model_spec
from sasa_cli.spec import ModelSpec, StemSpec

from .networks import VARIANTS, images, small_network

SPEC = ModelSpec.model_validate(
    {
        "layers": [1, 1, 2, 1],
        "width": 0.125,
        "stem": {"kind": "attention", "mixtures": 2},
        "stages": "CAAA",
        "attention": {"spatial_extent": [3, 3, 5, 7], "heads": 4, "border": "mask"},
    }
).canonical(32)


def test_network_is_what_the_spec_says():
    network = build_model(SPEC, 5, in_chans=1, drop_path_rate=0.2, drop_rate=0.1)
    assert network.spec.canonical(32) == SPEC
    assert network.drop_rate == 0.1
    assert network.layer4[0].drop_path.drop_prob == pytest.approx(0.2)
    assert network(images(2, 1)).shape == (2, 5)


@pytest.mark.parametrize("name", ["sasa_resnet26", "sasa_resnet38", "sasa_resnet50"])
def test_network_keeps_the_name_of_its_spec(name: str):
    with torch.device("meta"):
        network = build_model(ModelSpec(name=name), 10)
    assert network.pretrained_cfg["architecture"] == name
    assert network.spec.depth == ModelSpec(name=name).depth


def test_stem_and_stages_may_be_written_in_several_ways():
    stems = ["attention", {"kind": "attention"}, StemSpec(kind="attention")]
    stages = ["CCAA", ["conv", "conv", "attention", "attention"]]
    specs = [model_spec("sasa_resnet50", {"stem": a, "stages": b}) for a in stems for b in stages]
    assert all(spec == specs[0] for spec in specs)


@pytest.mark.parametrize("kwargs", VARIANTS.values(), ids=VARIANTS)
def test_arguments_are_plain_and_lead_back_to_the_spec(kwargs: dict[str, Any]):
    spec = small_network(**kwargs).spec.canonical(224)
    arguments = json.loads(json.dumps(model_kwargs(spec)))
    assert set(arguments) <= set(MODEL_ARGUMENTS)
    assert model_spec(spec.name or "sasa_resnet26", arguments).canonical(224) == spec


def test_weights_of_a_built_network_load_into_timm():
    network = build_model(SPEC, 5).eval()
    other = timm.create_model("sasa_resnet50", num_classes=5, **model_kwargs(SPEC)).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(images()), other(images()))


# --- backends ------------------------------------------------------------------------------------------------------


def test_backends_are_those_of_the_last_forward_pass():
    network = build_model(SPEC, 5)
    assert attention_backends(network) == {}
    network(images())
    backends = attention_backends(network)
    assert list(backends) == ["layer2.0.conv2", "layer3.0.conv2", "layer3.1.conv2", "layer4.0.conv2"]
    assert set(backends.values()) <= set(available_backends())


@pytest.mark.parametrize("backend", ["dense", "shift"])
def test_the_backend_that_is_asked_for_is_used(backend: str):
    network = small_network(backend=backend)
    network(images())
    assert set(attention_backends(network).values()) == {backend}


def test_layers_remember_what_they_were_asked():
    network = small_network(small_input=True, border="mask")
    network(images(3))
    problem = next(m for m in network.modules() if isinstance(m, LocalSelfAttention)).last_problem
    assert (problem.batch, problem.heads, problem.head_dim, problem.height) == (3, 4, 2, 32)
    assert (problem.spatial_extent, problem.border) == (7, "mask")


# --- arguments that describe no network ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"stages": "CCA"},
            "stages: 'CCA' is not one letter for each of 4 stages; allowed are C (conv)",
        ),
        ({"spatial_extent": 4}, "spatial_extent: 4 is even; a window centred on its pixel needs an odd extent"),
        ({"heads": 3}, "heads: 3 does not divide the 64 channels"),
        ({"width": 0.3}, "width: 0.3 gives 19.2 channels in stage 1; allowed are multiples of 0.03125"),
        ({"border": "wrap"}, "border: 'wrap' is not allowed; allowed are 'zero' or 'mask'"),
        ({"stem": {"kind": "attention", "heads": 5}}, "stem.heads: 5 does not divide the 64 channels"),
        ({"stem": "patch"}, "stem.kind: 'patch' is not allowed; allowed are 'conv' or 'attention'"),
        (
            {"stem": {"kind": "attention", "mix": 4}},
            "stem.mix: unknown key (did you mean 'mixtures'?)",
        ),
        ({"content": False, "position": "none"}, "content: false leaves no logits with position 'none'"),
        ({"layers": [1, 2, 3]}, "layers"),
        ({"heads": "8"}, "heads: '8' is not allowed; allowed is a valid integer"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_get_one_plain_message(kwargs: dict[str, Any], message: str):
    with pytest.raises(SpecError) as caught:
        timm.create_model("sasa_resnet50", **kwargs)
    text = str(caught.value)
    assert text.startswith(message)
    assert "attention." not in text
    assert "pydantic" not in text


def test_all_problems_are_named_at_once():
    with pytest.raises(SpecError) as caught:
        timm.create_model("sasa_resnet50", stages="XXXX", border="wrap")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["stages", "border"]


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="spatial_extend"):
        timm.create_model("sasa_resnet50", spatial_extend=5)


def test_attention_problems_are_those_of_a_forward_pass() -> None:
    network = build_model(SPEC, 5).eval()
    network(torch.randn(2, 3, 32, 32))
    random = torch.get_rng_state()
    problems = attention_problems(SPEC, 32, batch=2, dtype=torch.float32, device="cpu")
    assert torch.equal(torch.get_rng_state(), random)
    asked = {n: layer.last_problem for n, layer in network.named_modules() if isinstance(layer, LocalSelfAttention)}
    assert problems
    assert problems == asked
    elsewhere = attention_problems(SPEC, 32, batch=2, dtype=torch.bfloat16, device="cuda")
    assert {(each.dtype, each.device) for each in elsewhere.values()} == {(torch.bfloat16, "cuda")}
