import json
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import nn

from sasa_cli.attention import Problem, choice, operator
from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.problem import describe
from sasa_cli.errors import SpecError
from sasa_cli.models import LocalSelfAttention, attention_problems, build_model, model_kwargs
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


def asked(network: nn.Module, batch: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[Problem]:
    """What the operator is asked in one forward pass, in order."""
    problems: list[Problem] = []

    def spy(*arguments: Any) -> Problem:
        problems.append(describe(*arguments))
        return problems[-1]

    with monkeypatch.context() as patched:
        patched.setattr(operator, "describe", spy)
        network(batch)
    return problems


@torch.no_grad()
@pytest.mark.parametrize("pool", ["after", "before"])
@pytest.mark.parametrize("size", [32, 33])
def test_attention_problems_are_those_of_a_forward_pass(pool: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPEC.model_copy(update={"attention": SPEC.attention.model_copy(update={"pool": pool})})
    network = build_model(spec, 5).eval()
    random = torch.get_rng_state()
    problems = attention_problems(spec, size, batch=2, dtype=torch.float32, device="cpu")
    assert torch.equal(torch.get_rng_state(), random)
    assert list(problems) == ["layer2.0.conv2", "layer3.0.conv2", "layer3.1.conv2", "layer4.0.conv2"]
    assert list(problems.values()) == asked(network, torch.randn(2, 3, size, size), monkeypatch)
    elsewhere = attention_problems(spec, size, batch=2, dtype=torch.bfloat16, device="cuda")
    assert {(each.dtype, each.device) for each in elsewhere.values()} == {(torch.bfloat16, "cuda")}


@torch.no_grad()
def test_a_layer_describes_its_call_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network(small_input=True, border="mask").eval()
    problems = asked(network, images(3), monkeypatch)
    layers = [module for module in network.modules() if isinstance(module, LocalSelfAttention)]
    assert len(problems) == len(layers)
    problem = problems[0]
    assert (problem.batch, problem.heads, problem.head_dim, problem.height) == (3, 4, 2, 32)
    assert (problem.spatial_extent, problem.border) == (7, "mask")


@torch.no_grad()
@pytest.mark.parametrize("name", ["dense", "shift"])
def test_the_backend_that_is_asked_for_is_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def spied(backend: Backend) -> Backend:
        return replace(backend, forward=lambda *call: used.append(backend.name) or backend.forward(*call))

    monkeypatch.setattr(choice, "BACKENDS", tuple(spied(backend) for backend in choice.BACKENDS))
    small_network(backend=name).eval()(images())
    assert set(used) == {name}


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
