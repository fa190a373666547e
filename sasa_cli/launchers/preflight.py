"""What can be found wrong before the first run of a sweep: device, recipe, images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sasa_cli.launchers.interface import Device
from sasa_cli.spec import RunSpec


@dataclass(frozen=True)
class Preflight:
    """What the runs will find on this machine."""

    device: Literal["cpu", "cuda"]
    gpus: int


def preflight(specs: Sequence[RunSpec], device: Device, data_dir: Path | None) -> Preflight:
    """Look at all that `specs` need.

    Raises:
        SpecError: this machine cannot do what a spec asks for.
        DataError: images are missing or broken.
    """
    import torch

    from sasa_cli.data.catalog import check_available
    from sasa_cli.data.splits import load_splits
    from sasa_cli.training.checks import check_run
    from sasa_cli.training.environment import resolve_device

    found = resolve_device(device)
    for spec in {spec.cell_hash: spec for spec in specs}.values():
        check_run(spec, found)
    for data in {spec.data for spec in specs}:
        check_available(data, data_dir)
        load_splits(data, data_dir)
    on_gpu = found.type == "cuda"
    return Preflight("cuda" if on_gpu else "cpu", torch.cuda.device_count() if on_gpu else 0)
