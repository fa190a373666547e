"""The built wheel by itself: commands, experiments and images, without the checkout beside it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def files_to_be_held() -> set[str]:
    package, experiments = ROOT / "sasa_cli", ROOT / "experiments"
    modules = {f"sasa_cli/{file.relative_to(package).as_posix()}" for file in package.rglob("*.py")}
    shipped = {f"sasa_cli/{file.relative_to(ROOT).as_posix()}" for file in experiments.rglob("*.yaml")}
    return modules | shipped | {f"sasa_cli/data/fashion_mnist_mini/{name}" for name in ("images.npz", "LICENSE")}


@pytest.mark.slow
def test_the_wheel_by_itself_holds_everything_trains_and_reports(tmp_path: Path):
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert files_to_be_held() <= held
    assert "sasa_cli/paper/tables.yaml" in held
    assert any(name.startswith("sasa_cli/rendering/templates/") for name in held)

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
    plan = json.loads(sasa("sweep", "mini/table4", "--dry-run", "--json"))  # extends another file of the wheel
    assert len(plan["runs"]) == 25
    small = ["--set", "data.train_images=64", "--set", "recipe.epochs=1"]
    record = json.loads(sasa("train", "demo", *small, "--json"))
    assert record["status"] == "done"
    assert json.loads(sasa("report", "results/demo", "--json"))["paths"]
