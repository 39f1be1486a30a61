"""Lines into records: those of a symbol that come together go into one, in their order."""

from typing import Any, NamedTuple, TypeGuard
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray

from streamproc.jit import kernel
from streamproc.kafka.partitioner import record_key
from streamproc.local.route import NOBODY, STRAY, SymbolFinder, copy_lines
from streamproc.local.sources import NO_KEY
from streamproc.parse.ccxt import MAX_NAME_BYTES

TOO_LONG = -4
"""In a segment's place: the line does not fit a record."""

FRAME_BYTES = 512
"""Room for what Kafka puts around a value: the batch's head, the record's, and the longest key."""

NOW = 0
"""As a record's timestamp: the time at which it is produced."""


class Record(NamedTuple):
    """A record to produce to the raw topic."""

    key: bytes | None
    value: bytes
    timestamp: int
    """ms, or `NOW`."""


class Packed(NamedTuple):
    """What became of some lines."""

    records: list[Record]
    lines: int
    """Those in the records."""
    unkeyed: int
    """Records without a key, of one line each."""
    too_long: NDArray[np.int64]
    """Numbers of the lines that are in no record, from 0."""
    bounds: NDArray[np.int64]
    """Line i is data[bounds[i]:bounds[i + 1]], its newline included."""


def readable_names(line: bytes) -> tuple[str, str] | None:
    """Exchange and symbol of any JSON object that tells them, whether or not its record is accepted later."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    exchange, symbol = record.get("exchange"), record.get("symbol")
    return (exchange, symbol) if _is_name(exchange) and _is_name(symbol) else None


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(quote(value, safe="")) <= MAX_NAME_BYTES


class Packer:
    """Packs lines into segments.

    Parameters
    ----------
    segment_bytes : most bytes of a segment of several lines.
    max_message_bytes : the topic's setting of that name; what cannot fit is too long.
    """

    def __init__(self, segment_bytes: int, max_message_bytes: int) -> None:
        self.longest_bytes = max(1, max_message_bytes - FRAME_BYTES)
        """Most bytes of a line."""
        self._segment_bytes = min(segment_bytes, self.longest_bytes)
        self._finder = SymbolFinder(readable_names)
        self._keys: list[bytes] = []

    def pack(self, data: NDArray[np.uint8], times: NDArray[np.int64]) -> Packed:
        """The records of some whole lines, blank ones left out.

        Records come in the order of their first lines, and so do those of a key.

        Parameters
        ----------
        data : bytes of the lines, each with its newline.
        times : `collected_at` of each line in ms, `NO_KEY` where it has none.
        """
        lines = len(times)
        symbols, bounds = self._finder.symbols(data, len(data), lines)
        latest = np.full(len(self._finder.keys), NOBODY)
        segments, firsts, sizes = np.empty(lines, np.int64), np.empty(lines, np.int64), np.zeros(lines, np.int64)
        limits = self._segment_bytes, self.longest_bytes
        count, unkeyed = cut_segments(symbols, bounds, *limits, latest, segments, firsts, sizes)
        too_long = np.flatnonzero(segments == TOO_LONG)
        segments[too_long] = NOBODY
        firsts, sizes = firsts[:count], sizes[:count]
        values = self._joined(data, segments, bounds, sizes)
        stamps = np.where(times[firsts] == NO_KEY, NOW, times[firsts])
        records = list(map(Record, self._keys_of(symbols[firsts]), values, stamps.tolist()))
        return Packed(records, int(np.count_nonzero(segments != NOBODY)), unkeyed, too_long, bounds)

    def _joined(self, data: Any, segments: Any, bounds: Any, sizes: NDArray[np.int64]) -> list[bytes]:
        """The lines of each segment one after the other, without the last newline."""
        ends = np.cumsum(sizes)
        starts = ends - sizes
        out = np.empty(int(sizes.sum()), np.uint8)
        copy_lines(data, segments, bounds, starts.copy(), out)
        view = out.data
        return [bytes(view[start : end - 1]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def _keys_of(self, symbols: NDArray[np.int64]) -> list[bytes | None]:
        keys = self._keys
        keys += [record_key(*names) for names in self._finder.keys[len(keys) :]]
        return [None if symbol == STRAY else keys[symbol] for symbol in symbols.tolist()]


@kernel
def cut_segments(
    symbols: Any,
    bounds: Any,
    segment_bytes: int,
    longest_bytes: int,
    latest: Any,
    segments: Any,
    firsts: Any,
    sizes: Any,
) -> tuple[int, int]:
    """The segment of each line; of each segment its first line and its bytes, with all newlines.

    Returns how many segments there are, and how many of them are of a line without names. `latest`: each symbol's last
    segment so far.
    """
    count = unkeyed = 0
    for line in range(len(symbols)):
        symbol = symbols[line]
        size = bounds[line + 1] - bounds[line]
        segment = NOBODY if symbol < 0 else latest[symbol]
        if symbol == NOBODY or size - 1 > longest_bytes:
            segments[line] = NOBODY if symbol == NOBODY else TOO_LONG
            continue
        if segment == NOBODY or sizes[segment] + size - 1 > segment_bytes:
            segment = count
            firsts[segment] = line
            count += 1
            if symbol == STRAY:
                unkeyed += 1
            else:
                latest[symbol] = segment
        segments[line] = segment
        sizes[segment] += size
    return count, unkeyed
