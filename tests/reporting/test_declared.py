"""Comparisons that an experiment declares before training: checked in the file, kept in the plan, answered first."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sasa_cli.cli.app import app
from sasa_cli.experiment.file import load_experiment
from sasa_cli.experiment.sweep import expand_sweep
from sasa_cli.launchers.planning import make_plan
from sasa_cli.reporting.evidence.cells import cells_of
from sasa_cli.reporting.evidence.declared import questions
from sasa_cli.reporting.evidence.paired import paired_difference
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.evidence.verdicts import answer
from sasa_cli.reporting.report import build_report, check_report
from sasa_cli.runs.plan import PlannedComparison

from .conftest import Maker
from .results_folder import EXTENT, STAGES, Experiment

CELLS = [{STAGES: "CCCC"}, {STAGES: "CCAA", EXTENT: 3}, {STAGES: "AAAA", EXTENT: 3}]
FILE = """name: mine
model: {name: sasa_resnet26}
sweep: {model.stages: [CCCC, CCAA, AAAA]}
compare:
  - {first: CCAA, second: CCCC, expect: higher}
  - {first: AAAA, second: CCCC, expect: within, margin: 0.5}
"""


def planned(experiment: Experiment, first: str, second: str, expect: str, margin: float = 0.0) -> PlannedComparison:
    one, other = (experiment.run(label, 0).cell_hash for label in (first, second))
    return PlannedComparison(
        first=first, first_hash=one, second=second, second_hash=other, expect=expect, margin=margin
    )


def finish(experiment: Experiment, values: dict[str, list[float]]) -> None:
    for label, of_seeds in values.items():
        for seed, value in enumerate(of_seeds):
            experiment.finish(experiment.run(label, seed), value)


def declared(experiment: Experiment) -> list[PlannedComparison]:
    return [
        planned(experiment, "k3-CCAA", "CCCC", "higher"),
        planned(experiment, "k3-AAAA", "CCCC", "within", 0.5),
        planned(experiment, "k3-CCAA", "k3-AAAA", "not lower", 1.0),
    ]


# --- the file and the plan -----------------------------------------------------------------------------------------


def test_the_plan_holds_what_the_file_declares(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(FILE)
    experiment = load_experiment(str(file))
    specs = expand_sweep(experiment)
    hashes = {spec.label: spec.cell_hash for spec in specs}
    first, second = make_plan(experiment, specs).compare
    assert (first.first, first.second, first.expect, first.margin) == ("CCAA", "CCCC", "higher", 0.0)
    assert (second.first_hash, second.second_hash) == (hashes["AAAA"], hashes["CCCC"])
    assert (second.expect, second.margin) == ("within", 0.5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("first: CCAA", "first: CCA", ":5: compare.0.first: 'CCA' is no cell (did you mean 'CCAA'?)"),
        ("expect: higher", "expect: better", ":5: compare.0.expect: 'better' is not allowed; allowed are 'higher', "),
        (", margin: 0.5", "", "compare.1.margin: missing with expect 'within'"),
        ("expect: higher", "expect: higher, margin: 1.0", "compare.0.margin: 1 has no meaning with expect 'higher'"),
        ("margin: 0.5", "margin: -1.0", ":6: compare.1.margin: "),
        ("second: CCCC, expect: higher", "expect: higher", "compare.0.second: missing"),
        ("first: CCAA", "frist: CCAA", "compare.0.frist: unknown key (did you mean 'first'?)"),
    ],
)
def test_what_cannot_be_compared_is_said_before_training(old: str, new: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(FILE.replace(old, new, 1))
    result = CliRunner().invoke(app, ["sweep", str(file), "--out", str(tmp_path / "results")])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (tmp_path / "results").exists()


# --- the report ----------------------------------------------------------------------------------------------------


def test_the_answers_come_first_in_the_order_declared(make_experiment: Maker) -> None:
    experiment = make_experiment(CELLS, seeds=[0, 1, 2, 3])
    experiment.write_plan(compare=tuple(declared(experiment)))
    finish(
        experiment,
        {
            "CCCC": [80.0, 80.4, 79.7, 80.2],
            "k3-CCAA": [82.0, 82.5, 81.6, 82.3],
            "k3-AAAA": [80.1, 80.3, 79.8, 80.1],
        },
    )
    build_report([experiment.paths.folder], ["md", "html", "csv"])
    page = (experiment.paths.report / "report.md").read_text()
    chapters = [line for line in page.splitlines() if line.startswith("## ")]
    assert chapters[0] == "## Declared before training"
    answers_shown = [line for line in page.splitlines() if line.startswith("- __")][:3]
    assert answers_shown[0].startswith(
        "- __Supported.__ k3-CCAA is better than CCCC. k3-CCAA minus CCCC: +2.02 ± 0.15 points (95 % interval, n = 4), "
    )
    assert answers_shown[1].startswith("- __Supported.__ k3-AAAA and CCCC are equal within 0.5 points. ")
    assert answers_shown[2].startswith("- __Supported.__ k3-CCAA is at most 1 points worse than k3-AAAA. ")
    text = (experiment.paths.report / "tables" / "declared.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["first"], row["second"], row["says"]) for row in rows] == [
        ("k3-CCAA", "CCCC", "for"),
        ("k3-AAAA", "CCCC", "for"),
        ("k3-CCAA", "k3-AAAA", "for"),
    ]
    assert check_report([experiment.paths.folder]) == []


def test_what_the_runs_cannot_tell_is_said_with_what_they_could_show(make_experiment: Maker) -> None:
    experiment = make_experiment(CELLS, seeds=[0, 1, 2])
    experiment.write_plan(compare=(planned(experiment, "k3-CCAA", "CCCC", "higher"),))
    finish(experiment, {"CCCC": [80.0, 81.0, 79.0], "k3-CCAA": [80.5, 80.4, 79.9]})
    build_report([experiment.paths.folder], ["md"])
    page = (experiment.paths.report / "report.md").read_text()
    assert "- __Not distinguishable.__ k3-CCAA is better than CCCC. " in page
    assert "These runs cannot tell. These seeds could have shown " in page


def test_an_unfinished_cell_leaves_its_comparison_open(make_experiment: Maker) -> None:
    experiment = make_experiment(CELLS, seeds=[0, 1])
    experiment.write_plan(compare=tuple(declared(experiment)))
    finish(experiment, {"CCCC": [80.0, 81.0]})
    build_report([experiment.paths.folder], ["md"])
    page = (experiment.paths.report / "report.md").read_text()
    assert page.count("__Not tested.__ k3-CCAA is better than CCCC. One of the two cells has no finished runs.") == 1


def test_a_report_without_declarations_has_no_such_chapter(make_experiment: Maker) -> None:
    experiment = make_experiment(CELLS, seeds=[0])
    experiment.write_plan()
    finish(experiment, {"CCCC": [80.0]})
    build_report([experiment.paths.folder], ["md", "csv"])
    assert "Declared" not in (experiment.paths.report / "report.md").read_text()
    assert not (experiment.paths.report / "tables" / "declared.csv").exists()


@pytest.mark.parametrize("seeds", [2, 5])
def test_declared_comparisons_of_equal_cells_err_together_in_5_percent(seeds: int, make_experiment: Maker) -> None:
    """1,000 experiments whose cells are equal: any that calls one better, or worse, is wrong."""
    experiment = make_experiment(CELLS, seeds=[0, 1])
    pairs = [("k3-CCAA", "CCCC"), ("k3-AAAA", "CCCC"), ("k3-CCAA", "k3-AAAA")]
    finish(experiment, {label: [80.0, 81.0] for label in ("CCCC", "k3-CCAA", "k3-AAAA")})
    comparisons = [planned(experiment, *pair, "higher") for pair in pairs]
    experiment.write_plan(compare=tuple(comparisons))
    asked = questions([(comparisons, cells_of(read_results(experiment.paths)))])
    generator, wrong = np.random.default_rng(seeds), 0
    for _ in range(1000):
        drawn = {label: list(generator.normal(80.0, 1.0, seeds)) for label in ("CCCC", "k3-CCAA", "k3-AAAA")}
        measured = [
            replace(
                question,
                comparisons=tuple(
                    replace(item, difference=paired_difference(drawn[item.first.label], drawn[item.second.label]))
                    for item in question.comparisons
                ),
            )
            for question in asked
        ]
        wrong += any(verdict.says in ("supported", "contradicted") for verdict in answer(measured))
    assert 0.01 < wrong / 1000 < 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5
