"""Only what parses as no record is broken; what a later version wrote, or a disk withholds, is left alone."""

import errno
import json
import os
from pathlib import Path

import pytest

from sasa_cli.errors import BrokenFileError, RunError
from sasa_cli.launchers.job import Job
from sasa_cli.runs.paths import ExperimentPaths, RunPaths
from sasa_cli.runs.record import read_record
from sasa_cli.runs.state import state_of
from sasa_cli.spec import RunSpec

ROOT = Path(__file__).parents[2]
RUN = "CCCC-s0-05bc92d2"
RECORD = json.loads((ROOT / "results/published/demo/runs" / RUN / "record.json").read_text())


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    paths = ExperimentPaths(tmp_path).run(RUN)
    paths.folder.mkdir(parents=True)
    paths.record.write_text(json.dumps(RECORD))
    return paths


def job(run: RunPaths) -> Job:
    spec = RunSpec.model_construct(seed=0)  # it is refused before it looks at it
    return Job(spec, run, "cpu", None, 1)


@pytest.mark.parametrize("later", [{"schema_version": 2}, {"schema_version": 2, "sittings": []}, {"sittings": []}])
def test_a_record_of_a_later_version_is_left_and_said_to_be_one(run: RunPaths, later: dict[str, object]):
    text = json.dumps(RECORD | later)
    run.record.write_text(text)
    with pytest.raises(RunError, match="later version of sasa") as raised:
        read_record(run)
    assert not isinstance(raised.value, BrokenFileError)
    refusal = job(run)()
    assert refusal is not None
    assert "later version" in refusal.message
    assert run.record.read_text() == text
    assert not list(run.folder.glob("*.broken"))
    assert (state_of(run).status, "later version" in state_of(run).note) == ("failed", True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', "\x00\x00"])
def test_what_parses_as_no_record_is_broken(run: RunPaths, text: str):
    run.record.write_text(text)
    with pytest.raises(BrokenFileError, match="broken"):
        read_record(run)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ENAMETOOLONG])
def test_a_record_that_the_disk_withholds_is_not_broken(run: RunPaths, number: int, monkeypatch: pytest.MonkeyPatch):
    """It was set aside and its run trained again, though it was finished."""

    def withhold(*arguments: object, **options: object) -> str:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", withhold)
        refusal = job(run)()
    assert refusal is not None
    assert f"cannot be read: {os.strerror(number)}" in refusal.message
    assert state_of(run).status == "done"
