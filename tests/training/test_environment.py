import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import torch

from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord
from sasa_cli.training.environment import (
    NUMBERS_COME_FROM,
    PACKAGE,
    capture_environment,
    code_fingerprint,
    peak_memory_mib,
    repeatable,
    resolve_device,
)
from sasa_cli.training.journal import Journal

CPU = torch.device("cpu")
PROCESS_STATUS = Path("/proc/self/status")


def commit_of_working_folder() -> str | None:
    return capture_environment(CPU, torch.float32).git_commit


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    answer = subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True)
    return answer.stdout.strip()


def test_git_commit_and_changes_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of_working_folder() is None
    git("init")
    assert commit_of_working_folder() is None
    Path("file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert commit_of_working_folder() == commit
    Path("file").write_text("two")
    assert commit_of_working_folder() == f"{commit}+changes"
    monkeypatch.setenv("PATH", "")
    assert commit_of_working_folder() is None


def test_dtype_and_device_are_recorded() -> None:
    environment = capture_environment(CPU, torch.bfloat16)
    assert (environment.dtype, environment.device) == ("bfloat16", "cpu")
    assert environment.device_name


def test_the_code_is_recorded_and_only_what_numbers_come_from_changes_it(tmp_path: Path) -> None:
    package = tmp_path / "package"
    for part in NUMBERS_COME_FROM:
        shutil.copytree(PACKAGE / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))

    def fingerprint() -> str:
        code_fingerprint.cache_clear()
        return code_fingerprint(package)

    recorded = capture_environment(CPU, torch.float32).code
    assert fingerprint() == recorded  # the same code at another place
    (package / "report.py").write_text("")
    (package / "models" / "notes.txt").write_text("")
    assert fingerprint() == recorded
    seen = {recorded}
    for name in ("attention/cpu/local_attention.cpp", "models/stem.py", "training/loop.py", "data/splits.py"):
        (package / name).write_text((package / name).read_text() + " ")
        seen.add(fingerprint())
    (package / "models" / "stem.py").rename(package / "models" / "root.py")
    seen.add(fingerprint())
    assert len(seen) == 6


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(available: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu").type == "cpu"


def test_settings_of_torch_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    threads = torch.get_num_threads()
    with repeatable(CPU, threads + 1):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == threads + 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(not PROCESS_STATUS.exists(), reason="reads what Linux says")
def test_peak_memory_is_that_of_the_process() -> None:
    lines = PROCESS_STATUS.read_text().splitlines()
    peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert peak_memory_mib(CPU) == pytest.approx(peak_kib / 1024, rel=0.01)


def test_warnings_are_in_the_log_and_still_shown(finished: tuple[object, RunPaths, RunRecord], tmp_path: Path) -> None:
    journal = Journal(RunPaths(tmp_path), finished[2])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with journal.watching():
            warnings.warn("no deterministic kernel", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["no deterministic kernel"]
    assert journal.paths.log.read_text().endswith(" UserWarning: no deterministic kernel\n")
