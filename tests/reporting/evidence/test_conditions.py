"""Unlike runs are told apart, named, and kept out of one mean."""

from typing import Any

import pytest

from sasa_cli.reporting.evidence.cells import CONDITIONS, HEADLINE, axes_of, cells_of
from sasa_cli.reporting.evidence.material import single
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.evidence.statistics import Measure
from sasa_cli.reporting.pages.caveats import caveats, differences
from sasa_cli.reporting.pages.figures import figures_of
from sasa_cli.reporting.pages.looks import by_colour_and_fill
from sasa_cli.runs.record import Sitting

from ..conftest import Maker
from ..results_folder import STAGES, Experiment, done_record, environment


def test_unlike_runs_are_named(small: Experiment) -> None:
    assert differences(read_results(small.paths).runs) == []
    small.finish(small.runs[0], 80.0, torch="2.14.0", threads=2, device_name="another CPU")
    assert differences(read_results(small.paths).runs) == [
        "Runs differ in threads: 1 (5 runs), 2 (1 run).",
        "Runs differ in torch: 2.14.0 (1 run), 2.15.0 (5 runs).",
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"device": "cuda"}, "device cuda"),
        ({"threads": 2}, "threads 2"),
        ({"sasa": "0.2.0"}, "sasa 0.2.0"),
        ({"torch": "2.14.0"}, "torch 2.14.0"),
        ({"timm": "1.0.30"}, "timm 1.0.30"),
        ({"code": "feed" * 16}, "code feedfeed"),
        ({"kernel": "avx2"}, "attention kernel avx2"),
        ({"libraries": {"numpy": "2.1", "pillow": "12.0"}}, "with numpy 2.1 and pillow 12.0"),
        ({"data": {"sha256": "cd" * 32}}, "data cdcdcdcd"),
        ({"backends": {"layer1": "shift", "layer2": "shift"}}, "attention backend shift"),
        ({"backends": {"layer1": "shift", "layer2": "eager"}}, "attention backend layer1 shift, layer2 eager"),
    ],
)
def test_unlike_runs_of_a_cell_are_not_averaged(make_experiment: Maker, changes: dict[str, Any], named: str) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}, {STAGES: "AAAA"}], seeds=[0, 1, 2])
    experiment.write_plan()
    for run in experiment.runs[:-1]:
        experiment.finish(run, 80.0 + run.seed)
    unlike = experiment.run("CCCC", 2)
    experiment.finish(unlike, 60.0, **changes)
    results = read_results(experiment.paths)
    like, other, untouched = cells_of(results)
    assert other.label == f"CCCC [{named}]"
    assert [run.identity.seed for run in like.runs] == [0, 1]
    found = [cell.top1(HEADLINE) for cell in (like, other)]
    assert found[0] is not None
    assert (found[0].mean, found[1]) == (80.5, Measure(1, 60.0, None))
    assert (untouched.label, len(untouched.runs), untouched.split_by) == ("AAAA", 3, ())
    (sentence, *_) = caveats(single(results))[1:]  # after the run that is missing
    assert sentence.startswith("Runs of the same spec were trained with another ")
    assert sentence.endswith(f"They are not averaged; each kind is a cell of its own: {like.label}, {other.label}.")


def test_a_fallback_of_attention_is_a_caveat(small: Experiment) -> None:
    assert not any("fell back" in sentence for sentence in caveats(single(read_results(small.paths))))
    for run in small.runs[:2]:
        small.finish(run, 80.0, refused={"cpu": "it was not built"})
    assert caveats(single(read_results(small.paths))) == [
        "In 2 runs attention fell back to a slower backend, because 'cpu' did not run there: it was not built."
    ]


def test_what_cells_fall_apart_by_is_an_axis_and_has_its_figure(small: Experiment) -> None:
    small.finish(small.runs[0], 80.0, torch="2.14.0")
    results = read_results(small.paths)
    cells = cells_of(results)
    assert len(cells) == 4
    axis = axes_of(results, cells)[-1]
    assert (axis.key, axis.title) == (CONDITIONS, "Trained with")
    assert set(axis.values) == {"torch 2.14.0", "torch 2.15.0"}
    grouping = by_colour_and_fill(cells, axes_of(results, cells))
    assert len({grouping.look(cell) for cell in cells}) == 4
    names = [figure.name for figure in figures_of(cells, axes_of(results, cells))]
    assert "accuracy-by-trained-with" in names


def test_threads_have_no_effect_on_a_gpu(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}], seeds=[0, 1])
    for run in experiment.runs:
        experiment.finish(run, 80.0, device="cuda", threads=1 + run.seed)
    assert len(cells_of(read_results(experiment.paths))) == 1


def test_a_run_that_was_resumed_under_other_conditions_is_a_cell_of_its_own(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}], seeds=[0, 1, 2])
    for run in experiment.runs:
        experiment.finish(run, 80.0 + run.seed)
    record = experiment.finish(experiment.run("CCCC", 2), 60.0)
    sittings = tuple(
        Sitting(until_epoch=until, environment=environment(torch=torch))
        for until, torch in ((1, "2.13.0"), (2, "2.14.0"))
    )
    experiment.write(record.model_copy(update={"earlier_sittings": sittings}))
    mixed, like = cells_of(read_results(experiment.paths))
    assert mixed.label == "CCCC [torch 2.13.0 until epoch 1, then 2.14.0 until epoch 2, then 2.15.0]"
    assert [run.identity.seed for run in like.runs] == [0, 1]


def test_a_seed_that_was_trained_under_two_names_of_its_cell_counts_once(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}], seeds=[0, 1])
    experiment.write_plan()
    for run in experiment.runs:
        experiment.finish(run, 80.0 + run.seed)
        renamed = f"old-{run.run_id}"
        experiment.write(done_record(experiment.name, run.model_copy(update={"run_id": renamed}), 80.0 + run.seed))
    material = single(read_results(experiment.paths))
    (cell,) = material.cells
    assert cell.top1(HEADLINE) == Measure(2, 80.5, pytest.approx(0.5**0.5))
    names = ", ".join(f"old-{run.run_id}" for run in experiment.runs)
    assert caveats(material) == [
        "2 finished runs repeat a seed of their cell under the same conditions, as after a cell was renamed, and count "
        f"once: {names} left out."
    ]


def test_runs_without_a_fingerprint_of_the_code_are_compared_by_commit(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}], seeds=[0, 1, 2])
    for run, commit in zip(experiment.runs, ("aaaa1", "aaaa1", "bbbb2"), strict=True):
        experiment.finish(run, 80.0, code=None, git_commit=commit)
    results = read_results(experiment.paths)
    assert [cell.label for cell in cells_of(results)] == ["CCCC [code aaaa1]", "CCCC [code bbbb2]"]
    assert differences(results.runs) == ["Runs differ in git commit: aaaa1 (2 runs), bbbb2 (1 run)."]


def test_a_commit_that_changes_no_code_splits_nothing(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}], seeds=[0, 1])
    for run, commit in zip(experiment.runs, ("aaaa1", "bbbb2"), strict=True):
        experiment.finish(run, 80.0, git_commit=commit)
    results = read_results(experiment.paths)
    assert len(cells_of(results)) == 1
    assert differences(results.runs) == []
