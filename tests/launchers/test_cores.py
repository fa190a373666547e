"""Cores are those of the affinity and of the quota of the container; they were those of the machine."""

import os
from pathlib import Path

import pytest

from sasa_cli.launchers import cores
from sasa_cli.launchers.cores import available_cores


def container(folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, files: dict[str, str]) -> None:
    (folder / "groups").write_text(f"{group}\n")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(cores, "GROUPS", folder / "groups")
    monkeypatch.setattr(cores, "MOUNT", folder)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/", {"cpu.max": "max 100000\n"}, 64),
        ("0::/", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/jobs/one", {"jobs/cpu.max": "800000 100000\n", "jobs/one/cpu.max": "max 100000\n"}, 8),
        ("0::/jobs/unseen", {"cpu.max": "300000 100000\n"}, 3),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "600000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 6),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 64),
        ("0::/", {"cpu.max": "nonsense"}, 64),
        ("0::/", {}, 64),
    ],
)
def test_a_quota_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, files: dict[str, str], expected: int
):
    container(tmp_path, monkeypatch, group, files)
    assert available_cores() == expected


def test_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    container(tmp_path, monkeypatch, "0::/", {"cpu.max": "800000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert available_cores() == 3


def test_without_control_groups_all_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    container(tmp_path, monkeypatch, "", {})
    (tmp_path / "groups").unlink()
    assert available_cores() == 64
