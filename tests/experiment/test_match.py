"""Widths at equal budget: found among those that can be built, and the nearest of them."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sasa_cli.counting.macs import count_model
from sasa_cli.errors import SpecError
from sasa_cli.experiment.file import load_experiment, run_yaml
from sasa_cli.experiment.match import WIDTH_LIMIT, WIDTH_STEP, cost, match_width
from sasa_cli.experiment.sweep import base_run, expand_sweep
from sasa_cli.spec import AttentionSpec, ModelSpec

EQUAL_BUDGET = """\
name: equal-budget
model:
  name: sasa_resnet26
  match: {budget: params, to: sasa_resnet26, stages: CCCC}
  attention: {heads: 2}
sweep:
  model.stages: [CCCC, CCAA, AAAA]
seeds: [0]
"""


@pytest.fixture
def write(tmp_path: Path):
    def _write(old: str = "", new: str = "") -> str:
        assert old in EQUAL_BUDGET
        file = tmp_path / "equal.yaml"
        file.write_text(EQUAL_BUDGET.replace(old, new) if old else EQUAL_BUDGET)
        return str(file)

    return _write


@settings(max_examples=15, deadline=None)
@given(
    stages=st.text("AC", min_size=4, max_size=4),
    heads=st.sampled_from([1, 2, 4, 8]),
    budget=st.sampled_from(["params", "flops"]),
    wanted=st.integers(10**5, 5 * 10**7),
)
def test_no_other_width_comes_nearer(stages: str, heads: int, budget: str, wanted: int):
    model = ModelSpec(layers=(1, 1, 1, 1), stages=stages, attention=AttentionSpec(spatial_extent=3, heads=heads))
    found = match_width(model, budget, wanted, image_size=32, num_classes=10)
    for step in range(1, 65):
        try:
            other = ModelSpec(**{**dict(model), "width": step * WIDTH_STEP})
        except ValueError:
            continue
        reached = cost(count_model(other, image_size=32, num_classes=10), budget)
        assert abs(reached - wanted) >= abs(found.reached - wanted)


def test_a_network_matches_itself():
    model = ModelSpec(name="sasa_resnet26", width=0.5)
    wanted = count_model(model, image_size=224, num_classes=1000).params
    found = match_width(model, "params", wanted, image_size=224, num_classes=1000)
    assert (found.model.width, found.deviation) == (0.5, 0)


@pytest.mark.parametrize(("wanted", "width"), [(1, WIDTH_STEP), (10**12, WIDTH_LIMIT)])
def test_budgets_out_of_reach_give_the_first_or_last_width(wanted: int, width: float):
    model = ModelSpec(name="sasa_resnet26", stages="CCCC")
    assert match_width(model, "params", wanted, image_size=32, num_classes=10).model.width == width


def test_heads_that_fit_no_width_are_an_error():
    model = ModelSpec.model_construct(name="sasa_resnet26", attention=AttentionSpec(heads=2048))
    with pytest.raises(SpecError, match="2048 heads"):
        match_width(model, "params", 10**6, image_size=32, num_classes=10)


# --- in experiment files -------------------------------------------------------------------------------------------


def test_each_cell_gets_its_own_width(write):
    specs = expand_sweep(load_experiment(write()))
    widths = {spec.model.stages: spec.model.width for spec in specs}
    assert widths["CCCC"] == 1
    assert 1 < widths["CCAA"] < widths["AAAA"]
    params = [count_model(spec.model, image_size=32, num_classes=10).params for spec in specs]
    assert max(params) / min(params) < 1.05
    assert [spec.label for spec in specs] == [f"{stages}-width-{width}" for stages, width in widths.items()]


def test_the_resolved_file_holds_the_width_that_was_found(write, tmp_path: Path):
    spec = expand_sweep(load_experiment(write()))[-1]
    text = run_yaml(spec)
    assert yaml.safe_load(text)["model"]["width"] == spec.model.width
    assert "match" not in text
    again = tmp_path / "spec.yaml"
    again.write_text(text)
    assert base_run(load_experiment(str(again)), None).run_id == spec.run_id


@pytest.mark.parametrize(
    "axes",
    [
        "model.match.budget: [params, flops]",
        "model.match: [{budget: params, to: sasa_resnet26, stages: CCCC}, {budget: flops, to: sasa_resnet26, "
        "stages: CCCC}]",
    ],
    ids=["key", "section"],
)
def test_the_resolved_file_of_what_is_matched_trains_again(write, tmp_path: Path, axes: str):
    again = tmp_path / "spec.yaml"
    for spec in expand_sweep(load_experiment(write("model.stages: [CCCC, CCAA, AAAA]", axes))):
        again.write_text(run_yaml(spec))
        assert base_run(load_experiment(str(again)), None).run_id == spec.run_id


def test_a_match_gives_the_network_that_its_width_gives(write):
    (found, *_) = reversed(expand_sweep(load_experiment(write())))
    written = write("match: {budget: params, to: sasa_resnet26, stages: CCCC}", f"width: {found.model.width}")
    assert expand_sweep(load_experiment(written))[-1].cell_hash == found.cell_hash


def test_a_sweep_over_what_is_matched(write):
    file = write("model.stages: [CCCC, CCAA, AAAA]", "model.match.budget: [params, flops]")
    params, flops = expand_sweep(load_experiment(file))
    assert params.model.width > flops.model.width
    assert params.label.startswith("budget-params-width-")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("match: {budget", "width: 0.5\n  match: {budget", 5, ["model.match", "model.width says 0.5"]),
        ("budget: params", "budget: memory", 4, ["model.match.budget", "'memory'", "'params' or 'flops'"]),
        ("to: sasa_resnet26", "to: resnet50", 4, ["model.match.to", "'resnet50'", "'sasa_resnet26'"]),
        (", stages: CCCC}", "}", 4, ["model.match.stages", "missing"]),
        ("stages: CCCC}", "stages: CCX}", 4, ["model.match.stages", "'CCX'"]),
        ("to: sasa", "too: sasa", 4, ["model.match.too", "did you mean 'to'", "allowed are budget, to"]),
        ("heads: 2", "heads: 8", 4, ["model.match", "11.0 % above", "allowed is a difference of 5 %", "width=1.25"]),
        ("match: {budget", "match: 0.5\n  # {budget", 4, ["model.match", "0.5 is not allowed"]),
        ("model.stages: [CCCC, CCAA, AAAA]", "model.width: [0.5, 1.0]", 4, ["model.match", "model.width says 0.5"]),
        ("attention: {heads: 2}", "heads: 2", 5, ["model.heads", "unknown key", "match"]),
    ],
)
def test_problems_name_the_line(write, old: str, new: str, line: int, says: list[str]):
    file = write(old, new)
    with pytest.raises(SpecError) as caught:
        expand_sweep(load_experiment(file))
    messages = str(caught.value).splitlines()
    assert any(
        message.startswith(f"{file}:{line}: ") and all(text in message for text in says) for message in messages
    ), messages


def test_the_tolerance_is_the_files_to_set(write):
    file = write("stages: CCCC}\n  attention: {heads: 2}", "stages: CCCC, within: 0.2}\n  attention: {heads: 8}")
    assert expand_sweep(load_experiment(file))[-1].model.width == 1.25
