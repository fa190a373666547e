"""A whole training step: the convolutional network next to the one in which every stage attends."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from sasa_cli.bench.contestants import LAYOUTS, Layout, Step
from sasa_cli.models.build import build_model
from sasa_cli.spec import ModelSpec

CLASSES = 1000
NETS = {"conv": "CCCC", "attention": "AAAA"}


def training_steps(
    name: str,
    shape: tuple[int, int, int, int],
    extent: int,
    device: torch.device,
    dtype: torch.dtype,
    layouts: Sequence[Layout],
) -> dict[tuple[str, Layout], Callable[[], Step]]:
    """What builds forward, backward and SGD update of a network with convolution and with attention, in each layout.

    Args:
        name: of the architecture, as sasa_resnet26.
        shape: (B, 3, H, W) of the images.
        extent: k of its attention layers.
        device: where it trains.
        dtype: of autocast; float32 for none.
        layouts: of images and weights.
    """
    amp = None if dtype == torch.float32 else dtype
    return {
        (net, layout): partial(training_step, {"name": name, "stages": stages}, layout, shape, extent, device, amp)
        for net, stages in NETS.items()
        for layout in layouts
    }


def training_step(
    model: dict[str, Any],
    layout: Layout,
    shape: tuple[int, int, int, int],
    extent: int,
    device: torch.device,
    amp: torch.dtype | None = None,
) -> Step:
    """One update of a network.

    Args:
        model: keys of `ModelSpec`, without those of attention.
        layout: of images and weights.
        shape: (B, 3, H, W) of the images.
        extent: k of its attention layers.
        device: where it trains.
        amp: the dtype of autocast; None for none.
    """
    spec = ModelSpec.model_validate(model | {"attention": {"spatial_extent": extent}}).canonical(shape[2])
    network = build_model(spec, CLASSES).to(device=device, memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(shape, device=device).contiguous(memory_format=LAYOUTS[layout])
    labels = torch.randint(CLASSES, shape[:1], device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, amp, enabled=amp is not None):
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step
