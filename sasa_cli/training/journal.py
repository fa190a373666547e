"""What a run tells about itself while it trains: `record.json` and `log.txt`, whatever happens.

Until training begins nothing is written, so that an attempt that cannot even begin costs nothing that was there.
"""

import contextlib
import traceback
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

from sasa_cli.errors import RunError, SasaError
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import Failure, RecordedStatus, RunRecord, write_record


class Journal:
    """Keeps the record of a run and its log: in memory before `begin`, on disk from then on."""

    def __init__(self, paths: RunPaths, record: RunRecord) -> None:
        self.paths = paths
        self.record = record
        self._begun = False
        self._unwritten: list[str] = []

    def begin(self) -> None:
        """Write what has been told so far. Raises `RunError`."""
        self._begun = True
        self.update()
        self._write_log()

    def log(self, message: str) -> None:
        """Add a line to `log.txt`. Raises `RunError`."""
        self._unwritten.append(f"{utc_now()} {message}\n")
        if self._begun:
            self._write_log()

    def update(self, **changes: Any) -> None:
        """Change fields of the record and write it. Raises `RunError`."""
        self.record = self.record.model_copy(update=changes)
        if self._begun:
            write_record(self.paths, self.record)

    def _write_log(self) -> None:
        try:
            with self.paths.log.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.writelines(self._unwritten)
        except OSError as error:
            raise RunError(f"{self.paths.log}: cannot be written: {error.strerror}") from error
        self._unwritten.clear()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Record how the block ends where it does not end well, and log every warning.

        Before `begin` there is nothing to record of an interruption, or of an error that names what is not as it must
        be; any other error is recorded unless that would cost the record of an earlier sitting.

        Raises:
            SasaError: as raised by the block.
            RunError: any other exception of the block.
            KeyboardInterrupt: as raised by the block.
        """
        try:
            with self._logged_warnings():
                yield
        except KeyboardInterrupt as interruption:
            if self._begun and (unwritten := self._close("interrupted", None)):
                raise RunError(f"{self.record.run_id}: interrupted{unwritten}") from interruption
            raise
        except Exception as error:
            if isinstance(error, SasaError) and not self._begun:
                raise
            kind, reason = type(error).__name__, str(error)
            failure = Failure(
                kind=kind,
                message=reason,
                traceback=traceback.format_exc(),
                epoch=getattr(error, "epoch", None),
                step=getattr(error, "step", None),
            )
            unwritten = self._close("failed", failure)
            if isinstance(error, SasaError) and not unwritten:
                raise
            what = reason if isinstance(error, SasaError) else f"{self.record.run_id}: {kind}: {reason}"
            raise RunError(what + unwritten) from error

    def _close(self, status: RecordedStatus, failure: Failure | None) -> str:
        """Record the end of the run; gives what there is to say where even that fails."""
        try:
            self._begun = self._begun or not self.paths.record.exists()
            self.update(status=status, error=failure)
            self.log(status if failure is None else f"{status}\n{failure.traceback}")
            self._write_log()
        except RunError as error:
            return f"; nor could this be recorded: {error}"
        return ""

    @contextlib.contextmanager
    def _logged_warnings(self) -> Iterator[None]:
        shown = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            self.log(f"{category.__name__}: {message}")
            shown(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        try:
            yield
        finally:
            warnings.showwarning = shown


def utc_now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
