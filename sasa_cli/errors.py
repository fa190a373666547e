"""Errors that a user can cause or must know about: one clear message and the exit code that goes with it."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

KeyPath = tuple[str | int, ...]

EXIT_OK = 0
EXIT_RUN_FAILED = 1
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_SWEEP_INCOMPLETE = 4
EXIT_INTERRUPTED = 130


class SasaError(Exception):
    """Base of all errors that the command line prints as a message instead of a traceback."""

    exit_code = EXIT_RUN_FAILED


class SpecError(SasaError):
    """The command line or an experiment file asks for something that is not possible."""

    exit_code = EXIT_USAGE


class DataError(SasaError):
    """Images are missing or broken."""

    exit_code = EXIT_DATA


class RunError(SasaError):
    """A run could not start or finish: loss not finite, broken checkpoint, results that cannot be written."""

    exit_code = EXIT_RUN_FAILED


class BrokenFileError(RunError):
    """A file of ours that was read and holds nothing usable: torn, edited, not ours."""


class LockedError(RunError):
    """Another process is training this run."""


class SweepIncompleteError(SasaError):
    """The sweep came to its end, but some of its runs failed."""

    exit_code = EXIT_SWEEP_INCOMPLETE


class KeyProblemsError(ValueError):
    """Problems of a section, each with the key (relative to the section) that it belongs to."""

    def __init__(self, problems: list[tuple[tuple[str, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{'.'.join(key)}: {message}" for key, message in problems))


def explained(error: "ValidationError", schema: "type[BaseModel]") -> list[tuple[KeyPath, str]]:
    """Each problem that pydantic found in a section: its key path in the section, and what is wrong and allowed."""
    found: list[tuple[KeyPath, str]] = []
    for problem in error.errors():
        path: KeyPath = problem["loc"]
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, KeyProblemsError):
            found += [((*path, *key), message) for key, message in cause.problems]
        elif problem["type"] == "extra_forbidden":
            allowed = _keys_at(schema, path[:-1])
            found.append((path, f"unknown key{nearest(str(path[-1]), allowed)}; allowed are {', '.join(allowed)}"))
        else:
            found.append((path, _message(dict(problem))))
    return list(dict.fromkeys(found))


def one_line(text: str) -> str:
    """The lines of what another program said, in one."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def printable(text: str) -> str:
    """``text`` with what is no Unicode, as names of files may be, written as ``\\udce9``: what UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def nearest(word: str, allowed: Iterable[str]) -> str:
    """` (did you mean 'x'?)` where one of `allowed` resembles `word`, else nothing."""
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _message(problem: dict[str, Any]) -> str:
    if problem["type"] == "missing":
        return "missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "literal_error":
        return f"{problem['input']!r} is not allowed; allowed are {problem['ctx']['expected']}"
    wanted = problem["msg"].removeprefix("Input should be ")
    return f"{problem['input']!r} is not allowed; allowed is {wanted}"


def _keys_at(schema: "type[BaseModel]", path: KeyPath) -> list[str]:
    """The keys that the section at `path` takes."""
    for key in (key for key in path if isinstance(key, str)):  # a number is a place in a list
        annotation = schema.model_fields[key].annotation
        schema = next(kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields"))
    return list(schema.model_fields)
