"""What `sasa count-flops` answers to each combination of its options: tables, the same as plain data, and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sasa_cli.counting.count_tables import By, count_payload, count_table, explain_table
from sasa_cli.counting.match_table import match_payload, match_table
from sasa_cli.counting.paper import DEFAULT_MIXTURES, compare_with_paper
from sasa_cli.counting.paper_table import paper_payload, paper_table
from sasa_cli.counting.targets import count_targets, match_targets
from sasa_cli.errors import SpecError
from sasa_cli.experiment.match import Budget
from sasa_cli.experiment.source import parse_assignment
from sasa_cli.rendering.table import Table

MIXTURES = "model.stem.mixtures"


@dataclass(frozen=True)
class CountRequest:
    """What the command line asks for."""

    targets: Sequence[str] = ()
    changes: Sequence[str] = ()
    """Assignments, those of shorthands included."""
    image_size: int | None = None
    by: By | None = None
    explain: bool = False
    paper: bool = False
    match: Budget | None = None
    to: str | None = None
    figure: Path | None = None


@dataclass(frozen=True)
class CountAnswer:
    """What is to be printed, and the files that were written."""

    payload: dict[str, Any]
    tables: tuple[Table, ...]
    paths: tuple[Path, ...] = ()


def answer(request: CountRequest) -> CountAnswer:
    """Count what is asked for.

    Raises:
        SpecError: options that do not go together, or a target that is not known.
        RunError: the figure cannot be written.
    """
    _refuse_contradictions(request)
    if request.paper:
        return _paper(request)
    if request.match is not None:
        return _match(request, request.match)
    if request.explain and not request.targets:
        return _explanation(request)
    return _counts(request)


def _refuse_contradictions(request: CountRequest) -> None:
    modes = {
        "--paper": request.paper,
        "--match": request.match is not None,
        "--explain": request.explain,
    }
    given = [option for option, is_given in modes.items() if is_given]
    if len(given) > 1:
        raise SpecError(f"{given[0]} and {given[1]} do not go together; allowed is one of {', '.join(modes)}")
    if (request.match is None) != (request.to is None):
        raise SpecError("--match params|flops and --to MODEL go together: what is to be equal, and to which model")
    general = request.explain and not request.targets
    if request.figure and not general:
        raise SpecError("--figure draws attention against convolution; allowed with --explain, without a model")
    if request.by and given:
        raise SpecError(f"--by {request.by} does not apply with {given[0]}")
    if general and request.changes:
        raise SpecError(f"{request.changes[0]} does not apply to --explain without a model; name one")
    if request.paper and request.targets:
        raise SpecError(f"--paper counts the networks of the paper; {request.targets[0]!r} does not apply")


def _counts(request: CountRequest) -> CountAnswer:
    counts = count_targets(request.targets, request.changes, request.image_size)
    if request.explain:
        return CountAnswer(count_payload(counts, explain=True), (explain_table(counts),))
    by = request.by or "model"
    return CountAnswer(count_payload(counts, by=by), (count_table(counts, by=by),))


def _paper(request: CountRequest) -> CountAnswer:
    mixtures = DEFAULT_MIXTURES
    for text in request.changes:
        path, value = parse_assignment(text)
        if ".".join(map(str, path)) != MIXTURES:
            raise SpecError(f"{text} does not apply with --paper; allowed is --set {MIXTURES}=M")
        if type(value) is not int or value < 1:
            raise SpecError(f"--set {text}: {value!r} is not allowed; allowed are numbers from 1")
        mixtures = value
    cells = compare_with_paper(mixtures)
    return CountAnswer(paper_payload(cells, mixtures), (paper_table(cells, mixtures),))


def _match(request: CountRequest, budget: Budget) -> CountAnswer:
    matches = match_targets(request.targets, request.changes, budget, str(request.to))
    return CountAnswer(match_payload(matches), (match_table(matches),))


def _explanation(request: CountRequest) -> CountAnswer:
    # Both are slow to import and needed here only: torch for the counters, matplotlib for the figure.
    from sasa_cli.counting.counters import read_counters
    from sasa_cli.counting.explain import explanation_payload, explanation_tables

    paths: list[Path] = []
    if request.figure:
        from sasa_cli.counting.explain_figure import write_figure

        paths = write_figure(request.figure)
    readings = read_counters()
    return CountAnswer(explanation_payload(readings), explanation_tables(readings), tuple(paths))
