"""Where the runs of a sweep go: which are still to be done, and how they are started. Imports no torch."""

import importlib

from sasa_cli.launchers.interface import Launch

LAUNCHERS = {
    "local": "sasa_cli.launchers.local:launch_local",
    "ray": "sasa_cli.launchers.ray:launch_ray",
    "slurm": "sasa_cli.launchers.slurm:launch_slurm",
}


def find_launcher(name: str) -> Launch:
    """The launcher of that name, loaded only now: most users have neither Ray nor Slurm."""
    module, function = LAUNCHERS[name].split(":")
    launch: Launch = getattr(importlib.import_module(module), function)
    return launch
