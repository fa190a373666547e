"""`sasa_cli.bench.gpu`, on the CPU: all of it but CUDA graphs, and what it says where something fails."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sasa_cli.attention import available_backends, choice
from sasa_cli.bench import gpu, gpu_times
from sasa_cli.bench.contestants import Contestant
from sasa_cli.bench.gpu_checks import Check, run_checks
from sasa_cli.bench.gpu_outcome import Layer, Outcome, goals, tables
from sasa_cli.bench.gpu_times import Effort, Time, time_layer

CPU = torch.device("cpu")


def payload(out: Path) -> dict:
    return json.loads((out / "bench" / "gpu-smoke.json").read_text())


def test_smoke_run_checks_times_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--smoke", "--out", str(tmp_path)]) == 0
    result = payload(tmp_path)
    assert {check["backend"] for check in result["checks"]} == set(available_backends())
    assert {check["border"] for check in result["checks"]} == {"zero", "mask"}
    assert {check["dtype"] for check in result["checks"]} == {"float32", "bfloat16"}
    assert all(check["passed"] and check["error"] > 0 for check in result["checks"])
    assert {"auto", "unfold", "timm-halo", "conv3x3"} <= {row["name"] for row in result["layers"]}
    assert all(row["median_ms"] > 0 for row in result["layers"] + result["training"])
    assert [row["name"] for row in result["training"]] == ["conv", "attention"]
    assert len(result["goals"]) == 3
    assert result["environment"]["torch"] == torch.__version__
    printed = capsys.readouterr().out
    assert "**Goals**" in printed
    assert "**Failures**" not in printed


def test_without_cuda_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: needs a CUDA device")
    assert not (tmp_path / "none").exists()


def out_of_memory(*arguments: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")


def no_peaks(work, chosen) -> list[float | None]:
    return [None] * len(chosen)


def test_what_fails_is_shown_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contestants = gpu_times.contestants

    def one_is_too_large(work):
        for each in contestants(work):
            yield Contestant("unfold", each.layout, out_of_memory) if each.name == "unfold" else each

    broken = [replace(b, backward=out_of_memory) if b.name == "shift" else b for b in choice.BACKENDS]
    monkeypatch.setattr(choice, "BACKENDS", tuple(broken))
    monkeypatch.setattr(gpu_times, "contestants", one_is_too_large)
    monkeypatch.setattr(gpu_times, "measure_peaks", no_peaks)
    assert gpu.main(["--smoke", "--out", str(tmp_path)]) == 1
    result = payload(tmp_path)
    failed = {check["backend"] for check in result["checks"] if not check["passed"]}
    assert failed == {"shift"}
    assert all(check["error"] is None for check in result["checks"] if check["backend"] == "shift")
    by_name = {row["name"]: row for row in result["layers"]}
    assert by_name["unfold"]["median_ms"] is None
    assert by_name["unfold"]["failure"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert by_name["conv3x3"]["median_ms"] > 0
    printed = capsys.readouterr().out
    assert "OutOfMemoryError: CUDA out of memory." in printed.partition("**Failures**")[2]


def test_a_wrong_result_and_other_bits_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(problem, inputs):
        output, lse = choice.BACKENDS[-1].forward(problem, inputs)
        return output * 1.001, lse

    calls: list[int] = []

    def unsteady(problem, inputs):
        calls.append(1)
        output, lse = choice.BACKENDS[-1].forward(problem, inputs)
        return output * (1 + 1e-6 * len(calls)), lse

    bad = [replace(choice.BACKENDS[-1], name=n, forward=f) for n, f in (("wrong", wrong), ("unsteady", unsteady))]
    good = choice.BACKENDS[-1]
    monkeypatch.setattr(choice, "BACKENDS", (*bad, good))
    checks = [c for c in run_checks([(1, 8, 5, 5)], [3], 4, CPU, lambda text: None) if c.dtype == "float32"]
    found = {check.backend: check for check in checks}
    assert found["shift"].passed
    assert found["wrong"].repeats
    assert found["wrong"].error > found["wrong"].tolerance
    assert found["unsteady"].error < found["unsteady"].tolerance
    assert not found["unsteady"].repeats
    assert not found["wrong"].passed
    assert not found["unsteady"].passed


def time(name: str, layer: Layer, median: float | None, mode: str = "graph", peak: float = 1.0) -> Time:
    return Time(name, None, layer.shape(128), mode, median, median, median, 15, peak, None if median else "too large")


def outcome(ours: float | None = 2.0) -> Outcome:
    first, second = Layer(64, 56, 3), Layer(128, 28, 2)
    rows = [
        time(name, layer, median, mode, peak)
        for mode in ("eager", "graph")
        for name, median, peak in (("auto", ours, 20.0), ("unfold", 30.0, 1000.0))
        for layer in (first, second)
    ]
    models = [time(name, Layer(3, 224, 1), median) for name, median in (("conv", 100.0), ("attention", 120.0))]
    check = Check("halo", (2, 64, 56, 56), 7, "zero", "bfloat16", 0.01, 0.03, True, None)
    return Outcome((first, second), (check,), tuple(rows), tuple(models))


def test_goals_weigh_layers_by_their_number() -> None:
    operators, memory, model = goals(outcome())
    assert (operators.value, operators.verdict) == (3 * 2.0 + 2 * 2.0, "met")
    assert (memory.what, memory.value, memory.verdict) == ("extra memory over unfold's, 64 x 56 x 56", 0.02, "met")
    assert (model.value, model.verdict) == (1.2, "missed")
    assert goals(outcome(2.1))[0].verdict == "missed"
    assert not outcome().failed


def test_a_goal_without_its_numbers_is_not_measured() -> None:
    missing = outcome(None)
    assert missing.failed
    assert goals(missing)[0].verdict == "not measured"
    assert tables(missing)[-1].title == "Failures"
    assert tables(outcome())[-1].title == "Goals"


def test_steps_that_fail_only_together_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_times, "interleaved", lambda *arguments, **settings: out_of_memory())
    monkeypatch.setattr(gpu_times, "measure_peaks", no_peaks)
    work = gpu.Workload((1, 8, 4, 4), 3, 4, torch.bfloat16, CPU)
    rows = time_layer(work, Effort(3, 0.1))
    assert all(row.failure.startswith("not in turn with the others: OutOfMemoryError") for row in rows)


def test_a_peak_that_fails_leaves_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_times, "measure_peaks", out_of_memory)
    rows = time_layer(gpu.Workload((1, 8, 4, 4), 3, 4, torch.bfloat16, CPU), Effort(3, 0.1))
    assert all(row.median_ms > 0 and row.peak_extra_mib is None for row in rows)
    assert all(row.failure.startswith("OutOfMemoryError") for row in rows)
