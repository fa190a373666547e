"""Read the images of a `DataSpec`: what its source calls train, and test. Nothing is split here."""

from pathlib import Path
from typing import Any

import numpy as np
from timm.data.dataset import IterableImageDataset
from timm.data.dataset_factory import create_dataset

from sasa_cli.data.catalog import BUILT_IN, IMAGE_FOLDERS, check_available, data_root, given_root, number_of_classes
from sasa_cli.data.cifar import read_cifar
from sasa_cli.data.files import BUILT_IN_FILE, CIFAR_LAYOUTS
from sasa_cli.data.folders import read_image_folder
from sasa_cli.data.images import ArrayImages, DecodedImages, Images, ReaderImages
from sasa_cli.errors import DataError
from sasa_cli.spec import DataSpec

BUILT_IN_BORDER = 2  # 28 x 28 becomes 32 x 32, as CIFAR
STREAM_LIMIT_GIB = 16
Source = tuple[Images, Images, tuple[str, ...]]


def read_source(spec: DataSpec, data_dir: Path | None) -> Source:
    """All train images, all test images, and notes on what is unusual about them.

    Raises:
        SpecError: unknown name, or number of classes unknown or contradicted.
        DataError: images missing or broken.
    """
    num_classes = number_of_classes(spec)
    check_available(spec, data_dir)
    if spec.name == BUILT_IN:
        return _read_built_in()
    if spec.name in CIFAR_LAYOUTS:
        return read_cifar(spec.name, data_root(spec, data_dir), num_classes)
    if spec.name in IMAGE_FOLDERS:
        return read_image_folder(spec.name, data_root(spec, data_dir), num_classes)
    # The other readers know a place of their own; webdataset does not.
    needs_root = spec.name.startswith("wds/")
    root = data_root(spec, data_dir) if needs_root else given_root(spec, data_dir)
    train, test = (_read_with_timm(spec.name, root, split, num_classes) for split in ("train", "validation"))
    known_by = f"{spec.name}: known by name and labels; a change of their pixels would not be seen"
    return train, test, (known_by,)


def _read_built_in() -> Source:
    border = ((0, 0), (BUILT_IN_BORDER,) * 2, (BUILT_IN_BORDER,) * 2)
    with np.load(BUILT_IN_FILE) as arrays:
        train, test = (
            ArrayImages(
                np.repeat(np.pad(arrays[f"{split}_images"], border)[:, None], 3, axis=1),  # (N, 3, 32, 32)
                arrays[f"{split}_labels"],
            )
            for split in ("train", "test")
        )
        return train, test, ()


def _read_with_timm(name: str, root: Path | None, split: str, num_classes: int) -> Images:
    origin = f"{name}, split {split}"
    try:
        data = create_dataset(name, root=str(root) if root else None, split=split)
        if isinstance(data, IterableImageDataset):
            images: Images = _read_stream(data, origin)
        else:
            images = ReaderImages(origin, data.reader, list(data.reader.iter_targets()))
    except DataError:
        raise
    except Exception as error:  # each reader has its own package and errors: wrong name, no network, no split
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(f"{origin}: cannot be read: {type(error).__name__}: {reason}") from error
    if len(images) == 0 or images.labels.min() < 0 or images.labels.max() >= num_classes:
        labels = f"{images.labels.min()} to {images.labels.max()}" if len(images) else "none"
        raise DataError(f"{origin}: labels {labels}, expected 0 to {num_classes - 1}")
    return images


def _read_stream(stream: Any, origin: str) -> DecodedImages:
    """Read a source without random access into memory, because val is split off train by place."""
    images, labels, size = [], [], 0
    for image, label in stream:
        size += image.width * image.height * len(image.getbands())
        if size > STREAM_LIMIT_GIB * 2**30:
            raise DataError(
                f"{origin}: more than {STREAM_LIMIT_GIB} GiB of images, and a stream is held in memory; "
                "images of this size can be read from a folder or with hfds/..."
            )
        images.append(image)
        labels.append(int(label))
    if len(images) < len(stream):  # timm skips what it cannot decode
        raise DataError(f"{origin}: {len(stream) - len(images)} of {len(stream)} images cannot be read")
    return DecodedImages(images, labels)
