"""`sasa bench`: all contestants compute what they are said to, and the result has its documented form."""

import json
import platform
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from sasa_cli.attention import reference_local_attention
from sasa_cli.bench import contestants, measure
from sasa_cli.bench.child import kept_layer_times, kept_model_times, measure_peaks
from sasa_cli.bench.contestants import Workload
from sasa_cli.bench.timing import interleaved
from sasa_cli.cli.app import app

WORK = Workload((2, 16, 8, 8), 3, 4, torch.float64, torch.device("cpu"))


def test_the_unfold_contestant_is_the_operator(monkeypatch: pytest.MonkeyPatch):
    seen: list[torch.Tensor] = []

    def forward_only(forward, leaves, layout):
        query, key, value, row, column = leaves
        heads = [each.unflatten(1, (4, 4)) for each in (query, key, value)]
        expected = reference_local_attention(*heads, row, column, spatial_extent=3, border="zero", content=True)
        seen.extend([forward(), expected.flatten(1, 2)])
        return lambda: None

    monkeypatch.setattr(contestants, "_repeat", forward_only)
    contestants._unfold(WORK, "nchw")
    torch.testing.assert_close(*seen)


def test_every_contestant_runs():
    names = {each.name for each in contestants.contestants(WORK)}
    assert {"auto", "unfold", "timm-halo", "conv3x3", "auto + projections"} <= names
    for each in contestants.contestants(WORK):
        each.step(WORK)()


def test_steps_are_timed_in_turn():
    order: list[str] = []
    steps = {name: (lambda name=name: order.append(name)) for name in "ab"}
    timings = interleaved(steps, torch.device("cpu"), repeats=3, budget_seconds=10)
    assert order == ["a", "b", "a", "b", "a", "b", "a", "b"]
    assert all(timing.low_ms <= timing.median_ms <= timing.high_ms for timing in timings.values())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is measured on Linux only")
def test_peak_memory_sees_the_windows_that_unfold_copies():
    work = Workload((4, 32, 32, 32), 5, 4, torch.float32, torch.device("cpu"))
    chosen = [each for each in contestants.contestants(work) if each.name in ("auto", "unfold")]
    peaks = dict(zip([each.name for each in chosen], measure_peaks(work, chosen), strict=True))
    window_mib = 4 * 32 * 32 * 32 * 5**2 * 4 / 2**20
    assert 2 * window_mib < peaks["unfold"] < 8 * window_mib  # keys and values at least, and their gradients
    assert peaks["auto"] < peaks["unfold"] / 3


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told to keep pages")
def test_times_with_kept_pages_are_measured_where_the_allocator_is_free(monkeypatch: pytest.MonkeyPatch):
    for name in ("GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    chosen = [each for each in contestants.contestants(WORK) if each.name in ("auto", "conv3x3")]
    times = kept_layer_times(WORK, chosen, 3, 1.0)
    assert len(times) == len(chosen)
    assert all(time > 0 for time in times)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    assert kept_layer_times(WORK, chosen, 3, 1.0) == [None] * len(chosen)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told to keep pages")
def test_training_steps_with_kept_pages(monkeypatch: pytest.MonkeyPatch):
    for name in ("GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    names = [("conv", "nchw"), ("attention", "channels-last")]
    where = (torch.float32, torch.device("cpu"))
    times = kept_model_times("sasa_resnet26", names, (1, 3, 64, 64), 3, *where, 3, 1.0, warm_up=1)
    assert len(times) == 2
    assert all(time > 0 for time in times)


def test_layers_whose_peak_nobody_saw_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No memory to show, on axes that count in powers of ten."""
    monkeypatch.setattr(measure, "measure_peaks", lambda work, group: [-0.1] * len(group))
    arguments = ["bench", "--shape", "2,16,8,8", "--spatial-extent", "3", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "bench" / "bench.svg").is_file()


def test_the_command_writes_and_prints_its_result(tmp_path: Path):
    arguments = ["bench", "--shape", "2,16,8,8", "--spatial-extent", "3", "--json", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    payload = json.loads(result.stdout)
    assert payload == json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert payload["threads"] == torch.get_num_threads()
    for row in payload["rows"]:
        assert (row["shape"], row["spatial_extent"], row["dtype"]) == ([2, 16, 8, 8], 3, "float32")
        assert row["median_ms"] > 0
    assert {"auto", "unfold", "conv3x3"} <= {row["name"] for row in payload["rows"]}
    assert {file.name for file in (tmp_path / "bench").iterdir()} == {
        "bench.json",
        "bench.md",
        "bench.svg",
        "bench.png",
    }


@pytest.mark.parametrize(
    "arguments", [["--shape", "1,2,3"], ["--shape", "1,2,3,x"], ["--shape", "1,15,8,8"], ["--spatial-extent", "4"]]
)
def test_a_wrong_layer_is_refused(arguments: list[str], tmp_path: Path):
    result = CliRunner().invoke(app, ["bench", *arguments, "--out", str(tmp_path / "none")])
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "none").exists()
