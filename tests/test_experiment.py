"""Experiment files: what is accepted, what is refused, and what the message says."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sasa_cli.errors import SpecError
from sasa_cli.experiment import find_experiment, load_experiment, run_yaml, shipped_experiments
from sasa_cli.sweep import base_run, expand_sweep

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
        ("stages: CCAA", "stages: [conv, pool, conv, conv]", 5, ["'pool'", "conv and attention"]),
        ("spatial_extent: 7", "spatial_extent: 6", 7, ["model.attention.spatial_extent", "6 is even"]),
        ("spatial_extent: 7", "spatial_extent: [3, 3]", 7, ["[3, 3]", "list of 4"]),
        ("spatial_extent: 7", "spatial_extent: -1", 7, ["-1 is out of range"]),
        ("heads: 4", "heads: 3", 8, ["model.attention.heads", "3 does not divide the 64 channels", "stage 3"]),
        ("heads: 4", "heads: 64", 8, ["heads of 1 channels"]),
        ("width: 0.25", "width: 0.26", 4, ["model.width", "0.26", "multiples of 0.03125"]),
        ("width: 0.25", "width: yes", 4, ["model.width", "True is not allowed"]),
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


def test_every_shipped_experiment_expands():
    assert "demo" in shipped_experiments()
    for name in shipped_experiments():
        assert expand_sweep(load_experiment(name)), name
    assert find_experiment("demo").name == "demo.yaml"


def test_the_spec_file_of_a_run_gives_the_same_run(write, tmp_path):
    sweep = "sweep:\n  model.stages: [CCCC, AAAA]\n  model.attention.position: [relative, none]\n"
    for index, spec in enumerate(expand_sweep(load_experiment(write(GOOD + sweep)))):
        file = tmp_path / f"spec{index}.yaml"
        file.write_text(run_yaml(spec))
        again = load_experiment(str(file))
        assert [run.run_id for run in expand_sweep(again)] == [spec.run_id]
        assert base_run(again, None) == spec


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner)))
def test_no_value_of_a_key_escapes_as_another_error(value):
    """Whatever stands in a file, the answer is an experiment or a SpecError."""
    for key in ("model", "model.stem", "model.attention.spatial_extent", "recipe.lr", "sweep", "seeds", "data.name"):
        try:
            expand_sweep(load_experiment("demo", [f"{key}={yaml.safe_dump(value, default_flow_style=True)}"]))
        except SpecError:
            continue
