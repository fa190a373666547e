"""Small data sets in the layouts that users have on disk."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sasa_cli.data.files import CIFAR_LAYOUTS, CifarLayout

IMAGES_PER_FILE = 20
CLASSES = {"cifar10": 10, "cifar100": 100}


class CifarFile(NamedTuple):
    pixels: NDArray[np.uint8]  # (N, 3072)
    labels: NDArray[np.uint8]


def cifar_content(name: str, layout: CifarLayout) -> list[CifarFile]:
    """The same images and labels for both layouts of `name`."""
    rng = np.random.default_rng(0)
    return [
        CifarFile(
            rng.integers(256, size=(IMAGES_PER_FILE, 3072), dtype=np.uint8),
            (np.arange(IMAGES_PER_FILE) % CLASSES[name]).astype(np.uint8),
        )
        for _ in layout.files
    ]


def write_cifar(folder: Path, name: str, layout: CifarLayout) -> None:
    folder.mkdir(parents=True)
    for file, (pixels, labels) in zip(layout.files, cifar_content(name, layout), strict=True):
        if layout.label_bytes:
            coarse = [labels // 5] * (layout.label_bytes - 1)
            records = np.column_stack([*coarse, labels, pixels])
            (folder / file).write_bytes(records.tobytes())
        else:
            content = {"data": pixels, layout.label_key: labels.tolist()}
            (folder / file).write_bytes(pickle.dumps(content, protocol=2))


@pytest.fixture
def cifar_root(tmp_path: Path) -> Callable[..., Path]:
    """Write one layout (0 binary, 1 pickled) of a CIFAR and return the folder above it."""

    def write(name: str = "cifar10", layout_index: int = 0) -> Path:
        layout = CIFAR_LAYOUTS[name][layout_index]
        root = tmp_path / f"{name}-{layout_index}"
        write_cifar(root / layout.folder, name, layout)
        return root

    return write


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """train/ with 12 and val/ with 4 photos of each of 3 classes, of several sizes, one of them grey."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name in ("cat", "dog", "emu"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(256, size=(40 + index, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).convert("L" if index == 0 else "RGB").save(folder / f"{index}.jpeg")
    return tmp_path / "photos"
