"""Image files are told apart by what is in them, and read once for it."""

import hashlib
import os
from pathlib import Path

import pytest

from sasa_cli.data import contents
from sasa_cli.data.contents import content_hashes
from sasa_cli.data.splits import load_splits
from sasa_cli.errors import DataError
from sasa_cli.spec import DataSpec


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sasa"


def fingerprint(folder: Path) -> str:
    spec = DataSpec(name="folder", num_classes=3, image_size=32)
    return load_splits(spec, folder).fingerprint.sha256


def swap(one: Path, other: Path) -> None:
    """Exchange what two files hold; names, sizes and times of change stay, as `touch -r` and `cp -p` leave them."""
    held, times = one.read_bytes(), [(file, file.stat().st_mtime_ns) for file in (one, other)]
    size = max(len(held), other.stat().st_size)
    held, other_held = held.ljust(size, b"\0"), other.read_bytes().ljust(size, b"\0")
    one.write_bytes(other_held)
    other.write_bytes(held)
    for file, time in times:
        os.utime(file, ns=(time, time))


def test_swapped_images_are_seen(image_folder: Path) -> None:
    cat, dog = (image_folder / "train" / name / "3.jpeg" for name in ("cat", "dog"))
    swap(cat, dog)  # from here on both have one size
    before = fingerprint(image_folder)
    swap(cat, dog)
    changed = fingerprint(image_folder)
    assert changed != before
    swap(cat, dog)
    assert fingerprint(image_folder) == before


def test_files_are_read_once(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, read = fingerprint(image_folder), []
    hash_file = contents._hash

    def watched(file: contents._File) -> bytes:
        read.append(Path(os.fsdecode(file.path)))
        return hash_file(file)

    monkeypatch.setattr(contents, "_hash", watched)
    assert fingerprint(image_folder) == before
    assert read == []
    touched = image_folder / "val" / "emu" / "1.jpeg"
    os.utime(touched, ns=(1, 1))
    assert fingerprint(image_folder) == before  # the same content at another time is the same image
    assert read == [touched.absolute()]


def test_hashes_are_those_of_the_content(tmp_path: Path) -> None:
    held = {"b": b"two", "a": b"one", "c": b""}
    for name, content in held.items():
        (tmp_path / name).write_bytes(content)
    for _ in range(2):
        assert content_hashes(tmp_path, list(held)) == [hashlib.sha256(each).digest() for each in held.values()]
    assert content_hashes(tmp_path, []) == []


def test_interrupted_reading_keeps_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(number) for number in range(5)]
    for name in names[:4]:
        (tmp_path / name).write_text(name)
    (tmp_path / "4").symlink_to(tmp_path / "0")
    monkeypatch.setattr(contents, "BATCH", 2)
    read: list[bytes] = []

    def dying(file: contents._File) -> bytes:
        if file.path.endswith(b"4"):
            raise KeyboardInterrupt
        read.append(file.path)
        return b"x" * 32

    monkeypatch.setattr(contents, "_hash", dying)
    with pytest.raises(KeyboardInterrupt):
        content_hashes(tmp_path, names)
    assert content_hashes(tmp_path, names[:4]) == [b"x" * 32] * 4
    assert len(read) == 4


@pytest.mark.parametrize("obstacle", ["a file in its place", "no database"])
def test_without_a_cache_images_are_read_each_time_and_it_is_said(
    obstacle: str, own_cache: Path, image_folder: Path
) -> None:
    before = fingerprint(image_folder)
    if obstacle == "no database":
        (own_cache / "images.sqlite").write_text("no database")
    else:
        (own_cache / "images.sqlite").unlink()
        own_cache.rmdir()
        own_cache.write_text("")
    with pytest.warns(UserWarning, match="images are read again each time"):
        assert fingerprint(image_folder) == before


def test_reading_much_is_announced(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "ANNOUNCED_BYTES", 0)
    with pytest.warns(UserWarning, match=r"reads 0 GiB of images once"):
        fingerprint(image_folder)
    assert fingerprint(image_folder)  # and no warning


def test_a_file_that_vanishes_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: cannot be read: No such file"):
        content_hashes(tmp_path, ["gone"])
