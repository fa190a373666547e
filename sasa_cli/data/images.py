"""Labelled images with random access: as an array in memory, as files, behind a reader of timm, or decoded.

Each kind is a map-style data set of `(image, label)` pairs, the image in RGB.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from sasa_cli.data.contents import content_hashes
from sasa_cli.errors import DataError

Indices = NDArray[np.intp]
Pixels = NDArray[np.uint8]
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises


def in_rgb(image: Image.Image) -> Image.Image:
    """An image in RGB, 16 bits of grey scaled to 8: Pillow alone clips them, so that all but black is white.

    Raises:
        ValueError: numbers whose range nobody says.
    """
    if image.mode.startswith("I;16"):
        scaled = np.asarray(image).astype(np.float32) * (255 / 65535)
        return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers without a range (mode {image.mode}); save it with 8 or 16 bits")
    return image.convert("RGB")


class Images(ABC):
    """Images and their labels, `(N,)` int64."""

    def __init__(self, labels: ArrayLike) -> None:
        self.labels: NDArray[np.int64] = np.asarray(labels, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Raises `DataError`, naming the image, where it cannot be read."""
        return self.image(index), int(self.labels[index])

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """One image in RGB. Raises `DataError`, naming it, where it cannot be read."""

    @abstractmethod
    def subset(self, indices: Indices) -> Self:
        """The images at `indices`, in that order."""

    @abstractmethod
    def identity(self) -> Iterable[bytes]:
        """What tells these images from others, labels apart."""

    def update(self, digest: "hashlib._Hash") -> None:
        """Feed labels and `identity` into a running hash."""
        digest.update(self.labels.tobytes())
        for part in self.identity():
            digest.update(part)


class ArrayImages(Images):
    """Small images of one size, in memory."""

    def __init__(self, pixels: Pixels, labels: ArrayLike) -> None:
        super().__init__(labels)
        self.pixels = pixels  # (N, 3, H, W)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index].transpose(1, 2, 0))  # (H, W, 3)

    def subset(self, indices: Indices) -> Self:
        return type(self)(self.pixels[indices], self.labels[indices])

    def identity(self) -> Iterator[bytes]:
        yield repr(self.pixels.shape).encode()
        yield self.pixels.tobytes()


class FileImages(Images):
    """One file for each image, below `root`."""

    def __init__(self, root: Path, names: Sequence[str], labels: ArrayLike) -> None:
        super().__init__(labels)
        self.root = root
        self.names = names

    def image(self, index: int) -> Image.Image:
        path = self.root / self.names[index]
        try:
            with Image.open(path) as image:
                return in_rgb(image)
        except BROKEN_IMAGE as error:
            raise DataError(f"{path.absolute()}: cannot be read as an image: {error}") from error

    def subset(self, indices: Indices) -> Self:
        return type(self)(self.root, [self.names[index] for index in indices], self.labels[indices])

    def identity(self) -> Iterator[bytes]:
        for name, content in zip(self.names, content_hashes(self.root, self.names), strict=True):
            yield os.fsencode(name) + b"\0" + content


class ReaderImages(Images):
    """Images behind a random-access reader of timm; told from others by name and labels alone."""

    def __init__(self, name: str, reader: Any, labels: ArrayLike, indices: Indices | None = None) -> None:
        super().__init__(labels)
        self.name = name
        self.reader = reader
        self.indices = np.arange(len(self)) if indices is None else indices

    def image(self, index: int) -> Image.Image:
        place = int(self.indices[index])
        try:
            stream, _label = self.reader[place]
            with stream, Image.open(stream) as image:
                return in_rgb(image)
        except BROKEN_IMAGE as error:
            raise DataError(f"{self.name}: image {place} cannot be read: {error}") from error

    def subset(self, indices: Indices) -> Self:
        return type(self)(self.name, self.reader, self.labels[indices], self.indices[indices])

    def identity(self) -> Iterator[bytes]:
        yield self.name.encode()


class DecodedImages(Images):
    """Images of any size, decoded and in memory."""

    def __init__(self, decoded: Sequence[Image.Image], labels: ArrayLike) -> None:
        super().__init__(labels)
        self.decoded = decoded

    def image(self, index: int) -> Image.Image:
        return self.decoded[index]

    def subset(self, indices: Indices) -> Self:
        return type(self)([self.decoded[index] for index in indices], self.labels[indices])

    def identity(self) -> Iterator[bytes]:
        for image in self.decoded:
            yield repr(image.size).encode()
            yield image.tobytes()
