"""Experiment files: YAML to specs, strictly and with all problems at once, and specs back to YAML."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os.path import isfile
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sasa_cli.errors import KeyPath, KeyProblemsError, SpecError, explained, nearest
from sasa_cli.experiment.match import RequestedModel, with_found_width
from sasa_cli.experiment.shipped import find_experiment
from sasa_cli.experiment.source import Source, parse_assignment, read_source
from sasa_cli.runs.plan import Expectation
from sasa_cli.spec import DataSpec, Float, ModelSpec, Recipe, RunSpec, Section

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST_NAME = 100
EXTENDS = "extends"
EXTENDED_KEYS = ("model", "data", "recipe", "seeds")  # of a file that others extend
SECTIONS: dict[str, type[Section]] = {"model": RequestedModel, "data": DataSpec, "recipe": Recipe}
Sections = Mapping[str, Section]
Change = tuple[KeyPath, Any, KeyPath]  # key, value, key path of the place in the file that says so


@dataclass(frozen=True)
class Body:
    """What a cell of an experiment has: network, images, recipe."""

    model: ModelSpec
    data: DataSpec
    recipe: Recipe


class ComparisonSpec(Section):
    """A comparison that is declared before training: its verdict comes first in the report."""

    first: str
    """The label of a cell."""
    second: str
    """The label of another."""
    expect: Expectation
    """Of the first cell's accuracy: better than the second's, equal within `margin`, or at most `margin` worse."""
    margin: Annotated[Float, Field(gt=0)] | None = None
    """In points of top-1."""

    @model_validator(mode="after")
    def _margin_fits(self) -> Self:
        if (self.margin is None) != (self.expect == "higher"):
            needed = "missing" if self.margin is None else f"{self.margin:g} has no meaning"
            raise KeyProblemsError([(("margin",), f"{needed} with expect {self.expect!r}; allowed with the others")])
        return self


class FileKeys(BaseModel):
    """The keys of an experiment file beside its sections."""

    model_config = ConfigDict(extra="ignore", strict=True, use_attribute_docstrings=True)

    name: str
    """Of the folder of its results."""
    description: str = ""
    """The question, in a sentence: the report begins with it."""
    extends: str | None = None
    """A file, seen from this one's folder, that says what this one leaves out."""
    sweep: dict[str, Any] | list[Any] = {}
    """Axes, as `model.attention.spatial_extent: [3, 5, 7]`, of which each combination is a cell; or a list of cells,
    each a mapping of dotted keys with its `name`."""
    seeds: list[int] = [0]
    """Each cell is trained once with each."""
    reference: str | None = None
    """The cell, by its label, that the report holds the others against; absent: the first of convolutions alone."""
    compare: list[ComparisonSpec] = []
    """What is asked, declared before training: pairs of cells, and what is expected of the first."""


@dataclass(frozen=True)
class Experiment:
    """A validated experiment file: the base of all its cells, the axes and the seeds."""

    source: Source
    name: str
    description: str
    sweep: dict[str, Any] | list[Any]
    seeds: tuple[int, ...]
    sections: Sections
    """As the file has them: the width of the network may still have to be found."""
    assigned: tuple[str, ...]
    """Dotted keys that the command line has set."""
    reference: str | None = None
    compare: tuple[ComparisonSpec, ...] = ()

    @cached_property
    def base(self) -> Body:
        return _body(self.sections, self.source)

    @property
    def finds_widths(self) -> bool:
        """Whether the file, apart from its sweep, leaves the width to `model.match`."""
        return self.source.data["model"].get("match") is not None

    def body(self, changes: Sequence[Change]) -> Body:
        """The base with some keys changed; sections without a change are not looked at again.

        Raises:
            SpecError: the change gives something that cannot be built; names the line of the change.
        """
        if not changes:
            return self.base
        source, sections, problems = self.source, dict(self.sections), []
        for key, value, place in changes:
            source = source.replaced(key, value, self.source.origin(place))
        for key, _, _ in changes:
            if key[0] not in SECTIONS:
                problems.append(_line(source, key, f"{key[0]}: {_unknown(str(key[0]), SECTIONS)}"))
        for name in dict.fromkeys(str(key[0]) for key, _, _ in changes if key[0] in SECTIONS):
            section, found = _section(source, name)
            problems += found
            if section is not None:
                sections[name] = section
        if problems:
            raise SpecError("\n".join(problems))
        return _body(sections, source)


def load_experiment(name: str, assignments: Sequence[str] = ()) -> Experiment:
    """Read and validate an experiment with the `--set` assignments of the command line applied.

    Raises:
        SpecError: all problems of the file, one a line, each with file, line, value and what is allowed.
    """
    file = find_experiment(name)
    shown_as = str(file) if file == Path(name) else f"{name}.yaml"
    return _validated(_extended(read_source(file, shown_as), file, shown_as), assignments)


def _extended(source: Source, file: Path, shown_as: str) -> Source:
    """The file over the one that it extends, if any, whose values hold where it has none."""
    other = source.data.get(EXTENDS)
    if not isinstance(other, str):
        return source
    if not isfile(file.parent / other):
        raise SpecError(
            f"{source.origin((EXTENDS,))}: {EXTENDS}: {other!r} is no file; "
            "allowed is a path, seen from the folder of this file"
        )
    base = read_source(file.parent / other, os.path.normpath(Path(shown_as).parent / other))
    problems = [
        f"{base.origin((key,))}: {key}: not allowed in a file that others extend"
        f"{nearest(key, EXTENDED_KEYS)}; allowed are {', '.join(EXTENDED_KEYS)}"
        for key in base.data
        if key not in EXTENDED_KEYS
    ]
    if problems:
        raise SpecError("\n".join(problems))
    given = {key: value for key, value in source.data.items() if value is not None}
    return Source(given, source.origins).over(base)


def model_experiment(model: str, assignments: Sequence[str] = (), data: str = "imagenet") -> Experiment:
    """The experiment that a registered model alone stands for.

    Args:
        model: its name, also with its stages: `sasa_resnet26:CCAA`.
        assignments: of the command line.
        data: the name of a data set, which is taken as it is: ImageNet at 224 px, others as a file would have them.

    Raises:
        SpecError: there is no such model, or an assignment is not possible.
    """
    name, colon, stages = model.partition(":")
    images: dict[str, Any] = {"name": data} | ({"image_size": 224} if data == "imagenet" else {})
    content = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", model if data == "imagenet" else f"{model}-{data}").strip("-."),
        "model": {"name": name} | ({"stages": stages} if colon else {}),
        "data": images,
    }
    return _validated(Source(content, {(): model}), assignments)


def _validated(source: Source, assignments: Sequence[str]) -> Experiment:
    keys = []
    for text in assignments:
        path, value = parse_assignment(text)
        if path[0] == EXTENDS:
            raise SpecError(f"--set {text}: only the file itself can say what it extends; allowed are its other keys")
        source = source.replaced(path, value, f"--set {text}")
        keys.append(".".join(map(str, path)))
    read, problems = _file(source)
    sections, more = _sections(source)
    if read is None or problems or more:
        raise SpecError("\n".join(problems + more))
    experiment = Experiment(
        source,
        read.name,
        read.description,
        read.sweep,
        tuple(read.seeds),
        sections,
        assigned=tuple(keys),
        reference=read.reference,
        compare=tuple(read.compare),
    )
    assert experiment.base  # what only shows when the width is found is wrong now, not later
    return experiment


def keys_called(name: str) -> list[str]:
    """The dotted keys of the sections that end in ``name``: `recipe.lr` for `lr`."""

    def below(prefix: str, section: type[Section]) -> Iterator[str]:
        for field, info in section.model_fields.items():
            yield f"{prefix}.{field}"
            kind = info.annotation
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from below(f"{prefix}.{field}", kind)

    every = (key for prefix, section in SECTIONS.items() for key in below(prefix, section))
    return [key for key in every if key.rpartition(".")[2] == name]


def key_meant(key: str, allowed: Iterable[str]) -> str:
    """` (did you mean 'recipe.lr'?)`: the keys that end in it, else the nearest of those allowed, else nothing."""
    called = keys_called(key)
    return f" (did you mean {' or '.join(map(repr, called))}?)" if called else nearest(key, allowed)


def _unknown(key: str, allowed: Sequence[str] | Mapping[str, Any]) -> str:
    return f"unknown key{key_meant(key, allowed)}; allowed are {', '.join(allowed)}"


def _file(source: Source) -> tuple[FileKeys | None, list[str]]:
    """What stands beside the sections, and what is wrong there."""
    known = [*FileKeys.model_fields, *SECTIONS]
    problems = [_line(source, (key,), _unknown(key, known)) for key in source.data if key not in known]
    given = {key: value for key, value in source.data.items() if value is not None}
    try:
        read = FileKeys.model_validate(given)
    except ValidationError as error:
        return None, problems + [_line(source, path, message) for path, message in explained(error, FileKeys)]
    if not NAME.fullmatch(read.name):
        message = f"{read.name!r} is no folder name; allowed are letters, digits and . _ -"
        problems.append(_line(source, ("name",), message))
    if len(read.name) > LONGEST_NAME:
        message = f"{len(read.name)} characters are too many for a folder name; allowed are at most {LONGEST_NAME}"
        problems.append(_line(source, ("name",), message))
    if not read.seeds or len(set(read.seeds)) < len(read.seeds) or min(read.seeds) < 0:
        message = f"{read.seeds} is not allowed; allowed is a list of different numbers from 0"
        problems.append(_line(source, ("seeds",), message))
    return read, problems


def _sections(source: Source) -> tuple[Sections, list[str]]:
    """Every section that is right by itself, and what is wrong with the others."""
    parsed = {name: _section(source, name) for name in SECTIONS}
    problems = [problem for _, found in parsed.values() for problem in found]
    return {name: section for name, (section, _) in parsed.items() if section is not None}, problems


def _section(source: Source, name: str) -> tuple[Section | None, list[str]]:
    """One section of the file, or what is wrong with it."""
    schema, given = SECTIONS[name], source.data.get(name)
    if given is None and name == "model":
        return None, [_line(source, (name,), "missing")]
    try:
        return schema.model_validate({} if given is None else given), []
    except ValidationError as error:
        problems = explained(error, schema)
        wrong = [tuple(problem["loc"]) for problem in error.errors() if problem["type"] != "value_error"]
        # Keys that have to fit together are only looked at where each is right by itself: once more, without
        # the wrong ones, so that one call names all problems.
        if wrong and () not in wrong and isinstance(given, dict):
            try:
                schema.model_validate(_without(given, wrong))
            except ValidationError as second:
                problems += explained(second, schema)
        return None, list(dict.fromkeys(_line(source, (name, *path), message) for path, message in problems))


def _body(sections: Sections, source: Source) -> Body:
    """Sections with everything found and decided. Raises `SpecError` with the line that asks for what is not there."""
    model, data, recipe = (sections[name] for name in SECTIONS)
    assert isinstance(model, RequestedModel)
    assert isinstance(data, DataSpec)
    assert isinstance(recipe, Recipe)
    try:
        network = with_found_width(model, data)
    except SpecError as error:
        raise SpecError(_line(source, ("model", "match"), str(error))) from error
    return Body(network.canonical(data.image_size), data, recipe)


def _without(sections: Mapping[str, Any], wrong: Sequence[KeyPath]) -> dict[str, Any]:
    kept = {}
    for key, value in sections.items():
        below = [path[1:] for path in wrong if path[0] == key]
        if () not in below:
            kept[key] = _without(value, below) if isinstance(value, dict) and below else value
    return kept


def _line(source: Source, path: KeyPath, message: str) -> str:
    return f"{source.origin(path)}: {'.'.join(map(str, path))}: {message}"


def run_yaml(spec: RunSpec) -> str:
    """`spec.yaml`: an experiment file with this one run, everything resolved.

    Its only cell is named after the run's label, so that the run trained from it has the same folder. A width that
    was matched stands there as a width: what it was matched to is no longer asked.
    """
    cell = {key: value for key, value in spec.cell.items() if not f"{key}.".startswith("model.match.")}
    content = {
        "name": spec.experiment,
        "model": spec.model.model_dump(mode="json", exclude_none=True),
        "data": spec.data.model_dump(mode="json"),
        "recipe": spec.recipe.model_dump(mode="json"),
        "sweep": [{"name": spec.label, **cell}],
        "seeds": [spec.seed],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
