"""Commands for finding one's way: what there is, what a key means, a file to begin with. They train nothing."""

from pathlib import Path
from typing import Annotated

import typer

from sasa_cli.cli import options
from sasa_cli.cli.output import console_for, print_json
from sasa_cli.errors import RunError, SpecError
from sasa_cli.training.names import NAMES, Kind

discover = typer.Typer()


@discover.command("list")
def list_names(
    what: Annotated[Kind | None, typer.Argument(help="Of one kind only.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List what an experiment can name: experiments, models, stage kinds, data sets, backends, optimizers."""
    from sasa_cli.rendering.table import Column, Table
    from sasa_cli.rendering.terminal import to_rich

    found = {kind: rows() for kind, rows in NAMES.items() if what in (None, kind)}
    if as_json:
        print_json({kind: [{"name": name, "about": about} for name, about in rows] for kind, rows in found.items()})
        return
    for kind, rows in found.items():
        columns = (Column("name", "left"), Column("about", "left"))
        console_for(silent=False).print(to_rich(Table(kind, columns, tuple(rows))))


@discover.command()
def explain(
    key: Annotated[str | None, typer.Argument(help="A dotted key, as model.attention.heads, or a section.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a key of an experiment file means, what it may be and its default; of all keys without one."""
    from dataclasses import asdict

    from sasa_cli.experiment.keys import find_keys, keys
    from sasa_cli.rendering.table import Column, Table
    from sasa_cli.rendering.terminal import to_rich

    found = keys() if key is None else find_keys(key)
    if as_json:
        print_json([asdict(each) for each in found])
    elif len(found) == 1:
        (only,) = found
        default = f"\ndefault: {only.default}" if only.default else ""
        console_for(silent=False).print(f"{only.name}: {only.meaning}\nallowed: {only.allowed}{default}")
    else:
        columns = (Column("key", "left"), Column("allowed", "left"), Column("default", "left"))
        rows = tuple((each.name, each.allowed, each.default) for each in found)
        note = "sasa explain KEY says what one means."
        console_for(silent=False).print(to_rich(Table("Keys of an experiment file", columns, rows, (note,))))


@discover.command()
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from sasa_cli.experiment.keys import schema as of_files

    print_json(of_files())


@discover.command()
def init(file: Annotated[Path, typer.Argument(help="The new file, as my-question.yaml.")]) -> None:
    """Write a commented experiment file to begin with."""
    from sasa_cli.experiment.shipped import STARTER

    if file.suffix not in (".yaml", ".yml"):
        raise SpecError(f"{file}: an experiment file ends in .yaml")
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(STARTER.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise SpecError(f"{file}: is there already, and stays as it is; allowed is a new file") from error
    except OSError as error:
        raise RunError(f"{file}: cannot be written: {error.strerror}") from error
    console_for(silent=False).print(f"{file}: next, sasa sweep {file} --dry-run", highlight=False)
