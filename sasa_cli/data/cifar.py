"""Read CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the binary and from the Python archive."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from sasa_cli.data.files import CifarLayout, find_cifar
from sasa_cli.data.images import ArrayImages
from sasa_cli.errors import DataError

OFFICIAL_COUNTS = {"train": 50_000, "test": 10_000}
PICKLED_NAMES = {
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_reconstruct"),
}


class ArrayUnpickler(pickle.Unpickler):
    """Loads plain data and arrays; refuses everything else that a pickle could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PICKLED_NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into CIFAR")
        return super().find_class(module, name)


def read_cifar(name: str, root: Path, num_classes: int) -> tuple[ArrayImages, ArrayImages, tuple[str, ...]]:
    """Train images, test images, and a note for each that is not as large as it was published.

    Raises `DataError` where a file is missing or broken.
    """
    folder, layout = find_cifar(name, root)
    parts = [_read(folder / file, layout, num_classes) for file in layout.train]
    train = ArrayImages(
        np.concatenate([part.pixels for part in parts]), np.concatenate([part.labels for part in parts])
    )
    test = _read(folder / layout.test, layout, num_classes)
    notes = tuple(
        f"{name}: {len(images):,} {split} images here, {OFFICIAL_COUNTS[split]:,} as published"
        for split, images in (("train", train), ("test", test))
        if len(images) != OFFICIAL_COUNTS[split]
    )
    return train, test, notes


def _read(path: Path, layout: CifarLayout, num_classes: int) -> ArrayImages:
    images = _read_binary(path, layout) if layout.label_bytes else _read_pickle(path, layout)
    wrong = np.flatnonzero((images.labels < 0) | (images.labels >= num_classes))
    if wrong.size:
        raise DataError(
            f"{path.absolute()}: broken: image {wrong[0]} has label {images.labels[wrong[0]]}, expected 0 to "
            f"{num_classes - 1}; unpack it again from the archive"
        )
    return images


def _read_binary(path: Path, layout: CifarLayout) -> ArrayImages:
    records = np.fromfile(path, np.uint8).reshape(-1, layout.record_bytes)
    pixels = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32)
    return ArrayImages(pixels, records[:, layout.label_bytes - 1])


def _read_pickle(path: Path, layout: CifarLayout) -> ArrayImages:
    try:
        with path.open("rb") as file:
            content = ArrayUnpickler(file, encoding="latin1").load()
        pixels = np.asarray(content["data"], np.uint8).reshape(-1, 3, 32, 32)
        images = ArrayImages(pixels, content[layout.label_key])
        if len(images) != len(pixels):
            raise ValueError(f"{len(pixels)} images with {len(images)} labels")
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path.absolute()}: broken: {type(error).__name__}: {error}; unpack it again from the archive"
        ) from error
    return images
