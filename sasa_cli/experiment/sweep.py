"""Axes x seeds to runs: pure, nothing is read or written."""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sasa_cli.errors import KeyPath, SpecError, nearest
from sasa_cli.experiment.file import SECTIONS, Body, Experiment
from sasa_cli.experiment.source import describe
from sasa_cli.kinds import KINDS, attend, have_extent, have_pool
from sasa_cli.spec import HASH_DIGITS, STEM_SETTINGS, RunSpec

STAGES = "model.stages"
EXTENT = "model.attention.spatial_extent"
MATCH = "model.match"
CELL_NAME = "name"
LONGEST_LABEL = 100  # with seed and hash it is a folder, which may have 255 bytes

Change = tuple[str, Any, KeyPath]  # dotted key, value, place in the file
Point = tuple[Change, ...]  # the changes that one value of an axis, or one named cell, makes


def expand_sweep(experiment: Experiment) -> list[RunSpec]:
    """Every cell x seed of an experiment, in the order of the file; cells that build the same net appear once.

    Raises:
        SpecError: an axis that is no list or is set on the command line too, or cells that cannot be built.
    """
    _refuse_assigned_axes(experiment)
    specs = _expanded(experiment)
    if problems := list(_unknown_cells(experiment, dict.fromkeys(spec.label for spec in specs))):
        raise SpecError("\n".join(problems))
    return specs


def _unknown_cells(experiment: Experiment, labels: Mapping[str, Any]) -> Iterator[str]:
    """A line for each label that the file names beside its sweep, and that no cell of it has."""
    named: list[tuple[KeyPath, str | None]] = [(("reference",), experiment.reference)]
    for index, comparison in enumerate(experiment.compare):
        named += [(("compare", index, key), getattr(comparison, key)) for key in ("first", "second")]
    for key, label in named:
        if label is not None and label not in labels:
            yield f"{experiment.source.origin(key)}: {'.'.join(map(str, key))}: {_no_cell(label, labels)}"


def _no_cell(label: str, labels: Mapping[str, Any]) -> str:
    return f"{label!r} is no cell{nearest(label, labels)}; allowed are {', '.join(labels)}"


def base_run(experiment: Experiment, seed: int | None) -> RunSpec:
    """The run of `sasa train`: the base model with one seed; the same run as the sweep's where it has it."""
    seed = experiment.seeds[0] if seed is None else seed
    base = _run(experiment, experiment.base, _base_points(experiment), seed)
    same = (spec for spec in _expanded(experiment) if spec.identity == base.identity)
    return next(same, base).model_copy(update={"seed": seed})


def cell_run(experiment: Experiment, cell: str, seed: int | None) -> RunSpec:
    """The run of one cell of the sweep, by its label, with one seed. Raises `SpecError` where there is no such cell."""
    cells = {spec.label: spec for spec in expand_sweep(experiment)}
    if cell not in cells:
        raise SpecError(f"--cell: {_no_cell(cell, cells)}")
    return cells[cell].model_copy(update={"seed": experiment.seeds[0] if seed is None else seed})


def _base_points(experiment: Experiment) -> list[Point]:
    """Where the base stands on the axes of its sweep; without a sweep, its placement and extent."""
    keys = dict.fromkeys(key for axis in _axes(experiment) for point in axis for key, _, _ in point)
    axes = [key for key in keys if key != CELL_NAME] or [STAGES, EXTENT]
    values = [(key, _value_at(experiment.base, key)) for key in axes]
    return [((key, value, ()),) for key, value in values if value is not None]


def _expanded(experiment: Experiment) -> list[RunSpec]:
    cells: dict[str, RunSpec] = {}
    axes = _axes(experiment)
    trained: list[dict[int, list[str]]] = [{} for _ in axes]  # by axis and value, the cells that it takes part in
    problems: list[str] = []
    for places in itertools.product(*(range(len(axis)) for axis in axes)):
        points = [axis[place] for axis, place in zip(axes, places, strict=True)]
        settings = [
            (tuple(key.split(".")), value, place) for point in points for key, value, place in point if key != CELL_NAME
        ]
        try:
            body = experiment.body(settings)
        except SpecError as error:
            problems.extend(str(error).splitlines())
            continue
        cell = _run(experiment, body, points or _base_points(experiment), experiment.seeds[0], _telling(axes, points))
        cells.setdefault(cell.identity, cell)
        for of_axis, place, point in zip(trained, places, points, strict=True):
            if any(_has_effect(body, key) for key, _, _ in point):
                of_axis.setdefault(place, []).append(cell.identity)
    problems = problems or [line for pair in zip(axes, trained, strict=True) for line in _doubles(experiment, *pair)]
    if problems:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    labelled = _with_unique_labels(_with_unique_hashes(list(cells.values())))
    # Seeds vary slowest: after each round of cells there is something to compare.
    return [cell.model_copy(update={"seed": seed}) for seed in experiment.seeds for cell in labelled]


def _doubles(experiment: Experiment, axis: Sequence[Point], trained: Mapping[int, Sequence[str]]) -> Iterator[str]:
    """A line for each value of an axis that trains nothing else than another: a slip, whose runs would be missed."""
    first: dict[tuple[str, ...], int] = {}
    for place, identities in trained.items():
        other = first.setdefault(tuple(identities), place)
        if other != place:
            same, double = (", ".join(f"{key}: {value}" for key, value, _ in axis[each]) for each in (other, place))
            where = experiment.source.origin(axis[place][0][2])
            yield f"{where}: sweep: {double!r} trains the same as {same!r}; allowed are values that change something"


def without_effect(experiment: Experiment, specs: Sequence[RunSpec]) -> list[str]:
    """A sentence for each axis that changes nothing in some of the cells, as a spatial extent where nothing has one."""
    cells = {spec.cell_hash: spec for spec in specs}.values()
    keys = dict.fromkeys(key for axis in _axes(experiment) for point in axis for key, _, _ in point if key != CELL_NAME)
    found = {key: [cell.label for cell in cells if key not in cell.cell] for key in keys}
    return [
        f"{key} is without effect in {'all cells' if len(labels) == len(cells) else ', '.join(labels)}"
        for key, labels in found.items()
        if labels and not isinstance(experiment.sweep, list)
    ]


def _refuse_assigned_axes(experiment: Experiment) -> None:
    swept = {change[0] for axis in _axes(experiment) for point in axis for change in point}
    for key in experiment.assigned:
        if key in swept:
            raise SpecError(
                f"--set {key}: this key is an axis of the sweep, which would overrule it; "
                f"set the axis itself, as in --set 'sweep={{{key}: [...]}}'"
            )


def _axes(experiment: Experiment) -> list[list[Point]]:
    """The axes of the sweep, each a list of points; a list of mappings is an axis of named cells."""
    if isinstance(experiment.sweep, list):
        return [_named_cells(experiment, experiment.sweep, ("sweep",))] if experiment.sweep else []
    axes: list[list[Point]] = []
    for key, values in experiment.sweep.items():
        place: KeyPath = ("sweep", key)
        if not isinstance(values, list) or not values:
            where = experiment.source.origin(place)
            raise SpecError(f"{where}: sweep.{key}: {values!r} is no axis; allowed is a list of values")
        if key == "seeds":
            raise SpecError(f"{experiment.source.origin(place)}: sweep.seeds: no axis; seeds stand beside the sweep")
        if "." not in key and key not in SECTIONS and all(isinstance(value, dict) for value in values):
            axes.append(_named_cells(experiment, values, place))
        else:
            axes.append([((key, value, (*place, index)),) for index, value in enumerate(values)])
    return axes


def _named_cells(experiment: Experiment, cells: list[Any], place: KeyPath) -> list[Point]:
    points: list[Point] = []
    for index, cell in enumerate(cells):
        here = (*place, index)
        if not isinstance(cell, dict) or not isinstance(cell.get(CELL_NAME, ""), str):
            raise SpecError(
                f"{experiment.source.origin(here)}: {'.'.join(map(str, here))}: {describe(cell)} is no cell; "
                "allowed is a mapping of dotted keys, with its name (text) under `name`"
            )
        points.append(tuple((key, value, (*here, key)) for key, value in cell.items()))
    return points


def _telling(axes: Sequence[Sequence[Point]], points: Sequence[Point]) -> list[Point]:
    """Those that tell cells apart, or that the user has named: what all cells have in common names none of them."""
    return [
        point
        for axis, point in zip(axes, points, strict=True)
        if len(axis) > 1 or any(key == CELL_NAME for key, _, _ in point)
    ]


def _run(
    experiment: Experiment, body: Body, points: Sequence[Point], seed: int, telling: Sequence[Point] = ()
) -> RunSpec:
    """A run at these points of the axes, called after those that tell cells apart; after all where none has effect."""
    effective, telling = (
        [tuple(change for change in point if _has_effect(body, change[0])) for point in each]
        for each in (points, telling)
    )
    return RunSpec.model_construct(  # of parts that have been checked
        experiment=experiment.name,
        label="-".join([_label(telling if any(telling) else effective), *_found_width(experiment, body, points)]),
        cell={key: value for point in effective for key, value, _ in point if key != CELL_NAME},
        model=body.model,
        data=body.data,
        recipe=body.recipe.canonical(),
        seed=seed,
    )


def _found_width(experiment: Experiment, body: Body, points: Sequence[Point]) -> list[str]:
    """A piece of the label for a width that no one has written down."""
    keys = [key for point in points for key, _, _ in point]
    if experiment.finds_widths or any(key == MATCH or key.startswith(f"{MATCH}.") for key in keys):
        return [f"width-{_plain(body.model.width)}"]
    return []


def _has_effect(body: Body, key: str) -> bool:
    """Whether an axis changes this net: settings of attention do not where nothing attends."""
    section, _, setting = key.rpartition(".")
    stages = body.model.stages
    if section != "model.attention":
        return True
    if setting == "pool":
        return have_pool(stages)
    if attend(stages) or (setting == "spatial_extent" and have_extent(stages)):
        return True
    return body.model.stem.kind == "attention" and setting in STEM_SETTINGS


def _value_at(body: Body, key: str) -> Any:
    section, *below = key.split(".")
    value: Any = getattr(body, section).model_dump(mode="json")
    for part in below:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _label(points: Sequence[Point]) -> str:
    """What differs, readable and fit for a folder name: extent first, then placement, then the other axes."""
    parts: list[tuple[int, str]] = []
    for point in points:
        values = {key: value for key, value, _ in point}
        if CELL_NAME in values:
            parts.append((2, _plain(values[CELL_NAME])))
            continue
        for key, value in values.items():
            if key == EXTENT:
                parts.append((0, f"k{_plain(value)}"))
            elif key == STAGES:
                parts.append((1, _placement(value)))
            else:
                parts.append((2, f"{key.split('.')[-1]}-{_plain(value)}"))
    return "-".join(text for _, text in sorted(parts, key=lambda part: part[0])) or "base"


def _placement(stages: Any) -> str:
    letters = {kind.name: kind.letter for kind in KINDS.values()}
    return "".join(letters[item] for item in stages) if isinstance(stages, list) else _plain(stages)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        value = "-".join(_plain(item) for item in value.values())
    if isinstance(value, list | tuple):
        value = ".".join(_plain(item) for item in value)
    if isinstance(value, bool):
        value = str(value).lower()
    text = unicodedata.normalize("NFC", str(value))  # one spelling of a name, whoever typed it
    return re.sub(r"(?:[^\w.]|_)+", "-", text).strip("-.") or "none"


def _with_unique_hashes(cells: list[RunSpec]) -> list[RunSpec]:
    """Different cells whose hashes are the same as far as they are written have more of it written."""
    while True:
        alike = Counter(cell.cell_hash for cell in cells)
        if len(alike) == len(cells):
            return cells
        cells = [_with_longer_hash(cell) if alike[cell.cell_hash] > 1 else cell for cell in cells]


def _with_longer_hash(cell: RunSpec) -> RunSpec:
    return cell.model_copy(update={"hash_digits": cell.hash_digits + HASH_DIGITS})


def _shortened(cell: RunSpec) -> RunSpec:
    """A label that makes no folder name gives up its end for the cell's hash; letters may have several bytes."""
    label = cell.label.encode()
    if len(label) <= LONGEST_LABEL:
        return cell
    kept = label[: LONGEST_LABEL - len(cell.cell_hash) - 1].decode(errors="ignore")
    return cell.model_copy(update={"label": f"{kept}-{cell.cell_hash}"})


def _with_unique_labels(cells: list[RunSpec]) -> list[RunSpec]:
    """Labels of different cells that read alike get a piece of the cell's hash."""
    cells = [_shortened(cell) for cell in cells]
    alike = Counter(cell.label for cell in cells)
    return [
        cell.model_copy(update={"label": f"{cell.label}-{cell.cell_hash[:4]}"}) if alike[cell.label] > 1 else cell
        for cell in cells
    ]
