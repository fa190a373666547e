"""YAML with the origin of every value, so that a message can say `file:line`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sasa_cli.errors import KeyPath, SpecError

MOST_BYTES = 1_000_000
MOST_NODES = 100_000
MOST_LEVELS = 50
MOST_SHOWN = 100  # characters of what was typed


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-3` is a number, and `off` and a date are text, as in YAML 1.2."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Join what `<<` names, within limits: aliases of aliases double at each level."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_NODES:
            raise _too_much(node)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def _too_much(node: yaml.Node) -> yaml.MarkedYAMLError:
    problem = f"more than {MOST_NODES:,} values or {MOST_LEVELS} levels, as of an alias inside itself"
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


type_names = {
    list: "a list",
    dict: "a mapping",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true/false",
}


@dataclass(frozen=True)
class Source:
    """Plain data and, for each key path in it, where it was written."""

    data: dict[str, Any]
    origins: dict[KeyPath, str]

    def origin(self, path: KeyPath) -> str:
        """Where `path` was written, or the nearest of its parents that was."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins[path]

    def replaced(self, path: KeyPath, value: Any, origin: str) -> "Source":
        """A copy in which `path` has `value`. Raises `SpecError` where a parent is no mapping."""
        data = _copy_with(self.data, path, value, origin)
        origins = {known: where for known, where in self.origins.items() if known[: len(path)] != path}
        return Source(data, origins | {path: origin})

    def over(self, base: "Source") -> "Source":
        """`base` with all that stands here in its place; mappings are joined, lists are not.

        Raises:
            SpecError: a mapping here meets something else there.
        """
        joined = base
        for path, value in _leaves(self.data, ()):
            joined = joined.replaced(path, value, self.origin(path))
        return Source(joined.data, joined.origins | self.origins)


def _leaves(mapping: dict[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Everything that is no mapping, with the key path to it."""
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _copy_with(node: Any, path: KeyPath, value: Any, origin: str) -> Any:
    if not path:
        return value
    if not isinstance(node, dict | type(None)):
        raise SpecError(f"{origin}: {path[0]!r} is no key here: the value above it is {node!r}, not a mapping")
    mapping = dict(node or {})
    # `stem: attention` is short for `stem: {kind: attention}`; a key below it needs the long form.
    below = mapping.get(path[0])
    if len(path) > 1 and path[0] == "stem" and isinstance(below, str):
        below = {"kind": below}
    mapping[path[0]] = _copy_with(below, path[1:], value, origin)
    return mapping


def read_source(file: Path, shown_as: str) -> Source:
    """Read a YAML mapping. Raises `SpecError` for a file that is missing, no YAML, or has a key twice."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpecError(f"{shown_as}: cannot be read: {reason}") from error
    origins: dict[KeyPath, str] = {(): f"{shown_as}:1"}
    data = _parsed(text, shown_as, origins)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SpecError(f"{shown_as}:1: an experiment is a mapping of keys to values, not {describe(data)}")
    return Source(data, origins)


def _parsed(text: str, shown_as: str, origins: dict[KeyPath, str]) -> Any:
    """Plain data of YAML text; adds the line of each key to `origins`. Raises `SpecError`, one line, for all else."""
    if len(text) > MOST_BYTES:
        raise SpecError(f"{shown_as}: {len(text):,} characters; allowed are at most {MOST_BYTES:,}")
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return None if root is None else _construct(loader, root, (), origins, shown_as)
    except yaml.MarkedYAMLError as error:
        marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
        line = marks[0].line + 1 if marks else 1
        raise SpecError(f"{shown_as}:{line}: no valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{shown_as}:{line}: no valid YAML: character {error.character:#04x} is not allowed") from error
    except RecursionError as error:
        raise SpecError(f"{shown_as}: nested too deeply; allowed are {MOST_LEVELS} levels") from error


def _construct(loader: _Loader, node: yaml.Node, path: KeyPath, origins: dict[KeyPath, str], file: str) -> Any:
    """Plain data of `node`; notes the line of every key and list item on the way."""
    if len(path) > MOST_LEVELS or len(origins) > MOST_NODES:
        raise _too_much(node)
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(loader, key_node, file)
            where = f"{file}:{key_node.start_mark.line + 1}"
            if not isinstance(key, str):
                raise SpecError(f"{where}: a key is text, not {key!r}")
            if key in mapping:
                raise SpecError(f"{where}: {'.'.join(map(str, (*path, key)))}: this key stands twice")
            origins[(*path, key)] = where
            mapping[key] = _construct(loader, value_node, (*path, key), origins, file)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            origins[(*path, index)] = f"{file}:{item.start_mark.line + 1}"
            items.append(_construct(loader, item, (*path, index), origins, file))
        return items
    return _scalar(loader, node, file)


def _scalar(loader: _Loader, node: yaml.Node, file: str) -> Any:
    """Text, a number, true/false or nothing; other tags of YAML are refused."""
    try:
        value = loader.construct_object(node, deep=True)
    except (ValueError, OverflowError) as error:
        raise SpecError(f"{file}:{node.start_mark.line + 1}: no valid YAML: {error}") from error
    if not isinstance(value, str | int | float | None):
        raise SpecError(
            f"{file}:{node.start_mark.line + 1}: {node.tag.rpartition(':')[2]} is no kind of value here; allowed are "
            "text, numbers, true/false, lists and mappings"
        )
    return value


def describe(value: Any) -> str:
    """The kind of a value in a user's words."""
    return "nothing" if value is None else type_names.get(type(value), type(value).__name__)


def parse_assignment(text: str) -> tuple[KeyPath, Any]:
    """`model.width=0.5` as key path and typed value. Raises `SpecError`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"--set {text}: allowed is KEY=VALUE with a dotted key, as in model.width=0.5")
    try:
        return tuple(key.strip().split(".")), _parsed(value, "", {})
    except SpecError as error:
        shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
        raise SpecError(f"--set {shown}: the value is no valid YAML") from error
