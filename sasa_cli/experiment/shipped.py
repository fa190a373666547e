"""Experiments by name: those that ship with the package, and files of a user's own."""

from os.path import isfile  # False, as Path.is_file is not, for what can be no path
from pathlib import Path

from sasa_cli.errors import SpecError, nearest

STARTER = Path(__file__).parent / "starter.yaml"
"""What `sasa init` writes."""


def shipped_experiments() -> dict[str, Path]:
    """The experiments inside the package by name, such as `demo` or `paper/table4`.

    Files whose name begins with `_` are none: others extend them.
    """
    package = Path(__file__).parents[1]
    # An installed package has the folder inside it; in a checkout it stands beside the package.
    folder = next(place for place in (package / "experiments", package.parent / "experiments") if place.is_dir())
    files = sorted(file for file in folder.rglob("*.yaml") if not file.name.startswith("_"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def find_experiment(name: str) -> Path:
    """The file of an experiment: a path, or the name of one that ships with the package.

    Raises:
        SpecError: there is neither.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or isfile(path):
        if not isfile(path):
            raise SpecError(f"{name}: there is no such file")
        return path
    shipped = shipped_experiments()
    if name not in shipped:
        raise SpecError(
            f"{name}: neither a file nor an experiment that ships with sasa{nearest(name, shipped)}; "
            f"allowed are a path to a .yaml file, {', '.join(shipped)}"
        )
    return shipped[name]
