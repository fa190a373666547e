"""Errors that a user can cause or must know about: one clear message and the exit code that goes with it."""

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
