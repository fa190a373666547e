"""`list`, `explain`, `schema` and `init` say what the checks of an experiment file do."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner, Result

from sasa_cli.cli.app import app
from sasa_cli.errors import SpecError
from sasa_cli.experiment.file import load_experiment
from sasa_cli.experiment.keys import keys, schema
from sasa_cli.experiment.shipped import STARTER, shipped_experiments
from sasa_cli.kinds import KINDS
from sasa_cli.spec import AttentionSpec, DataSpec, Recipe, Section, StemSpec

SECTIONS = {"model.attention": AttentionSpec(), "model.stem": StemSpec(), "data": DataSpec(), "recipe": Recipe()}


def sasa(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# --- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.name)
def test_every_key_has_a_meaning_and_what_is_allowed(key) -> None:
    assert key.meaning.endswith((".", ")"))
    assert key.allowed
    assert "anything" not in key.allowed or key.name == "sweep"


@pytest.mark.parametrize(("prefix", "section"), SECTIONS.items())
def test_the_defaults_are_those_that_hold(prefix: str, section: Section) -> None:
    stated = {key.name: key.default for key in keys()}
    for name, value in section.model_dump().items():
        default = stated[f"{prefix}.{name}"]
        assert default == value or (yaml.safe_load(default) if default != "absent" else None) == value


@pytest.mark.parametrize(("prefix", "section"), SECTIONS.items())
def test_words_that_are_allowed_are_taken_and_no_others(prefix: str, section: Section) -> None:
    for key in keys():
        words = [word for word in key.allowed.split(" or ") if " " not in word and word not in ("absent", "text")]
        if key.name.rpartition(".")[0] == prefix and words and "true" not in words:
            name = key.name.rpartition(".")[2]
            for word in words:
                assert getattr(type(section)(**{name: word}), name) == word
            with pytest.raises(ValueError, match="nonesuch"):
                type(section)(**{name: "nonesuch"})


def test_explaining_one_key() -> None:
    result = sasa("explain", "recipe.lr_batch_size")
    assert result.exit_code == 0
    assert result.stdout.startswith("recipe.lr_batch_size: The batch size that `lr` is meant for")
    assert "allowed: a whole number, at least 1 or absent\ndefault: absent" in result.stdout
    (only,) = json.loads(sasa("explain", "model.stages", "--json").stdout)
    assert only["allowed"].startswith("text of the form ^[CAD]{4}$ or a list")


def test_explaining_a_section_and_all() -> None:
    section = sasa("explain", "model.attention").stdout
    assert "model.attention.heads" in section
    assert "recipe.lr" not in section
    everything = sasa("explain").stdout
    assert all(key.name in everything for key in keys())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("heads", "did you mean 'model.stem.heads' or 'model.attention.heads'?"),
        ("recip.lr", "did you mean 'recipe.lr'?"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(name: str, message: str) -> None:
    result = sasa("explain", name)
    assert result.exit_code == 2
    assert message in result.stderr


# --- schema --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", [*shipped_experiments().values(), STARTER], ids=lambda file: f"{file.parent.name}-{file.stem}"
)
def test_the_schema_takes_what_ships(file: Path) -> None:
    jsonschema.validate(yaml.safe_load(file.read_text()), schema())


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x", "modle": {}},
        {"name": "x", "model": {"name": "sasa_resnet27"}},
        {"name": "x", "model": {"stages": "CCAX"}},
        {"name": "x", "model": {"stem": "dense"}},
        {"name": "x", "recipe": {"epochs": 0}},
        {"name": "x", "recipe": {"epoch": 3}},
        {"name": 7},
        {"model": {"name": "sasa_resnet26"}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_checks_refuse(wrong: object, tmp_path: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(wrong))
    with pytest.raises(SpecError):
        load_experiment(str(file))


def test_the_schema_is_printed_and_names_the_kinds_of_stage() -> None:
    printed = json.loads(sasa("schema").stdout)
    assert printed == schema()
    jsonschema.Draft202012Validator.check_schema(printed)
    kinds = next(each["items"]["enum"] for each in printed["$defs"]["MatchSpec"]["properties"]["stages"]["anyOf"][1:])
    assert kinds == [kind.name for kind in KINDS.values()]


# --- init and list -------------------------------------------------------------------------------------------------


def test_a_starter_is_ready_to_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sasa("init", "mine.yaml").exit_code == 0
    result = sasa("sweep", "mine.yaml", "--dry-run", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert (plan["experiment"], len(plan["runs"])) == ("my-question", 9)


def test_a_starter_takes_the_place_of_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    result = sasa("init", file)
    assert result.exit_code == 2
    assert "stays as it is" in result.stderr
    assert file.read_text() == "mine"
    assert sasa("init", tmp_path / "mine.txt").exit_code == 2
    assert sasa("init", tmp_path / "nowhere" / "mine.yaml").exit_code == 1


def test_all_that_is_listed_can_be_named() -> None:
    listed = {kind: [row["name"] for row in rows] for kind, rows in json.loads(sasa("list", "--json").stdout).items()}
    assert listed["experiments"] == list(shipped_experiments())
    assert listed["stages"] == list(KINDS)
    for name in listed["models"]:
        load_experiment(str(STARTER), [f"model.name={name}", "sweep={}"])
    for name in listed["backends"]:
        assert name in sasa("train", "demo", "--dry-run", "--set", "model.attention.backend=none").stderr
    refused = sasa("train", "demo", "--dry-run", "--set", "recipe.optimizer=none").stderr
    assert all(f" {name}," in refused for name in listed["optimizers"])
    assert {"cifar10", "imagenet", "fashion-mnist-mini", "folder", "wds/..."} <= set(listed["data"])


def test_one_list_is_a_table() -> None:
    result = sasa("list", "stages")
    assert result.exit_code == 0
    assert "attention" in result.stdout
    assert "experiments" not in result.stdout


@pytest.mark.parametrize("command", [["explain"], ["schema"], ["list", "experiments"], ["list", "data"]])
def test_finding_ones_way_takes_no_torch(command: list[str]) -> None:
    program = "import sys; from typer.testing import CliRunner; from sasa_cli.cli.app import app; "
    program += f"r = CliRunner().invoke(app, {command!r}); print(r.exit_code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--epochs", "3"], "--set recipe.epochs=..."),
        (["--batch-size", "3"], "--set recipe.batch_size=..."),
        (["lr=0.1"], "--set recipe.lr=..."),
        (["--set", "lr=0.1"], "lr: unknown key (did you mean 'recipe.lr'?)"),
        (["--set", "heads=2"], "(did you mean 'model.stem.heads' or 'model.attention.heads'?)"),
    ],
)
def test_a_key_that_is_set_in_another_way_is_answered_with_the_way(arguments: list[str], answer: str) -> None:
    result = sasa("train", "demo", *arguments)
    assert result.exit_code == 2
    assert answer in " ".join(result.stderr.replace("│", " ").split())


def test_other_mistakes_are_answered_as_before() -> None:
    assert "a key of the experiment" not in sasa("train", "demo", "--nonesuch", "3").stderr
    assert "a key of the experiment" not in sasa("train", "demo", "demo").stderr
