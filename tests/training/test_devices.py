"""Devices are one table: names, precisions and measures; a device that is not here is refused in words."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from typer.testing import CliRunner

from sasa_cli.cli.app import app
from sasa_cli.errors import SpecError
from sasa_cli.training.devices import DEVICES, PREFERRED, DeviceName, check_precision, resolve_device

PROCESS_STATUS = Path("/proc/self/status")
CPU = torch.device("cpu")
absent = [name for name in DEVICES if not DEVICES[name].count()]


def test_every_name_of_the_command_line_has_its_entry() -> None:
    assert set(get_args(DeviceName)) == {"auto", *DEVICES}
    assert all(name == device.name for name, device in DEVICES.items())
    assert set(PREFERRED) <= set(DEVICES)
    for name, device in DEVICES.items():
        assert torch.device(name).type == name
        assert "off" in device.precisions() or not device.count()
        assert device.memory_meaning
        assert device.steps_between_losses >= 1


@pytest.mark.parametrize(("available", "expected"), [(1, "cuda"), (0, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(available: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(available))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: available)
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", absent)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_device_that_is_not_here_is_refused_in_words(name: DeviceName, command: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"--device {name}: no .* is available here; allowed are auto"):
        resolve_device(name)
    result = CliRunner().invoke(app, [command, "demo", "--device", name, "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert f"--device {name}: no {DEVICES[name].title} is available here" in result.stderr
    assert not list(tmp_path.glob("demo/runs/*"))


def test_a_precision_that_a_device_has_not_is_refused() -> None:
    check_precision("off", CPU)
    check_precision("bf16", CPU)
    with pytest.raises(SpecError, match="fp16 is not possible on this CPU; allowed are off and bf16"):
        check_precision("fp16", CPU)


def test_a_gpu_without_bf16_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(SpecError, match="bf16 is not possible on this CUDA device; allowed are off and fp16"):
        check_precision("bf16", torch.device("cuda"))


@pytest.mark.skipif(not PROCESS_STATUS.exists(), reason="reads what Linux says")
def test_peak_memory_is_that_of_the_process() -> None:
    measured = DEVICES["cpu"].peak_memory_mib(CPU)
    lines = PROCESS_STATUS.read_text().splitlines()
    peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert measured == pytest.approx(peak_kib / 1024, rel=0.01)


def test_a_cpu_has_a_name_and_nothing_to_wait_for() -> None:
    assert DEVICES["cpu"].full_name(CPU)
    DEVICES["cpu"].wait(CPU)
    DEVICES["cpu"].reset_peak_memory(CPU)
