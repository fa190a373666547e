"""Where processes of one run or sweep meet: sockets, whose path has only about a hundred bytes."""

import multiprocessing.util
import os
import tempfile
from pathlib import Path

from sasa_cli.errors import RunError

SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
LONGEST = 100 - len("/pymp-12345678/listener-12345678")
"""Bytes of a folder in which `multiprocessing` can make a socket: 108 on Linux for all of the path, 104 on macOS."""


def shorten_socket_paths() -> None:
    """Let this process and its children make sockets in a short folder where that of `TMPDIR` is too long.

    `multiprocessing` makes one folder for them, in the temporary one, when it first needs it, and keeps it.

    Raises:
        RunError: there is no short folder either.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST:
        return
    folder = next((name for name in SHORT_FOLDERS if Path(name).is_dir() and os.access(name, os.W_OK | os.X_OK)), None)
    if folder is None:
        raise RunError(f"TMPDIR: {usual} is too long for the sockets of processes; up to {LONGEST} bytes are allowed")
    tempfile.tempdir = folder
    try:
        multiprocessing.util.get_temp_dir()
    finally:
        tempfile.tempdir = usual
