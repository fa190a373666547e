"""The small networks on which the models are tested."""

from typing import Any

import timm
import torch
from torch import Tensor, nn

import sasa_cli  # noqa: F401  registers the networks

SMALL = {"layers": [1, 1, 1, 1], "width": 0.125, "heads": 4, "num_classes": 10}  # heads of 2 to 16 channels
VARIANTS: dict[str, dict[str, Any]] = {
    "conv": {"stages": "CCCC"},
    "attention": {},
    "mixed": {"stages": "CCAA"},
    "per-head": {"embedding": "per_head", "stem": "attention"},
    "absolute": {"position": "absolute", "stem": "attention"},
    "no-position": {"position": "none", "stem": "attention"},
    "no-content": {"content": False, "stem": "attention"},
    "masked-border": {"border": "mask"},
    "pool-before": {"pool": "before"},
    "attention-stem": {"stem": "attention"},
    "attention-stem-conv-values": {"stem": {"kind": "attention", "values": "conv"}},
    "attention-stem-plain-values": {"stem": {"kind": "attention", "values": "plain"}},
    "small-input": {"small_input": True},
    "small-input-attention-stem": {"small_input": True, "stem": "attention"},
}


def small_network(**kwargs: Any) -> nn.Module:
    network: nn.Module = timm.create_model("sasa_resnet26", **{**SMALL, **kwargs})
    return network


def images(batch: int = 2, channels: int = 3, height: int = 32, width: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, channels, height, width or height, generator=generator)
