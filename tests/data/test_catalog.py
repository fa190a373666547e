import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from sasa_cli.data import catalog, files
from sasa_cli.data.catalog import check_available, known_data, number_of_classes
from sasa_cli.data.files import CIFAR_LAYOUTS, as_data_error
from sasa_cli.errors import DataError, SpecError
from sasa_cli.spec import DataSpec


def test_catalog_imports_no_torch() -> None:
    command = "import sys, sasa_cli.data.catalog; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("fashion-mnist-mini", None, 10),
        ("cifar10", 10, 10),
        ("cifar100", None, 100),
        ("imagenet", None, 1000),
        ("imagenet", 10, 10),
        ("folder", 7, 7),
        ("hfds/someone/flowers", 102, 102),
    ],
)
def test_number_of_classes(name: str, given: int | None, expected: int) -> None:
    assert number_of_classes(DataSpec(name=name, num_classes=given)) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DataSpec(name="cifar10", num_classes=12), "12 is wrong for cifar10; allowed is 10"),
        (DataSpec(name="folder"), "data.num_classes: missing; it has to be given for 'folder'"),
        (DataSpec(name="wds/flowers"), "data.num_classes: missing"),
        (DataSpec(name="cifar11"), "'cifar11' is unknown, did you mean cifar10?"),
        (DataSpec(name="ftp/flowers"), r"allowed are fashion-mnist-mini, .* hfds/\.\.\."),
    ],
)
def test_wrong_names_and_classes_are_spec_errors(spec: DataSpec, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        number_of_classes(spec)


def test_default_normalisation_is_that_of_timm() -> None:
    known = known_data("imagenet")
    assert (known.mean, known.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("layout_index", [0, 1], ids=["binary", "pickled"])
def test_cifar_is_found_from_its_folder_and_from_the_one_above(
    cifar_root: Callable[..., Path], name: str, layout_index: int
) -> None:
    root = cifar_root(name, layout_index)
    layout = CIFAR_LAYOUTS[name][layout_index]
    for given in (root, root / layout.folder):
        assert files.find_cifar(name, given) == (root / layout.folder, layout)
        check_available(DataSpec(name=name), given)


def test_missing_cifar_names_all_places_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        check_available(DataSpec(name="cifar10"), tmp_path)
    message = str(caught.value)
    for place in (tmp_path, tmp_path / "cifar-10-batches-bin", tmp_path / "cifar-10-batches-py"):
        assert str(place) in message
    assert "--data-dir" in message
    assert "\n" not in message


def test_root_of_the_spec_goes_before_data_dir_and_both_before_the_default(
    cifar_root: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = cifar_root()
    check_available(DataSpec(name="cifar10", root=str(root)), tmp_path / "nothing")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=str(tmp_path / "data")):
        check_available(DataSpec(name="cifar10"), None)
    root.rename(tmp_path / "data")
    check_available(DataSpec(name="cifar10"), None)


@pytest.mark.parametrize("change", [-1, 5])
def test_cifar_file_of_wrong_size_is_named(cifar_root: Callable[..., Path], change: int) -> None:
    root = cifar_root()
    path = root / "cifar-10-batches-bin" / "data_batch_3.bin"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    size = f"{20 * 3073 + change:,}"
    with pytest.raises(DataError, match=rf"data_batch_3.bin: broken: {size} bytes, expected a multiple of 3,073"):
        check_available(DataSpec(name="cifar10"), root)


@pytest.mark.parametrize("layout_index", [0, 1], ids=["binary", "pickled"])
def test_missing_and_empty_cifar_files_are_named(cifar_root: Callable[..., Path], layout_index: int) -> None:
    root = cifar_root("cifar10", layout_index)
    layout = CIFAR_LAYOUTS["cifar10"][layout_index]
    path = root / layout.folder / layout.train[1]
    path.write_bytes(b"")
    with pytest.raises(DataError, match=f"{path.name}: broken: 0 bytes"):
        check_available(DataSpec(name="cifar10"), root)
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name}: missing; expected beside it are .*{layout.test}"):
        check_available(DataSpec(name="cifar10"), root)


def test_image_folder_is_found_with_either_name_of_its_test_images(image_folder: Path) -> None:
    assert files.find_image_folder("folder", image_folder) == (image_folder / "train", image_folder / "val")
    (image_folder / "val").rename(image_folder / "validation")
    check_available(DataSpec(name="folder", num_classes=3), image_folder)
    image_folder.rename(image_folder.with_name("imagenet"))
    check_available(DataSpec(name="imagenet"), image_folder.parent)


def test_image_folder_without_test_images_is_a_data_error(image_folder: Path) -> None:
    (image_folder / "val").rename(image_folder / "test")
    with pytest.raises(DataError, match=rf"imagenet: no folder with train/.*{image_folder}, {image_folder}/imagenet"):
        check_available(DataSpec(name="imagenet"), image_folder)


def test_reader_without_its_package_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(files.READER_PACKAGES, "wds", "a_package_that_nobody_has")
    with pytest.raises(DataError, match="needs the package a_package_that_nobody_has"):
        check_available(DataSpec(name="wds/flowers", num_classes=5), None)


def test_built_in_data_is_always_there_but_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_available(DataSpec(), None)
    cut = tmp_path / "images.npz"
    cut.write_bytes(files.BUILT_IN_FILE.read_bytes()[:1000])
    monkeypatch.setattr(files, "BUILT_IN_FILE", cut)
    with pytest.raises(DataError, match=r"images.npz: 1,000 bytes, expected 4,710,962; install"):
        catalog.check_available(DataSpec(), None)


def test_what_the_system_refuses_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: .*nothing"), as_data_error():
        (tmp_path / "nothing").read_bytes()
