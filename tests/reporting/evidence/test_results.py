"""Every state that a run folder can be in, and every way in which it can be broken."""

import shutil
from pathlib import Path

import pytest

from sasa_cli.errors import SpecError
from sasa_cli.reporting.evidence.results import Results, find_experiments, read_results
from sasa_cli.runs.files import make_folder, write_text
from sasa_cli.runs.lock import locked

from ..conftest import Maker
from ..results_folder import EXTENT, STAGES, Experiment


def states(results: Results) -> dict[str, tuple[str, str]]:
    return {f"{run.identity.label}/{run.identity.seed}": (run.status, run.detail) for run in results.runs}


def test_states_of_unfinished_runs(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: name} for name in ("CCCC", "CCCA", "CCAA", "CAAA", "AAAA")], seeds=[0])
    experiment.write_plan()
    experiment.finish(experiment.run("CCCC"), 80.0)
    experiment.fail(experiment.run("CCCA"))
    experiment.stop(experiment.run("CCAA"), status="interrupted", epochs_done=2)
    experiment.stop(experiment.run("CAAA"), status="running")
    assert states(read_results(experiment.paths)) == {
        "CCCC/0": ("done", ""),
        "CCCA/0": ("failed", "RunError: loss is nan (epoch 2, step 17)"),
        "CCAA/0": ("interrupted", "after 2 epochs"),
        "CAAA/0": ("interrupted", "after 1 epoch"),  # says running, but no process holds it
        "AAAA/0": ("missing", ""),
    }


def test_a_locked_run_is_running(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}, {STAGES: "AAAA"}], seeds=[0])
    experiment.write_plan()
    begun, retried = experiment.runs
    experiment.fail(retried)
    make_folder(experiment.paths.run(begun.run_id).folder)
    with locked(experiment.paths.run(begun.run_id)), locked(experiment.paths.run(retried.run_id)):
        found = states(read_results(experiment.paths))
    assert found == {"CCCC/0": ("running", "no record yet"), "AAAA/0": ("running", "after 1 epoch")}


def test_a_broken_record_of_the_plan_has_failed(small: Experiment) -> None:
    broken = small.run("k3-CCAA", 1)
    write_text(small.paths.run(broken.run_id).record, '{"status": "do')
    results = read_results(small.paths)
    (problem,) = results.problems
    assert states(results)["k3-CCAA/1"] == ("failed", problem.message)
    assert str(problem).startswith(f"runs/{broken.run_id}/record.json: broken")
    assert str(small.paths.folder) not in str(problem)


def test_broken_folders_outside_the_plan_are_problems(small: Experiment) -> None:
    make_folder(small.paths.run("empty").folder)
    make_folder(small.paths.run("torn").folder)
    write_text(small.paths.run("torn").record, "")
    results = read_results(small.paths)
    assert len(results.runs) == 6
    assert [problem.path for problem in results.problems] == ["runs/empty", "runs/torn/record.json"]


def test_a_copied_folder_does_not_count_twice(small: Experiment) -> None:
    folder = small.paths.run(small.runs[0].run_id).folder
    shutil.copytree(folder, folder.with_name("copy"))
    results = read_results(small.paths)
    assert len(results.runs) == 6
    assert "belongs to the run" in results.problems[0].message


def test_done_without_metrics_has_failed(small: Experiment) -> None:
    small.stop(small.runs[0], status="done")
    results = read_results(small.paths)
    assert results.runs[0].status == "failed"
    assert "no metrics" in results.problems[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "missing"),
        ("epoch,eval_top1\n1,\n", "no eval_top1 in epoch 1"),
        ("epoch,eval_top1\n1,nan\n", "nan in epoch 1"),
        ("eval_top1\n80\n", "cannot be read"),
        ("epoch,eval_top1\none,80\n", "cannot be read"),
    ],
)
def test_broken_metrics_cost_the_curve_only(small: Experiment, text: str | None, message: str) -> None:
    file = small.paths.run(small.runs[0].run_id).metrics
    file.unlink()
    if text is not None:
        write_text(file, text)
    results = read_results(small.paths)
    assert (results.runs[0].status, results.runs[0].curve) == ("done", ())
    assert message in results.problems[0].message


def test_the_curve_is_of_the_reported_weights(small: Experiment) -> None:
    write_text(small.paths.run(small.runs[0].run_id).metrics, "epoch,eval_top1,ema_top1\n2,60,71\n1,50,40\n3,65,\n")
    assert read_results(small.paths).runs[0].curve == ((1, 40.0), (2, 71.0), (3, 65.0))


def test_runs_of_other_cells_stand_outside_the_plan(small: Experiment, make_experiment: Maker) -> None:
    other = make_experiment([{STAGES: "AAAA", EXTENT: 5}], seeds=[0])
    other.finish(other.runs[0], 70.0)
    more = make_experiment([{STAGES: "CCCC"}], seeds=[7])
    more.finish(more.runs[0], 81.0)
    results = read_results(small.paths)
    assert [run.identity.label for run in results.outside] == ["k5-AAAA"]
    assert states(results)["CCCC/7"] == ("done", "")  # one more seed of a cell of the plan belongs to it


def test_without_a_plan_all_runs_count(small: Experiment) -> None:
    small.paths.plan.unlink()
    results = read_results(small.paths)
    assert (len(results.runs), len(results.outside), results.name, results.plan) == (6, 0, "demo", None)


def test_a_broken_plan_is_a_problem(small: Experiment) -> None:
    write_text(small.paths.plan, "{}")
    results = read_results(small.paths)
    assert len(results.runs) == 6
    assert str(results.problems[0]).startswith("plan.json: broken")


def test_experiments_are_found_once_and_in_order(small: Experiment, make_experiment: Maker) -> None:
    other = make_experiment([{STAGES: "AAAA"}], name="another")
    other.write_plan()
    root = small.paths.folder.parent
    (root / "notes").mkdir()
    found = find_experiments([root, small.paths.folder])
    assert [paths.folder.name for paths in found] == ["another", "demo"]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SpecError, match="no results here; allowed are"):
            find_experiments([folder])
