"""Make `images.npz` from the four files of Fashion-MNIST; the same bytes each time.

    python -m sasa_cli.data.fashion_mnist_mini.make IDX_FOLDER

IDX_FOLDER holds train-images-idx3-ubyte.gz and so on, as published at https://github.com/zalandoresearch/fashion-mnist
and packaged by Debian as dataset-fashion-mnist.
"""

import gzip
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED = 2017
IMAGES_PER_CLASS = {"train": 500, "test": 100}
IDX_PREFIX = {"train": "train", "test": "t10k"}
TARGET = Path(__file__).with_name("images.npz")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first moment, in place of the time of writing


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of one gzipped IDX file of unsigned bytes."""
    content = gzip.decompress(path.read_bytes())
    # Header: two zero bytes, 8 for unsigned byte, the number of axes, then each axis as a big-endian int32.
    axes = content[3]
    shape = np.frombuffer(content, ">i4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def choose(labels: NDArray[np.uint8], per_class: int) -> NDArray[np.intp]:
    """Sorted places of `per_class` images of each class, drawn without replacement."""
    draw = np.random.RandomState(SEED)  # NumPy keeps this stream as it is in all later versions
    chosen = [draw.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def write_npz(target: Path, arrays: dict[str, NDArray[np.uint8]]) -> None:
    """Write what `np.load` reads. Not compressed: deflated bytes differ between versions of zlib."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0))


def make(idx_folder: Path, target: Path) -> None:
    """Choose the images and write them to `target`: `{train,test}_images` (N, 28, 28), `{train,test}_labels` (N,)."""
    arrays = {}
    for split, per_class in IMAGES_PER_CLASS.items():
        images = read_idx(idx_folder / f"{IDX_PREFIX[split]}-images-idx3-ubyte.gz")
        labels = read_idx(idx_folder / f"{IDX_PREFIX[split]}-labels-idx1-ubyte.gz")
        chosen = choose(labels, per_class)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[chosen], labels[chosen]
    write_npz(target, arrays)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    make(Path(sys.argv[1]), TARGET)
    print(f"wrote {TARGET}")
