"""Results as pandas frames: one row a run, one row a run and epoch."""

import subprocess
import sys

import pytest

import sasa_cli
from sasa_cli.errors import RunError, SpecError
from sasa_cli.runs.files import write_text

from ..conftest import Maker
from ..results_folder import EPOCHS, EXTENT, STAGES, Experiment


def test_one_row_for_each_run_of_the_plan(small: Experiment) -> None:
    runs = sasa_cli.load_runs(small.paths.folder)
    assert list(runs.run_id) == [run.run_id for run in small.runs]
    assert set(runs.status) == {"done"}
    assert runs.in_plan.all()
    assert list(runs[STAGES]) == [run.cell[STAGES] for run in small.runs]
    assert list(runs.params) == [run.params for run in small.runs]
    row = runs.set_index("run_id").loc[small.runs[0].run_id]
    assert (row["data.name"], row["recipe.optimizer"]) == ("fashion-mnist-mini", "sgd")
    assert row["environment.device"] == "cpu"
    means = runs.groupby("cell").test_top1_last.mean()
    assert means["CCCC"] == pytest.approx(runs[runs.cell == "CCCC"].test_top1_last.sum() / 2)


def test_unfinished_and_foreign_runs_have_their_rows(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}, {STAGES: "AAAA", EXTENT: 5}], seeds=[0])
    experiment.write_plan()
    experiment.finish(experiment.run("CCCC"), 80.0)
    more = make_experiment([{STAGES: "CCAA"}], seeds=[7])
    more.finish(more.runs[0], 81.0)
    runs = sasa_cli.load_runs(experiment.paths.folder).set_index("cell")
    assert list(runs.status) == ["done", "missing", "done"]
    assert list(runs.in_plan) == [True, True, False]
    assert (runs.loc["k5-AAAA", STAGES], runs.loc["k5-AAAA", EXTENT]) == ("AAAA", 5)
    assert list(runs.test_top1_last.isna()) == [False, True, False]


def test_several_experiments_stand_in_one_frame(small: Experiment, make_experiment: Maker) -> None:
    other = make_experiment([{STAGES: "AAAA"}], name="another")
    other.write_plan()
    assert set(sasa_cli.load_runs(small.paths.folder.parent).experiment) == {"demo", "another"}


def test_one_row_for_each_run_and_epoch(small: Experiment) -> None:
    curves = sasa_cli.load_curves(small.paths.folder)
    assert len(curves) == len(small.runs) * EPOCHS
    first = curves[curves.run_id == small.runs[0].run_id]
    assert list(first.epoch) == list(range(1, EPOCHS + 1))
    assert {"experiment", "cell", "seed", "eval_top1"} <= set(curves.columns)


def test_what_cannot_be_read_is_named(small: Experiment) -> None:
    file = small.paths.run(small.runs[0].run_id).metrics
    write_text(file, "")
    with pytest.raises(RunError, match=str(file)):
        sasa_cli.load_curves(small.paths.folder)
    with pytest.raises(SpecError, match="no results here"):
        sasa_cli.load_runs(small.paths.folder / "runs")


def test_the_package_costs_neither_torch_nor_pandas() -> None:
    code = "import sasa_cli, sys; print(sorted({'torch', 'timm', 'pandas'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert {"load_runs", "load_curves"} <= set(dir(sasa_cli))
    with pytest.raises(AttributeError, match="no attribute 'load_nothing'"):
        _ = sasa_cli.load_nothing
