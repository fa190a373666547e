"""How many cores this process may really use: its affinity, and the quota of the container that it runs in."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Whole cores, at least one. macOS knows neither affinity nor quota; there it is all of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, *(int(quota) for quota in _quotas()))) if GROUPS.exists() else cores


def _quotas() -> Iterator[float]:
    """Cores that each control group around this process allows; a group without a quota says nothing."""
    yield float(os.cpu_count() or 1)
    for line in GROUPS.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            yield from _quotas_of(MOUNT, path, ("cpu.max",))
        elif "cpu" in controllers.split(","):
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            yield from _quotas_of(MOUNT / controllers, path, files)
            yield from _quotas_of(MOUNT / "cpu", path, files)


def _quotas_of(mount: Path, path: str, files: tuple[str, ...]) -> Iterator[float]:
    """Of a group and of those that it lies in; inside a container the group's path may not be visible."""
    group = mount / path.strip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(mount):
            return
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((folder / file).read_text(encoding="utf-8") for file in files).split()
            if float(quota) > 0:
                yield max(1.0, float(quota) / float(period))
