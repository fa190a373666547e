"""Against a real Slurm of one node, which the tests start: what is wrong is one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .slurm_cluster import Cluster, UnavailableError, running_cluster

pytest.importorskip("submitit", reason="submitit is not installed")
pytestmark = pytest.mark.slow

TINY = """
name: tiny
model: {layers: [1, 1, 1, 1], width: 0.125, attention: {heads: 2, spatial_extent: 3}}
data: {train_images: 128}
recipe: {epochs: 1, batch_size: 64}
sweep: {model.stages: [CCCC, CCCA]}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        with running_cluster(tmp_path_factory.mktemp("slurm")) as started:
            yield started
    except UnavailableError as reason:
        pytest.skip(str(reason))


def sweep(cluster: Cluster, folder: Path, *settings: str) -> "subprocess.CompletedProcess[str]":
    (folder / "tiny.yaml").write_text(TINY)
    command = [sys.executable, "-m", "sasa_cli", "sweep", "tiny.yaml", "--launcher", "slurm", "--device", "cpu"]
    asked = [word for setting in ("cpus_per_task=1", *settings) for word in ("--launcher-set", setting)]
    environment = os.environ | {"SLURM_CONF": str(cluster.configuration)}
    return subprocess.run(
        [*command, *asked], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_jobs_of_a_real_slurm_train_the_runs(cluster: Cluster, tmp_path: Path) -> None:
    result = sweep(cluster, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 done" in result.stdout


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "slurm_partition=nope",
            "sbatch takes no jobs: invalid partition specified: nope; Batch job",
        ),
        ("slurm_time=99:99:xx", "sbatch takes no jobs: Invalid --time specification"),
        ("gpus_per_node=4", "sbatch takes no jobs: Invalid generic resource (gres) specification"),
        ("slurm_partitio=main", "--launcher-set: Unknown argument 'partitio' for executor 'slurm'"),
        ("memory=4", "--launcher-set: Parameter 'memory' need to be prefixed by an executor name"),
        ("timeout_min=soon", '--launcher-set: Parameter "timeout_min" expected type int (but value: "soon")'),
        ("cpus_per_task=many", "--launcher-set cpus_per_task: 'many' is not allowed; allowed are numbers above 0"),
        ("cpus_per_task=0", "--launcher-set cpus_per_task: 0 is not allowed; allowed are numbers above 0"),
    ],
)
def test_what_slurm_cannot_be_asked_for_is_one_line(
    setting: str, message: str, cluster: Cluster, tmp_path: Path
) -> None:
    result = sweep(cluster, tmp_path, setting)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_controller_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    """The last, as it ends its own Slurm."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    try:
        with running_cluster(folder) as started:
            started.controller.terminate()
            started.controller.wait()
            result = sweep(started, tmp_path)
    except UnavailableError as reason:
        pytest.skip(str(reason))
    assert result.returncode == 1
    assert "sbatch takes no jobs: Batch job submission failed: Unable to contact slurm controller" in result.stderr
    assert len(result.stderr.splitlines()) == 1
