"""The allocator of a training process: kept pages, said in the record, and left alone where the user has set it."""

import platform
import subprocess
import sys

import pytest

from sasa_cli.training.allocator import KEPT, allocator_settings, keep_pages

from .runs import Trainer, tiny

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is set")

# Page faults of ten times 40 MiB, taken and given back.
FAULTS = """
import resource, sys
from sasa_cli.training.allocator import keep_pages
if sys.argv[1] == "keep":
    keep_pages()
import numpy as np
np.ones(5 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(5 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@glibc_only
def test_kept_pages_are_not_faulted_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)

    def faults(mode: str) -> int:
        answer = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True)
        return int(answer.stdout)

    assert 10 * faults("keep") < faults("default")


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert keep_pages() == allocator_settings() == "MALLOC_ARENA_MAX=2"


@glibc_only
def test_a_setting_for_gpus_does_not_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert allocator_settings() == "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
    assert keep_pages() == KEPT


@glibc_only
def test_the_record_says_how_it_was_set(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    record = train(tiny(epochs=1))
    assert record.environment.allocator == KEPT
