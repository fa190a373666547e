"""The command line: parse, call, print. Imports nothing heavy before a command needs it."""

import re
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from sasa_cli.cli import options
from sasa_cli.cli.discover import discover
from sasa_cli.cli.output import console_for, prepare_output, print_json
from sasa_cli.cli.train import train_commands
from sasa_cli.errors import EXIT_INTERRUPTED, SasaError

# Of the click that typer brings along or imports, which differs between its versions.
UsageError: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    """Turns errors that a user can cause into one message and the documented exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SasaError as error:
            _fail(f"error: {error}", error.exit_code)
        except UsageError as error:
            if hint := _how_to_set(error.message):
                raise UsageError(error.message + hint, ctx=error.ctx) from error
            raise
        except KeyboardInterrupt:
            _fail("interrupted: the same command goes on from the last checkpoint", EXIT_INTERRUPTED)


def _how_to_set(refusal: str) -> str:
    """For `--epochs 3` and `lr=0.1`, which name keys of an experiment: how a key is set."""
    from sasa_cli.experiment.file import keys_called

    words = re.findall(r"(?:--|\()([\w-]+)", refusal)
    called = [key for word in words for key in keys_called(word.replace("-", "_"))]
    return f"; a key of the experiment is set by --set {called[0]}=..." if called else ""


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Run convolution-versus-attention ablations of vision models: which stages attend, how wide, at what cost.",
    epilog="Exit codes: 0 all good; 1 a run failed; 2 wrong usage or experiment file; 3 data missing or broken; "
    "4 sweep ended with runs that are not done, each with its reason; 130 interrupted (checkpoint written).",
)


def _fail(message: str, exit_code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(exit_code)


def _show_version(wanted: bool) -> None:
    if wanted:
        from sasa_cli import __version__

        typer.echo(f"sasa {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


app.registered_commands += train_commands.registered_commands


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Folders of experiments, as results/demo, or of several.")],
    formats: Annotated[
        str, typer.Option("--format", help="What to write, of md,html,csv,tex,png.")
    ] = "md,html,csv,tex,png",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the report of several experiments (default: the one that holds them)."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Derive every number again; fail where one differs.")] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Write tables, figures and a page from finished runs, and one page more of several experiments."""
    from sasa_cli.rendering.terminal import to_rich
    from sasa_cli.reporting.report import build_report, check_report, parse_formats

    if check:
        differences = check_report(results, out=out)
        if as_json:
            print_json({"differences": differences})
        if differences:
            _fail("\n".join(["error: the report is not what the runs give:", *differences]), 1)
        console_for(silent=quiet or as_json).print("every number of the report follows from the runs")
        return
    built = build_report(results, parse_formats(formats), out=out)
    console = console_for(silent=quiet or as_json)
    for table in (*built.summaries, *built.verdicts):
        console.print(to_rich(table), crop=False)
    for problem in built.problems:
        typer.echo(f"warning: {problem}", err=True)
    for path in built.paths:
        console.print(str(path), highlight=False)
    if as_json:
        print_json({"paths": [str(path) for path in built.paths], "problems": list(built.problems)})


@app.command("count-flops")
def count_flops(
    targets: options.CountTargets = None,
    assignments: options.Assignments = None,
    image_size: options.ImageSize = None,
    stem: options.Stem = None,
    stages: options.Stages = None,
    spatial_extent: options.Extent = None,
    heads: options.Heads = None,
    by: options.RowKind = None,
    form: options.Form = "table",
    explain: options.Explain = False,
    figure: options.DrawInto = None,
    paper: options.AsInPaper = False,
    match: options.MatchBudget = None,
    to: options.MatchTo = None,
    as_json: options.AsJson = False,
) -> None:
    """Count parameters, MACs, FLOPs and activations; trains nothing."""
    from sasa_cli.counting.answer import CountRequest, answer
    from sasa_cli.rendering.csv import to_csv
    from sasa_cli.rendering.latex import to_latex
    from sasa_cli.rendering.markdown import to_markdown
    from sasa_cli.rendering.terminal import to_rich

    shorthands = {
        "data.image_size": image_size,
        "model.stem.kind": stem,
        "model.stages": stages,
        "model.attention.spatial_extent": spatial_extent,
        "model.attention.heads": heads,
    }
    changes = [*(assignments or ()), *(f"{key}={value}" for key, value in shorthands.items() if value is not None)]
    counted = answer(CountRequest(targets or (), changes, image_size, by, explain, paper, match, to, figure))
    if as_json or form == "json":
        print_json(counted.payload)
    elif form == "table":
        for table in counted.tables:
            console_for(silent=False).print(to_rich(table), crop=False)
    else:
        render = {"csv": to_csv, "md": to_markdown, "tex": to_latex}[form]
        typer.echo("\n".join(map(render, counted.tables)), nl=False)
    for path in counted.paths:
        typer.echo(str(path), err=True)


@app.command()
def bench(
    shapes: options.Shapes = None,
    extents: options.TimedExtents = None,
    heads: Annotated[int, typer.Option(min=1, help="Heads of attention.")] = 8,
    dtypes: options.TimedDtypes = None,
    check: Annotated[
        bool, typer.Option("--check", help="First hold every backend against the definition, value and gradient.")
    ] = False,
    graph: Annotated[
        bool, typer.Option("--graph", help="On a CUDA device: time each step as one CUDA graph, too.")
    ] = False,
    out: options.Out = Path("results"),
    device: options.OnDevice = "auto",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Time attention against the convolution that it replaces, on this machine."""
    from sasa_cli.bench.pages import save_numbers, save_result, tables_of
    from sasa_cli.bench.run import bench_options, run_bench
    from sasa_cli.rendering.terminal import to_rich

    timed = bench_options(shapes or (), extents or (), heads, device, dtypes=dtypes or (), check=check, graph=graph)
    console = console_for(silent=quiet or as_json)
    folder = out / "bench"
    result = run_bench(
        timed,
        lambda text: console.print(text, highlight=False),
        lambda so_far: save_numbers(so_far, folder),
    )
    for table in tables_of(result):
        console.print(to_rich(table), crop=False)
    for path in save_result(result, folder):
        console.print(str(path), highlight=False)
    if as_json:
        print_json(result.payload())
    if result.failures:
        _fail("\n".join(["error: not everything is right or could be timed:", *result.failures]), 1)


app.registered_commands += discover.registered_commands


def main() -> None:
    """Entry point of the `sasa` command."""
    prepare_output()
    app(prog_name="sasa")
