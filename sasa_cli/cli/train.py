"""`sasa train` and `sasa sweep`: parse, call, print."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sasa_cli.cli import options
from sasa_cli.cli.output import console_for, print_json
from sasa_cli.errors import SpecError

if TYPE_CHECKING:
    from sasa_cli.experiment.file import Experiment

train_commands = typer.Typer()


@train_commands.command()
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
    from sasa_cli.experiment.file import load_experiment, model_experiment
    from sasa_cli.spec import DataSpec

    if (name is None) == (model is None):
        raise SpecError("give an experiment, or --model with what it is trained on (--data), and not both")
    if name is not None and data is not None:
        raise SpecError("--data goes with --model; of an experiment, --set data.name=... changes the images")
    return (
        load_experiment(name, assignments)
        if name
        else model_experiment(str(model), assignments, data or DataSpec().name)
    )


@train_commands.command()
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
    from sasa_cli.launchers.preflight import check_before_training, check_everywhere
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
        if launcher == "local":
            check_before_training(specs, data_dir, device)
        else:
            check_everywhere(specs, data_dir)
    elif not status:
        require_all_done(specs, states, results, display.ended)


def _jobs(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is not allowed; allowed are auto or a number from 1", param_hint="--jobs")
    return int(text)
