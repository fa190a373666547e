"""The keyword arguments of `timm.create_model` that describe the network: the names of the experiment file."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from sasa_cli.errors import SpecError
from sasa_cli.spec import AttentionSpec, KeyProblemsError, ModelSpec

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
        raise SpecError("\n".join(_explained(error))) from None


def _explained(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place, cause = problem["loc"], problem.get("ctx", {}).get("error")
        if isinstance(cause, KeyProblemsError):
            for key, message in cause.problems:
                yield f"{_argument(*place, *key)}: {message}"
        elif cause is not None:
            yield f"{_argument(*place)}: {cause}"
        else:
            yield f"{_argument(*place)}: {problem['input']!r} is not allowed; {problem['msg']}"


def _argument(*place: int | str) -> str:
    """`heads` for the key `attention.heads`; keys of other sections keep theirs, as in `stem.heads`."""
    return ".".join(str(key) for key in place if key != "attention")
