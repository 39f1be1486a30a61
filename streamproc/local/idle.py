"""How long each symbol has been silent, counting only time in which a record could have come."""

import numpy as np
from numpy.typing import NDArray


class IdleClock:
    """Idle time by symbol. It counts only while the input is caught up, and starts anew with each record.

    A wall clock may decide when a silent symbol's bar closes, nothing else; so it is handed in, and starts at 0 in
    each process.
    """

    def __init__(self) -> None:
        self._idle_ms = np.zeros(0, np.int64)
        self._last_ms: int | None = None

    def pass_time(self, now_ms: int, caught_up: bool, arrived: NDArray[np.intp], symbols: int) -> NDArray[np.int64]:
        """Idle ms of each of `symbols` at `now_ms` (monotonic).

        `arrived`: those that had a record since the last call.
        """
        if len(self._idle_ms) < symbols:
            self._idle_ms = np.concatenate((self._idle_ms, np.zeros(symbols - len(self._idle_ms), np.int64)))
        if caught_up and self._last_ms is not None:
            self._idle_ms += now_ms - self._last_ms
        self._idle_ms[arrived] = 0
        self._last_ms = now_ms if caught_up else None
        return self._idle_ms
