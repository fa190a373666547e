"""Where the files of each data set lie, and whether they are all there. Looks at names and sizes only."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sasa_cli.errors import DataError

BUILT_IN_FILE = Path(__file__).parent / "fashion_mnist_mini" / "images.npz"
BUILT_IN_BYTES = 4_710_962
IMAGE_BYTES = 3 * 32 * 32
TEST_FOLDERS = ("val", "validation")
READER_PACKAGES = {
    "hfds": "datasets",
    "hfids": "datasets",
    "tfds": "tensorflow_datasets",
    "wds": "webdataset",
}


@dataclass(frozen=True)
class CifarLayout:
    """One of the two ways in which CIFAR is published."""

    folder: str
    train: tuple[str, ...]
    test: str
    label_bytes: int = 0
    """Bytes before the pixels of each binary record, the last of them the class; 0: the files are pickled."""
    label_key: str = ""
    """Where a pickled file keeps its classes."""

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test)

    @property
    def record_bytes(self) -> int:
        return self.label_bytes + IMAGE_BYTES


CIFAR_LAYOUTS = {
    "cifar10": (
        CifarLayout(
            folder="cifar-10-batches-bin",
            train=tuple(f"data_batch_{batch}.bin" for batch in range(1, 6)),
            test="test_batch.bin",
            label_bytes=1,
        ),
        CifarLayout(
            folder="cifar-10-batches-py",
            train=tuple(f"data_batch_{batch}" for batch in range(1, 6)),
            test="test_batch",
            label_key="labels",
        ),
    ),
    "cifar100": (
        CifarLayout(folder="cifar-100-binary", train=("train.bin",), test="test.bin", label_bytes=2),
        CifarLayout(folder="cifar-100-python", train=("train",), test="test", label_key="fine_labels"),
    ),
}


@contextmanager
def as_data_error() -> Iterator[None]:
    """Turn what the system says about a file (no permission, disk gone) into a `DataError`; also a decorator."""
    try:
        yield
    except OSError as error:
        raise DataError(f"images cannot be read: {error}") from error


def check_built_in() -> None:
    """Raises `DataError` where the package was installed without its images, or with a part of them."""
    size = BUILT_IN_FILE.stat().st_size if BUILT_IN_FILE.is_file() else 0
    if size != BUILT_IN_BYTES:
        raise DataError(f"{BUILT_IN_FILE}: {size:,} bytes, expected {BUILT_IN_BYTES:,}; install sasa-cli again")


def find_cifar(name: str, root: Path) -> tuple[Path, CifarLayout]:
    """The folder and layout of `cifar10` or `cifar100`, complete and of plausible size.

    `root` is that folder or the one above it. Raises `DataError`, which tells every place looked at.
    """
    layouts = CIFAR_LAYOUTS[name]
    places = [(folder, layout) for layout in layouts for folder in (root / layout.folder, root)]
    for folder, layout in places:
        if any((folder / file).is_file() for file in layout.files):
            for file in layout.files:
                _check_cifar_file(folder / file, layout)
            return folder, layout
    looked = ", ".join(dict.fromkeys(str(folder.absolute()) for folder, _ in places))
    raise DataError(
        f"{name}: no {' or '.join(layout.folder for layout in layouts)} found; looked in {looked}; unpack the "
        "archive of https://www.cs.toronto.edu/~kriz/cifar.html and give its folder as --data-dir or data.root"
    )


def _check_cifar_file(path: Path, layout: CifarLayout) -> None:
    if not path.is_file():
        raise DataError(f"{path.absolute()}: missing; expected beside it are {', '.join(layout.files)}: unpack again")
    size = path.stat().st_size
    if size == 0 or (layout.label_bytes and size % layout.record_bytes):
        expected = f"a multiple of {layout.record_bytes:,}" if layout.label_bytes else "more"
        raise DataError(
            f"{path.absolute()}: broken: {size:,} bytes, expected {expected}; unpack it again from the archive"
        )


def find_image_folder(name: str, root: Path) -> tuple[Path, Path]:
    """The folders of train and test images below `root` or `root/name`: `train`, and `val` or `validation`.

    Raises `DataError`, which tells every place looked at.
    """
    places = (root, root / name)
    for place in places:
        for test in TEST_FOLDERS:
            if _has_subfolders(place / "train") and _has_subfolders(place / test):
                return place / "train", place / test
    raise DataError(
        f"{name}: no folder with train/<class>/ and val/<class>/ (or validation/<class>/) found; looked in "
        f"{', '.join(str(place.absolute()) for place in places)}; give its path as --data-dir or data.root"
    )


def _has_subfolders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir())


def check_reader(name: str) -> None:
    """Raises `DataError` where the package that a reader of timm needs, by its prefix, is not installed."""
    package = READER_PACKAGES[name.partition("/")[0]]
    if importlib.util.find_spec(package) is None:
        raise DataError(f"{name}: needs the package {package}, which is not installed; pip install {package}")
