import re
from html.parser import HTMLParser
from typing import Any

import pytest

from sasa_cli.rendering.document import Figure
from sasa_cli.rendering.drawing import INK, canvas, inline_svg, legend, to_svg
from sasa_cli.reporting.evidence.cells import axes_of, cells_of
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.pages.figures import figures_of
from sasa_cli.reporting.pages.looks import by_colour, by_colour_and_fill

from ..conftest import Maker
from ..results_folder import EXTENT, STAGES, Experiment


def figures(experiment: Experiment) -> dict[str, Figure]:
    results = read_results(experiment.paths)
    cells = cells_of(results)
    return {figure.name: figure for figure in figures_of(cells, axes_of(results, cells))}


def test_a_figure_for_each_axis_and_cost_that_varies(small: Experiment) -> None:
    drawn = figures(small)
    assert list(drawn) == [
        *("accuracy-by-placement", "accuracy-by-spatial-extent", "accuracy-by-params", "accuracy-by-flops"),
        "training-curves",
    ]
    by_extent = drawn["accuracy-by-spatial-extent"]
    assert "Broken line and band: CCCC, where spatial extent has no effect." in by_extent.caption
    assert "k7-CCAA at 7: 84.20 ± 2.54" in by_extent.alt
    assert "CCCC at any: 80.20 ± 2.54" in by_extent.alt


def test_nothing_varies_nothing_is_drawn_but_the_training(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "AAAA", EXTENT: 7}])
    for run in experiment.runs:
        experiment.finish(run, 80.0)
    assert list(figures(experiment)) == ["training-curves"]


def test_without_finished_runs_there_is_no_figure(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "AAAA"}, {STAGES: "CCCC"}])
    experiment.write_plan()
    assert figures(experiment) == {}


@pytest.mark.parametrize("values", [[True, False], [[3, 3, 7, 7], 3], [{"kind": "attention"}, "conv"], [0.25, 0.5, 1]])
def test_any_axis_can_be_drawn(make_experiment: Maker, values: list[Any]) -> None:
    experiment = make_experiment([{"model.some_key": value} for value in values], seeds=[0])
    for index, run in enumerate(experiment.runs):
        experiment.finish(run.model_copy(update={"cell_hash": str(index), "run_id": f"run{index}"}), 80.0 + index)
    (name, figure), *_ = figures(experiment).items()
    assert name == "accuracy-by-some-key"
    assert figure.svg.count("<use") > len(values)


def test_settings_look_the_same_in_all_figures_and_unlike_each_other(small: Experiment) -> None:
    results = read_results(small.paths)
    cells = cells_of(results)
    placement, extent = axes_of(results, cells)
    pairs = by_colour_and_fill(cells, [placement, extent])
    assert len({pairs.look(cell) for cell in cells}) == 3
    lines = by_colour(cells, [placement])
    assert [lines.look(cell).colour for cell in cells] == [pairs.look(cell).colour for cell in cells]
    groups = [
        (title, [str(entry.get_label()) for entry in entries])
        for title, entries in pairs.legend(markers=True, lines=False)
    ]
    assert groups == [("Placement", ["CCCC", "CCAA"]), ("Spatial extent", ["any", "3", "7"])]


def test_a_long_legend_makes_room_for_itself(small: Experiment) -> None:
    results = read_results(small.paths)
    cells = cells_of(results)
    with canvas() as (figure, _):
        before = figure.get_figheight()
        entries = by_colour(cells, axes_of(results, cells)).legend(markers=True, lines=True)[0][1]
        legend(figure, [("Many", [*entries] * 10)])
        assert figure.get_figheight() > before


def test_an_inlined_drawing_takes_the_colours_of_the_page() -> None:
    with canvas() as (figure, plot):
        plot.plot([0, 1], [0, 1], color=INK, marker="o")
        svg = to_svg(figure)
    assert INK in svg
    inlined = inline_svg(svg, "prefix", 'the "alt" <text>')
    assert INK not in inlined
    assert "currentColor" in inlined
    assert 'id="prefix-background"' not in inlined
    assert "<metadata>" not in inlined
    assert 'aria-label="the &quot;alt&quot; &lt;text&gt;"' in inlined
    ids = re.findall(r'\bid="([^"]+)"', inlined)
    assert len(set(ids)) == len(ids)
    targets = set(re.findall(r'href="#([^"]+)"', inlined)) | set(re.findall(r"url\(#([^)]+)\)", inlined))
    assert targets <= set(ids)
    HTMLParser().feed(inlined)


def test_points_at_nearly_the_same_place_move_apart(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "AAAA", EXTENT: k} for k in (3, 5)] + [{STAGES: "CCCC"}], seeds=[0])
    for run in experiment.runs:
        experiment.finish(run.model_copy(update={"params": 500 + (run.cell.get(EXTENT) or 105)}), 80.0)
    drawn = figures(experiment)["accuracy-by-params"].svg
    places = [float(x) for x in re.findall(r'<use [^>]*x="([\d.]+)" y="[\d.]+" style="fill: #', drawn)]
    near, far = sorted(set(places))[:2], sorted(set(places))[-1]
    assert near[1] - near[0] == pytest.approx(4, abs=1.5)
    assert far - near[1] > 100
