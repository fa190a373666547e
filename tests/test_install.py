"""The built wheel by itself: commands, experiments and images, without the checkout beside it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_what_they_read(wheel: Path):
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        f"sasa_cli/{file.relative_to(ROOT / 'sasa_cli').as_posix()}" for file in (ROOT / "sasa_cli").rglob("*.py")
    }
    experiments = {f"sasa_cli/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "experiments").rglob("*.yaml")}
    others = {"sasa_cli/data/fashion_mnist_mini/images.npz", "sasa_cli/data/fashion_mnist_mini/LICENSE"}
    assert modules | experiments | others <= held
    assert any(name.startswith("sasa_cli/reporting/templates/") for name in held)


@pytest.mark.slow
def test_the_installed_wheel_trains_and_reports(wheel: Path, tmp_path: Path):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    work = tmp_path / "elsewhere"
    work.mkdir()

    def sasa(*arguments: str) -> str:
        command = [sys.executable, "-m", "sasa_cli", *arguments]
        environment = os.environ | {"PYTHONPATH": str(site)}
        result = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    where = "import sasa_cli; print(sasa_cli.__file__)"
    environment = os.environ | {"PYTHONPATH": str(site)}
    found = subprocess.run([sys.executable, "-c", where], cwd=work, env=environment, capture_output=True, text=True)
    assert str(site) in found.stdout
    small = ["--set", "data.train_images=64", "--set", "recipe.epochs=1"]
    record = json.loads(sasa("train", "demo", *small, "--json"))
    assert record["status"] == "done"
    assert json.loads(sasa("report", "results/demo", "--json"))["paths"]
