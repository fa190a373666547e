"""What can be found wrong before the first run of a sweep: everywhere, and on the machine that trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sasa_cli.spec import RunSpec
from sasa_cli.training.devices import DeviceName


@dataclass(frozen=True)
class Machine:
    """What the runs will find where they train."""

    device: str
    count: int
    """How many of these devices there are."""


def check_before_training(specs: Sequence[RunSpec], data_dir: Path | None, device: DeviceName) -> Machine:
    """All that is looked at before the first run where this machine trains.

    Raises:
        SpecError: a spec asks for what does not exist, or what this machine cannot do.
        DataError: images are missing or broken.
    """
    check_everywhere(specs, data_dir)
    return check_here(specs, device)


def check_everywhere(specs: Sequence[RunSpec], data_dir: Path | None) -> None:
    """Look at all that holds wherever `specs` are trained: recipe and images.

    Raises:
        SpecError: a spec asks for what does not exist.
        DataError: images are missing or broken.
    """
    from sasa_cli.data.catalog import check_available
    from sasa_cli.data.splits import load_splits
    from sasa_cli.training.checks import check_spec

    for spec in _cells(specs):
        check_spec(spec)
    for data in {spec.data for spec in specs}:
        check_available(data, data_dir)
        load_splits(data, data_dir)


def check_here(specs: Sequence[RunSpec], device: DeviceName) -> Machine:
    """Look at what this machine has, where it is the one that trains; on others, each run does so itself.

    Raises:
        SpecError: this machine cannot do what a spec asks for.
    """
    from sasa_cli.training.checks import check_machine
    from sasa_cli.training.devices import DEVICES, resolve_device

    found = resolve_device(device)
    for spec in _cells(specs):
        check_machine(spec, found)
    return Machine(found.type, DEVICES[found.type].count())


def _cells(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """One spec of each cell."""
    return list({spec.cell_hash: spec for spec in specs}.values())
