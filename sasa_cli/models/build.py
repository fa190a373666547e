"""From a spec to a network, and to what its attention layers will ask for."""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from sasa_cli.attention import Problem
from sasa_cli.models.attention import LocalSelfAttention
from sasa_cli.spec import ModelSpec

ANY_DEPTH = "sasa_resnet50"  # the registered name for a network that only `layers` describes


def model_kwargs(model: ModelSpec) -> dict[str, Any]:
    """What `timm.create_model` needs beside the name to build `model`: numbers, text and mappings only."""
    sections = model.model_dump(mode="json", exclude_none=True, exclude={"name", "attention"})
    return sections | model.attention.model_dump(mode="json")


def build_model(
    model: ModelSpec,
    num_classes: int,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    drop_rate: float = 0.0,
) -> nn.Module:
    """Build the network with new weights, drawn from torch's global random state.

    Args:
        model: the network; `small_input` None means False, so resolve it with `ModelSpec.canonical` before.
        num_classes: outputs of the classifier.
        in_chans: channels of the images.
        drop_path_rate: stochastic depth of the last bottleneck; grows linearly from 0 at the first.
        drop_rate: dropout before the classifier.
    """
    network: nn.Module = timm.create_model(
        model.name or ANY_DEPTH,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        drop_rate=drop_rate,
        **model_kwargs(model),
    )
    return network


def attention_problems(
    model: ModelSpec, image_size: int, *, batch: int, dtype: torch.dtype, device: str
) -> dict[str, Problem]:
    """What each attention layer will ask of `local_attention`, by the layer's name; nothing is computed for it.

    Args:
        model: the network, resolved with `ModelSpec.canonical`.
        image_size: side of the images, in px.
        batch: images in a batch.
        dtype: of the maps, under autocast its dtype.
        device: type of the device.
    """
    problems: dict[str, Problem] = {}

    def watch(name: str, layer: LocalSelfAttention) -> None:
        def note(_: nn.Module, given: tuple[Tensor]) -> None:
            problems[name] = layer.problem(given[0].shape, dtype, device)

        layer.register_forward_pre_hook(note)

    with torch.device("meta"), torch.no_grad():
        network = build_model(model, num_classes=1).eval()
        for name, layer in network.named_modules():
            if isinstance(layer, LocalSelfAttention):
                watch(name, layer)
        network(torch.empty(batch, 3, image_size, image_size))
    return problems
