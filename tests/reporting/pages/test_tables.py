import csv

import pytest

from sasa_cli.rendering.csv import to_csv
from sasa_cli.rendering.latex import to_latex
from sasa_cli.rendering.table import Link, Links, Strong, Table
from sasa_cli.reporting.evidence.cells import axes_of, cells_of
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.pages.tables import cost_table, results_table, runs_table, unfinished_table

from ..conftest import Maker
from ..results_folder import EXTENT, STAGES, Experiment


def column(table: Table, header: str) -> list[str]:
    index = table.headers.index(header)
    return [str(row[index]) for row in table.rows]


def row(table: Table, index: int) -> tuple[str, ...]:
    return tuple(map(str, table.rows[index]))


def results_of(experiment: Experiment) -> Table:
    results = read_results(experiment.paths)
    cells = cells_of(results)
    return results_table(cells, axes_of(results, cells), "Results").seen


def test_a_row_for_each_cell(small: Experiment) -> None:
    table = results_of(small)
    assert table.headers == (
        *("Cell", "Placement", "Spatial extent", "n"),
        *("Test, last epoch", "Test, best epoch", "Val, best epoch", "Test set ±"),
        *("Parameters (M)", "FLOPs (M)", "Seeds"),
    )
    assert row(table, 0) == (
        *("CCCC", "CCCC", "–", "2/2", "80.20 ± 2.54", "80.70 ± 2.54", "81.70 ± 2.54", "2.47", "1.046", "93.6", "0, 1"),
    )
    assert column(table, "Spatial extent") == ["–", "3", "7"]


def test_each_row_leads_to_its_finished_runs(small: Experiment) -> None:
    small.fail(small.run("k7-CCAA", 1))
    linked = results_of(small)
    place = f"../runs/{small.run('k7-CCAA').run_id}/"
    assert linked.rows[2][-1] == Links((Link("0", place),))


def test_what_is_not_done_is_counted(small: Experiment) -> None:
    small.fail(small.run("k7-CCAA", 0))
    small.stop(small.run("k7-CCAA", 1), status="interrupted")
    table = results_of(small)
    assert column(table, "Not done") == ["–", "–", "1 failed, 1 interrupted"]
    assert row(table, 2)[3:7] == ("0/2", "–", "–", "–")


def test_one_seed_has_no_interval(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}], seeds=[3])
    experiment.finish(experiment.runs[0], 80.0)
    assert column(results_of(experiment), "Test, last epoch") == ["80.00 ± –"]


def test_ema_has_columns_of_its_own_where_a_run_has_it(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "AAAA"}, {STAGES: "CCCC"}], seeds=[0])
    experiment.finish(experiment.run("AAAA"), 70.0, ema=1.5)
    experiment.finish(experiment.run("CCCC"), 80.0)
    table = results_of(experiment)
    assert column(table, "Test, last epoch (raw)") == ["70.00 ± –", "80.00 ± –"]
    assert column(table, "Test, last epoch (EMA)") == ["71.50 ± –", "–"]


def test_bold_only_where_the_interval_stands_clear(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}, {STAGES: "AAAA"}], seeds=[0, 1, 2])
    for run in experiment.runs:
        experiment.finish(run, {"CCCC": 80.0, "AAAA": 85.0}[run.label] + 0.1 * run.seed)
    linked = results_of(experiment)
    strong = [[isinstance(entry, Strong) for entry in line] for line in linked.rows]
    # AAAA is first where there is no plan.
    assert strong == [["epoch" in header for header in linked.headers], [False] * len(linked.headers)]
    experiment.finish(experiment.run("CCCC", 2), 90.0)
    assert not any(isinstance(entry, Strong) for line in results_of(experiment).rows for entry in line)


def test_the_table_for_paper_has_no_column_of_links(small: Experiment) -> None:
    latex = to_latex(results_of(small))
    assert "Seeds" not in latex
    assert "Placement" in latex


def test_costs(small: Experiment) -> None:
    whole = cost_table(cells_of(read_results(small.paths)), "Cost")
    table = whole.seen
    assert row(table, 2) == ("k7-CCAA", "0.726", "83.1", "76.3", "40.5", "1234", "321", "0, 1")
    assert column(table, "FLOPs executed (M)")[0] == "90.0"
    programs = list(csv.DictReader(to_csv(whole).splitlines()))[2]
    assert (programs["cell"], programs["seconds_mean"], programs["peak_memory_mib_mean"]) == (
        "k7-CCAA",
        "40.5",
        "321.0",
    )
    assert float(programs["seconds_half_width"]) == pytest.approx(12.7062 * 0.5, rel=1e-4)


def test_runs_and_why_some_have_no_numbers(small: Experiment) -> None:
    failed = small.run("k3-CCAA", 1)
    small.fail(failed)
    runs = read_results(small.paths).runs
    linked = runs_table(runs, "Runs")
    assert len(linked.rows) == 6
    (line,) = (row(linked, index) for index in range(6) if row(linked, index)[0] == failed.run_id)
    assert line[1:] == ("k3-CCAA", "1", "failed", "1", "–", "–", "–", "–", "41")
    unfinished = unfinished_table(runs, "Unfinished")
    assert row(unfinished, 0) == (failed.run_id, "failed", "RunError: loss is nan (epoch 2, step 17)")
    assert unfinished.rows[0][0] == Links((Link(failed.run_id, f"../runs/{failed.run_id}/"),))


def test_a_missing_run_leads_nowhere(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "AAAA", EXTENT: 3}], seeds=[0])
    experiment.write_plan()
    linked = runs_table(read_results(experiment.paths).runs, "Runs")
    assert not any(isinstance(entry, Links) for entry in linked.rows[0])
    assert column(linked, "Status") == ["missing"]
