"""Ctrl-C and SIGTERM: they end a run between two writes that belong together, never in the middle of them."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """What has become of the signals that ask a run to end."""

    def __init__(self) -> None:
        self._held = False
        self._asked = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """SIGINT and SIGTERM raise KeyboardInterrupt inside the block; only the main thread can set that up.

        A signal that the process was started to ignore (`nohup`) stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier = {number: signal.getsignal(number) for number in SIGNALS}
        heard = [number for number in SIGNALS if earlier[number] is not signal.SIG_IGN]
        for number in heard:
            signal.signal(number, self._interrupt)
        try:
            yield
        finally:
            for number in heard:
                signal.signal(number, earlier[number])

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A first signal waits until the block has ended; a second one does not."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._asked:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        again, self._asked = self._asked, True
        if again or not self._held:
            raise KeyboardInterrupt
