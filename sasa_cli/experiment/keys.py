"""The keys of an experiment file as data: what each means, what it may be and its default; and as a JSON Schema.

Both are made of the classes that check a file, and of nothing else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field, create_model

from sasa_cli.errors import SpecError
from sasa_cli.experiment.file import SECTIONS, FileKeys, key_meant

Node = dict[str, Any]
ABSENT = "absent"


@dataclass(frozen=True)
class Key:
    """One key of an experiment file."""

    name: str
    """Dotted, as `--set` and the axes of a sweep write it."""
    meaning: str
    allowed: str
    default: str
    """As YAML writes it; empty where there is none and the key must be given."""


def schema() -> Node:
    """The JSON Schema of an experiment file, for editors and other programs."""
    sections: dict[str, Any] = {name: (section, Field(default_factory=dict)) for name, section in SECTIONS.items()}
    whole = create_model("Experiment", __base__=FileKeys, __cls_kwargs__={"extra": "forbid"}, **sections)
    return whole.model_json_schema(mode="validation")


def keys() -> list[Key]:
    """All keys, in the order of the classes that check them."""
    whole = schema()
    return list(_keys("", whole, whole.get("$defs", {})))


def find_keys(name: str) -> list[Key]:
    """The key `name`, or all keys of the section of that name. Raises `SpecError` where there is neither."""
    known = keys()
    found = [key for key in known if key.name == name or key.name.startswith(f"{name}.")]
    if not found:
        hint = key_meant(name, [key.name for key in known])
        raise SpecError(f"{name}: no key of an experiment{hint}; `sasa explain` lists them all")
    return found


def _keys(prefix: str, node: Node, definitions: dict[str, Node]) -> Iterator[Key]:
    required = node.get("required", [])
    for name, field in node["properties"].items():
        section = _section(field, definitions)
        dotted = f"{prefix}{name}"
        default = "" if name in required or section is not None else _written(field.get("default"))
        yield Key(dotted, _meaning(field, section), _allowed(field, definitions), default)
        if section is not None:
            yield from _keys(f"{dotted}.", section, definitions)


def _section(field: Node, definitions: dict[str, Node]) -> Node | None:
    """The mapping that a key holds, if it can hold one with keys of its own."""
    choices: list[Node] = field.get("anyOf") or [field]
    for choice in choices:
        target = definitions.get(choice.get("$ref", "").rpartition("/")[2], choice)
        if "properties" in target:
            return target
    return None


def _meaning(field: Node, section: Node | None) -> str:
    text = field.get("description") or (section or {}).get("description", "")
    return " ".join(text.split())


def _allowed(field: Node, definitions: dict[str, Node]) -> str:
    """In words: `conv or attention`, `a whole number, at least 1`."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_allowed(choice, definitions) for choice in field["anyOf"]))
    if "enum" in field or "const" in field:
        return " or ".join(_written(value) for value in field.get("enum", [field.get("const")]))
    if _section(field, definitions) is not None:
        return "a mapping of the keys below"
    if field.get("type") == "array":
        return _listed(field, definitions)
    if "pattern" in field:
        return f"text of the form {field['pattern']}"
    names = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
    names |= {"object": "a mapping", "null": ABSENT}
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {field[bound]:g}" for bound, word in bounds.items() if bound in field]
    return ", ".join([names.get(str(field.get("type")), "anything"), *limits])


def _listed(field: Node, definitions: dict[str, Node]) -> str:
    items = field.get("prefixItems") or [field.get("items", {})]
    count = f" of {len(items)}" if "prefixItems" in field else ""
    return f"a list{count}, each {_allowed(items[0], definitions)}"


def _written(value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    return ABSENT if value is None else json.dumps(value)
