"""What an experiment can name, and what to know of each. Loads nothing heavy before it is asked for."""

from collections.abc import Callable
from typing import Literal

Name = tuple[str, str]  # and what to know of it
Kind = Literal["experiments", "models", "stages", "data", "backends", "optimizers"]


def _experiments() -> list[Name]:
    from sasa_cli.experiment.file import load_experiment
    from sasa_cli.experiment.shipped import shipped_experiments

    return [(name, load_experiment(name).description) for name in shipped_experiments()]


def _models() -> list[Name]:
    from sasa_cli.spec import DEPTHS

    return [(name, f"{', '.join(map(str, depth))} bottlenecks in the stages") for name, depth in DEPTHS.items()]


def _stages() -> list[Name]:
    from sasa_cli.kinds import KINDS

    return [(kind.letter, kind.name) for kind in KINDS.values()]


def _data() -> list[Name]:
    from sasa_cli.data.catalog import CATALOG
    from sasa_cli.data.files import READER_PACKAGES

    known = [(name, f"{data.num_classes} classes" if data.num_classes else "") for name, data in CATALOG.items()]
    return known + [(f"{prefix}/...", f"read by timm with {package}") for prefix, package in READER_PACKAGES.items()]


def _backends() -> list[Name]:
    from sasa_cli.attention.backends import BACKENDS

    return [("auto", "the fastest that runs")] + [(each.name, each.missing() or "runs here") for each in BACKENDS]


def _optimizers() -> list[Name]:
    from timm.optim import get_optimizer_info, list_optimizers

    infos = [get_optimizer_info(str(name)) for name in list_optimizers()]
    return [(info.name, info.description) for info in infos if not info.second_order]


NAMES: dict[Kind, Callable[[], list[Name]]] = {
    "experiments": _experiments,
    "models": _models,
    "stages": _stages,
    "data": _data,
    "backends": _backends,
    "optimizers": _optimizers,
}
