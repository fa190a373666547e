"""Where the runs of a sweep go: which are still to be done, and how they are started. Imports no torch."""

import importlib

from sasa_cli.launchers.interface import Launcher

LAUNCHERS = {
    "local": "sasa_cli.launchers.local:LOCAL",
    "ray": "sasa_cli.launchers.ray:RAY",
    "slurm": "sasa_cli.launchers.slurm:SLURM",
}


def find_launcher(name: str) -> Launcher:
    """The launcher of that name, loaded only now: most users have neither Ray nor Slurm."""
    module, launcher = LAUNCHERS[name].split(":")
    found: Launcher = getattr(importlib.import_module(module), launcher)
    return found
