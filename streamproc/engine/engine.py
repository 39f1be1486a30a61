"""The engine: bytes in, row words out. It knows neither files nor Kafka, and no clock."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.engine import kernels
from streamproc.engine.output import REASONS, empty_output, with_rows
from streamproc.engine.symbols import UNKNOWN, SymbolTable
from streamproc.features.windows import Scratch
from streamproc.parse.ccxt import Book, RawParser, Reject, Trades
from streamproc.parse.record import ABSENT_TIME, BOOK, TRADES, Record
from streamproc.schema import NULL_INT, UNSORTED
from streamproc.state.layout import ARRIVED, CHANGED, PAGE, Params, empty_arrays, with_pages, with_symbols
from streamproc.state.snapshot import BOOK_KIND, ID_KIND, TRADE_KIND, Changes, Loaded, Snapshots

LEVELS_AT_START = 4096
TRADES_AT_START = 4096
FLUSHED_AT_ONCE = 4096

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]


class Rejected(NamedTuple):
    """A line that is neither book nor trades nor duplicate: its number in the chunk, its bytes, why."""

    line: int
    raw: bytes
    reason: str
    detail: str


class Batch(NamedTuple):
    """What came of a call: row words (n, width) that are good until the next call, and rejected lines in order."""

    hf: NDArray[np.int64]
    bars: NDArray[np.int64]
    rejected: list[Rejected]


class Engine:
    """Books and trades of any number of symbols into features and bars.

    The same lines give the same rows, bit for bit, however they are cut into calls.

    Parameters
    ----------
    config : what the numbers mean.
    generation : of the rows of symbols that are new to this engine.
    misrouted : why a symbol is none of this engine's, empty when it is; asked once for each symbol.
    """

    def __init__(
        self, config: StateConfig, generation: int = 0, misrouted: Callable[[str, str], str] | None = None
    ) -> None:
        self.config = config
        self._generation = generation
        self._misrouted = misrouted
        self.symbols = SymbolTable()
        self.params = Params.of(config)
        self.arrays = empty_arrays(config)
        self.output = empty_output(config)
        self.reasons: Counter[str] = Counter()
        self._record = Record.empty(LEVELS_AT_START, TRADES_AT_START)
        self._scratch = Scratch.empty()
        self._parser = RawParser()
        self._snapshots = Snapshots()
        self._rejected: list[Rejected] = []

    @property
    def counts(self) -> dict[str, int]:
        """Records by outcome since the start; `rejected` is in `reasons`."""
        names = ("books", "trades", "duplicates", "late_events", "duplicate_trades", "bad_trades")
        counts = {name: int(self.output.counts[0][name]) for name in names}
        counts["invalid_books"] = sum(self.invalid_books.values())
        records = counts["books"] + counts["trades"] + counts["duplicates"] + self.reasons.total()
        symbols = int(self.arrays.head["accepted"][: len(self.symbols.keys)].sum())
        return {"records": records} | counts | {"symbols": symbols}

    @property
    def invalid_books(self) -> dict[str, int]:
        """Invalid books by what is wrong with them, as `book_flags` names it, since the start."""
        counts = self.output.counts[0]
        return {flag: int(counts[f"{flag.lower()}_books"]) for flag in ("ONE_SIDED", "EMPTY", "CROSSED")}

    def last_times(self, symbols: int) -> NDArray[np.int64]:
        """Event time in ms of the last book of each of the first `symbols`; not positive where there was none."""
        return self.arrays.head["last_t"][:symbols].copy()

    @property
    def open_bars(self) -> int:
        """Open bars that hold a valid book or a trade, and so would be rows."""
        bars = self.arrays.bars
        return int(((bars["index"] >= 0) & ((bars["count"] > 0) | (bars["trades"] > 0))).sum())

    def feed(self, data: Buffer, size: int | None = None) -> Batch:
        """Take whole lines: the first `size` bytes of `data`, the last of them a newline. Lines count from 0."""
        bytes_ = np.frombuffer(data, np.uint8)
        bytes_.flags.writeable = False  # one array type, one compiled kernel
        size = len(bytes_) if size is None else size
        if size and bytes_[size - 1] != ord("\n"):
            raise ValueError("data must end with a newline")
        self._begin()
        position = line = 0
        parsed = UNKNOWN
        while True:
            why, position, end, line = kernels.process(
                bytes_,
                position,
                size,
                line,
                parsed,
                self.symbols.names,
                self.arrays,
                self.params,
                self._record,
                self._scratch,
                self.output,
            )
            parsed = UNKNOWN
            self._collect_rejected(bytes_)
            if why == kernels.DONE:
                return self._batch()
            if why == kernels.NO_ROOM:
                self._make_room(int(self._record.envelope[0]["trades"]))
                continue
            raw = bytes_[position:end].tobytes()
            if why == kernels.NEW_SYMBOL:
                taken = self._register(bytes_, raw, line)
            else:
                parsed = self._parse(raw, line)
                taken = parsed != UNKNOWN
            if not taken:
                position, line = end + 1, line + 1

    def flush(self) -> Batch:
        """Close all open bars."""
        self._begin()
        symbols = len(self.symbols.keys)
        for first in range(0, symbols, FLUSHED_AT_ONCE):
            last = min(first + FLUSHED_AT_ONCE, symbols)
            self._make_room(0, events=last - first)
            kernels.flush(first, last, self.arrays, self.params, self.output.bars)
        return self._batch()

    def close_idle(self, idle_ms: NDArray[np.int64]) -> Batch:
        """Close bars of symbols that have been silent for `idle_ms`: a number a symbol, 0 where it does not count."""
        self._begin()
        if self.config.bar_idle_close is not None:
            self._make_room(0, events=len(idle_ms))
            kernels.close_idle(0, len(idle_ms), idle_ms, self.arrays, self.params, self.output.bars)
        return self._batch()

    def arrived(self) -> NDArray[np.intp]:
        """Indices of the symbols that had a record since the last call."""
        found = np.flatnonzero(self.arrays.dirty & ARRIVED)
        self.arrays.dirty[found] &= CHANGED
        return found

    def changes(self) -> Changes:
        """The state that changed since the last call, as keys and values for a store."""
        return self._snapshots.changes(self.arrays, self.symbols.keys)

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over the state that a store holds, into an engine that has seen nothing.

        Raises `StateError` where it is damaged.
        """
        loaded = Loaded.of(entries, self.index)
        self.arrays = self.arrays._replace(
            books=with_pages(self.arrays.books, loaded.pages(BOOK_KIND)),
            trades=with_pages(self.arrays.trades, loaded.pages(TRADE_KIND)),
            ids=with_pages(self.arrays.ids, loaded.pages(ID_KIND) + 1),
        )
        self._snapshots.load(loaded, self.arrays, self.symbols.keys)

    def index(self, exchange: str, symbol: str) -> int:
        """Index of a symbol, its empty state made where it is new."""
        known = len(self.symbols.keys)
        index = self.symbols.index(exchange, symbol)
        self.arrays = with_symbols(self.arrays, index + 1)
        if index == known:
            self.arrays.head["generation"][index] = self._generation
        return index

    def _begin(self) -> None:
        self.output.counts[0]["hf"] = 0
        self.output.counts[0]["bars"] = 0
        self._rejected = []

    def _batch(self) -> Batch:
        counts = self.output.counts[0]
        return Batch(self.output.hf.ints[: counts["hf"]], self.output.bars.ints[: counts["bars"]], self._rejected)

    def _make_room(self, trades: int, events: int = 1) -> None:
        bars = (trades + events) * 2 * len(self.config.bar_durations)
        self.output = with_rows(self.output, max(events, 1024), max(bars, 1024), 1024)
        self.arrays = self.arrays._replace(
            books=with_pages(self.arrays.books, 1),
            trades=with_pages(self.arrays.trades, trades // PAGE + 2),
            ids=with_pages(self.arrays.ids, trades // PAGE + 2),
        )

    def _register(self, data: NDArray[np.uint8], raw: bytes, line: int) -> bool:
        """Make the symbol of the scanned line known; whether the line is to be taken."""
        envelope = self._record.envelope[0]
        spans = ((envelope[f"{name}_start"], envelope[f"{name}_size"]) for name in ("exchange", "symbol"))
        exchange, symbol = (data[start : start + size].tobytes().decode() for start, size in spans)
        if self._is_misrouted(exchange, symbol, raw, line):
            return False
        self.index(exchange, symbol)
        return True

    def _is_misrouted(self, exchange: str, symbol: str, raw: bytes, line: int) -> bool:
        """Reject the line of a symbol that belongs elsewhere. One that is known belongs here."""
        detail = self._misrouted(exchange, symbol) if self._misrouted else ""
        if detail:
            self._reject(line, raw, Reject("misrouted", detail))
        return bool(detail)

    def _collect_rejected(self, data: NDArray[np.uint8]) -> None:
        counts = self.output.counts[0]
        for row in self.output.rejected[: counts["rejected"]]:
            raw = data[row["start"] : row["end"]].tobytes()
            self._reject(int(row["line"]), raw, self._reason(row))
        counts["rejected"] = 0

    def _reason(self, row: np.void) -> Reject:
        reason, t, limit = REASONS[row["reason"]], row["t"], row["limit"]
        detail = {
            "no_timestamp": "the book has no timestamp and the record no collected_at",
            "future": f"event time {t} is more than {self.config.max_ahead} s after collected_at {limit}",
            "late": f"event time {t} is before that of the symbol's last book, {limit}",
        }
        return Reject(reason, detail[reason])

    def _reject(self, line: int, raw: bytes, why: Reject) -> None:
        self.reasons[why.reason] += 1
        self._rejected.append(Rejected(line, raw.removesuffix(b"\r"), why.reason, why.detail))

    def _parse(self, raw: bytes, line: int) -> int:
        """A line that the scanner declined into the record: its symbol, or `UNKNOWN` when it is rejected."""
        parsed = self._parser.parse(raw)
        if isinstance(parsed, Reject):
            self._reject(line, raw, parsed)
            return UNKNOWN
        if self._is_misrouted(parsed.exchange, parsed.symbol, raw, line):
            return UNKNOWN
        symbol = self._fill_record(parsed)
        self._make_room(int(self._record.envelope[0]["trades"]))
        return symbol

    def _fill_record(self, parsed: Book | Trades) -> int:
        envelope = self._record.envelope
        envelope["collected_at"] = ABSENT_TIME if parsed.collected_at is None else parsed.collected_at
        envelope["trades"] = 0
        if isinstance(parsed, Book):
            levels = max(len(parsed.bids), len(parsed.asks))
            self._fit(levels, 0)
            envelope["kind"] = BOOK
            envelope["timestamp"] = ABSENT_TIME if parsed.timestamp is None else parsed.timestamp
            envelope["nonce"] = NULL_INT if parsed.nonce is None else parsed.nonce
            envelope["flags"] = UNSORTED if parsed.unsorted else 0
            for name, side in (("bids", parsed.bids), ("asks", parsed.asks)):
                envelope[name] = len(side)
                getattr(self._record, name)[: len(side)] = side
        else:
            self._fit(0, len(parsed.trades))
            envelope["kind"] = TRADES
            envelope["trades"] = len(parsed.trades)
            self._record.trades[: len(parsed.trades)] = parsed.trades
        return self.index(parsed.exchange, parsed.symbol)

    def _fit(self, levels: int, trades: int) -> None:
        record = self._record
        if levels > len(record.bids) or trades > len(record.trades):
            fitting = Record.empty(max(levels, len(record.bids)), max(trades, len(record.trades)))
            self._record = fitting._replace(envelope=record.envelope)
