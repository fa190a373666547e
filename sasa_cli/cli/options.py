"""The arguments and options of the commands, each with its help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sasa_cli.training.devices import DeviceName

# Of several commands.
ExperimentName = Annotated[str, typer.Argument(help="A YAML file, or an experiment that ships with sasa, as `demo`.")]
ExperimentOrNone = Annotated[
    str | None, typer.Argument(help="A YAML file, or an experiment that ships with sasa, as `demo`; or see --model.")
]
ModelAlone = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="In place of an experiment: a model, as sasa_resnet26:CCAA."),
]
DataAlone = Annotated[
    str | None, typer.Option("--data", metavar="NAME", help="With --model: the data set (default: the built-in one).")
]
CellName = Annotated[
    str | None, typer.Option("--cell", metavar="LABEL", help="A cell of the experiment's sweep in place of its base.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set a key of the experiment file, as model.width=0.5; repeatable."
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for results.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder where data sets lie (default: ./data).")]
OnDevice = Annotated[DeviceName, typer.Option("--device", help="Where to train.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run, check all it needs, write nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]

# Of `sasa sweep`.
Jobs = Annotated[str, typer.Option(help="Runs at a time: a number, or auto (one per core or GPU).")]
FailFast = Annotated[
    bool, typer.Option("--fail-fast/--keep-going", help="Stop at the first failed run, or train the others.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed/--skip-failed", help="Whether runs that failed before are tried again.")
]
Launcher = Annotated[Literal["local", "ray", "slurm"], typer.Option(help="Where the runs go.")]
LauncherOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--launcher-set",
        metavar="KEY=VALUE",
        help="What Ray or Slurm is asked for, as slurm_partition=gpu; repeatable.",
    ),
]
Status = Annotated[bool, typer.Option("--status", help="Show the state of every run; start nothing.")]

# Of `sasa bench`.
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="B,C,H,W", help="A layer to time; repeatable (default: a ResNet's at 224 and at 32 px)."
    ),
]
TimedExtents = Annotated[
    list[int] | None, typer.Option("--spatial-extent", min=1, help="A k to time; repeatable (default: 3, 7, 11).")
]

# Of `sasa count-flops`.
CountTargets = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL or EXPERIMENT]...", help="Registered models, timm names, or experiments."),
]
ImageSize = Annotated[int | None, typer.Option("--image-size", min=8, help="Side of the images in pixels.")]
Stem = Annotated[str | None, typer.Option("--stem", help="conv or attention.")]
Stages = Annotated[str | None, typer.Option("--stages", help="One letter per stage, as CCAA.")]
Extent = Annotated[str | None, typer.Option("--spatial-extent", help="k, or one per stage as [3, 5, 7, 7].")]
Heads = Annotated[int | None, typer.Option("--heads", help="Heads of attention.")]
RowKind = Annotated[
    Literal["model", "stage", "layer"] | None, typer.Option("--by", help="What a row is (default: model).")
]
Form = Annotated[Literal["table", "csv", "md", "tex", "json"], typer.Option("--format", help="How to print.")]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="With a model: the formula of each product in each layer, with its numbers. Without one: attention "
        "against convolution over k, and what other counters report for the same layer.",
    ),
]
DrawInto = Annotated[
    Path | None,
    typer.Option(
        "--figure", help="With --explain alone: also draw it, into a .svg or .png, or both where it has no suffix."
    ),
]
AsInPaper = Annotated[
    bool, typer.Option("--paper", help="The paper's Tables 1 to 7 beside ours, under several conventions of FLOPs.")
]
MatchBudget = Annotated[
    Literal["params", "flops"] | None,
    typer.Option("--match", help="Find the width at which each model costs as much as the one of --to."),
]
MatchTo = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="MODEL",
        help="For --match: a timm model, one of ours, also as sasa_resnet26:CCCC, or an experiment with one cell.",
    ),
]
TimedDtypes = Annotated[
    list[str] | None,
    typer.Option("--dtype", help="To time: float32 (default), bfloat16 or float16; repeatable."),
]
