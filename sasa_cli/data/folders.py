"""Images in folders: a class is a folder directly below the split, whatever lies below it."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from timm.utils import natural_key

from sasa_cli.data.files import find_image_folder
from sasa_cli.data.images import FileImages
from sasa_cli.errors import DataError, printable

NEEDS_MORE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats whose pixels Pillow gets from other programs or not at all."""
SHOWN_CLASSES = 10


def read_image_folder(name: str, root: Path, num_classes: int) -> tuple[FileImages, FileImages, tuple[str, ...]]:
    """Train and test images below `root`, and what was left out of them.

    Classes are the folders of train that hold images, in natural order, those that tie in it by their letters; test
    has the same. Hidden files and folders are no images.

    Raises:
        DataError: no images, another number of classes, or other classes in test than in train.
    """
    folders = find_image_folder(name, root)
    train, test = map(_images_by_class, folders)
    classes = sorted(train.found, key=_natural)
    if len(classes) != num_classes:
        raise DataError(
            f"{folders[0].absolute()}: {len(classes)} classes, expected {num_classes}: {_listed(classes)}; "
            f"data.num_classes: {len(classes)} takes these images as they are"
        )
    if unlike := sorted(set(train.found) ^ set(test.found)):
        raise DataError(f"{folders[1].absolute()}: not the classes of {folders[0].name}: {unlike[0]!r} is in one only")
    notes = tuple(note for split in (train, test) if (note := split.note()))
    return train.images(classes), test.images(classes), notes


class _Listing:
    """The files below one split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[str, list[str]] = {}
        """By class, as seen from the folder."""
        self.others: list[str] = []

    def note(self) -> str:
        """What was left out; empty where nothing was."""
        if not self.others:
            return ""
        endings = Counter(Path(name).suffix.lower() or "without an ending" for name in self.others)
        counts = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
        total = sum(map(len, self.found.values())) + len(self.others)
        left_out = f"{len(self.others)} of {total} files are left out, being no images of a class"
        return printable(f"{self.folder.name}: {left_out}: {counts}")

    def images(self, classes: Sequence[str]) -> FileImages:
        labelled = [(name, label) for label, each in enumerate(classes) for name in self.found[each]]
        return FileImages(self.folder, [name for name, _ in labelled], [label for _, label in labelled])


def _images_by_class(folder: Path) -> _Listing:
    endings = image_endings()
    listing = _Listing(folder)
    for name in _files(folder):
        first, below, _ = name.partition(os.sep)
        if below and os.path.splitext(name)[1].lower() in endings:
            listing.found.setdefault(first, []).append(name)
        else:
            listing.others.append(name)
    if not listing.found:
        raise DataError(f"{folder.absolute()}: no images in its folders; allowed are {', '.join(sorted(endings))}")
    for names in listing.found.values():
        names.sort(key=_natural)
    return listing


def _files(folder: Path) -> Iterator[str]:
    """Every file below `folder` that is not hidden, as seen from there; links to folders are followed."""
    for parent, below, files in os.walk(folder, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        inside = os.path.relpath(parent, folder)
        prefix = "" if inside == os.curdir else inside + os.sep
        yield from (prefix + name for name in files if not name.startswith("."))


def image_endings() -> set[str]:
    """Of the files that Pillow reads: `.png`, `.tif`, ..."""
    known = Image.registered_extensions()
    return {ending for ending, kind in known.items() if kind in Image.OPEN and kind not in NEEDS_MORE}


def _natural(name: str) -> tuple[list[str | int], str]:
    """So that 10 comes after 9; names that tie, as `a` and `A` do, by their letters: one order in every process."""
    return natural_key(name), name


def _listed(classes: Sequence[str]) -> str:
    more = f", ... ({len(classes) - SHOWN_CLASSES} more)" if len(classes) > SHOWN_CLASSES else ""
    return ", ".join(classes[:SHOWN_CLASSES]) + more
