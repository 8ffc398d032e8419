"""How a training ends before its end: by Ctrl-C or SIGTERM, or because it went wrong."""

import os
import signal
import threading
from types import FrameType


class Failed(RuntimeError):
    """A training went wrong; the message says where and why."""


class Stopped(RuntimeError):
    """A training stopped on a signal, of this number; the message says how to go on."""

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal


class Signals:
    """Catches SIGINT and SIGTERM while it is entered, in the main thread.

    A signal raises `KeyboardInterrupt`. After `hold` the first one does not, but is kept in
    `signal` for the training to look at between steps.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._held = False

    def __enter__(self) -> "Signals":
        main = threading.current_thread() is threading.main_thread()  # others may set none
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._before = {number: signal.signal(number, self._take) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """Lets the first signal wait for the end of a step."""
        self._held = True

    def _take(self, number: int, frame: FrameType | None) -> None:
        first, self.signal = self.signal is None, self.signal or number
        if not (first and self._held):
            raise KeyboardInterrupt
        # Not print: it may be what was interrupted.
        bar = b"\r\x1b[2K" if os.isatty(2) else b""  # what moves there is drawn again
        os.write(2, bar + b"bss2jax: stopping after this step; Ctrl-C again stops at once\n")
