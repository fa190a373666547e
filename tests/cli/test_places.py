"""Folders with long names, and with names that are no Unicode."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sasa_cli.runs import sockets
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import read_record

TINY = """
name: tiny
model: {layers: [1, 1, 1, 1], width: 0.125, stages: CCCA, small_input: false, attention: {heads: 2, spatial_extent: 3}}
data: {name: folder, num_classes: 2, image_size: 32}
recipe: {epochs: 1, batch_size: 8, workers: 1}
seeds: [0]
"""


@pytest.fixture
def images(tmp_path: Path) -> bytes:
    """Two classes; the names of one, and of one of its images, are Latin-1."""
    folder = os.fsencode(tmp_path / "images")
    rng = np.random.default_rng(0)
    for split in (b"train", b"val"):
        for name in (b"caf\xe9", b"tea"):
            os.makedirs(folder + b"/" + split + b"/" + name)
            for index in (b"0", b"1", b"2\xff", b"3", b"4", b"5", b"6", b"7", b"8", b"9"):
                image = Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8))
                image.save(os.fsdecode(folder + b"/" + split + b"/" + name + b"/" + index + b".png"))
    return folder


@pytest.fixture
def experiment(tmp_path: Path) -> bytes:
    file = os.fsencode(tmp_path) + b"/t\xefny.yaml"
    Path(os.fsdecode(file)).write_text(TINY)
    return file


def sasa(*arguments: bytes | str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"sasa_cli", *map(os.fsencode, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | environment,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_names_that_are_no_unicode_and_a_tmpdir_of_98_letters(
    command: str, experiment: bytes, images: bytes, tmp_path: Path
) -> None:
    temporary = tmp_path / "t"
    temporary = temporary.with_name("t" * max(1, 98 - len(str(tmp_path)) - 1))
    temporary.mkdir()
    assert len(str(temporary)) >= 98
    out = os.fsencode(tmp_path) + b"/r\xe9sults"
    result = sasa(command, experiment, "--data-dir", images, "--out", out, TMPDIR=str(temporary))
    assert result.returncode == 0, result.stderr
    assert "done" in result.stdout
    assert not list(temporary.glob("pymp-*"))
    assert sasa("report", out + b"/tiny").returncode == 0
    assert "done" in sasa("sweep", experiment, "--out", out, "--status").stdout


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_broken_image_whose_name_is_no_unicode_is_named(
    command: str, experiment: bytes, images: bytes, tmp_path: Path
) -> None:
    broken = images + b"/train/caf\xe9/2\xff.png"
    Path(os.fsdecode(broken)).write_bytes(b"no image")
    out = tmp_path / "results"
    result = sasa(command, experiment, "--data-dir", images, "--out", str(out))
    assert result.returncode in (3, 4)
    assert "Traceback" not in result.stderr
    assert "cannot be read as an image" in result.stderr
    if command == "sweep":
        (folder,) = (out / "tiny" / "runs").iterdir()
        record = read_record(RunPaths(folder))
        assert record is not None
        assert record.error is not None
        assert "caf\\udce9/2\\udcff.png" in record.error.message


def test_no_short_folder_for_sockets_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets.tempfile, "tempdir", str(tmp_path / ("t" * 98)))
    monkeypatch.setattr(sockets, "SHORT_FOLDERS", (str(tmp_path / "none"),))
    with pytest.raises(sockets.RunError, match=r"TMPDIR: .* is too long for the sockets of processes; up to 68"):
        sockets.shorten_socket_paths()
