from pathlib import Path

import numpy as np
import pytest

from sasa_cli.data.catalog import known_data
from sasa_cli.data.fashion_mnist_mini.make import make
from sasa_cli.data.files import BUILT_IN_FILE
from sasa_cli.data.splits import load_splits
from sasa_cli.spec import DataSpec

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FINGERPRINT = "9f46d49dc6240fe6f7d58a884dbf42dcb6e5223866e6c089c18b5d5713a29a63"


def test_each_class_has_the_same_number_of_images() -> None:
    with np.load(BUILT_IN_FILE) as arrays:
        assert np.bincount(arrays["train_labels"]).tolist() == [500] * 10
        assert np.bincount(arrays["test_labels"]).tolist() == [100] * 10
        assert arrays["train_images"].shape == (5000, 28, 28)
        assert arrays["test_images"].shape == (1000, 28, 28)


def test_train_and_test_share_no_image() -> None:
    with np.load(BUILT_IN_FILE) as arrays:
        train, test = ({image.tobytes() for image in arrays[f"{split}_images"]} for split in ("train", "test"))
    assert not train & test


def test_the_licence_is_beside_the_images() -> None:
    text = BUILT_IN_FILE.with_name("LICENSE").read_text(encoding="utf-8")
    assert "MIT License" in text
    assert "2017 Zalando SE" in text


def test_images_and_split_are_those_of_all_published_results() -> None:
    fingerprint = load_splits(DataSpec(), None).fingerprint
    assert fingerprint.sha256 == FINGERPRINT
    assert (fingerprint.train, fingerprint.val, fingerprint.test) == (4500, 500, 1000)


def test_images_take_the_shape_of_cifar() -> None:
    images = load_splits(DataSpec(), None).test
    image, label = images[0]
    pixels = np.asarray(image)
    assert pixels.shape == (32, 32, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert pixels[2:-2, 2:-2].any()
    assert not pixels[:2].any()
    assert not pixels[:, -2:].any()
    assert label == images.labels[0]


def test_normalisation_is_that_of_the_train_images() -> None:
    with np.load(BUILT_IN_FILE) as arrays:
        pixels = np.pad(arrays["train_images"], ((0, 0), (2, 2), (2, 2))) / 255
    known = known_data("fashion-mnist-mini")
    assert known.mean == pytest.approx((pixels.mean(),) * 3, abs=5e-5)
    assert known.std == pytest.approx((pixels.std(),) * 3, abs=5e-5)


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_make_writes_the_same_file_again(tmp_path: Path) -> None:
    make(DEBIAN_FOLDER, tmp_path / "images.npz")
    assert (tmp_path / "images.npz").read_bytes() == BUILT_IN_FILE.read_bytes()
