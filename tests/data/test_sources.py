import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from timm.data.dataset import IterableImageDataset

from sasa_cli.data import sources
from sasa_cli.data.augmentation import eval_batches
from sasa_cli.data.files import CIFAR_LAYOUTS, READER_PACKAGES
from sasa_cli.data.images import ArrayImages, DecodedImages, FileImages, ReaderImages
from sasa_cli.data.sources import read_source
from sasa_cli.data.splits import load_splits
from sasa_cli.errors import DataError
from sasa_cli.spec import DataSpec


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 8), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_both_layouts_of_cifar_give_the_same_data(cifar_root: Callable[..., Path], name: str) -> None:
    binary, pickled = (load_splits(DataSpec(name=name), cifar_root(name, layout)) for layout in (0, 1))
    assert binary.fingerprint == pickled.fingerprint
    assert np.array_equal(binary.train.labels, pickled.train.labels)


def test_cifar_pixels_and_fine_labels_are_those_of_the_files(cifar_root: Callable[..., Path]) -> None:
    root = cifar_root("cifar100")
    record = (root / "cifar-100-binary" / "test.bin").read_bytes()[3074 * 7 : 3074 * 8]
    _train, test, _notes = read_source(DataSpec(name="cifar100"), root)
    image, label = test[7]
    assert label == record[1] == 7
    assert image.getpixel((3, 2)) == (record[2 + 67], record[2 + 1024 + 67], record[2 + 2048 + 67])


def test_cifar_shorter_than_published_is_noted(cifar_root: Callable[..., Path]) -> None:
    notes = load_splits(DataSpec(name="cifar10"), cifar_root()).fingerprint.notes
    assert notes == (
        "cifar10: 100 train images here, 50,000 as published",
        "cifar10: 20 test images here, 10,000 as published",
    )


def test_wrong_label_in_a_cifar_file_is_named(cifar_root: Callable[..., Path]) -> None:
    root = cifar_root()
    path = root / "cifar-10-batches-bin" / "data_batch_2.bin"
    content = bytearray(path.read_bytes())
    content[3073 * 4] = 10
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_2.bin: broken: image 4 has label 10, expected 0 to 9"):
        read_source(DataSpec(name="cifar10"), root)


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1 / 0",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not a pickle", "invalid load key"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}, protocol=2), "KeyError: 'labels'"),
        (pickle.dumps({"data": np.zeros((2, 3000), np.uint8), "labels": [1, 2]}, protocol=2), "cannot reshape"),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, protocol=2),
            "2 images with 1 labels",
        ),
        (pickle.dumps(Attack(), protocol=2), "__builtin__.eval does not belong into CIFAR"),
    ],
)
def test_broken_pickle_is_named_and_runs_nothing(cifar_root: Callable[..., Path], content: bytes, reason: str) -> None:
    root = cifar_root("cifar10", 1)
    (root / "cifar-10-batches-py" / "data_batch_5").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_5: broken: .*{reason}") as caught:
        read_source(DataSpec(name="cifar10"), root)
    assert "\n" not in str(caught.value)


def test_truncated_pickle_is_a_data_error(cifar_root: Callable[..., Path]) -> None:
    root = cifar_root("cifar10", 1)
    path = root / "cifar-10-batches-py" / CIFAR_LAYOUTS["cifar10"][1].test
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="test_batch: broken"):
        read_source(DataSpec(name="cifar10"), root)


def test_image_folder_has_its_classes_in_order_of_name(image_folder: Path) -> None:
    train, test, notes = read_source(DataSpec(name="folder", num_classes=3), image_folder)
    assert isinstance(train, FileImages)
    assert train.names[0] == "cat/0.jpeg"
    assert np.bincount(train.labels).tolist() == [12, 12, 12]
    assert np.bincount(test.labels).tolist() == [4, 4, 4]
    assert {train[index][0].mode for index in range(len(train))} == {"RGB"}
    assert notes == ()


def test_image_folder_with_other_classes_than_said(image_folder: Path) -> None:
    with pytest.raises(DataError, match=r"train: 3 classes, expected 1000: cat, dog, emu; data.num_classes: 3 takes"):
        read_source(DataSpec(name="imagenet"), image_folder)
    (image_folder / "val" / "emu").rename(image_folder / "val" / "fox")
    with pytest.raises(DataError, match="val: not the classes of train: 'emu' is in one only"):
        read_source(DataSpec(name="folder", num_classes=3), image_folder)


def test_image_folder_without_images(image_folder: Path) -> None:
    for path in (image_folder / "train").rglob("*.jpeg"):
        path.unlink()
    with pytest.raises(DataError, match="train: no images"):
        read_source(DataSpec(name="folder", num_classes=3), image_folder)


def test_image_folder_is_known_by_names_and_contents_wherever_it_lies(image_folder: Path) -> None:
    spec = DataSpec(name="folder", num_classes=3)
    before = load_splits(spec, image_folder).fingerprint
    moved = image_folder.rename(image_folder.with_name("elsewhere"))
    assert load_splits(spec, moved).fingerprint == before
    with (moved / "val" / "cat" / "1.jpeg").open("ab") as file:
        file.write(b"\0")
    assert load_splits(spec, moved).fingerprint != before


@pytest.mark.parametrize("keep", [0, 3, 200])
def test_broken_image_file_is_named(image_folder: Path, keep: int) -> None:
    path = image_folder / "train" / "dog" / "5.jpeg"
    path.write_bytes(path.read_bytes()[:keep])
    train, _test, _notes = read_source(DataSpec(name="folder", num_classes=3), image_folder)
    assert isinstance(train, FileImages)
    with pytest.raises(DataError, match=r"train/dog/5.jpeg: cannot be read as an image"):
        train.image(train.names.index("dog/5.jpeg"))


class Reader:
    """What is used of a random-access reader of timm."""

    def __init__(self, content: list[bytes], labels: list[int]) -> None:
        self.content, self.labels = content, labels

    def __getitem__(self, index: int) -> tuple[io.BytesIO, int]:
        return io.BytesIO(self.content[index]), self.labels[index]

    def iter_targets(self) -> list[int]:
        return self.labels


class Stream(IterableImageDataset):
    """What is used of a reader without random access."""

    def __init__(self, shades: list[int], count: int) -> None:
        self.shades, self.count = shades, count

    def __iter__(self) -> Any:
        return ((Image.new("RGB", (10, 8), (shade, 0, 0)), shade % 2) for shade in self.shades)

    def __len__(self) -> int:
        return self.count


@pytest.fixture
def timm_gives(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let `create_dataset` return this, or raise it, for a name with any prefix."""
    for prefix in READER_PACKAGES:
        monkeypatch.setitem(READER_PACKAGES, prefix, "timm")

    def give(data: Any) -> None:
        def create_dataset(_name: str, **_keywords: Any) -> Any:
            if isinstance(data, Exception):
                raise data
            return data

        monkeypatch.setattr(sources, "create_dataset", create_dataset)

    return give


def with_reader(content: list[bytes], labels: list[int]) -> Any:
    data = type("ImageDataset", (), {})()
    data.reader = Reader(content, labels)
    return data


def test_reader_of_timm_keeps_images_and_labels_together(timm_gives: Callable[[Any], None]) -> None:
    timm_gives(with_reader([png(shade) for shade in range(40)], [shade % 2 for shade in range(40)]))
    splits = load_splits(DataSpec(name="hfds/shades", num_classes=2), None)
    assert isinstance(splits.val, ReaderImages)
    assert len(splits.val) == 4
    for image, label in (splits.val[index] for index in range(4)):
        shade = image.getpixel((0, 0))
        assert isinstance(shade, tuple)
        assert shade[0] % 2 == label


def test_broken_image_of_a_reader_is_named(timm_gives: Callable[[Any], None]) -> None:
    timm_gives(with_reader([png(0), b"nothing"], [0, 1]))
    train, _test, _notes = read_source(DataSpec(name="hfds/shades", num_classes=2), None)
    with pytest.raises(DataError, match="hfds/shades, split train: image 1 cannot be read"):
        train.image(1)


def test_stream_is_read_into_memory(timm_gives: Callable[[Any], None]) -> None:
    timm_gives(Stream(list(range(20)), count=20))
    train, _test, _notes = read_source(DataSpec(name="wds/shades", num_classes=2), None)
    assert isinstance(train, DecodedImages)
    assert [train.image(index).getpixel((0, 0)) for index in (0, 19)] == [(0, 0, 0), (19, 0, 0)]
    assert train.labels.tolist() == [0, 1] * 10


def test_stream_that_skips_images_is_a_data_error(timm_gives: Callable[[Any], None]) -> None:
    timm_gives(Stream(list(range(19)), count=20))
    with pytest.raises(DataError, match="split train: 1 of 20 images cannot be read"):
        read_source(DataSpec(name="wds/shades", num_classes=2), None)


def test_stream_larger_than_memory_is_refused(
    timm_gives: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "STREAM_LIMIT_GIB", 10 * 8 * 3 * 5 / 2**30)
    timm_gives(Stream(list(range(6)), count=6))
    with pytest.raises(DataError, match="a stream is held in memory"):
        read_source(DataSpec(name="tfds/shades", num_classes=2), None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_reader([], []), "labels none, expected 0 to 1"),
        (with_reader([png(0)] * 2, [0, 2]), "labels 0 to 2, expected 0 to 1"),
        (with_reader([png(0)] * 2, [-1, 0]), "labels -1 to 0, expected 0 to 1"),
        (ConnectionError("no network\nat all"), "cannot be read: ConnectionError: no network$"),
        (AssertionError(), "cannot be read: AssertionError: $"),
    ],
    ids=["no-labels", "label-too-high", "label-negative", "no-network", "assertion"],
)
def test_what_a_reader_cannot_give_is_a_data_error(timm_gives: Callable[[Any], None], data: Any, message: str) -> None:
    timm_gives(data)
    with pytest.raises(DataError, match=f"hfds/shades, split train: {message}"):
        read_source(DataSpec(name="hfds/shades", num_classes=2), None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_webdataset_through_timm(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    splits = {}
    for split, count in (("train", 20), ("validation", 6)):
        shard = tmp_path / f"{split}.tar"
        with tarfile.open(shard, "w") as archive:
            for index in range(count):
                for suffix, content in (("png", png(index)), ("cls", str(index % 2).encode())):
                    member = tarfile.TarInfo(f"{index:03d}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        splits[split] = {
            "name": split, "num_samples": count, "filenames": [shard.name], "shard_lengths": [count]
        }  # fmt: skip
    (tmp_path / "_info.json").write_text(json.dumps({"splits": splits}))
    loaded = load_splits(DataSpec(name="wds/shades", num_classes=2), tmp_path)
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (18, 2, 6)
    assert loaded.test.image(5).getpixel((0, 0)) == (5, 0, 0)


def test_hugging_face_data_through_timm(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    for split, count in (("train", 20), ("validation", 6)):
        rows = {
            "image": [{"bytes": png(index), "path": None} for index in range(count)],
            "label": [index % 2 for index in range(count)],
        }
        file = tmp_path / "shades" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(file)
    spec = DataSpec(name=f"hfds/{tmp_path / 'shades'}", num_classes=2)
    loaded = load_splits(spec, tmp_path / "cache")
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (18, 2, 6)
    assert loaded.test.image(5).getpixel((0, 0)) == (5, 0, 0)


def test_real_cifar10(real_data_dir: Path) -> None:
    splits = load_splits(DataSpec(name="cifar10"), real_data_dir)
    assert isinstance(splits.train, ArrayImages)
    assert np.bincount(splits.train.labels).tolist() == [4500] * 10
    assert np.bincount(splits.val.labels).tolist() == [500] * 10
    pixels = splits.train.pixels[::9] / 255
    assert pixels.mean((0, 2, 3)) == pytest.approx(splits.mean, abs=0.004)
    assert pixels.std((0, 2, 3)) == pytest.approx(splits.std, abs=0.004)
    assert len(splits.test) == 10_000 or splits.fingerprint.notes


def test_real_imagenette(real_data_dir: Path) -> None:
    spec = DataSpec(name="imagenet", num_classes=10, image_size=224)
    splits = load_splits(spec, real_data_dir / "imagenette-224-mini")
    assert np.bincount(splits.train.labels).tolist() == [90] * 10
    assert np.bincount(splits.val.labels).tolist() == [10] * 10
    assert np.bincount(splits.test.labels).tolist() == [50] * 10
    assert splits.test.image(499).size == (224, 224)


def write_image(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)


def grey(shade: int) -> Any:
    return np.full((8, 8), shade, np.uint8)


def test_a_class_is_the_first_folder_below_the_split(tmp_path: Path) -> None:
    """timm takes the last: cats of 2023 and 2024 were two classes, and so were those years of dogs."""
    for split in ("train", "val"):
        for animal, shade in (("cat", 10), ("dog", 200)):
            for year in ("2023", "2024"):
                write_image(tmp_path / split / animal / year / "1.png", grey(shade))
    train, test, _notes = read_source(DataSpec(name="folder", num_classes=2), tmp_path)
    for images in (train, test):
        shades = [(np.asarray(images[index][0]).max(), images[index][1]) for index in range(len(images))]
        assert shades == [(10, 0), (10, 0), (200, 1), (200, 1)]


@pytest.mark.parametrize("hash_seed", ["0", "1", "2"])
def test_classes_that_tie_in_natural_order_have_one_order(tmp_path: Path, hash_seed: str) -> None:
    for split, names in (("train", "aAbB"), ("val", "BbAa")):
        for name in names:
            write_image(tmp_path / split / name / "1.png", grey(ord(name)))
    code = (
        "import sys; from pathlib import Path; from sasa_cli.data.sources import read_source; "
        "from sasa_cli.spec import DataSpec; "
        "found = read_source(DataSpec(name='folder', num_classes=4), Path(sys.argv[1])); "
        "print([list(each.names) for each in found[:2]])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    names = ["A/1.png", "a/1.png", "B/1.png", "b/1.png"]
    assert told.stdout.strip() == str([names, names])


def test_sixteen_bits_of_grey_are_scaled(tmp_path: Path) -> None:
    """Clipped to 255, all of it would be white."""
    for split in ("train", "val"):
        write_image(tmp_path / split / "x" / "1.png", np.array([[0, 257, 32768, 65535]] * 2, np.uint16))
        write_image(tmp_path / split / "y" / "1.png", grey(1))
    train, _test, _notes = read_source(DataSpec(name="folder", num_classes=2), tmp_path)
    assert np.asarray(train[0][0])[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_numbers_without_a_range_are_refused_by_name(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_image(tmp_path / split / "x" / "1.tiff", np.full((4, 4), 0.5, np.float32))
        write_image(tmp_path / split / "y" / "1.png", grey(1))
    train, _test, _notes = read_source(DataSpec(name="folder", num_classes=2), tmp_path)
    with pytest.raises(DataError, match=r"x/1\.tiff: cannot be read as an image: .*numbers without a range \(mode F\)"):
        train.image(0)


def test_what_pillow_reads_is_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for ending in ("png", "bmp", "webp", "tif", "jp2"):
            write_image(tmp_path / split / "x" / f"1.{ending}", grey(1))
        write_image(tmp_path / split / "y" / "1.png", grey(1))
        for other in (
            "x/notes.txt",
            "x/more.txt",
            "x/label",
            "loose.png",
            ".hidden/1.png",
            "x/.ipynb_checkpoints/1.png",
        ):
            (tmp_path / split / other).parent.mkdir(exist_ok=True)
            (tmp_path / split / other).write_bytes(png(3))
    train, _test, notes = read_source(DataSpec(name="folder", num_classes=2), tmp_path)
    assert len(train) == 6
    says = "4 of 10 files are left out, being no images of a class: 1 .png, 2 .txt, 1 without an ending"
    assert notes == (f"train: {says}", f"val: {says}")


def test_a_wrong_number_of_classes_names_those_that_were_found(image_folder: Path) -> None:
    with pytest.raises(DataError, match="train: 3 classes, expected 4: cat, dog, emu; "):
        read_source(DataSpec(name="folder", num_classes=4), image_folder)


def test_small_images_in_files_are_evaluated_whole(tmp_path: Path) -> None:
    """As they are trained on: a centre crop of 0.875 would zoom in."""
    pixels = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    for split in ("train", "val"):
        write_image(tmp_path / split / "x" / "1.png", pixels)
        write_image(tmp_path / split / "y" / "1.png", grey(1))
    train, _test, _notes = read_source(DataSpec(name="folder", num_classes=2), tmp_path)
    (shown,) = eval_batches(train, 32)(np.array([0]), 0)
    assert np.array_equal(shown.numpy().transpose(1, 2, 0), pixels)
