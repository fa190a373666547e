"""What is known of each data set by its name, before any image is read. Imports no torch."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from sasa_cli.data.files import (
    CIFAR_LAYOUTS,
    READER_PACKAGES,
    as_data_error,
    check_built_in,
    check_reader,
    find_cifar,
    find_image_folder,
)
from sasa_cli.errors import SpecError
from sasa_cli.spec import DataSpec

BUILT_IN = "fashion-mnist-mini"
IMAGE_FOLDERS = ("imagenet", "folder")
DEFAULT_ROOT = Path("data")
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class KnownData:
    """What does not need the images: how they are normalised and how many classes there are."""

    mean: Channels = (0.485, 0.456, 0.406)  # of ImageNet, here and below as in timm.data.constants
    """Of red, green and blue in [0, 1]."""
    std: Channels = (0.229, 0.224, 0.225)
    num_classes: int | None = None
    other_num_classes: bool = True
    """Whether data.num_classes may say something else."""


CATALOG = {
    BUILT_IN: KnownData(
        mean=(0.2176,) * 3, std=(0.3309,) * 3, num_classes=10, other_num_classes=False
    ),  # of the train images with their border
    "cifar10": KnownData(
        mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), num_classes=10, other_num_classes=False
    ),
    "cifar100": KnownData(
        mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762), num_classes=100, other_num_classes=False
    ),
    "imagenet": KnownData(num_classes=1000),
    "folder": KnownData(),
}


def known_data(name: str) -> KnownData:
    """What is known of the data set `name`. Raises `SpecError` for a name that means nothing here."""
    prefix, slash, _ = name.partition("/")
    if slash and prefix in READER_PACKAGES:
        return KnownData()
    if name not in CATALOG:
        nearest = difflib.get_close_matches(name, CATALOG, n=1)
        prefixes = ", ".join(f"{prefix}/..." for prefix in READER_PACKAGES)
        raise SpecError(
            f"data.name: {name!r} is unknown{f', did you mean {nearest[0]}?' if nearest else ''}; "
            f"allowed are {', '.join(CATALOG)}, and timm's readers {prefixes}"
        )
    return CATALOG[name]


def number_of_classes(spec: DataSpec) -> int:
    """Classes of the data, from its name or from `data.num_classes`.

    Raises `SpecError` where neither says it or where they contradict each other.
    """
    known = known_data(spec.name)
    if spec.num_classes is None:
        if known.num_classes is None:
            raise SpecError(f"data.num_classes: missing; it has to be given for {spec.name!r}")
        return known.num_classes
    if spec.num_classes != known.num_classes and not known.other_num_classes:
        raise SpecError(
            f"data.num_classes: {spec.num_classes} is wrong for {spec.name}; allowed is {known.num_classes}"
        )
    return spec.num_classes


def given_root(spec: DataSpec, data_dir: Path | None) -> Path | None:
    """Where the user says that the images lie: `data.root` goes before `--data-dir`."""
    return Path(spec.root).expanduser() if spec.root is not None else data_dir


def data_root(spec: DataSpec, data_dir: Path | None) -> Path:
    """Where files are looked for: as given, else `./data`."""
    return given_root(spec, data_dir) or DEFAULT_ROOT


@as_data_error()
def check_available(spec: DataSpec, data_dir: Path | None) -> None:
    """Look quickly, without reading images, whether the data can be loaded here.

    Raises:
        SpecError: the name is unknown.
        DataError: files or the package that reads them are missing, or a size is wrong.
    """
    known_data(spec.name)
    if spec.name == BUILT_IN:
        check_built_in()
    elif spec.name in CIFAR_LAYOUTS:
        find_cifar(spec.name, data_root(spec, data_dir))
    elif spec.name in IMAGE_FOLDERS:
        find_image_folder(spec.name, data_root(spec, data_dir))
    else:
        check_reader(spec.name)
