"""Each claim finds its pairs by the specs of the runs, and rules by their numbers."""

import csv
import re
from collections.abc import Sequence
from typing import Any

import pytest

from sasa_cli.rendering.csv import to_csv
from sasa_cli.rendering.document import Notes
from sasa_cli.reporting.evidence.cells import Cell, cells_of
from sasa_cli.reporting.evidence.claims import CLAIMS, pairs_of
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.evidence.verdicts import NO_SEEDS, NOT_ALIKE, Verdict, judge
from sasa_cli.reporting.pages.verdict_tables import pairs_table, verdict_blocks, verdicts_table
from sasa_cli.runs.files import write_text

from ..conftest import Maker
from ..results_folder import EXTENT, STAGES, Experiment

POSITION, CONTENT, STEM = "model.attention.position", "model.attention.content", "model.stem"
NOISE = (0.0, 0.2, -0.1)
RELATIVE, ABSOLUTE, NONE = ({POSITION: name} for name in ("relative", "absolute", "none"))
STEMS = {values: {STEM: {"kind": "attention", "values": values}} for values in ("spatial", "conv", "plain")}
Trained = Sequence[tuple[dict[str, Any], float]]


def cells_from(make_experiment: Maker, trained: Trained, seeds: int = 3) -> list[Cell]:
    """Cells with these means; how seeds scatter differs from cell to cell, so that differences vary."""
    experiment = make_experiment([cell for cell, _ in trained], seeds=range(seeds))
    experiment.write_plan()
    finish(experiment, trained, seeds)
    return cells_of(read_results(experiment.paths))


def finish(experiment: Experiment, trained: Trained, seeds: int) -> None:
    for index, (_, top1) in enumerate(trained):
        for seed in range(seeds):
            run = experiment.runs[seed * len(trained) + index]
            experiment.finish(run, top1 + NOISE[(seed + index) % 3])


def verdict_on(name: str, cells: Sequence[Cell]) -> Verdict:
    return next(verdict for verdict in judge(cells) if verdict.claim.name == name)


def names(cells: Sequence[Cell], claim: str) -> set[tuple[str, str]]:
    found = next(each for each in CLAIMS if each.name == claim)
    return {(first.label, second.label) for first, second in pairs_of(found, cells)}


def test_late_is_compared_with_as_many_early_stages(make_experiment: Maker) -> None:
    stages = ("CCCC", "CCCA", "ACCC", "CCAA", "AACC", "CAAA", "AAAA")
    cells = cells_from(make_experiment, [({STAGES: name, EXTENT: 3}, 80.0) for name in stages], seeds=1)
    assert names(cells, "late-over-early") == {("k3-CCCA", "k3-ACCC"), ("k3-CCAA", "k3-AACC")}


def test_another_recipe_is_not_the_same_but_for_the_claim(make_experiment: Maker) -> None:
    late, early = {STAGES: "CCAA", EXTENT: 3}, {STAGES: "AACC", EXTENT: 3}
    cells = cells_from(make_experiment, [(late | {"recipe.lr": 0.1}, 80.0), (early | {"recipe.lr": 0.2}, 70.0)])
    assert verdict_on("late-over-early", cells).says == "not tested"
    assert names(cells_from(make_experiment, [(late, 80.0), (early, 70.0)]), "late-over-early")


def test_larger_extents_against_the_smallest_and_the_last_step(make_experiment: Maker) -> None:
    trained = [({STAGES: "AAAA", EXTENT: k}, 80.0) for k in (11, 3, 7)]
    cells = cells_from(make_experiment, [*trained, ({STAGES: "CCCC"}, 80.0), ({STAGES: "CCAA", EXTENT: 5}, 80.0)])
    assert names(cells, "larger-extent") == {("k7-AAAA", "k3-AAAA"), ("k11-AAAA", "k3-AAAA")}
    assert names(cells, "extent-saturates") == {("k11-AAAA", "k7-AAAA")}
    assert names([cell for cell in cells if cell.label != "k3-AAAA"], "extent-saturates") == set()


def test_attention_against_depthwise_convolution_of_the_same_extent(make_experiment: Maker) -> None:
    points = [("CCAA", 3), ("CCDD", 3), ("CCAA", 7), ("CCDD", 7), ("CADD", 7), ("AADD", 7), ("CCCC", None)]
    trained = [({STAGES: name} | ({EXTENT: k} if k else {}), 80.0) for name, k in points]
    cells = cells_from(make_experiment, trained)
    pairs = {("k3-CCAA", "k3-CCDD"), ("k7-CCAA", "k7-CCDD")}
    assert names(cells, "attention-over-depthwise") == pairs
    assert names(cells, "late-over-early") == set()
    better = cells_from(make_experiment, [({STAGES: "AAAA", EXTENT: 3}, 84.0), ({STAGES: "DDDD", EXTENT: 3}, 80.0)])
    verdict = verdict_on("attention-over-depthwise", better)
    assert (verdict.says, verdict.claim.source) == ("supported", "beyond the paper")


def test_position_and_content(make_experiment: Maker) -> None:
    base = {STAGES: "AAAA", EXTENT: 3}
    settings = [base | each for each in (RELATIVE, ABSOLUTE, NONE, {CONTENT: False})]
    cells = cells_from(make_experiment, [(setting, 80.0) for setting in settings])
    relative, absolute, none, position_only = (cell.label for cell in cells)
    assert names(cells, "relative-over-absolute") == {(relative, absolute)}
    assert names(cells, "absolute-over-none") == {(absolute, none)}
    assert names(cells, "relative-over-none") == {(relative, none)}
    assert names(cells, "position-over-content") == {(position_only, none)}


def test_stems(make_experiment: Maker) -> None:
    cells = cells_from(make_experiment, [({STAGES: "CCCC"} | stem, 80.0) for stem in ({}, *STEMS.values())])
    _, spatial, conv, plain = (cell.label for cell in cells)
    assert names(cells, "spatial-over-plain-stem") == {(spatial, plain)}
    assert names(cells, "spatial-over-conv-stem") == {(spatial, conv)}
    assert names(cells, "conv-over-plain-stem") == {(conv, plain)}


def test_a_difference_is_supported_contradicted_or_not_distinguishable(make_experiment: Maker) -> None:
    for late, ruling in ((85.0, "supported"), (75.0, "contradicted"), (80.1, "not distinguishable")):
        trained = [({STAGES: "CCAA", EXTENT: 3}, late), ({STAGES: "AACC", EXTENT: 3}, 80.0)]
        found = verdict_on("late-over-early", cells_from(make_experiment, trained))
        assert found.says == ruling
        (pair,) = found.pairs
        assert pair.comparison.n == 3
        assert pair.p_holm is not None
        assert (pair.p_holm < 0.05) == (ruling != "not distinguishable")


def test_pairs_that_disagree_are_mixed(make_experiment: Maker) -> None:
    trained = [
        ({STAGES: stages, EXTENT: 3}, top1)
        for stages, top1 in (("CCAA", 85.0), ("AACC", 80.0), ("CCCA", 75.0), ("ACCC", 80.0))
    ]
    found = verdict_on("late-over-early", cells_from(make_experiment, trained))
    assert (found.says, found.count("for"), found.count("against")) == ("mixed", 1, 1)


def test_p_values_are_corrected_over_the_claims_of_a_page_and_the_pairs_of_a_claim(make_experiment: Maker) -> None:
    """Of two claims, this and saturation, this has two pairs."""
    trained = [({STAGES: "AAAA", EXTENT: k}, 80.0 + k) for k in (3, 5, 7)]
    found = verdict_on("larger-extent", cells_from(make_experiment, trained))
    p_values = sorted((p.comparison.difference.p_value or 0.0) for p in found.pairs if p.comparison.difference)
    assert [pair.share for pair in found.pairs] == [1 / 2 / 2] * 2
    assert sorted(p.p_holm or 0.0 for p in found.pairs)[0] == pytest.approx(4 * p_values[0])


def test_one_seed_tests_nothing(make_experiment: Maker) -> None:
    trained = [({STAGES: "CCAA", EXTENT: 3}, 85.0), ({STAGES: "AACC", EXTENT: 3}, 80.0)]
    found = verdict_on("late-over-early", cells_from(make_experiment, trained, seeds=1))
    assert (found.says, found.why_not) == ("not tested", NO_SEEDS)


@pytest.mark.parametrize(
    ("last", "ruling"), [(80.05, "supported"), (83.0, "contradicted"), (77.0, "contradicted"), (80.5, "open")]
)
def test_saturation_is_equality_within_its_margin(make_experiment: Maker, last: float, ruling: str) -> None:
    values = ((3, 70.0), (5, 80.0), (7, last))
    trained = [({STAGES: "AAAA", EXTENT: k}, top1) for k, top1 in values]
    found = verdict_on("extent-saturates", cells_from(make_experiment, trained, seeds=6))
    assert found.says == ("not distinguishable" if ruling == "open" else ruling)


@pytest.mark.parametrize(
    ("attention", "parameters"), [(80.0, "supported"), (85.0, "supported"), (75.0, "contradicted"), (79.0, "open")]
)
def test_fewer_parameters_at_equal_accuracy(make_experiment: Maker, attention: float, parameters: str) -> None:
    """The nets of these folders have fewer parameters with attention; with k = 21 they have more FLOPs."""
    trained = [({STAGES: "AAAA", EXTENT: 21}, attention), ({STAGES: "CCCC"}, 80.0)]
    cells = cells_from(make_experiment, trained)
    found = verdict_on("fewer-parameters", cells)
    assert found.says == ("not distinguishable" if parameters == "open" else parameters)
    flops = verdict_on("fewer-flops", cells)
    assert (flops.says, flops.pairs[0].fewer) == ("contradicted", False)


def test_a_count_contradicts_without_any_seed(make_experiment: Maker) -> None:
    trained = [({STAGES: "AAAA", EXTENT: 21}, 80.0), ({STAGES: "CCCC"}, 80.0)]
    cells = cells_from(make_experiment, trained, seeds=1)
    assert verdict_on("fewer-flops", cells).says == "contradicted"
    assert verdict_on("fewer-parameters", cells).says == "not tested"


def test_runs_that_were_not_trained_alike_test_nothing(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCAA", EXTENT: 3}, {STAGES: "AACC", EXTENT: 3}], seeds=[0, 1])
    for run in experiment.runs:
        experiment.finish(run, 80.0 + run.seed**2, device="cuda" if "CCAA" in run.label else "cpu")
    found = verdict_on("late-over-early", cells_of(read_results(experiment.paths)))
    assert found.why_not == NOT_ALIKE


def test_a_cell_without_a_spec_takes_no_part_and_is_named(make_experiment: Maker) -> None:
    trained = [({STAGES: "CCAA", EXTENT: 3}, 85.0), ({STAGES: "AACC", EXTENT: 3}, 80.0)]
    experiment = make_experiment([cell for cell, _ in trained], seeds=[0, 1])
    finish(experiment, trained, 2)
    for seed in (0, 1):
        write_text(experiment.paths.run(experiment.run("k3-CCAA", seed).run_id).spec, "model: [\n")
    results = read_results(experiment.paths)
    assert [problem.path.rpartition("/")[2] for problem in results.problems] == ["spec.yaml"] * 2
    assert str(experiment.paths.folder) not in results.problems[0].message
    assert verdict_on("late-over-early", cells_of(results)).says == "not tested"


def test_findings_name_the_numbers_and_are_short_on_what_was_not_tested(make_experiment: Maker) -> None:
    trained = [({STAGES: "CCAA", EXTENT: 3}, 80.1), ({STAGES: "AACC", EXTENT: 3}, 80.0)]
    verdicts = judge(cells_from(make_experiment, trained))
    notes = verdict_blocks(verdicts)[0]
    assert isinstance(notes, Notes)
    open_one, untested = notes.items
    assert (open_one.lead, untested.lead) == ("Not distinguishable", "Not tested")
    assert "k3-CCAA minus k3-AACC +0.10 ± " in open_one.text
    assert re.search(
        r"n = 3, Holm-corrected p = 0\.\d\d\. These seeds could have shown (\d\.\d\d) points\.", open_one.text
    )
    assert untested.text.count(";") == len(CLAIMS) - 2
    assert len(verdicts_table(verdicts).rows) == len(CLAIMS)
    programs = csv.DictReader(to_csv(verdicts_table(verdicts)).splitlines())
    assert [row["claim"] for row in programs] == [claim.name for claim in CLAIMS]
    (pair,) = csv.DictReader(to_csv(pairs_table(verdicts)).splitlines())
    assert (pair["claim"], pair["says"], pair["n"]) == ("late-over-early", "open", "3")


def test_what_could_have_been_shown_is_told_for_all_pairs(make_experiment: Maker) -> None:
    trained = [({STAGES: "AAAA", EXTENT: k}, top1) for k, top1 in ((3, 80.0), (5, 80.1), (7, 80.05))]
    verdict = verdict_on("larger-extent", cells_from(make_experiment, trained))
    assert verdict.says == "not distinguishable"
    alone, corrected = (
        sorted(pair.could_show(verdict.claim, corrected=each) or 0.0 for pair in verdict.pairs)
        for each in (False, True)
    )
    (_, _, _, evidence) = verdicts_table([verdict]).seen.rows[0]
    ranges = [" to ".join(dict.fromkeys(f"{value:.2f}" for value in values)) for values in (alone, corrected)]
    assert evidence.endswith(
        f"These seeds could have shown {ranges[0]} points in a pair by itself, {ranges[1]} after correction."
    )
