"""Experiment files: YAML to specs, strictly and with all problems at once, and specs back to YAML."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sasa_cli.errors import SpecError
from sasa_cli.experiment.match import RequestedModel, with_found_width
from sasa_cli.experiment.source import KeyPath, Source, parse_assignment, read_source
from sasa_cli.spec import DataSpec, KeyProblemsError, ModelSpec, Recipe, RunSpec, Section

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
EXTENDS = "extends"
EXTENDED_KEYS = ("model", "data", "recipe", "seeds")  # of a file that others extend


class Body(Section):
    """What every cell of an experiment has: network, images, recipe."""

    model: ModelSpec
    data: DataSpec = DataSpec()
    recipe: Recipe = Recipe()


class _RequestedBody(Body):
    """`Body` as a file has it: the width of its network may still have to be found."""

    model: RequestedModel


class _File(BaseModel):
    """The keys of an experiment file that are not part of `Body`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    name: str
    description: str = ""
    extends: str | None = None
    """A file, seen from this one's folder, that says what this one leaves out."""
    sweep: dict[str, Any] | list[Any] = Field(default_factory=dict)
    seeds: list[int] = Field(default_factory=lambda: [0])


@dataclass(frozen=True)
class Experiment:
    """A validated experiment file: the base of all its cells, the axes and the seeds."""

    source: Source
    name: str
    description: str
    sweep: dict[str, Any] | list[Any]
    seeds: tuple[int, ...]
    assigned: tuple[str, ...]
    """Dotted keys that the command line has set."""

    @cached_property
    def base(self) -> Body:
        return self.body([])

    @property
    def finds_widths(self) -> bool:
        """Whether the file, apart from its sweep, leaves the width to `model.match`."""
        return self.source.data["model"].get("match") is not None

    def body(self, changes: Sequence[tuple[KeyPath, Any, KeyPath]]) -> Body:
        """The base with some keys changed: (key, value, key path of the place in the file that says so).

        Raises:
            SpecError: the change gives something that cannot be built; names the line of the change.
        """
        source = self.source
        for key, value, place in changes:
            source = source.replaced(key, value, self.source.origin(place))
        problems = _problems_of_body(source)
        if problems:
            raise SpecError("\n".join(problems))
        body = _RequestedBody.model_validate(_sections(source))
        model = _model_of(body, source).canonical(body.data.image_size)
        return Body(model=model, data=body.data, recipe=body.recipe)


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
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise SpecError(f"{name}: there is no such file")
        return path
    shipped = shipped_experiments()
    if name not in shipped:
        raise SpecError(
            f"{name}: neither a file nor an experiment that ships with sasa{nearest(name, shipped)}; "
            f"allowed are a path to a .yaml file, {', '.join(shipped)}"
        )
    return shipped[name]


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
    if not (file.parent / other).is_file():
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


def model_experiment(model: str, assignments: Sequence[str] = ()) -> Experiment:
    """The experiment that a registered model alone stands for: ImageNet at 224 px.

    Raises:
        SpecError: an assignment is not possible.
    """
    data = {"name": model, "model": {"name": model}, "data": {"name": "imagenet", "image_size": 224}}
    return _validated(Source(data, {(): model}), assignments)


def _validated(source: Source, assignments: Sequence[str]) -> Experiment:
    keys = []
    for text in assignments:
        path, value = parse_assignment(text)
        if path[0] == EXTENDS:
            raise SpecError(f"--set {text}: only the file itself can say what it extends; allowed are its other keys")
        source = source.replaced(path, value, f"--set {text}")
        keys.append(".".join(map(str, path)))
    problems = [*_problems_of_file(source), *_problems_of_body(source)]
    if problems:
        raise SpecError("\n".join(problems))
    read = _File.model_validate({key: value for key, value in source.data.items() if value is not None})
    return Experiment(source, read.name, read.description, read.sweep, tuple(read.seeds), tuple(keys))


def _problems_of_file(source: Source) -> list[str]:
    known = [*_File.model_fields, *Body.model_fields]
    problems = [
        f"{source.origin((key,))}: {key}: unknown key{nearest(key, known)}; allowed are {', '.join(known)}"
        for key in source.data
        if key not in known
    ]
    given = {key: value for key, value in source.data.items() if value is not None}
    try:
        read = _File.model_validate(given)
    except ValidationError as error:
        return problems + _explained(error, source, _File)
    if not NAME.fullmatch(read.name):
        problems.append(
            f"{source.origin(('name',))}: name: {read.name!r} is no folder name; allowed are letters, digits and . _ -"
        )
    if not read.seeds or len(set(read.seeds)) < len(read.seeds) or min(read.seeds) < 0:
        problems.append(
            f"{source.origin(('seeds',))}: seeds: {read.seeds} is not allowed; "
            "allowed is a list of different numbers from 0"
        )
    return problems


def _sections(source: Source) -> dict[str, Any]:
    return {key: source.data[key] for key in Body.model_fields if source.data.get(key) is not None}


def _model_of(body: _RequestedBody, source: Source) -> ModelSpec:
    """The network with its width found. Raises `SpecError` with the line that asks for it."""
    try:
        return with_found_width(body.model, body.data)
    except SpecError as error:
        raise SpecError(_line(source, ("model", "match"), str(error))) from error


def _problems_of_body(source: Source) -> list[str]:
    sections = _sections(source)
    try:
        _model_of(_RequestedBody.model_validate(sections), source)
    except SpecError as error:
        return [str(error)]
    except ValidationError as error:
        wrong = [tuple(problem["loc"]) for problem in error.errors() if problem["type"] != "value_error"]
        lines = _explained(error, source, _RequestedBody)
        # Keys that have to fit together are only looked at where each is right by itself: once more, without
        # the wrong ones, so that one call names all problems.
        try:
            _RequestedBody.model_validate(_without(sections, wrong))
        except ValidationError as second:
            lines += _explained(second, source, _RequestedBody)
        return list(dict.fromkeys(lines))
    return []


def _without(sections: Mapping[str, Any], wrong: Sequence[KeyPath]) -> dict[str, Any]:
    kept = {}
    for key, value in sections.items():
        below = [path[1:] for path in wrong if path[0] == key]
        if () not in below:
            kept[key] = _without(value, below) if isinstance(value, dict) and below else value
    return kept


def _explained(error: ValidationError, source: Source, schema: type[BaseModel]) -> list[str]:
    """One line for each problem: where it was written, which key, the value, what is allowed."""
    lines: list[str] = []
    for problem in error.errors():
        path: KeyPath = problem["loc"]
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, KeyProblemsError):
            for key, message in cause.problems:
                lines.append(_line(source, (*path, *key), message))
        elif problem["type"] == "extra_forbidden":
            allowed = _keys_at(schema, path[:-1])
            message = f"unknown key{nearest(str(path[-1]), allowed)}; allowed are {', '.join(allowed)}"
            lines.append(_line(source, path, message))
        else:
            lines.append(_line(source, path, _message(dict(problem))))
    return list(dict.fromkeys(lines))


def _line(source: Source, path: KeyPath, message: str) -> str:
    return f"{source.origin(path)}: {'.'.join(map(str, path))}: {message}"


def _message(problem: dict[str, Any]) -> str:
    if problem["type"] == "missing":
        return "missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "literal_error":
        return f"{problem['input']!r} is not allowed; allowed are {problem['ctx']['expected']}"
    wanted = problem["msg"].removeprefix("Input should be ")
    return f"{problem['input']!r} is not allowed; allowed is {wanted}"


def _keys_at(schema: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that the section at `path` takes."""
    for key in path:
        annotation = schema.model_fields[str(key)].annotation
        sections = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        schema = next(kind for kind in sections if issubclass(kind, BaseModel))
    return list(schema.model_fields)


def nearest(word: str, allowed: Sequence[str] | dict[str, Any]) -> str:
    """` (did you mean 'x'?)` where one of `allowed` resembles `word`, else nothing."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def run_yaml(spec: RunSpec) -> str:
    """`spec.yaml`: an experiment file with this one run, everything resolved.

    Its only cell is named after the run's label, so that the run trained from it has the same folder.
    """
    content = {
        "name": spec.experiment,
        "model": spec.model.model_dump(mode="json", exclude_none=True),
        "data": spec.data.model_dump(mode="json"),
        "recipe": spec.recipe.model_dump(mode="json"),
        "sweep": [{"name": spec.label, **spec.cell}],
        "seeds": [spec.seed],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
