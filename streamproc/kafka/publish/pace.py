"""Lines at the pace at which they were recorded, times a factor."""

from collections.abc import Callable, Iterable, Iterator
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from streamproc.kafka.publish.pieces import Piece
from streamproc.local.sources import NO_KEY

OUTLIER_MS = 10_000
"""A time so far from those of the lines around it is a clock's fault, and is not waited for."""

NEIGHBOURS = 3
"""Lines before and after one that tell what its time should be about."""


class Pace:
    """When each line is due.

    Parameters
    ----------
    speed : 1 is the pace of the recording, 2 twice as fast.
    tick_s : lines that become due within so many seconds are given out together.
    clock, sleep : s, monotonic.
    """

    def __init__(self, speed: float, tick_s: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._ms_per_s = 1000 * speed
        self._tick_s = tick_s
        self._clock = clock
        self._sleep = sleep
        self._path = ""
        self._before = np.empty(0, np.int64)
        """The last times as they were recorded."""
        self._latest = NO_KEY
        self._origin: tuple[float, int] | None = None
        """A moment of the clock, and the recorded time, in ms, that it stands for."""

    def through(self, pieces: Iterable[Piece | None]) -> Iterator[Piece | None]:
        """The lines when they are due; None while none is."""
        for piece in pieces:
            if piece is None:
                yield None
                continue
            due = self._due(piece)
            first = 0
            while first < piece.lines:
                now = self._recorded_now()
                end = int(np.searchsorted(due, now, "right"))
                if end > first:
                    yield piece.part(first, end)
                    first = end
                else:
                    yield None
                    self._sleep(min(self._tick_s, (int(due[first]) - now) / self._ms_per_s))

    def _recorded_now(self) -> float:
        if self._origin is None:
            return np.inf
        moment, recorded = self._origin
        return recorded + (self._clock() - moment) * self._ms_per_s

    def _due(self, piece: Piece) -> NDArray[np.int64]:
        """When each line of a piece is due, in recorded time: never before the one before it."""
        timed = piece.times != NO_KEY
        due = np.full(piece.lines, NO_KEY)
        due[timed] = times = self._without_outliers(piece.times[timed])
        if len(times):
            self._begin(piece.path, int(times[0]))
        due = np.maximum.accumulate(np.maximum(due, self._latest))
        self._latest = int(due[-1])
        return due

    def _begin(self, path: str, time: int) -> None:
        """The pace begins with the first time, and anew with each file that was not recorded after the others."""
        if self._origin is None or (path != self._path and time < self._latest):
            self._origin = self._clock(), time
            self._latest = time
        self._path = path

    def _without_outliers(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """The times, those that lie far from the lines before and from those behind replaced by the one before."""
        known = np.concatenate((self._before, times))
        self._before = known[-NEIGHBOURS:]
        clean = known.copy()
        jumps = np.flatnonzero(np.abs(np.diff(known)) > OUTLIER_MS)
        for i in np.union1d(jumps, jumps + 1).tolist():
            around = known[max(0, i - NEIGHBOURS) : i].tolist(), known[i + 1 : i + 1 + NEIGHBOURS].tolist()
            middles = [median_low(side) for side in around if side]
            if all(abs(int(known[i]) - middle) > OUTLIER_MS for middle in middles):
                clean[i] = clean[i - 1] if i else middles[0]
        return clean[len(known) - len(times) :]
