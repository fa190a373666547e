import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sasa_cli.data import augmentation
from sasa_cli.data.images import ArrayImages
from sasa_cli.data.loaders import EpochOrder, Loader, Place, eval_loader, train_loader
from sasa_cli.data.splits import Splits, load_splits
from sasa_cli.errors import DataError
from sasa_cli.spec import DataSpec, Recipe

HERE = Place(torch.device("cpu"))
AUGMENTATIONS = ["none", "crop-flip", "resized-crop", "randaugment"]


@pytest.fixture(scope="module")
def small() -> Splits:
    """100 train, 50 val and 30 test images of 32 x 32 in memory."""
    splits = load_splits(DataSpec(val_fraction=0.01, train_images=100), None)
    return dataclasses.replace(splits, test=splits.test.subset(np.arange(30)))


@pytest.fixture
def photos(image_folder: Path) -> Splits:
    """27 train images in files of several sizes."""
    return load_splits(DataSpec(name="folder", num_classes=3, val_fraction=0.25), image_folder)


def train(splits: Splits, *, seed: int = 0, image_size: int = 32, **recipe: Any) -> Loader:
    settings = Recipe(**{"batch_size": 16} | recipe)
    return train_loader(splits, settings, image_size=image_size, seed=seed, place=HERE)


def epoch(loader: Loader, number: int) -> list[tuple[Tensor, Tensor]]:
    loader.set_epoch(number)
    return list(loader)


def same(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


def test_batches_are_normalised_float_images_and_integer_labels(small: Splits) -> None:
    images, labels = next(iter(eval_loader(small, "val", Recipe(), image_size=32, place=HERE)))
    assert images.shape == (50, 3, 32, 32)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert isinstance(small.val, ArrayImages)
    expected = (small.val.pixels[7, 1, 10] / 255 - small.mean[1]) / small.std[1]
    assert images[7, 1, 10].numpy() == pytest.approx(expected, abs=1e-5)
    assert labels.tolist() == small.val.labels.tolist()


@pytest.mark.parametrize(("split", "count"), [("val", 50), ("test", 30)])
def test_evaluation_sees_every_image_once_in_order(small: Splits, split: Any, count: int) -> None:
    loader = eval_loader(small, split, Recipe(batch_size=16), image_size=32, place=HERE)
    labels = torch.cat([labels for _images, labels in loader])
    assert labels.tolist() == getattr(small, split).labels.tolist()
    assert len(labels) == count
    assert len(list(loader)) == len(loader)


def test_training_sees_each_image_at_most_once_in_full_batches(small: Splits) -> None:
    order = EpochOrder(100, 16, seed=0)
    keys = list(order)
    assert [len(key.indices) for key in keys] == [16] * 6
    assert len(order) == 6
    assert len({index for key in keys for index in key.indices}) == 96


def test_less_than_a_batch_is_still_trained_on() -> None:
    order = EpochOrder(10, 16, seed=0)
    assert len(order) == 1
    assert sorted(next(iter(order)).indices) == list(range(10))


@pytest.mark.parametrize("augmentation_name", AUGMENTATIONS)
def test_an_epoch_depends_on_seed_and_number_alone(small: Splits, augmentation_name: str) -> None:
    undisturbed, resumed = (train(small, augmentation=augmentation_name) for _ in range(2))
    history = [epoch(undisturbed, number) for number in range(3)]
    assert same(epoch(resumed, 2), history[2])
    assert same(epoch(resumed, 2), history[2])
    assert not same(history[1], history[2])
    assert not same(epoch(train(small, augmentation=augmentation_name, seed=1), 2), history[2])


def test_loader_processes_change_nothing(photos: Splits) -> None:
    alone, workers = (train(photos, augmentation="randaugment", workers=count, batch_size=8) for count in (0, 2))
    for number in (0, 1):
        assert same(epoch(alone, number), epoch(workers, number))


@pytest.mark.parametrize("augmentation_name", ["crop-flip", "randaugment"])
def test_loading_does_not_touch_the_generators_of_the_model(small: Splits, augmentation_name: str) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    expected = (torch.rand(1).item(), np.random.rand())
    torch.manual_seed(3)
    np.random.seed(3)
    epoch(train(small, augmentation=augmentation_name), 0)
    assert (torch.rand(1).item(), np.random.rand()) == expected


def test_each_image_has_its_own_legal_crop_and_flip() -> None:
    image = torch.arange(3 * 32 * 32).reshape(3, 32, 32).to(torch.uint8)
    padded = torch.zeros(3, 40, 40, dtype=torch.uint8)
    padded[:, 4:36, 4:36] = image
    legal: dict[bytes, tuple[int, int, bool]] = {}
    for top in range(9):
        for left in range(9):
            crop = padded[:, top : top + 32, left : left + 32]
            legal[crop.numpy().tobytes()] = (top, left, False)
            legal[crop.flip(-1).numpy().tobytes()] = (top, left, True)
    batch = augmentation.random_crop_flip(image.expand(2000, 3, 32, 32), torch.Generator().manual_seed(0))
    seen = [legal[item.numpy().tobytes()] for item in batch]
    assert len(set(seen)) == len(legal) == 162
    assert 900 < sum(flip for _top, _left, flip in seen) < 1100


@pytest.mark.parametrize("augmentation_name", AUGMENTATIONS[1:])
def test_equal_images_are_augmented_apart(small: Splits, augmentation_name: str) -> None:
    copies = small.train.subset(np.zeros(16, np.intp))
    images, _labels = epoch(train(dataclasses.replace(small, train=copies), augmentation=augmentation_name), 0)[0]
    assert len({image.numpy().tobytes() for image in images}) > 8


def test_fast_and_slow_paths_agree_where_nothing_is_random(small: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    def both() -> Iterator[list[tuple[Tensor, Tensor]]]:
        yield epoch(train(small, augmentation="none"), 0)
        yield list(eval_loader(small, "test", Recipe(), image_size=32, place=HERE))

    fast = list(both())
    monkeypatch.setattr(augmentation, "_fits", lambda _images, _size: False)
    assert all(same(left, right) for left, right in zip(fast, both(), strict=True))


@pytest.mark.parametrize("augmentation_name", AUGMENTATIONS)
@pytest.mark.parametrize("image_size", [24, 48])
def test_images_are_brought_to_the_size_asked_for(
    small: Splits, photos: Splits, augmentation_name: str, image_size: int
) -> None:
    for splits in (small, photos):
        loader = train(splits, augmentation=augmentation_name, image_size=image_size, batch_size=27)
        images, _labels = next(iter(loader))
        assert images.shape == (27, 3, image_size, image_size)
        images, _labels = next(iter(eval_loader(splits, "test", Recipe(), image_size=image_size, place=HERE)))
        assert images.shape[2:] == (image_size, image_size)


def test_randaugment_draws_its_strongest_operations_too() -> None:
    """At the limit of timm's magnitudes, reached by 2 of 100 draws, posterize would keep no bit."""
    pixels = np.random.default_rng(0).integers(256, size=(1, 3, 8, 8), dtype=np.uint8)
    make = augmentation.train_batches(ArrayImages(pixels, [0]), "randaugment", 8)
    assert make(np.zeros(3000, np.intp), 0).shape == (3000, 3, 8, 8)


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_image_ends_the_epoch_with_one_line(image_folder: Path, photos: Splits, workers: int) -> None:
    path = image_folder / "train" / "dog" / "5.jpeg"
    path.write_bytes(path.read_bytes()[:300])
    loaders = [
        train(photos, workers=workers, batch_size=27),
        eval_loader(photos, "val", Recipe(workers=workers), image_size=32, place=HERE),
    ]
    messages = []
    for loader in loaders:
        try:
            list(loader)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) == 1
    assert messages[0].startswith(f"{path}: cannot be read as an image: ")
    assert "\n" not in messages[0]


def test_real_photos_are_loaded_at_224(real_data_dir: Path) -> None:
    spec = DataSpec(name="imagenet", num_classes=10, image_size=224, train_images=20)
    splits = load_splits(spec, real_data_dir / "imagenette-224-mini")
    for name in AUGMENTATIONS:
        images, labels = epoch(train(splits, augmentation=name, image_size=224, batch_size=20), 0)[0]
        assert images.shape == (20, 3, 224, 224)
        assert torch.bincount(labels).tolist() == [2] * 10
        assert abs(images.mean()) < 1
