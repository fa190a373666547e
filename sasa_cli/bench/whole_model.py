"""A whole training step: the convolutional ResNet-26 next to the one in which every stage attends."""

import torch
from torch.nn import functional as F

from sasa_cli.bench.contestants import LAYOUTS, Layout, Step
from sasa_cli.models.build import build_model
from sasa_cli.spec import ModelSpec

CLASSES = 1000
NETS = {"conv": "CCCC", "attention": "AAAA"}


def training_steps(
    shape: tuple[int, int, int, int], extent: int, device: torch.device
) -> dict[tuple[str, Layout], Step]:
    """Forward, backward and SGD update of each net in each layout, for images of shape (B, 3, H, W)."""
    return {
        (net, layout): _training_step(stages, layout, shape, extent, device)
        for net, stages in NETS.items()
        for layout in LAYOUTS
    }


def _training_step(
    stages: str, layout: Layout, shape: tuple[int, int, int, int], extent: int, device: torch.device
) -> Step:
    spec = ModelSpec.model_validate(
        {"name": "sasa_resnet26", "stages": stages, "attention": {"spatial_extent": extent}}
    ).canonical(shape[2])
    model = build_model(spec, CLASSES).to(device=device, memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(shape, device=device).contiguous(memory_format=LAYOUTS[layout])
    labels = torch.randint(CLASSES, shape[:1], device=device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step
