"""What a reader must count in a simulated stream, in the terms of `run`'s summary."""

from collections import Counter
from typing import Any

import numpy as np

from streamproc.simulate.faults.fault import Fault, Outcome
from streamproc.simulate.listing import Instrument
from streamproc.simulate.stream import BOOK, Chunk

_SUMMED = [name for name in Outcome._fields if name != "rejected"]


class Tally:
    """Running counts of a stream.

    Parameters
    ----------
    listed : the market's instruments.
    """

    def __init__(self, listed: list[Instrument]) -> None:
        self._listed = listed
        self._counts: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._symbols: set[tuple[str, str]] = set()
        self.lines = 0

    def add_lines(self, chunk: Chunk) -> None:
        """Count ordinary lines."""
        books = int(np.count_nonzero(chunk.lines["kind"] == BOOK))
        self.lines += len(chunk.lines)
        self._counts["books"] += books
        self._counts["trades"] += len(chunk.lines) - books
        for index in np.unique(chunk.lines["symbol"]):
            one = self._listed[index]
            self._symbols.add((one.exchange.name, one.symbol))

    def add_fault(self, fault: Fault) -> None:
        """Count a fault that is a line."""
        self.lines += 1
        self._faults[fault.name] += 1
        outcome = fault.outcome
        self._counts.update({name: getattr(outcome, name) for name in _SUMMED})
        if outcome.rejected:
            self._rejected[outcome.rejected] += 1
        if fault.symbol is not None:
            self._symbols.add(fault.symbol)

    def add_mark(self, name: str) -> None:
        """Count a fault that is no line."""
        self._faults[name] += 1

    def expected(self) -> dict[str, Any]:
        """The reader's counts under the default configuration; `symbols` are those with an accepted record."""
        records = sum(self._counts[name] for name in ("books", "trades", "duplicates")) + self._rejected.total()
        return {
            "records": records,
            **{name: self._counts[name] for name in _SUMMED},
            "rejected": dict(sorted(self._rejected.items())),
            "symbols": len(self._symbols),
        }

    def faults(self) -> dict[str, int]:
        """How many there are of each fault."""
        return dict(sorted(self._faults.items()))
