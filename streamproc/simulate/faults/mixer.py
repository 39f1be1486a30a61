"""Puts faults between the lines of an ordinary stream."""

from typing import Any

from streamproc.simulate.draws import Draws
from streamproc.simulate.faults.envelopes import ENVELOPE_FAULTS
from streamproc.simulate.faults.fault import Fault, Ordinary
from streamproc.simulate.faults.levels import LEVEL_FAULTS, SHAPE_FAULTS
from streamproc.simulate.faults.syntax import BYTE_ORDER_MARK, SYNTAX_FAULTS
from streamproc.simulate.faults.times import NONCE_FAULTS, TIME_FAULTS
from streamproc.simulate.faults.trades import TRADE_FAULTS
from streamproc.simulate.stream import Chunk
from streamproc.simulate.tally import Tally

FAULTS: tuple[Fault, ...] = (
    *TIME_FAULTS,
    *NONCE_FAULTS,
    *LEVEL_FAULTS,
    *SHAPE_FAULTS,
    *ENVELOPE_FAULTS,
    *SYNTAX_FAULTS,
    *TRADE_FAULTS,
)
"""Every kind of fault that is a line."""

BYTE_ORDER_MARK_FAULT = "byte_order_mark"
"""The one that is none: it stands before the first line."""

_LINES_A_FAULT = 16
"""Mean distance between faults, in ordinary lines."""

_PATIENCE_LINES = 256
"""After so many lines behind which none of the remaining faults can stand, all are dealt anew."""


class Mixer:
    """Deals all kinds of faults in random order, then all again: each comes about once in some thousand lines.

    Parameters
    ----------
    seed : picks the order and the places.
    tally : where each fault is counted.
    """

    def __init__(self, seed: int, tally: Tally) -> None:
        self._tally = tally
        self._begun = False
        self._draws = Draws(~seed)
        self._deck: list[Fault] = []
        self._waited = 0
        self._skip = self._distance()

    def mix(self, chunk: Chunk) -> bytes:
        """The chunk's bytes with faults between the lines."""
        parts = [] if self._begun else [self._begin()]
        kept = 0
        for index, described in enumerate(chunk.lines):
            if self._skip > 0:
                self._skip -= 1
                continue
            line = _ordinary(chunk, index)
            fault = self._deal(line)
            if fault is not None:
                parts += [chunk.data[kept : described["end"]], fault.build(line), b"\n"]
                kept = int(described["end"])
                self._tally.add_fault(fault)
                self._skip = self._distance()
        return b"".join([*parts, chunk.data[kept:]])

    def _begin(self) -> bytes:
        self._begun = True
        self._tally.add_mark(BYTE_ORDER_MARK_FAULT)
        return BYTE_ORDER_MARK

    def _distance(self) -> int:
        return self._draws.below(2 * _LINES_A_FAULT - 1)

    def _deal(self, line: Ordinary) -> Fault | None:
        """The first fault of the deck that can stand behind the line."""
        if not self._deck or self._waited > _PATIENCE_LINES:
            self._deck = self._draws.shuffled(list(FAULTS))
        for place, fault in enumerate(self._deck):
            if fault.fits(line):
                self._waited = 0
                return self._deck.pop(place)
        self._waited += 1
        return None


def _ordinary(chunk: Chunk, index: int) -> Ordinary:
    start = int(chunk.lines[index - 1]["end"]) if index else 0
    described: Any = chunk.lines[index]
    return Ordinary(
        text=chunk.data[start : int(described["end"]) - 1],
        kind=int(described["kind"]),
        time_ms=int(described["time_ms"]),
        arrival_ms=int(described["arrival_ms"]),
        next_ms=int(described["next_ms"]),
    )
