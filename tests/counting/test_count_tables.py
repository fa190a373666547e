import csv
import io
import json

import pytest

from sasa_cli.counting.count_tables import count_payload, count_table, explain_table
from sasa_cli.counting.macs import ModelCount, count_model
from sasa_cli.rendering.csv import to_csv
from sasa_cli.rendering.numbers import counted
from sasa_cli.rendering.table import Table
from sasa_cli.spec import AttentionSpec, ModelSpec


@pytest.fixture(scope="module")
def counts() -> list[ModelCount]:
    specs = (ModelSpec(name="sasa_resnet50"), ModelSpec(name="sasa_resnet26", stages="CCCC"))
    return [count_model(spec, image_size=224, num_classes=1000) for spec in specs]


def texts(table: Table) -> list[tuple[str, ...]]:
    """What a reader sees."""
    return [tuple(map(str, row)) for row in table.seen.rows]


def test_payload_holds_exact_integers(counts: list[ModelCount]):
    payload = json.loads(json.dumps(count_payload(counts)))
    model = payload["models"][0]
    assert model["model"] == "sasa_resnet50"
    assert model["params"] == 18_015_504
    assert (model["macs"], model["flops"], model["flops_executed"]) == (3_483_158_528, 6_966_317_056, 6_806_155_264)
    assert [stage["stage"] for stage in model["stages"]][::5] == ["stem", "classifier"]
    assert "layers" not in model
    for key in ("params", "macs", "flops", "flops_executed", "activations"):
        assert sum(stage[key] for stage in model["stages"]) == model[key]


def test_payload_by_layer(counts: list[ModelCount]):
    (model, _) = count_payload(counts, by="layer")["models"]
    assert model["layers"][0] == {
        "layer": "conv1",
        "stage": "stem",
        "kind": "conv 7x7/2",
        "shape": [64, 112, 112],
        "params": 9_408,
        "macs": 118_013_952,
        "flops": 236_027_904,
        "flops_executed": 236_027_904,
        "activations": 802_816,
    }


def test_by_model(counts: list[ModelCount]):
    table = count_table(counts)
    assert table.title == "Parameters and FLOPs, image 3x224x224, 1000 classes"
    assert table.seen.headers == ("Model", "Parameters", "MACs", "FLOPs (2 x MACs)", "FLOPs executed", "Activations")
    assert texts(table) == [
        ("sasa_resnet50", "18.02 M", "3.483 G", "6.966 G", "6.806 G", "28.85 M"),
        ("sasa_resnet26 CCCC", "13.70 M", "2.342 G", "4.685 G", "4.685 G", "13.40 M"),
    ]


def test_one_model_stands_in_the_title_and_several_in_a_column(counts: list[ModelCount]):
    one, both = count_table(counts[:1], by="stage").seen, count_table(counts, by="stage").seen
    assert one.title == "sasa_resnet50, image 3x224x224, 1000 classes"
    assert one.headers[0] == "Stage"
    assert texts(one)[-1][:3] == ("total", "18.02 M", "3.483 G")
    assert both.headers[:2] == ("Model", "Stage")
    assert len(both.rows) == 2 * len(one.rows)


def test_images_are_named_where_they_differ(counts: list[ModelCount]):
    small = count_model(ModelSpec(name="sasa_resnet26"), image_size=32, num_classes=10)
    table = count_table([counts[0], small])
    assert table.title == "Parameters and FLOPs"
    assert [row[0] for row in texts(table)] == [
        "sasa_resnet50, 3x224x224, 1000 classes",
        "sasa_resnet26, 3x32x32, 10 classes",
    ]


def test_by_layer(counts: list[ModelCount]):
    table = count_table(counts[:1], by="layer")
    assert table.seen.headers[:3] == ("Layer", "Kind", "Output")
    assert texts(table)[0][:4] == ("conv1", "conv 7x7/2", "64x112x112", "9,408")
    assert len(table.rows) == len(counts[0].layers) + 1


@pytest.mark.parametrize("by", ["model", "stage", "layer"])
def test_the_tables_hold_for_programs_what_the_payload_holds(counts: list[ModelCount], by: str):
    text = to_csv(count_table(counts, by=by))
    rows = list(csv.DictReader(io.StringIO(text)))
    for model in count_payload(counts)["models"]:
        for key in ("params", "macs", "flops", "flops_executed", "activations"):
            assert sum(int(row[key]) for row in rows if row["model"] == model["model"]) == model[key]


def test_explanation_of_attention():
    spec = ModelSpec(name="sasa_resnet50", attention=AttentionSpec(spatial_extent=5))
    table = explain_table([count_model(spec, image_size=224, num_classes=1000)])
    rows = {row[2]: row[3:] for row in texts(table) if row[0] == "layer1.0.conv2"}
    assert rows["q.r"] == (
        "H W k^2 C",
        "56 x 56 x 25 x 64 (executed: 56 x 56 x 5 x 64)",
        "5,017,600",
        "1,003,520",
    )
    assert list(rows) == ["query", "key", "value", "q.k", "q.r", "a.v"]
    assert texts(table)[-1][-2:] == ("3,345,876,992", "3,307,743,232")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999_999, "999,999"), (18_015_504, "18.02 M"), (6_966_317_056, "6.966 G"), (10**12, "1000.000 G")],
)
def test_counts_for_readers(number: int, text: str):
    assert (counted(number).text, counted(number).value) == (text, number)


def test_sums_are_for_readers_only(counts: list[ModelCount]):
    """A program that adds up the products of a model finds its MACs."""
    rows = list(csv.DictReader(io.StringIO(to_csv(explain_table(counts)))))
    for count in counts:
        own = [row for row in rows if row["model"] == count.model]
        assert sum(int(row["macs"]) for row in own) == count.macs
        assert sum(int(row["macs_executed"]) for row in own) == count.macs_executed


def test_notes_of_a_count_reach_the_reader(counts: list[ModelCount]):
    traced = ModelCount("other", (3, 8, 8), 2, (), notes=("other is traced.",))
    assert count_table([counts[0], traced]).notes[-1] == "other is traced."
    assert count_payload([traced])["models"][0]["notes"] == ["other is traced."]
