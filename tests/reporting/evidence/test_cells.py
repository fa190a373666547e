import pytest

from sasa_cli.reporting.evidence.cells import HEADLINE, Score, axes_of, cells_of, value_text
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.evidence.statistics import Measure
from sasa_cli.runs.files import write_text

from ..conftest import Maker
from ..results_folder import EXTENT, STAGES, Experiment


def test_cells_stand_in_the_order_of_the_plan(small: Experiment) -> None:
    results = read_results(small.paths)
    cells = cells_of(results)
    assert [cell.label for cell in cells] == ["CCCC", "k3-CCAA", "k7-CCAA"]
    assert [[run.identity.seed for run in cell.runs] for cell in cells] == [[0, 1]] * 3
    placement, extent = axes_of(results, cells)
    assert (placement.title, placement.values, placement.numeric) == ("Placement", ("CCCC", "CCAA"), False)
    assert (extent.slug, extent.values, extent.numeric) == ("spatial-extent", (3, 7), True)
    assert EXTENT not in cells[0].values


def test_scores_of_a_cell(small: Experiment) -> None:
    cell = cells_of(read_results(small.paths))[0]
    last = cell.top1(HEADLINE)
    assert last is not None
    assert (last.mean, last.n) == (pytest.approx(80.2), 2)
    for score, mean in ((("test", "best"), 80.7), (("val", "last"), 81.2), (("val", "best"), 81.7)):
        found = cell.top1(Score(*score))
        assert found is not None
        assert found.mean == pytest.approx(mean)
    assert cell.top1(Score("test", "last", "ema")) is None
    assert cell.mean(lambda record: record.seconds) == Measure(2, 40.5, pytest.approx(0.5**0.5))


def test_only_finished_runs_count(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}], seeds=range(5))
    experiment.write_plan()
    done, failed, broken, _, interrupted = experiment.runs
    experiment.finish(done, 80.0)
    experiment.fail(failed)
    experiment.finish(broken, 10.0)
    write_text(experiment.paths.run(broken.run_id).record, "not json")
    experiment.stop(interrupted, status="interrupted")
    (cell,) = cells_of(read_results(experiment.paths))
    assert [run.status for run in cell.runs] == ["done", "failed", "failed", "missing", "interrupted"]
    assert cell.top1(HEADLINE) == Measure(1, 80.0, None)


def test_ema_and_raw_stay_apart(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}, {STAGES: "AAAA"}], seeds=[0])
    experiment.finish(experiment.run("CCCC"), 80.0, ema=2.0)
    experiment.finish(experiment.run("AAAA"), 70.0)
    cells = {cell.label: cell for cell in cells_of(read_results(experiment.paths))}
    weights = ("raw", "ema", "reported")
    with_ema, without = (
        [cells[label].top1(Score("test", "last", kind)) for kind in weights] for label in ("CCCC", "AAAA")
    )
    assert with_ema == [Measure(1, 80.0, None), Measure(1, 82.0, None), Measure(1, 82.0, None)]
    assert without == [Measure(1, 70.0, None), None, Measure(1, 70.0, None)]


def test_without_a_plan_cells_are_sorted_by_their_values(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "AAAA", EXTENT: k} for k in (11, 3, 7)], seeds=[0])
    for run in experiment.runs:
        experiment.finish(run, 80.0)
    results = read_results(experiment.paths)
    cells = cells_of(results)
    assert [cell.label for cell in cells] == ["k3-AAAA", "k7-AAAA", "k11-AAAA"]
    (axis,) = axes_of(results, cells)
    assert (axis.key, axis.values) == (EXTENT, (3, 7, 11))


def test_cells_of_one_label_are_told_apart(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "AAAA"}], seeds=[0, 1])
    for index, run in enumerate(experiment.runs):
        experiment.finish(run.model_copy(update={"cell_hash": f"hash{index}"}), 80.0)
    labels = {cell.label for cell in cells_of(read_results(experiment.paths))}
    assert labels == {"AAAA (hash0)", "AAAA (hash1)"}


def test_the_curve_is_the_mean_over_seeds(small: Experiment) -> None:
    cell = cells_of(read_results(small.paths))[0]
    assert cell.curve() == tuple(
        (epoch, pytest.approx(value)) for epoch, value in enumerate((78.2, 79.2, 81.7, 81.2), 1)
    )


def test_titles_of_axes(make_experiment: Maker) -> None:
    cells = [
        {"model.stem.heads": stem, "model.attention.heads": heads, "recipe.weight_decay": decay, "model.width": 1.0}
        for stem, heads, decay in ((2, 4, 0.0), (4, 8, 5e-4))
    ]
    experiment = make_experiment(cells, seeds=[0])
    runs = [
        run.model_copy(update={"cell_hash": str(index), "run_id": f"run{index}"})
        for index, run in enumerate(experiment.runs)
    ]
    for run in runs:
        experiment.finish(run, 80.0)
    results = read_results(experiment.paths)
    axes = axes_of(results, cells_of(results))
    assert [axis.title for axis in axes] == ["Stem heads", "Attention heads", "Weight decay"]  # width does not vary


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (0.25, "0.25"),
        (1.0, "1"),
        ("CCAA", "CCAA"),
        (True, "true"),
        (None, "none"),
        ([3, 3, 7, 7], "3, 3, 7, 7"),
        ({"kind": "attention", "values": "conv"}, "kind attention, values conv"),
    ],
)
def test_values_as_text(value: object, text: str) -> None:
    assert value_text(value) == text
