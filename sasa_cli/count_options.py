"""The options of `sasa count-flops` that no other command has, each with its help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

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
