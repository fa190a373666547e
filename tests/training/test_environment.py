import subprocess
import warnings
from pathlib import Path

import pytest
import torch

from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord
from sasa_cli.training.code import code_fingerprint
from sasa_cli.training.environment import capture_environment, repeatable
from sasa_cli.training.journal import Journal

CPU = torch.device("cpu")


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


def test_the_code_is_recorded() -> None:
    assert capture_environment(CPU, torch.float32).code == code_fingerprint()


def test_settings_of_torch_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    threads = torch.get_num_threads()
    with repeatable(CPU, threads + 1):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == threads + 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads


def test_warnings_are_in_the_log_and_still_shown(finished: tuple[object, RunPaths, RunRecord], tmp_path: Path) -> None:
    journal = Journal(RunPaths(tmp_path), finished[2])
    journal.begin()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with journal.watching():
            warnings.warn("no deterministic kernel", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["no deterministic kernel"]
    assert journal.paths.log.read_text().endswith(" UserWarning: no deterministic kernel\n")
