"""The sentences of a report."""

from sasa_cli.reporting.evidence.material import Part, single
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.pages.difference_tables import Against, all_families, families_of, seeds_table
from sasa_cli.reporting.pages.reading import about_differences, headline

from ..conftest import Maker
from ..results_folder import EXTENT, STAGES, Experiment


def families(experiment: Experiment) -> Against:
    return families_of(Part(read_results(experiment.paths), ".."))


def trained(make_experiment: Maker, seeds: int, **top1: float) -> Experiment:
    experiment = make_experiment([{STAGES: "CCCC"}, {STAGES: "CCAA", EXTENT: 3}], seeds=range(seeds))
    experiment.write_plan()
    for run in experiment.runs:
        experiment.finish(run, top1[run.label.rpartition("-")[2]] + 0.1 * run.seed * len(run.label))
    return experiment


def test_the_headline_says_how_far_the_lead_can_be_trusted(make_experiment: Maker) -> None:
    sentence = headline(families(trained(make_experiment, 3, CCCC=75.0, CCAA=80.0)))
    assert sentence.startswith("Highest mean test top-1 of the last epoch: 80.70 ± ")
    assert sentence.endswith("told apart from 1 of the 1 other cells (5 %, Holm over all pairs).")


def test_where_the_reference_is_the_best_it_is_compared_once(make_experiment: Maker) -> None:
    group = families(trained(make_experiment, 3, CCCC=90.0, CCAA=80.0))
    assert [name for name, _ in group.families] == ["reference"]
    assert headline(group).endswith("told apart from 1 of the 1 other cells (5 %, Holm over these).")
    notes = about_differences([group])
    assert not any("Against the best cell" in note.text for note in notes.items)


def test_one_seed_says_nothing_about_the_lead(make_experiment: Maker) -> None:
    sentence = headline(families(trained(make_experiment, 1, CCCC=75.0, CCAA=80.0)))
    assert sentence == (
        "Highest mean test top-1 of the last epoch: 80.00 % (k3-CCAA, n = 1). No other cell can be compared with it "
        "over two seeds, so nothing can be said about its lead."
    )


def test_nothing_finished_has_no_headline(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}], seeds=[0])
    experiment.write_plan()
    assert headline(families(experiment)) == ""
    assert all_families(single(read_results(experiment.paths)))[0].families == []


def test_cells_that_gain_most_from_another_seed_come_first(make_experiment: Maker) -> None:
    experiment = trained(make_experiment, 2, CCCC=75.0, CCAA=80.0)
    more = {STAGES: "AAAA", EXTENT: 3}
    wider = make_experiment([{STAGES: "CCCC"}, {STAGES: "CCAA", EXTENT: 3}, more], seeds=[0, 1])
    wider.write_plan()
    wider.finish(wider.run("k3-AAAA"), 70.0)
    part = Part(read_results(experiment.paths), "..")
    rows = [tuple(map(str, row)) for row in seeds_table(part.cells, "Seeds").rows]
    assert [row[0] for row in rows] == ["k3-AAAA", "k3-CCAA", "CCCC"]
    assert rows[0][1:] == ("1", "–", "–", "–")
    # s = 0.7 / sqrt(2); c4(2) = 0.79788, c4(3) = 0.88623; t_(0.975, 2) = 4.30265
    assert rows[1][1:] == ("2", "4.45", f"{4.30265 / 3**0.5 * 0.7 / 2**0.5 * 0.88623 / 0.79788:.2f}", "3.08")
