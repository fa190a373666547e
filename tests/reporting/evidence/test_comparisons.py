from sasa_cli.reporting.evidence.cells import Cell, cells_of
from sasa_cli.reporting.evidence.comparisons import against_best, against_reference, compare, reference_of
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.report import build_report

from ..conftest import Maker
from ..results_folder import EXTENT, STAGES, Experiment

PLACEMENTS = [{STAGES: "AAAA", EXTENT: 3}, {STAGES: "CCCC"}, {STAGES: "CCAA", EXTENT: 3}]
ACCURACIES = {"k3-AAAA": [80.0, 80.3, 79.9], "CCCC": [75.1, 75.0, 75.3], "k3-CCAA": [79.0, 80.9, 79.5]}


def trained(experiment: Experiment) -> dict[str, Cell]:
    for label, values in ACCURACIES.items():
        for seed, value in enumerate(values):
            experiment.finish(experiment.run(label, seed), value)
    return cells(experiment)


def cells(experiment: Experiment) -> dict[str, Cell]:
    return {cell.label: cell for cell in cells_of(read_results(experiment.paths))}


def test_the_reference_is_the_cell_of_convolutions(make_experiment: Maker) -> None:
    experiment = make_experiment(PLACEMENTS, seeds=[0, 1, 2])
    experiment.write_plan()
    family = against_reference(list(trained(experiment).values()))
    assert family is not None
    assert family.target.label == "CCCC"
    assert [item.first.label for item in family.comparisons] == ["k3-AAAA", "k3-CCAA"]
    assert [item.verdict for item in family.comparisons] == ["higher", "higher"]
    assert (family.size, family.told_apart) == (2, 2)


def test_an_experiment_names_its_reference(make_experiment: Maker) -> None:
    experiment = make_experiment(PLACEMENTS, seeds=[0, 1, 2])
    named = experiment.run("k3-CCAA", 0).cell_hash
    experiment.write_plan(reference=named)
    assert against_reference(list(cells(experiment).values()), named) is None  # no other takes its place
    family = against_reference(list(trained(experiment).values()), named)
    assert family is not None
    assert family.target.label == "k3-CCAA"
    build_report([experiment.paths.folder], ["md"])
    page = (experiment.paths.report / "report.md").read_text()
    assert "Against the reference, k3-CCAA: " in page
    assert "Against the reference (the cell that the experiment names): " in page


def test_without_convolutions_the_first_cell_is_the_reference(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "AAAA", EXTENT: 7}, {STAGES: "CCAA", EXTENT: 7}], seeds=[0])
    experiment.write_plan()
    assert reference_of(list(cells(experiment).values())) is None
    for run in experiment.runs:
        experiment.finish(run, 80.0)
    found = reference_of(list(cells(experiment).values()))
    assert found is not None
    assert found.label == "k7-AAAA"


def test_the_best_is_corrected_over_all_pairs(make_experiment: Maker) -> None:
    experiment = make_experiment(PLACEMENTS, seeds=[0, 1, 2])
    experiment.write_plan()
    family = against_best(list(trained(experiment).values()))
    assert family is not None
    assert (family.target.label, family.size) == ("k3-AAAA", 3)
    convolution, mixed = family.comparisons
    assert convolution.verdict == "lower"
    assert mixed.verdict == "cannot be told apart"
    assert convolution.difference is not None
    assert convolution.difference.p_value is not None
    assert convolution.p_holm == 3 * convolution.difference.p_value  # the smallest p of three
    assert (mixed.detectable(corrected=True) or 0) > (mixed.detectable() or 0) > 0


def test_only_shared_seeds_count(make_experiment: Maker) -> None:
    experiment = make_experiment(PLACEMENTS, seeds=[0, 1, 2])
    experiment.write_plan()
    trained(experiment)
    experiment.fail(experiment.run("k3-AAAA", 1))
    found = cells(experiment)
    (comparison,) = compare([(found["k3-AAAA"], found["CCCC"])])
    assert comparison.difference is not None
    assert (comparison.n, round(comparison.difference.mean, 6)) == (2, round((4.9 + 4.6) / 2, 6))
    experiment.fail(experiment.run("CCCC", 2))
    found = cells(experiment)
    (comparison,) = compare([(found["k3-AAAA"], found["CCCC"])])
    assert (comparison.n, comparison.verdict) == (1, "one shared seed: nothing can be said")
    experiment.fail(experiment.run("CCCC", 0))
    found = cells(experiment)
    (comparison,) = compare([(found["k3-AAAA"], found["CCCC"])])
    assert (comparison.n, comparison.verdict, comparison.p_holm) == (0, "no shared seeds", None)


def test_what_cannot_be_tested_is_not_corrected_for(make_experiment: Maker) -> None:
    experiment = make_experiment(PLACEMENTS, seeds=[0, 1, 2])
    experiment.write_plan()
    found = trained(experiment)
    pairs = [(found["k3-AAAA"], found["CCCC"]), (found["CCCC"], found["CCCC"])]
    tested, same = compare(pairs)
    assert same.verdict == "equal difference in all seeds: nothing can be said"
    assert tested.family == 1


def test_cells_trained_by_other_machinery_are_not_compared(make_experiment: Maker) -> None:
    experiment = make_experiment(PLACEMENTS, seeds=[0, 1, 2])
    experiment.write_plan()
    trained(experiment)
    for seed in range(3):
        experiment.finish(experiment.run("CCCC", seed), 75.0 + seed, device="cuda")
    family = against_reference(list(cells(experiment).values()))
    assert family is not None
    assert [item.verdict for item in family.comparisons] == ["trained or tested differently: not compared"] * 2
    assert family.size == 0


def test_other_backends_and_training_images_are_no_obstacle(make_experiment: Maker) -> None:
    """Both may be what makes the cells differ."""
    experiment = make_experiment(PLACEMENTS, seeds=[0, 1, 2])
    experiment.write_plan()
    trained(experiment)
    for seed in range(3):
        changes = {"backends": {"layer1.0.conv2": "shift"}, "data": {"sha256": "cd" * 32, "train": 2000}}
        experiment.finish(experiment.run("k3-AAAA", seed), 80.0 + 0.1 * seed**2, **changes)
    found = cells(experiment)
    (comparison,) = compare([(found["k3-AAAA"], found["CCCC"])])
    assert comparison.verdict == "higher"


def test_another_test_set_is_not_compared(make_experiment: Maker) -> None:
    experiment = make_experiment(PLACEMENTS, seeds=[0, 1, 2])
    experiment.write_plan()
    trained(experiment)
    for seed in range(3):
        experiment.finish(experiment.run("k3-AAAA", seed), 80.0 + seed, data={"name": "cifar10", "test": 10_000})
    found = cells(experiment)
    (comparison,) = compare([(found["k3-AAAA"], found["CCCC"])])
    assert comparison.verdict == "trained or tested differently: not compared"


def test_the_moving_average_is_compared_where_there_is_one(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}, {STAGES: "AAAA", EXTENT: 3}], seeds=[0, 1])
    experiment.write_plan()
    for run in experiment.runs:
        experiment.finish(run, 80.0 + run.seed * (run.label == "CCCC"), ema=2.0 if run.label == "CCCC" else 1.0)
    found = cells(experiment)
    (comparison,) = compare([(found["CCCC"], found["k3-AAAA"])])
    assert comparison.difference is not None
    assert comparison.difference.mean == 1.5  # 82 and 83 against 81 twice
