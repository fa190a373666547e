"""Axes x seeds to runs: how many, which, and how they are called."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from sasa_cli.cli.app import app
from sasa_cli.errors import SpecError
from sasa_cli.experiment.file import load_experiment, run_yaml
from sasa_cli.experiment.sweep import base_run, expand_sweep
from sasa_cli.launchers.planning import make_plan
from sasa_cli.spec import HASH_DIGITS

ROOT = Path(__file__).parents[2]
PLACEMENTS = ["CCCC", "CCCA", "CCAA", "CAAA", "AAAA"]


def expand(*assignments: str):
    return expand_sweep(load_experiment("demo", assignments))


def test_the_demo_has_each_net_once():
    runs = expand()
    assert len(runs) == 2 * (1 + 4 * 2)  # convolution alone has no spatial extent
    assert len({run.run_id for run in runs}) == len(runs)
    assert [run.seed for run in runs] == [0] * 9 + [1] * 9
    assert runs[0].label == "CCCC"
    assert runs[0].cell == {"model.stages": "CCCC"}
    assert runs[1].run_id.startswith("k3-CCCA-s0-")


@given(
    stages=st.lists(st.sampled_from(PLACEMENTS), min_size=1, max_size=5, unique=True),
    extents=st.lists(st.sampled_from([1, 3, 5, 7, 11]), min_size=1, max_size=3, unique=True),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
)
def test_axes_multiply(stages, extents, seeds):
    runs = expand(f"sweep={{model.stages: {stages}, model.attention.spatial_extent: {extents}}}", f"seeds={seeds}")
    cells = sum(1 if placement == "CCCC" else len(extents) for placement in stages)
    assert len(runs) == cells * len(seeds)
    assert len({run.run_id for run in runs}) == len(runs)
    assert len({run.cell_hash for run in runs}) == cells
    assert {run.seed for run in runs} == set(seeds)


def test_a_longer_axis_leaves_the_other_runs_as_they_are():
    before = {run.run_id for run in expand()}
    longer = {
        run.run_id
        for run in expand(
            f"sweep={{model.stages: {[*PLACEMENTS, 'ACCC']}, model.attention.spatial_extent: [3, 7, 11]}}"
        )
    }
    assert before < longer


def test_settings_of_runs_differ_where_their_cells_do():
    first, second = (expand(f"sweep={{model.stages: [{stages}]}}")[0] for stages in ("CCAA", "CCCA"))
    settings = first.settings()
    assert (settings["model.stages"], settings["model.attention.heads"]) == ("CCAA", 4)
    assert {key for key, value in second.settings().items() if value != settings[key]} == {"model.stages"}
    assert not {"data.root", "recipe.workers"} & settings.keys()


def test_named_cells():
    cells = "[{name: conv, model.stages: CCCC}, {name: wide, model.stages: AAAA, model.width: 0.5}]"
    runs = expand(f"sweep={cells}", "seeds=[0]")
    assert [run.label for run in runs] == ["conv", "wide"]
    assert runs[1].cell == {"model.stages": "AAAA", "model.width": 0.5}
    mixed = expand(f"sweep={{variant: {cells}, model.attention.spatial_extent: [3, 5]}}", "seeds=[0]")
    assert [run.label for run in mixed] == ["conv", "k3-wide", "k5-wide"]


def test_train_is_a_run_of_the_sweep_where_the_sweep_has_it():
    swept = {run.run_id for run in expand()}
    assert base_run(load_experiment("demo"), None).run_id in swept
    assert base_run(load_experiment("demo", ["model.stages=CCCC"]), 1).run_id in swept
    assert base_run(load_experiment("demo", ["recipe.epochs=1"]), 1).run_id not in swept
    assert base_run(load_experiment("demo"), 7).label == "k7-AAAA"


def test_what_does_not_change_the_numbers_does_not_change_the_run():
    name = base_run(load_experiment("demo"), 0).run_id
    assert base_run(load_experiment("demo", ["data.root=/elsewhere", "recipe.workers=3"]), 0).run_id == name
    for change in ("recipe.lr=0.3", "model.attention.border=mask", "data.val_fraction=0.2", "model.width=0.5"):
        assert base_run(load_experiment("demo", [change]), 0).run_id != name


def test_the_committed_results_keep_their_names():
    """Settings that joined later must not change the names of runs that were trained without them."""
    assert {run.run_id for run in expand()} == {
        folder.name for folder in (ROOT / "results/published/demo/runs").iterdir()
    }


def test_lr_for_another_batch_size_is_the_run_of_the_lr_that_it_gives():
    plain = base_run(load_experiment("demo", ["recipe.lr=0.1"]), 0)
    scaled = base_run(load_experiment("demo", ["recipe.lr=1.6", "recipe.lr_batch_size=512"]), 0)  # 1.6 x 32 / 512
    assert scaled == plain
    runs = expand("recipe.lr_batch_size=64", "sweep={recipe.batch_size: [32, 64, 128]}", "seeds=[0]")
    assert [run.recipe.lr for run in runs] == [0.1, 0.2, 0.4]


def test_the_place_of_the_pool_matters_where_attention_has_one():
    axes = "{model.stages: [CCCC, ACCC, CCCA], model.attention.pool: [after, before]}"
    runs = expand(f"sweep={axes}", "seeds=[0]")
    assert [run.label for run in runs] == ["CCCC", "ACCC", "CCCA-pool-after", "CCCA-pool-before"]
    assert runs[1].cell == {"model.stages": "ACCC"}
    stem = expand("model.stages=ACCC", "model.stem=attention", "sweep={model.attention.pool: [after, before]}")
    assert {run.model.attention.pool for run in stem} == {"after"}


def test_a_key_cannot_be_set_and_swept():
    with pytest.raises(SpecError, match="is an axis of the sweep"):
        expand("model.stages=AAAA")


def test_other_axes_are_part_of_the_label():
    runs = expand("sweep={model.attention.position: [relative, none], model.width: [0.25]}", "seeds=[0]")
    assert [run.label for run in runs] == ["position-relative", "position-none"]


def test_values_that_read_alike_get_different_labels():
    runs = expand("sweep={model.stem: [{kind: attention, heads: 4}, {heads: 4, kind: attention, values: plain}]}")
    assert len({run.label for run in runs}) == 2


def test_an_attention_stem_keeps_the_settings_that_it_follows():
    axes = "{model.attention.position: [relative, none], model.attention.spatial_extent: [3, 7]}"
    runs = expand("model.stages=CCCC", "model.stem=attention", f"sweep={axes}", "seeds=[0]")
    assert [run.cell for run in runs] == [{"model.attention.position": position} for position in ("relative", "none")]
    content = expand("model.stages=CCCC", "model.stem=attention", "model.attention.content=false", "sweep={}")
    assert content[0].model.attention.content is False


def test_without_a_sweep_a_run_is_called_by_placement_and_extent():
    (run,) = expand("sweep={}", "seeds=[3]")
    assert run.run_id.startswith("k7-AAAA-s3-")
    assert base_run(load_experiment("demo", ["sweep={}"]), 3) == run


BASE = "name: x\nmodel: {name: sasa_resnet26}\ndata: {name: cifar10}\n"


def dry_run(tmp_path: Path, sweep: str) -> Result:
    file = tmp_path / "x.yaml"
    file.write_text(BASE + sweep + "\n")
    return CliRunner().invoke(app, ["sweep", str(file), "--dry-run", "--json", "--out", str(tmp_path)])


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("sweep: {recip.lr: [0.1, 0.2, 0.4]}", "x.yaml:4: recip.lr: recip: unknown key (did you mean 'recipe'?)"),
        ("sweep: [{name: a, modle.stages: AAAA}, {name: b, model.stages: CCCC}]", "did you mean 'model'?"),
        (
            "sweep: {model.attention.heds: [4, 8]}",
            "x.yaml:4: model.attention.heds: unknown key",
        ),
        ("sweep: {seeds: [0, 1]}", "x.yaml:4: sweep.seeds: no axis; seeds stand beside the sweep"),
        ("sweep: {recipe.lr: [0.1, 1.0e-1]}", "x.yaml:4: sweep: 'recipe.lr: 0.1' trains the same as 'recipe.lr: 0.1'"),
        ("sweep: {recipe.workers: [0, 1]}", "'recipe.workers: 1' trains the same as 'recipe.workers: 0'"),
        ("sweep: [{name: a, model.stages: CCCC}, {name: b, model.stages: CCCC}]", "trains the same as 'name: a"),
    ],
)
def test_an_axis_that_would_lose_runs_is_refused(tmp_path: Path, sweep: str, message: str):
    """A misspelled axis trained one run, exit 0."""
    result = dry_run(tmp_path, sweep)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_a_whole_section_can_be_an_axis(tmp_path: Path):
    """Cells of it collapsed to the last."""
    runs = json.loads(dry_run(tmp_path, "sweep: {data: [{name: cifar10}, {name: cifar100}]}").stdout)["runs"]
    assert [run["label"] for run in runs] == ["data-cifar10", "data-cifar100"]


def test_an_axis_without_effect_is_said_to_be(tmp_path: Path):
    file = tmp_path / "x.yaml"
    file.write_text(BASE + "sweep: {model.stages: [CCCC, AAAA], model.attention.spatial_extent: [3, 7]}\n")
    result = CliRunner().invoke(app, ["sweep", str(file), "--dry-run"])
    assert "note: model.attention.spatial_extent is without effect in CCCC" in result.stdout


def rates_that_share_a_hash(identity: str, rate: str) -> list[str]:
    """Two learning rates whose specs have the same first eight digits of their hash; the search takes half a second."""
    seen: dict[str, str] = {}
    for millionths in range(10_000, 400_000):
        other = repr(millionths / 1e6)
        digest = hashlib.sha256(identity.replace(rate, other).encode()).hexdigest()[:HASH_DIGITS]
        if digest in seen:
            return [seen[digest], other]
        seen[digest] = other
    raise AssertionError("no two of 390,000 hashes are the same")


def test_no_cell_is_lost_where_two_hashes_are_the_same():
    (spec,) = expand_sweep(load_experiment("demo", ["sweep={}", "seeds=[0]", "recipe.lr=0.034082"]))
    rates = rates_that_share_a_hash(spec.identity, "0.034082")
    cells = expand_sweep(load_experiment("demo", [f"sweep={{recipe.lr: [{', '.join(rates)}, 0.5]}}", "seeds=[0]"]))
    assert [str(cell.recipe.lr) for cell in cells] == [*rates, "0.5"]
    assert [len(cell.cell_hash) for cell in cells] == [16, 16, 8]
    assert len({cell.cell_hash for cell in cells}) == 3
    assert cells[0].cell_hash[:8] == cells[1].cell_hash[:8]


def test_labels_that_make_no_folder_name_give_up_their_end():
    """Of 290 letters, or of sixteen axes: planned, they could never be trained."""
    long = "attention-" * 29
    swept = [f"sweep=[{{name: {long}1, recipe.lr: 0.2}}, {{name: {long}2, recipe.lr: 0.3}}]", "seeds=[0]"]
    labels = [spec.label for spec in expand_sweep(load_experiment("demo", swept))]
    assert [len(label) for label in labels] == [100, 100]
    assert len(set(labels)) == 2
    assert all(label.startswith("attention-attention-") for label in labels)


def test_a_run_with_a_shortened_label_trains_again_from_its_file(tmp_path: Path):
    swept = [f"sweep=[{{name: {'attention-' * 29}, recipe.lr: 0.2}}]", "seeds=[0]"]
    (spec,) = expand_sweep(load_experiment("demo", swept))
    again = tmp_path / "spec.yaml"
    again.write_text(run_yaml(spec))
    assert base_run(load_experiment(str(again)), None).run_id == spec.run_id


def test_a_name_that_makes_no_folder_is_refused(tmp_path: Path):
    file = tmp_path / "long.yaml"
    file.write_text(f"name: {'x' * 300}\nmodel: {{name: sasa_resnet26}}\n")
    with pytest.raises(SpecError, match=r"long\.yaml:1: name: 300 characters are too many .* allowed are at most 100$"):
        load_experiment(str(file))


@pytest.mark.parametrize("command", ["train", "sweep", "count-flops", "report"])
def test_an_argument_that_can_be_no_path_is_one_message(command: str):
    result = CliRunner().invoke(app, [command, "a" * 300])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("sweep", "labels"),
    [
        ({"model.stages": ["CCAA"], "recipe.lr": [0.1, 0.2]}, ["lr-0.1", "lr-0.2"]),
        ({"model.stages": ["CCAA"], "recipe.lr": [0.1]}, ["CCAA-lr-0.1"]),
        ({"model.stages": ["CCCC", "CCAA"], "model.attention.spatial_extent": [5]}, ["CCCC", "CCAA"]),
        ({"model.stages": ["CCCC"], "model.attention.spatial_extent": [3, 5]}, ["CCCC"]),
        ([{"name": "mine", "model.stages": "CCAA"}], ["mine"]),
    ],
)
def test_axes_with_one_value_are_no_part_of_the_label(sweep: object, labels: list[str]):
    specs = expand_sweep(load_experiment("demo", [f"sweep={json.dumps(sweep)}", "seeds=[0]"]))
    assert [spec.label for spec in specs] == labels
    assert {spec.cell.get("model.stages") for spec in specs} <= {"CCAA", "CCCC"}  # the cell says all that was set


def test_names_of_cells_keep_their_letters(tmp_path: Path):
    """Two Chinese names became `none-23cd` and `none-97da`."""
    cells = [
        {"name": "卷积", "model.stages": "CCCC"},
        {"name": "注意力 全部", "model.stages": "AAAA"},
        {"name": "Großes_k", "model.attention.spatial_extent": 11},
        {"name": "e\u0301te\u0301", "model.stages": "CCAA"},  # as macOS spells é
    ]
    specs = expand_sweep(load_experiment("demo", [f"sweep={json.dumps(cells)}", "seeds=[0]"]))
    assert [spec.label for spec in specs] == ["卷积", "注意力-全部", "Großes-k", "été"]
    for spec in specs:
        (tmp_path / spec.run_id).mkdir()


def test_long_names_are_cut_by_their_bytes(tmp_path: Path):
    cells = [{"name": "卷" * 200, "model.stages": "CCCC"}]
    (spec,) = expand_sweep(load_experiment("demo", [f"sweep={json.dumps(cells)}", "seeds=[0]"]))
    assert spec.label.startswith("卷" * 30 + "-")
    assert len(spec.label.encode()) <= 100
    (tmp_path / spec.run_id).mkdir()


def test_a_reference_is_in_the_plan_and_must_be_a_cell(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    text = "name: mine\nmodel: {name: sasa_resnet26}\nsweep: {model.stages: [CCCC, CCAA]}\nreference: {}\n"
    file.write_text(text.replace("{}", "CCAA"))
    experiment = load_experiment(str(file))
    specs = expand_sweep(experiment)
    assert make_plan(experiment, specs).reference == next(spec.cell_hash for spec in specs if spec.label == "CCAA")
    file.write_text(text.replace("{}", "CCA"))
    result = CliRunner().invoke(app, ["sweep", str(file), "--dry-run"])
    assert result.exit_code == 2
    assert f"{file}:4: reference: 'CCA' is no cell (did you mean 'CCAA'?); allowed are CCCC, CCAA" in result.stderr
