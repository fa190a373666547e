"""Standard output that may be closed, full or ASCII: what is being done goes on, and the loss is said once."""

import codecs
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 140
PLAIN = str.maketrans(
    {"±": "+-", "−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "≤": "<=", "≥": ">=", "Δ": "d", "…": "..."}
)


def console_for(*, silent: bool) -> "Console":
    """Where a command prints to."""
    from rich.console import Console

    # Without a terminal there is no width to keep to: tables in a log or a pipe stay whole.
    # Names, messages and paths are never markup, whatever they look like.
    return Console(quiet=silent, width=None if sys.stdout.isatty() else PLAIN_WIDTH, markup=False, emoji=False)


def print_json(payload: Any) -> None:
    """The whole result of a command, for programs."""
    print(json.dumps(payload, indent=2))


def prepare_output() -> None:
    """Make both standard streams ones that every text can be written to, whoever reads them."""
    codecs.register_error("plain", _plain)
    sys.stdout = _prepared(sys.stdout)
    sys.stderr = _prepared(sys.stderr)


def _prepared(stream: TextIO | None) -> Any:
    if stream is None:  # closed by the shell
        return open(os.devnull, "w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="plain")
    return _Lasting(stream)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """In place of what an encoding has not: the nearest of its letters."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "replace").decode("ascii"), error.end


class _Lasting:
    """A stream that is replaced by nothing when writing to it fails: a pipe that was closed, a disk that is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Lead the stream to nowhere, for Python's own last flush, too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError) and self._stream.fileno() != sys.stderr.fileno():
            sys.stderr.write(f"warning: output cannot be written any more: {error.strerror}; what is done goes on\n")
