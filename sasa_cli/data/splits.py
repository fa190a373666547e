"""Train, val and test. Val is held out of train, the same images for every run, so that runs are paired."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sasa_cli.data.catalog import Channels, known_data, number_of_classes
from sasa_cli.data.files import as_data_error
from sasa_cli.data.images import Images, Indices
from sasa_cli.data.sources import read_source
from sasa_cli.errors import SpecError
from sasa_cli.runs.record import DataFingerprint
from sasa_cli.spec import DataSpec

SPLIT_SEED = 20190613  # the day of the paper; changing it changes every result


@dataclass(frozen=True)
class Splits:
    """The images of a run and what is known of them."""

    train: Images
    val: Images
    test: Images
    num_classes: int
    mean: Channels
    std: Channels
    fingerprint: DataFingerprint


@as_data_error()
def load_splits(spec: DataSpec, data_dir: Path | None) -> Splits:
    """Read the images of `spec` and split val off train.

    The test images are what the source calls test, or validation where its test labels are not public (ImageNet).
    `data.root` goes before `data_dir`; without both, images are looked for in `./data`.

    Raises:
        SpecError: unknown name, number of classes unknown or contradicted, or a split left without images.
        DataError: images missing or broken.
    """
    full, test, notes = read_source(spec, data_dir)
    train_indices, val_indices = split_indices(full.labels, spec.val_fraction, spec.train_images)
    digest = hashlib.sha256()
    for images in (full, test):
        images.update(digest)
    for indices in (train_indices, val_indices):
        digest.update(indices.tobytes())
    num_classes = number_of_classes(spec)
    known = known_data(spec.name)
    return Splits(
        train=full.subset(train_indices),
        val=full.subset(val_indices),
        test=test,
        num_classes=num_classes,
        mean=known.mean,
        std=known.std,
        fingerprint=DataFingerprint(
            name=spec.name,
            sha256=digest.hexdigest(),
            train=len(train_indices),
            val=len(val_indices),
            test=len(test),
            classes=num_classes,
            mean=known.mean,
            std=known.std,
            notes=notes,
        ),
    )


def split_indices(labels: NDArray[np.int64], val_fraction: float, train_images: int | None) -> tuple[Indices, Indices]:
    """Sorted places of the train and of the val images, every class with its share of each.

    Args:
        labels: Classes of all images that there are to train on, (N,).
        val_fraction: Share of the N images that becomes val.
        train_images: How many of the others become train; None: all of them.

    Raises:
        SpecError: there are not as many images.
    """
    val_count = round(val_fraction * len(labels))
    rest = len(labels) - val_count
    train_count = rest if train_images is None else train_images
    if val_count == 0 or rest == 0:
        raise SpecError(
            f"data.val_fraction: {val_fraction:g} of {len(labels)} images leaves {val_count} val and {rest} train"
        )
    if train_count > rest:
        raise SpecError(f"data.train_images: {train_count} is too many; allowed are up to {rest}, without val")

    # NumPy keeps the stream of RandomState as it is in all later versions.
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    class_counts = np.bincount(labels)
    val_counts = apportion(val_count, class_counts)
    train_counts = apportion(train_count, class_counts - val_counts)
    train, val = [], []
    for members, n_val, n_train in zip(
        np.split(by_class, np.cumsum(class_counts)[:-1]), val_counts, train_counts, strict=True
    ):
        val.append(members[:n_val])
        train.append(members[n_val : n_val + n_train])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(val))


def apportion(total: int, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Share out `total` in proportion to `counts`, each share within 1 of exact (largest remainders)."""
    shares, remainders = np.divmod(total * counts, counts.sum())
    largest = np.argsort(-remainders, kind="stable")
    shares[largest[: total - shares.sum()]] += 1
    return shares
