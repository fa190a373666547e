"""The command line: parse, call, print. Imports nothing heavy before a command needs it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from sasa_cli.cli import options
from sasa_cli.cli.discover import discover
from sasa_cli.cli.output import console_for, prepare_output, print_json
from sasa_cli.errors import EXIT_INTERRUPTED, SasaError, SpecError

if TYPE_CHECKING:
    from sasa_cli.experiment.file import Experiment

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


@app.command()
def train(
    experiment: options.ExperimentOrNone = None,
    assignments: options.Assignments = None,
    model: options.ModelAlone = None,
    data: options.DataAlone = None,
    cell: options.CellName = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed (default: the experiment's first).")] = None,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on from the checkpoint, or start anew.")] = True,
    out: options.Out = Path("results"),
    data_dir: options.DataDir = None,
    device: options.OnDevice = "auto",
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train one run: the experiment's base model, or one of its cells, with one seed."""
    from sasa_cli.cli.display import TrainDisplay, attention_line, sweep_table
    from sasa_cli.experiment.file import run_yaml
    from sasa_cli.experiment.sweep import base_run, cell_run
    from sasa_cli.launchers.planning import make_plan, run_payload
    from sasa_cli.launchers.preflight import check_before_training
    from sasa_cli.runs.paths import ExperimentPaths
    from sasa_cli.runs.state import state_of

    loaded = _experiment_of(experiment, model, data, assignments or ())
    spec = base_run(loaded, seed) if cell is None else cell_run(loaded, cell, seed)
    plan = make_plan(loaded, [spec])
    experiment_paths = ExperimentPaths(out / spec.experiment)
    paths = experiment_paths.run(spec.run_id)
    console = console_for(silent=quiet or as_json)
    state = state_of(paths)
    console.print(sweep_table(plan.runs, [state]))
    if dry_run:
        console.print(run_yaml(spec), highlight=False)
        if as_json:
            print_json(run_payload(plan.runs[0], state))
        check_before_training([spec], data_dir, device)
        return
    from sasa_cli.launchers.threads import planned_threads
    from sasa_cli.training.run import RunOptions, train_run

    with TrainDisplay(console) as display:
        threads = planned_threads(experiment_paths)
        run_options = RunOptions(device=device, resume=resume, data_dir=data_dir, threads=threads)
        record = train_run(spec, paths, run_options, display.step)
    console.print(sweep_table(plan.runs, [state_of(paths)]))
    console.print(f"{attention_line(record)}\nrun folder: {paths.folder}", highlight=False)
    for note in record.data.notes if record.data else ():
        console.print(f"images: {note}", highlight=False)
    if as_json:
        typer.echo(record.model_dump_json(indent=2))


def _experiment_of(name: str | None, model: str | None, data: str | None, assignments: Sequence[str]) -> "Experiment":
    """The experiment of a file, or that of a model on a data set."""
    from sasa_cli.data.catalog import BUILT_IN
    from sasa_cli.experiment.file import load_experiment, model_experiment

    if (name is None) == (model is None):
        raise SpecError("give an experiment, or --model with what it is trained on (--data), and not both")
    if name is not None and data is not None:
        raise SpecError("--data goes with --model; of an experiment, --set data.name=... changes the images")
    return load_experiment(name, assignments) if name else model_experiment(str(model), assignments, data or BUILT_IN)


@app.command()
def sweep(
    experiment: options.ExperimentName,
    assignments: options.Assignments = None,
    jobs: options.Jobs = "auto",
    fail_fast: options.FailFast = False,
    retry_failed: options.RetryFailed = True,
    launcher: options.Launcher = "local",
    launcher_options: options.LauncherOptions = None,
    status: options.Status = False,
    out: options.Out = Path("results"),
    data_dir: options.DataDir = None,
    device: options.OnDevice = "auto",
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train every cell and seed of an experiment; called again, only what is missing or failed."""
    from sasa_cli.cli.display import SweepDisplay, sweep_table, tally
    from sasa_cli.experiment.file import load_experiment
    from sasa_cli.experiment.source import parse_assignment
    from sasa_cli.experiment.sweep import expand_sweep, without_effect
    from sasa_cli.launchers import find_launcher
    from sasa_cli.launchers.interface import LaunchOptions
    from sasa_cli.launchers.planning import make_plan, run_payload
    from sasa_cli.launchers.preflight import check_before_training
    from sasa_cli.launchers.remaining import remaining, require_all_done, states_of
    from sasa_cli.launchers.threads import threads_of_sweep
    from sasa_cli.runs.files import make_folder
    from sasa_cli.runs.paths import ExperimentPaths
    from sasa_cli.runs.plan import write_plan

    cluster = {str(key[0]): value for key, value in map(parse_assignment, launcher_options or ())}
    launch_options = LaunchOptions(_jobs(jobs), device, data_dir, fail_fast, cluster=cluster)
    loaded = load_experiment(experiment, assignments or ())
    specs = expand_sweep(loaded)
    plan = make_plan(loaded, specs)
    results = ExperimentPaths(out / loaded.name)
    run_ids = [run.run_id for run in plan.runs]
    console = console_for(silent=quiet or as_json)

    states = states_of(run_ids, results)
    if not console.quiet:
        console.print(sweep_table(plan.runs, states))
        for note in without_effect(loaded, specs):
            console.print(f"note: {note}", highlight=False)
    if not (dry_run or status):
        found = find_launcher(launcher)
        threads = threads_of_sweep(results, states, found.threads(launch_options, len(specs)))
        launch_options = replace(launch_options, threads=threads)
        make_folder(results.runs)
        write_plan(results, plan.model_copy(update={"threads": threads}))
        todo = remaining(specs, states, retry_failed=retry_failed)
        console.print(f"{tally(states)}; to train: {len(todo)}", highlight=False)
        display = SweepDisplay(console, plan.runs, results, len(todo))
        if todo:
            with display:
                found.launch(todo, results, launch_options, display)
        states = states_of(run_ids, results)
        console.print(f"{tally(states)}; report: sasa report {results.folder}", highlight=False)
    if as_json:
        rows = [run_payload(run, state) for run, state in zip(plan.runs, states, strict=True)]
        print_json({"experiment": loaded.name, "runs": rows})
    if dry_run:
        check_before_training(specs, data_dir, device, here=launcher == "local")
    elif not status:
        require_all_done(specs, states, results, display.ended)


def _jobs(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is not allowed; allowed are auto or a number from 1", param_hint="--jobs")
    return int(text)


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
