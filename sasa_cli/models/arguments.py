"""The keyword arguments of `timm.create_model` that describe the network: the names of the experiment file."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sasa_cli.errors import SpecError, explained
from sasa_cli.spec import AttentionSpec, ModelSpec

NETWORK_ARGUMENTS = tuple(key for key in ModelSpec.model_fields if key not in ("name", "attention"))
ATTENTION_ARGUMENTS = tuple(AttentionSpec.model_fields)
MODEL_ARGUMENTS = (*NETWORK_ARGUMENTS, *ATTENTION_ARGUMENTS)


def model_spec(name: str, arguments: Mapping[str, Any]) -> ModelSpec:
    """The network that a registered name and some of `MODEL_ARGUMENTS` describe.

    Raises:
        SpecError: they describe none; one line for each problem, with the argument, its value and what is allowed.
    """
    sections = {key: arguments[key] for key in NETWORK_ARGUMENTS if key in arguments}
    attention = {key: arguments[key] for key in ATTENTION_ARGUMENTS if key in arguments}
    try:
        return ModelSpec.model_validate({"name": name, "attention": attention, **sections})
    except ValidationError as error:
        lines = [f"{_argument(*path)}: {message}" for path, message in explained(error, ModelSpec)]
        raise SpecError("\n".join(lines)) from None


def _argument(*place: int | str) -> str:
    """`heads` for the key `attention.heads`; keys of other sections keep theirs, as in `stem.heads`."""
    return ".".join(str(key) for key in place if key != "attention")
