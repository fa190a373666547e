"""Cells stand beside the paper only where network, images, classes and split are the same."""

import csv
from typing import Any

import pytest

from sasa_cli.counting.macs import count_model
from sasa_cli.rendering.csv import to_csv
from sasa_cli.rendering.document import Notes
from sasa_cli.rendering.table import Table
from sasa_cli.reporting.evidence.cells import Cell, cells_of
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.pages.paper_rows import comparison_table, counterparts, paper_comparison

from ..conftest import Maker
from ..results_folder import EXTENT, STAGES

IMAGENET = {"data.name": "imagenet", "data.image_size": 224, "model.width": 1.0, "model.attention.heads": 8}
FINGERPRINT = {"name": "imagenet", "train": 1_230_000, "val": 51_000, "test": 50_000, "classes": 1000}


def cells_from(make_experiment: Maker, cells: list[dict[str, Any]], fingerprint: dict[str, Any]) -> list[Cell]:
    experiment = make_experiment(cells, seeds=[0, 1])
    for run in experiment.runs:
        experiment.finish(run, 75.0 + 0.2 * run.seed, data=fingerprint)
    found = cells_of(read_results(experiment.paths))
    assert all(cell.spec is not None for cell in found)
    return found


def test_a_network_of_the_paper_stands_beside_each_of_its_rows(make_experiment: Maker) -> None:
    cells = cells_from(make_experiment, [IMAGENET | {"model.name": "sasa_resnet50", STAGES: "AAAA"}], FINGERPRINT)
    found = counterparts(cells)
    assert [(match.row.table, match.row.split) for match in found] == [
        *((1, "test"), (3, "held-out"), (4, "test"), (5, "held-out"), (6, "test")),
    ]
    # Val is 1 point above test in these folders: never the one beside the other.
    assert [round(match.top1.mean, 6) for match in found if match.top1] == [75.1, 76.1, 75.1, 76.1, 75.1]
    assert {match.row.top1 for match in found if match.row.split == "test"} == {77.4}
    assert {match.row.top1 for match in found if match.row.split == "held-out"} == {80.2}
    table, notes = paper_comparison(cells)
    assert isinstance(table, Table)
    assert tuple(map(str, table.seen.rows[0][:3])) == (
        cells[0].label,
        "Table 1, ResNet-50, conv-stem + attention",
        "test",
    )
    assert tuple(map(str, table.seen.rows[0][3:5])) == ("75.10 ± 1.27", "77.4")
    assert isinstance(notes, Notes)
    assert any("10 epochs with batches of 128" in note.text for note in notes.items)
    first = next(csv.DictReader(to_csv(comparison_table(found)).splitlines()))
    assert (first["n"], first["top1_mean"], first["top1_paper"]) == ("2", "75.1", "77.4")
    assert found[0].top1
    assert first["top1_half_width"] == str(found[0].top1.half_width)


def test_other_images_of_the_same_size_share_counts_only(make_experiment: Maker) -> None:
    cell = IMAGENET | {"data.name": "folder", "data.num_classes": 1000, "model.name": "sasa_resnet26"}
    cells = cells_from(make_experiment, [cell | {STAGES: "AAAA"}], FINGERPRINT | {"name": "folder"})
    found = counterparts(cells)
    assert [match.row.table for match in found] == [1]
    assert tuple(map(str, comparison_table(found).seen.rows[0][3:5])) == ("–", "75.8")
    notes = paper_comparison(cells)[1]
    assert isinstance(notes, Notes)
    assert notes.items[-1].text == "No accuracies beside those of the paper for runs on other images: folder."


@pytest.mark.parametrize(
    ("change", "fingerprint", "reason"),
    [
        ({"data.image_size": 160}, {}, "imagenet at 160 px with 1000 classes"),
        ({"data.num_classes": 10}, {"classes": 10}, "imagenet at 224 px with 10 classes"),
        ({EXTENT: 13}, {}, "none of these networks is in its tables"),
        ({"model.width": 0.5}, {}, "none of these networks is in its tables"),
        ({"model.attention.border": "mask"}, {}, "none of these networks is in its tables"),
    ],
)
def test_without_a_match_the_report_says_why(
    make_experiment: Maker, change: dict[str, Any], fingerprint: dict[str, Any], reason: str
) -> None:
    cell = IMAGENET | {"model.name": "sasa_resnet50", STAGES: "AAAA"} | change
    cells = cells_from(make_experiment, [cell], FINGERPRINT | fingerprint)
    (notes,) = paper_comparison(cells)
    assert isinstance(notes, Notes)
    assert reason in notes.items[0].text
    assert counterparts(cells) == []


def test_the_paper_prints_what_is_counted_here(make_experiment: Maker) -> None:
    """Counts may stand side by side, whatever was trained: parameters agree to the paper's digits, or nearly."""
    cells = cells_from(make_experiment, [IMAGENET | {"model.name": "sasa_resnet50", STAGES: "CCAA"}], FINGERPRINT)
    (match,) = counterparts(cells)
    counted = count_model(match.row.model, image_size=224, num_classes=1000)
    assert match.row.params == round(counted.params / 1e6, 1)
    assert abs(2 * counted.macs / 1e9 - match.row.flops) < 0.13
