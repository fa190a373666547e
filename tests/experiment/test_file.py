"""Experiment files: what is accepted, what is refused, and what the message says."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sasa_cli.errors import SpecError
from sasa_cli.experiment.file import load_experiment, run_yaml
from sasa_cli.experiment.sweep import base_run, expand_sweep

GOOD = """\
name: small
model:
  name: sasa_resnet26
  width: 0.25
  stages: CCAA
  attention:
    spatial_extent: 7
    heads: 4
recipe:
  epochs: 2
seeds: [0, 1]
"""


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> str:
        file = tmp_path / "small.yaml"
        file.write_text(text)
        return str(file)

    return _write


def problems(name: str, *assignments: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        expand_sweep(load_experiment(name, assignments))
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_values_arrive_in_the_spec(write):
    spec = base_run(load_experiment(write(GOOD)), None)
    assert (spec.model.name, spec.model.width, spec.model.stages) == ("sasa_resnet26", 0.25, "CCAA")
    assert (spec.model.attention.spatial_extent, spec.model.attention.heads) == (7, 4)
    assert (spec.recipe.epochs, spec.seed) == (2, 0)
    assert spec.model.small_input is True


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("stages: CCAA", "stagess: CCAA", 5, ["model.stagess", "unknown key", "did you mean 'stages'"]),
        ("name: small", "nmae: x\nname: small", 1, ["nmae", "unknown key", "did you mean 'name'"]),
        ("stages: CCAA", "stages: CCA", 5, ["model.stages", "'CCA'", "one letter for each of 4 stages"]),
        ("stages: CCAA", "stages: [conv, pool, conv, conv]", 5, ["'pool'", "conv, attention, depthwise"]),
        ("spatial_extent: 7", "spatial_extent: 6", 7, ["model.attention.spatial_extent", "6 is even"]),
        ("spatial_extent: 7", "spatial_extent: [3, 3]", 7, ["[3, 3]", "list of 4"]),
        ("spatial_extent: 7", "spatial_extent: -1", 7, ["-1 is out of range"]),
        ("heads: 4", "heads: 3", 8, ["model.attention.heads", "3 does not divide the 64 channels", "stage 3"]),
        ("heads: 4", "heads: 64", 8, ["heads of 1 channels"]),
        ("width: 0.25", "width: 0.26", 4, ["model.width", "0.26", "multiples of 0.03125"]),
        ("width: 0.25", "width: true", 4, ["model.width", "True is not allowed"]),
        ("epochs: 2", "epochs: two", 10, ["recipe.epochs", "'two' is not allowed", "integer"]),
        ("epochs: 2", "epochs: 0", 10, ["recipe.epochs", "0 is not allowed", "greater than or equal to 1"]),
        ("epochs: 2", "epochs: 2\n  warmup_epochs: 3", 11, ["recipe.warmup_epochs", "3 is more than the 2 epochs"]),
        ("seeds: [0, 1]", "seeds: [0, 0]", 11, ["seeds", "different numbers"]),
        ("name: sasa_resnet26", "name: resnet27", 3, ["model.name", "'resnet27'", "'sasa_resnet26'"]),
        ("  width: 0.25\n", "  width: 0.25\n  width: 0.5\n", 5, ["model.width", "stands twice"]),
        ("heads: 4", "heads: 4\n    content: false\n    position: none", 9, ["content", "no logits"]),
        ("name: small", "name: ../up", 1, ["name", "'../up'", "no folder name"]),
        ("seeds: [0, 1]", "sweep: {model.width: 3}", 11, ["sweep.model.width", "no axis"]),
        ("seeds: [0, 1]", "sweep: {model.heads: [3]}", 11, ["model.heads", "unknown key"]),
        ("seeds: [0, 1]", "sweep:\n  model.stages:\n    - AAAA\n    - AXAA", 14, ["model.stages", "'AXAA'"]),
    ],
)
def test_a_wrong_value_is_named_with_its_line(write, old, new, line, says):
    assert old in GOOD
    file = write(GOOD.replace(old, new, 1))
    found = [text for text in problems(file) if text.startswith(f"{file}:{line}:")]
    assert any(all(part in text for part in says) for text in found), problems(file)


def test_all_problems_come_at_once(write):
    text = GOOD.replace("stages:", "stagess:").replace("width: 0.25", "width: 0.3").replace("epochs: 2", "epochs: x")
    found = "\n".join(problems(write(text)))
    assert all(part in found for part in ("model.stagess", "model.width", "recipe.epochs"))


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text", "name: [", "a: 1\n b: 2\n", "name: x\n? [1]\n: 2\n"])
def test_a_file_that_is_no_mapping_is_refused_in_one_line(write, text):
    assert len(problems(write(text))) == 1


def test_missing_files_and_names(tmp_path: Path):
    assert "no such file" in problems(str(tmp_path / "none.yaml"))[0]
    assert "did you mean 'demo'" in problems("demmo")[0]


def test_set_equals_the_same_edit_of_the_file(write):
    edited = base_run(load_experiment(write(GOOD.replace("heads: 4", "heads: 8").replace("0.25", "0.5"))), None)
    assigned = load_experiment(write(GOOD), ["model.attention.heads=8", "model.width=0.5"])
    assert base_run(assigned, None) == edited


def test_set_reaches_below_the_short_form_of_the_stem(write):
    experiment = load_experiment(write(GOOD), ["model.stem.kind=attention", "model.stem.values=plain"])
    assert (experiment.base.model.stem.kind, experiment.base.model.stem.values) == ("attention", "plain")


@pytest.mark.parametrize("text", ["model.width", "=3", "model.width=[", "name.x=3"])
def test_a_wrong_assignment_names_itself(write, text):
    assert f"--set {text}" in problems(write(GOOD), text)[0]


def test_exponents_without_a_dot_are_numbers(write):
    spec = base_run(load_experiment(write(GOOD), ["recipe.lr=1e-3"]), None)
    assert spec.recipe.lr == 1e-3


def test_the_spec_file_of_a_run_gives_the_same_run(write, tmp_path):
    sweep = "sweep:\n  model.stages: [CCCC, AAAA]\n  model.attention.position: [relative, none]\n"
    for index, spec in enumerate(expand_sweep(load_experiment(write(GOOD + sweep)))):
        file = tmp_path / f"spec{index}.yaml"
        file.write_text(run_yaml(spec))
        again = load_experiment(str(file))
        assert [run.run_id for run in expand_sweep(again)] == [spec.run_id]
        assert base_run(again, None) == spec


# --- extends -------------------------------------------------------------------------------------------------------

BASE = """\
model:
  name: sasa_resnet26
  width: 0.25
  stem: attention
  attention:
    heads: 4
recipe:
  epochs: 2
seeds: [0, 1]
"""
EXTENDING = """\
name: extending
extends: common/_base.yaml
model:
  stages: CCAA
  stem:
    values: plain
recipe:
  lr: 0.3
"""


@pytest.fixture
def write_pair(write, tmp_path: Path):
    (tmp_path / "common").mkdir()

    def _write(text: str = EXTENDING, base: str = BASE) -> str:
        (tmp_path / "common" / "_base.yaml").write_text(base)
        return write(text)

    return _write


def test_a_file_joins_what_it_extends(write_pair):
    experiment = load_experiment(write_pair())
    assert (experiment.name, experiment.seeds) == ("extending", (0, 1))
    model, recipe = experiment.base.model, experiment.base.recipe
    assert (model.name, model.width, model.stages, model.attention.heads) == ("sasa_resnet26", 0.25, "CCAA", 4)
    assert (model.stem.kind, model.stem.values) == ("attention", "plain")
    assert (recipe.epochs, recipe.lr) == (2, 0.3)


def test_a_file_goes_before_what_it_extends(write_pair):
    text = EXTENDING + "  epochs: 5\nseeds: [7]\ndata:\n"
    experiment = load_experiment(write_pair(text, BASE + "data: {image_size: 64}\n"))
    assert (experiment.base.recipe.epochs, experiment.seeds) == (5, (7,))
    assert experiment.base.data.image_size == 64


def test_set_goes_before_both_files(write_pair):
    experiment = load_experiment(write_pair(), ["recipe.epochs=9", "model.stem.kind=conv", "model.attention.heads=2"])
    assert experiment.base.recipe.epochs == 9
    assert (experiment.base.model.stem.kind, experiment.base.model.attention.heads) == ("conv", 2)


def test_what_is_extended_is_written_out_in_the_spec_file(write_pair):
    assert "extends" not in run_yaml(base_run(load_experiment(write_pair()), 0))


@pytest.mark.parametrize(
    ("old", "new", "file", "line", "says"),
    [
        ("epochs: 2", "epochs: two", "common/_base.yaml", 8, ["recipe.epochs", "'two' is not allowed"]),
        ("heads: 4", "headss: 4", "common/_base.yaml", 6, ["unknown key", "did you mean 'heads'"]),
        ("heads: 4", "heads: 3", "common/_base.yaml", 6, ["3 does not divide the 64 channels"]),
        ("lr: 0.3", "lr: -1", "small.yaml", 8, ["recipe.lr", "-1 is not allowed"]),
        ("stages: CCAA", "stages: CCA", "small.yaml", 4, ["'CCA' is not one letter"]),
        ("seeds: [0, 1]", "seeds: [0, 0]", "common/_base.yaml", 9, ["seeds", "different numbers"]),
        ("seeds: [0, 1]", "sweep: {}", "common/_base.yaml", 9, ["sweep", "allowed are model, data, recipe, seeds"]),
        ("seeds: [0, 1]", "extends: x.yaml", "common/_base.yaml", 9, ["extends", "a file that others extend"]),
        ("recipe:\n  epochs", "recipes:\n  epochs", "common/_base.yaml", 7, ["recipes", "did you mean 'recipe'"]),
        ("common/_base.yaml", "common/_bass.yaml", "small.yaml", 2, ["'common/_bass.yaml' is no file"]),
        ("common/_base.yaml", "[1]", "small.yaml", 2, ["extends", "[1] is not allowed"]),
        ("extends:", "extend:", "small.yaml", 2, ["did you mean 'extends'"]),
        ("name: extending\n", "", "small.yaml", 1, ["name: missing"]),
    ],
)
def test_a_wrong_value_is_named_with_its_own_file_and_line(write_pair, tmp_path, old, new, file, line, says):
    assert (old in EXTENDING) or (old in BASE)
    name = write_pair(EXTENDING.replace(old, new), BASE.replace(old, new))
    found = [text for text in problems(name) if text.startswith(f"{tmp_path / file}:{line}:")]
    assert any(all(part in text for part in says) for text in found), problems(name)


def test_problems_of_both_files_come_at_once(write_pair):
    found = problems(write_pair(EXTENDING.replace("lr: 0.3", "lr: x"), BASE.replace("epochs: 2", "epochs: x")))
    assert len(found) == 2


def test_a_mapping_cannot_meet_a_number(write_pair, tmp_path):
    (found,) = problems(write_pair(EXTENDING, BASE.replace("recipe:\n  epochs: 2", "recipe: 3")))
    assert "the value above it is 3, not a mapping" in found


def test_the_command_line_cannot_change_what_is_extended(write_pair):
    assert "--set extends=other.yaml" in problems(write_pair(), "extends=other.yaml")[0]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner)))
def test_no_value_of_a_key_escapes_as_another_error(value):
    """Whatever stands in a file, the answer is an experiment or a SpecError."""
    for key in ("model", "model.stem", "model.attention.spatial_extent", "recipe.lr", "sweep", "seeds", "data.name"):
        try:
            expand_sweep(load_experiment("demo", [f"{key}={yaml.safe_dump(value, default_flow_style=True)}"]))
        except SpecError:
            continue


def doubled(first: str, again: str) -> str:
    """Aliases of aliases: the last line means 2^30 times the first."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {again.format(n - 1)}" for n in range(1, 31)]
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (doubled("[1, 1]", "[*a{0}, *a{0}]"), ":1: no valid YAML: more than 100,000 values or 50 levels"),
        ("model: &a [*a]\n", ":1: no valid YAML: more than 100,000 values or 50 levels"),
        ("model: " + "[" * 100_000, ": nested too deeply; allowed are 50 levels"),
        ("model: " + "[" * 60 + "]" * 60, ":1: no valid YAML: more than 100,000 values or 50 levels"),
        ("#" * 1_000_001, ": 1,000,001 characters; allowed are at most 1,000,000"),
        ("name: x\nseeds: \x1b[31m\n", ":2: no valid YAML: character 0x1b is not allowed"),
        ("name: x\x00\n", ":1: no valid YAML: character 0x00 is not allowed"),
        ("name: x\nseeds: [!!float abc]\n", ":2: no valid YAML: could not convert string to float: 'abc'"),
        ("name: x\n? [a]\n: 1\n", ":2: seq is no kind of value here; allowed are text, "),
        ("name: !!timestamp 2024-01-01\n", ":1: timestamp is no kind of value here; allowed are text, "),
        ("name: !!timestamp 2024-00-00\n", ":1: no valid YAML: month must be in 1..12"),
    ],
    ids=["bomb", "self", "deep", "levels", "long", "escape", "nul", "float", "key", "date", "no-date"],
)
def test_yaml_that_is_meant_to_break_a_reader_is_one_line(write, text: str, says: str):
    file = write(text)
    with pytest.raises(SpecError) as caught:
        load_experiment(str(file))
    message = str(caught.value)
    assert message.startswith(f"{file}{says}")
    assert "\n" not in message


def test_merges_of_merges_are_bounded(write) -> None:
    with pytest.raises(SpecError):
        load_experiment(str(write(doubled("{k: 1, j: 2}", "{{<<: [*a{0}, *a{0}]}}"))))


def test_off_and_a_date_are_text(write) -> None:
    """As in YAML 1.2; in 1.1 they were false, and a date or, of the year's month 0, a traceback."""
    file = write(GOOD.replace("epochs: 2", "epochs: 2\n  amp: off") + "description: 2024-00-00\n")
    loaded = load_experiment(str(file), ["recipe.amp=off"])
    assert (loaded.base.recipe.amp, loaded.description) == ("off", "2024-00-00")


@pytest.mark.parametrize("value", ["!!float abc", "\x1b", "[" * 500, "&a [*a]"])
def test_a_setting_that_is_no_yaml_is_one_line(write, value: str) -> None:
    with pytest.raises(SpecError, match=r"--set recipe\.lr=.*: the value is no valid YAML$"):
        load_experiment(str(write(GOOD)), [f"recipe.lr={value}"])
