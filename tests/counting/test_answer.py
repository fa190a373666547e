"""`sasa count-flops` beyond plain counts, as a user types it."""

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sasa_cli.cli.app import app

FORMS = ("table", "csv", "md", "tex", "json")


def count_flops(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["count-flops", *map(str, arguments)])


def payload_of(*arguments: object) -> dict:
    result = count_flops(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# --- the paper -----------------------------------------------------------------------------------------------------


def test_the_paper_as_json():
    payload = payload_of("--paper")
    (cell,) = [
        cell
        for cell in payload["cells"]
        if (cell["table"], cell["row"], cell["column"], cell["convention"])
        == (1, "ResNet-50, conv-stem + attention", "flops", "plain")
    ]
    assert (cell["paper"], cell["ours"], cell["verdict"]) == (7.0, 6.966317056, "equal as printed")
    assert {cell["table"] for cell in payload["cells"]} == {1, 2, 3, 4, 5, 6, 7}
    assert {cell["column"] for cell in payload["cells"]} == {"params", "flops", "top1"}
    assert all(cell["ours"] is None and cell["split"] for cell in payload["cells"] if cell["column"] == "top1")
    fitted = {each["convention"]: each["fitted"] for each in payload["conventions"]}
    assert fitted == {"plain": False, "executed": False, "E-fused": True, "E-fact": True}


def test_the_number_of_mixtures_is_settable():
    def of_table_7(*arguments: str) -> float:
        cells = payload_of("--paper", *arguments)["cells"]
        return next(
            cell["ours"]
            for cell in cells
            if (cell["row"], cell["convention"], cell["column"]) == ("spatially aware values", "plain", "flops")
        )

    assert of_table_7("--set", "model.stem.mixtures=5") == 7.205556224
    assert of_table_7() == of_table_7("--set", "model.stem.mixtures=4") < 7.205556224


@pytest.mark.parametrize("form", FORMS)
def test_the_paper_in_every_form(form: str):
    result = count_flops("--paper", "--format", form)
    assert result.exit_code == 0, result.output
    assert "attention in 1,2,3" in result.stdout
    assert "equal as printed" in result.stdout


def test_the_paper_as_csv_holds_what_json_holds():
    rows = list(csv.DictReader(io.StringIO(count_flops("--paper", "--format", "csv").stdout)))
    cells = payload_of("--paper")["cells"]
    assert [(row["table"], row["row"], row["verdict"]) for row in rows] == [
        (str(cell["table"]), cell["row"], cell["verdict"]) for cell in cells
    ]
    assert [row["ours"] for row in rows] == ["" if cell["ours"] is None else str(cell["ours"]) for cell in cells]


def test_matched_widths_as_csv_are_those_of_json():
    arguments = ("sasa_resnet26", "sasa_resnet38", "--match", "params", "--to", "resnet26")
    models = payload_of(*arguments)["models"]
    rows = list(csv.DictReader(io.StringIO(count_flops(*arguments, "--format", "csv").stdout)))
    for row, model in zip(rows, models, strict=True):
        assert row["image_size"] == "x".join(map(str, model.pop("image_size")))
        assert row["matched"] == str(model.pop("matched")).lower()
        del model["notes"]
        assert {key: row[key] for key in model} == {key: str(value) for key, value in model.items()}


def test_the_notes_say_what_must_not_be_mixed():
    text = " ".join(count_flops("--paper", "--format", "md").stdout.split())
    assert "18 of 22 printed cells equal as printed, 4 truncated" in text
    assert "Tables 3 and 5 (held-out" in text
    assert "fitted to the paper's numbers" in text
    assert "RetinaNet is out of reach" in text


# --- explanations --------------------------------------------------------------------------------------------------


def test_the_explanation_without_a_model():
    payload = payload_of("--explain")
    assert payload["claim"]["convolution_flops"] == 294_912
    assert payload["claim"]["equal_spatial_extent"]["q.k + q.r + a.v"] == 16
    assert payload["counters"]["macs_without_position"] == 3_637_760
    assert {row["counter"] for row in payload["counters"]["rows"]} >= {"fvcore", "thop", "torchinfo"}


@pytest.mark.parametrize("form", FORMS)
def test_the_explanation_in_every_form(form: str):
    result = count_flops("--explain", "--format", form)
    assert result.exit_code == 0, result.output
    for text in ("294912" if form in ("json", "csv") else "294,912", "unfold, einsum", "19"):
        assert text in result.stdout


def test_the_explanation_of_a_model_as_json_holds_its_products():
    layers = payload_of("sasa_resnet26", "--explain")["models"][0]["layers"]
    attention = next(layer for layer in layers if layer["layer"] == "layer1.0.conv2")
    assert [product["product"] for product in attention["products"]] == ["query", "key", "value", "q.k", "q.r", "a.v"]
    for layer in layers:
        assert sum(product["macs"] for product in layer["products"]) == layer["macs"]


def test_the_figure_is_drawn(tmp_path: Path):
    result = count_flops("--explain", "--figure", tmp_path / "both", "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "both.svg").read_text()
    assert "<svg" in svg
    count_flops("--explain", "--figure", tmp_path / "one.svg")
    assert (tmp_path / "one.svg").read_text() == svg  # drawn again, it is the same file
    assert not (tmp_path / "one.png").exists()


def test_a_figure_that_cannot_be_written_is_one_message(tmp_path: Path):
    (tmp_path / "file").write_text("")
    result = count_flops("--explain", "--figure", tmp_path / "file" / "claim.svg")
    assert result.exit_code == 1
    assert "claim.svg" in result.output
    assert "Traceback" not in result.output


# --- equal budgets -------------------------------------------------------------------------------------------------


def test_the_width_at_equal_parameters():
    payload = payload_of("sasa_resnet26", "--heads", 2, "--match", "params", "--to", "sasa_resnet26:CCCC")
    (found,) = payload["models"]
    assert found["wanted"] == 13_696_552
    assert found["to"] == "sasa_resnet26 CCCC"
    assert found["matched"]
    width = found["width"]
    again = payload_of("sasa_resnet26", "--heads", 2, "--set", f"model.width={width}")["models"][0]
    assert again["params"] == found["reached"] == found["params"]
    assert found["difference_percent"] == pytest.approx(100 * (found["reached"] / 13_696_552 - 1))


def test_a_budget_that_no_width_reaches_says_so():
    result = count_flops("sasa_resnet50", "--match", "params", "--to", "sasa_resnet26:CCCC")
    assert result.exit_code == 0
    assert "no width within 5 %" in result.stdout
    assert "-23.12 %" in result.stdout


def test_other_models_and_experiments_as_the_budget(tmp_path: Path):
    (found,) = payload_of("sasa_resnet50", "--stages", "CCCC", "--match", "flops", "--to", "resnet50")["models"]
    assert (found["width"], found["difference_percent"]) == (1, 0)
    assert "traced" in found["notes"][0]
    file = tmp_path / "one.yaml"
    file.write_text("name: one\nmodel: {name: sasa_resnet26, width: 0.5}\n")
    cells = payload_of(file, "demo", "--match", "params", "--to", file)["models"]
    assert len(cells) == 10
    assert (cells[0]["width"], cells[0]["difference_percent"]) == (0.5, 0)


def test_the_budget_is_counted_at_the_image_of_the_model():
    arguments = ("sasa_resnet26", "--stages", "CCCC", "--image-size", 32, "--match", "flops", "--to")
    (found,) = payload_of(*arguments, "sasa_resnet26:CCCC")["models"]
    assert (found["width"], found["difference_percent"]) == (1, 0)


@pytest.mark.parametrize("form", FORMS)
def test_widths_in_every_form(form: str):
    result = count_flops("--match", "flops", "--to", "sasa_resnet38:CCCC", "--format", form)
    assert result.exit_code == 0, result.output
    assert "sasa_resnet38 CCCC" in result.stdout.replace("\\_", "_")


def test_a_dry_run_shows_the_width_that_was_found(tmp_path: Path):
    file = tmp_path / "equal.yaml"
    file.write_text(
        "name: equal\nmodel:\n  layers: [1, 1, 1, 1]\n  attention: {heads: 2}\n"
        "  match: {budget: flops, to: sasa_resnet26, stages: CCCC}\nsweep:\n  model.stages: [CCCC, AAAA]\n"
    )
    shown = CliRunner().invoke(app, ["sweep", str(file), "--dry-run", "--json"])
    assert shown.exit_code == 0, shown.output
    runs = json.loads(shown.stdout)["runs"]
    assert all(run["run_id"].split("-s0-")[0].count("-width-") == 1 for run in runs)
    assert max(run["flops"] for run in runs) / min(run["flops"] for run in runs) < 1.1
    trained = CliRunner().invoke(app, ["train", str(file), "--dry-run"])
    assert "width: " in trained.stdout
    assert "match" not in trained.stdout


# --- what does not go together -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sasa_resnet50", "--paper"], "'sasa_resnet50' does not apply"),
        (["--paper", "--explain"], "--paper and --explain do not go together"),
        (["--paper", "--stages", "CCAA"], "model.stages=CCAA does not apply with --paper"),
        (["--paper", "--set", "model.stem.mixtures=0"], "allowed are numbers from 1"),
        (["--paper", "--by", "layer"], "--by layer does not apply"),
        (["--explain", "--stages", "CCAA"], "model.stages=CCAA does not apply"),
        (["--explain", "--figure", "claim.pdf"], ".pdf is not allowed"),
        (["sasa_resnet26", "--explain", "--figure", "claim.svg"], "--figure"),
        (["--figure", "claim.svg"], "--figure"),
        (["sasa_resnet26", "--match", "params"], "go together"),
        (["sasa_resnet26", "--to", "resnet50"], "go together"),
        (["resnet50", "--match", "params", "--to", "sasa_resnet26"], "resnet50: has no width"),
        (["--match", "params", "--to", "resnet5000"], "'resnet5000' is no model"),
        (["--match", "params", "--to", "sasa_resnet26:CCX"], "'CCX'"),
        (["--match", "params", "--to", "demo"], "9 cells"),
        (["sasa_resnet26", "--match", "params", "--to", "resnet50", "--set", "model.width=2"], "finds the width"),
    ],
)
def test_contradictions_are_refused(arguments: list[str], says: str):
    result = count_flops(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert "Traceback" not in result.output
