"""SIGINT and SIGTERM as a request: the work ends at its next commit, not in the middle of a write."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedWaitError(Exception):
    """The end was asked for while waiting for something that may never come."""


class StopRequest:
    """Whether the program has been asked to end.

    As a context manager it takes SIGINT and SIGTERM: the first is noted, the second ends the process at once. Without
    that it is a plain flag, for programs that drive the library themselves. It can stand where an event's ``is_set``
    is wanted.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}
        self._interrupts = False

    @property
    def requested(self) -> bool:
        return self.signum is not None

    def is_set(self) -> bool:
        """The same as ``requested``."""
        return self.requested

    def request(self, signum: int = signal.SIGTERM) -> None:
        """Ask for the end as the signal would."""
        self.signum = signum

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within this, the request raises `InterruptedWaitError`: for a read that may wait for ever."""
        if self.requested:
            raise InterruptedWaitError
        self._interrupts = True
        try:
            yield
        finally:
            self._interrupts = False

    def __enter__(self) -> Self:
        for signum in SIGNALS:
            self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.requested:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.request(signum)
        if self._interrupts:
            raise InterruptedWaitError
