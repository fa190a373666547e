from pathlib import Path

import pytest

from sasa_cli.errors import RunError
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.plan import Plan, PlannedAxis, PlannedRun, read_plan, write_plan


def a_plan() -> Plan:
    run = PlannedRun(
        run_id="k7-CCAA-s0-3f9a1c2e",
        label="k7-CCAA",
        cell={"model.stages": "CCAA", "model.attention.spatial_extent": [3, 3, 7, 7]},
        cell_hash="0123abcd",
        seed=0,
        params=18_481_832,
        macs=3_715_272_704,
        macs_executed=3_600_000_000,
    )
    return Plan(
        experiment="demo",
        description="Which stages should attend?",
        axes=[PlannedAxis(key="model.stages", values=["CCCC", "CCAA"])],
        runs=[run],
    )


def test_a_plan_reads_back_as_written(tmp_path: Path) -> None:
    paths = ExperimentPaths(tmp_path)
    write_plan(paths, a_plan())
    assert read_plan(paths) == a_plan()


def test_no_plan_is_none(tmp_path: Path) -> None:
    assert read_plan(ExperimentPaths(tmp_path)) is None


def test_a_broken_plan_names_file_and_key(tmp_path: Path) -> None:
    paths = ExperimentPaths(tmp_path)
    write_plan(paths, a_plan())
    paths.plan.write_text(paths.plan.read_text().replace('"params": 18481832', '"params": "many"'))
    with pytest.raises(RunError, match=r"plan\.json: broken, no valid Plan: runs: 0: params"):
        read_plan(paths)
