"""Exact parameters at 1000 classes and k = 7; rounded they are the paper's (Tables 1, 3 and 6)."""

from typing import Any

import pytest
import timm
import torch

import sasa_cli  # noqa: F401  registers the networks

COUNTS: list[tuple[str, dict[str, Any], int]] = [
    ("sasa_resnet26", {"stages": "CCCC"}, 13_696_552),
    ("sasa_resnet38", {"stages": "CCCC"}, 19_626_792),
    ("sasa_resnet50", {"stages": "CCCC"}, 25_557_032),
    ("sasa_resnet26", {}, 10_331_264),
    ("sasa_resnet38", {}, 14_173_384),
    ("sasa_resnet50", {}, 18_015_504),
    ("sasa_resnet26", {"stem": "attention"}, 10_323_216),
    ("sasa_resnet38", {"stem": "attention"}, 14_165_336),
    ("sasa_resnet50", {"stem": "attention"}, 18_007_456),
    ("sasa_resnet50", {"stages": "CAAA"}, 18_089_064),
    ("sasa_resnet50", {"stages": "CCAA"}, 18_481_832),
    ("sasa_resnet50", {"stages": "CCCA"}, 20_839_784),
    ("sasa_resnet50", {"stages": "ACCC"}, 25_483_472),
    ("sasa_resnet50", {"stages": "AACC"}, 25_090_704),
    ("sasa_resnet50", {"stages": "AAAC"}, 22_732_752),
    ("sasa_resnet50", {"content": False}, 16_758_032),
    ("sasa_resnet50", {"pool": "before"}, 18_015_504),
    ("sasa_resnet50", {"embedding": "per_head"}, 18_015_504 + 7 * 3_304),
]


@pytest.mark.parametrize(("name", "kwargs", "expected"), COUNTS, ids=lambda value: str(value))
def test_parameters_are_exact(name: str, kwargs: dict[str, Any], expected: int):
    network = timm.create_model(name, device="meta", **kwargs)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("position", ["absolute", "none"])
def test_only_relative_position_has_parameters(position: str):
    network = timm.create_model("sasa_resnet50", device="meta", position=position)
    # k D numbers for each layer: half of the channels of a head for each row and each column.
    embeddings = 7 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512) // 8
    assert sum(parameter.numel() for parameter in network.parameters()) == 18_015_504 - embeddings


def test_a_timm_resnet50_has_the_parameters_of_the_convolution_baseline():
    with torch.device("meta"):
        assert sum(p.numel() for p in timm.create_model("resnet50").parameters()) == 25_557_032
