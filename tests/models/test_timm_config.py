"""timm's configuration of a network is that of its variant: where images enter, and how large they are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from .networks import VARIANTS, images, small_network


@pytest.mark.parametrize("variant", VARIANTS)
def test_its_first_layers_are_those_that_meet_the_image(variant: str) -> None:
    network = small_network(**VARIANTS[variant])
    names = network.default_cfg["first_conv"]
    met: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d) and name.startswith("conv1"):
            met.append(name)
    assert ([names] if isinstance(names, str) else list(names)) == met


@pytest.mark.parametrize(
    ("variant", "size", "pool", "crop"),
    [("mixed", 224, 7, 0.875), ("attention-stem", 224, 7, 0.875), ("small-input", 32, 4, 1.0)],
)
def test_its_image_size_is_that_of_its_stem(variant: str, size: int, pool: int, crop: float) -> None:
    network = small_network(**VARIANTS[variant])
    cfg = network.default_cfg
    assert (cfg["input_size"], cfg["pool_size"], cfg["crop_pct"]) == ((3, size, size), (pool, pool), crop)
    assert network.forward_features(images(1, 3, size)).shape[2:] == (pool, pool)


@pytest.mark.parametrize("variant", VARIANTS)
def test_colour_weights_load_into_a_network_for_grey_images(variant: str, tmp_path: Path) -> None:
    """`first_conv` that names no weight was a KeyError."""
    arguments: dict[str, Any] = {"zero_init_last": False} | VARIANTS[variant]
    colour = small_network(**arguments).eval()
    torch.save(colour.state_dict(), tmp_path / "weights.pth")
    stored = {"file": str(tmp_path / "weights.pth"), "num_classes": 10}
    grey = small_network(pretrained=True, pretrained_cfg_overlay=stored, in_chans=1, **arguments).eval()
    x = images(2, 1)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
