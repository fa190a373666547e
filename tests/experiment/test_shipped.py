"""The experiments that ship with the package: all of them run as they are, and the paper's are the paper's."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sasa_cli.cli.app import app
from sasa_cli.counting.targets import count_run
from sasa_cli.errors import SpecError
from sasa_cli.experiment.file import load_experiment
from sasa_cli.experiment.shipped import find_experiment, shipped_experiments
from sasa_cli.experiment.sweep import expand_sweep
from sasa_cli.launchers.planning import make_plan
from sasa_cli.spec import RunSpec

NAMES = sorted(shipped_experiments())
TABLES = ["open", "table1", "table3", "table4", "table5", "table6", "table7", "width"]
NETWORKS = ("conv", "conv-stem-attention", "full-attention")


def runs_of(name: str) -> list[RunSpec]:
    return expand_sweep(load_experiment(name))


def cells_of(name: str) -> dict[str, RunSpec]:
    """One run of each cell, by the cell's label."""
    return {spec.label: spec for spec in runs_of(name)}


def counts_of(name: str) -> dict[str, tuple[int, int]]:
    """Parameters and FLOPs of each cell."""
    counts = {label: count_run(spec) for label, spec in cells_of(name).items()}
    return {label: (count.params, 2 * count.macs) for label, count in counts.items()}


def test_every_question_of_the_paper_is_asked_on_three_data_sets():
    assert [*(f"{folder}/{table}" for folder in ("cifar", "mini", "paper") for table in TABLES), "demo"] == sorted(
        NAMES, key=lambda name: ("/" not in name, name)
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_expands_to_runs_with_names_of_their_own(name: str):
    experiment = load_experiment(name)
    assert experiment.name == name.replace("/", "-")
    assert experiment.description
    runs = expand_sweep(experiment)
    labels, run_ids = {run.label for run in runs}, {run.run_id for run in runs}
    assert len(run_ids) == len(runs) == len(labels) * len(experiment.seeds)
    for run in runs:
        # Readable: words of the file and numbers, with no piece of a hash to tell two cells apart.
        assert re.fullmatch(r"[A-Za-z0-9.-]{1,40}", run.label)
        assert not run.label.endswith(run.cell_hash[:4])
    plan = make_plan(experiment, runs)
    assert all(run.params > 0 and run.macs >= run.macs_executed > 0 for run in plan.runs)


@pytest.mark.parametrize("name", [name for name in NAMES if "/" in name])
def test_experiments_of_a_folder_share_images_and_recipe(name: str):
    folder = name.split("/")[0]
    first = runs_of(f"{folder}/table1")[0]
    for run in runs_of(name):
        assert (run.data, run.recipe) == (first.data, first.recipe)


def test_what_others_extend_is_no_experiment():
    files = [file.name for file in find_experiment("paper/table1").parent.iterdir()]
    assert "_paper.yaml" in files
    assert not [name for name in NAMES if "_" in name]
    with pytest.raises(SpecError, match="neither a file nor an experiment"):
        find_experiment("paper/_paper")


# --- the paper's ---------------------------------------------------------------------------------------------------


def test_the_recipe_is_the_one_that_the_paper_states():
    run = cells_of("paper/table1")["resnet50-conv-stem-attention"]
    recipe, data = run.recipe, run.data
    assert (data.name, data.image_size, data.val_fraction, data.train_images) == ("imagenet", 224, 0.04, None)
    assert (recipe.epochs, recipe.warmup_epochs, recipe.schedule) == (130, 10, "cosine")
    assert (recipe.optimizer, recipe.ema_decay) == ("sgd", 0.9999)
    assert recipe.lr / recipe.batch_size == pytest.approx(1.6 / 4096)
    assert (run.model.attention.spatial_extent, run.model.attention.heads) == (7, 8)


def test_another_batch_size_keeps_the_lr_of_the_paper_for_each_image():
    run = expand_sweep(load_experiment("paper/table4", ["recipe.batch_size=4096"]))[0]
    assert run.recipe.lr == 1.6


def test_counts_of_table_1():
    convolution = [
        (13_696_552, 4_684_513_280),
        (19_626_792, 6_431_440_896),
        (25_557_032, 8_178_368_512),
    ]
    attention = [
        (10_331_264, 4_484_311_040),
        (14_173_384, 5_725_314_048),
        (18_015_504, 6_966_317_056),
    ]
    full_attention_params = [10_323_216, 14_165_336, 18_007_456]
    counts = counts_of("paper/table1")
    assert list(counts) == [f"resnet{depth}-{network}" for depth in (26, 38, 50) for network in NETWORKS]
    for index, depth in enumerate((26, 38, 50)):
        conv, conv_stem, full = (counts[f"resnet{depth}-{network}"] for network in NETWORKS)
        assert conv == convolution[index]
        assert conv_stem == attention[index]
        assert full[0] == full_attention_params[index]
        assert full[1] > conv_stem[1]  # the paper: 4.7, 6.0 and 7.2 G beside 4.5, 5.7 and 7.0


def test_counts_of_table_3():
    assert counts_of("paper/table3") == {
        "AAAA": (18_015_504, 6_966_317_056),
        "CAAA": (18_089_064, 7_251_718_144),
        "CCAA": (18_481_832, 7_430_545_408),
        "CCCA": (20_839_784, 7_991_412_736),
        "CCCC": (25_557_032, 8_178_368_512),
        "ACCC": (25_483_472, 7_892_967_424),
        "AACC": (25_090_704, 7_714_140_160),
        "AAAC": (22_732_752, 7_153_272_832),
    }


def test_counts_of_table_4():
    counts = counts_of("paper/table4")
    assert {label: flops for label, (_, flops) in counts.items()} == {
        "k3": 6_508_711_936,
        "k5": 6_691_753_984,
        "k7": 6_966_317_056,
        "k9": 7_332_401_152,
        "k11": 7_790_006_272,
    }
    assert counts["k7"][0] == 18_015_504


def test_cells_of_tables_5_to_7():
    positions = [run.model.attention.position for run in runs_of("paper/table5")]
    assert positions == ["none", "absolute", "relative"]
    assert counts_of("paper/table6") == {
        "content-false": (16_758_032, 6_137_208_832),
        "content-true": (18_015_504, 6_966_317_056),
    }
    stems = [run.model.stem for run in runs_of("paper/table7")]
    assert [(stem.kind, stem.values) for stem in stems] == [
        ("attention", "plain"),
        ("attention", "conv"),
        ("attention", "spatial"),
    ]


@pytest.mark.parametrize("folder", ["paper", "cifar", "mini"])
def test_open_questions_change_one_thing_at_a_time(folder: str):
    cells = cells_of(f"{folder}/open")
    default = cells["default"].model
    for label, setting in (("border-mask", "border"), ("embedding-per-head", "embedding"), ("pool-before", "pool")):
        changed = cells[label].model
        assert getattr(changed.attention, setting) != getattr(default.attention, setting)
        same = {setting: getattr(default.attention, setting)}
        assert changed.model_copy(update={"attention": changed.attention.model_copy(update=same)}) == default
    mixtures = {label: run.model.stem.mixtures for label, run in cells.items() if run.model.stem.kind == "attention"}
    assert mixtures == {} if folder == "mini" else list(mixtures.values()) == [4, 2, 8]


@pytest.mark.parametrize("folder", ["paper", "cifar", "mini"])
def test_width_goes_from_narrow_to_wide(folder: str):
    counts = [counts for label, counts in counts_of(f"{folder}/width").items() if label.endswith("-conv")]
    assert counts == sorted(counts)
    assert len(set(counts)) == len(counts) >= 3


def test_the_minis_have_several_seeds():
    for table in TABLES:
        assert len({run.seed for run in runs_of(f"mini/{table}")}) >= 4


# --- by name, from anywhere ----------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_plan_without_the_images_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["sweep", "paper/table4", "--dry-run", "--json"])
    assert result.exit_code == 3, result.output
    assert "imagenet: no folder with train/<class>/" in result.stderr
    plan = json.loads(result.stdout)
    assert plan["experiment"] == "paper-table4"
    assert [run["cell"]["model.attention.spatial_extent"] for run in plan["runs"]] == [3, 5, 7, 9, 11]
    assert plan["runs"][2]["flops"] == 6_966_317_056
    assert not list(tmp_path.iterdir())
    assert CliRunner().invoke(app, ["sweep", "paper/table4", "--device", "cpu"]).exit_code == 3


def test_a_dry_run_shows_the_lr_that_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for batch_size, lr in ((256, "0.1"), (1024, "0.4")):
        changes = ["--set", f"recipe.batch_size={batch_size}"]
        result = CliRunner().invoke(app, ["train", "paper/table4", "--dry-run", *changes])
        assert f"  lr: {lr}\n" in result.stdout
