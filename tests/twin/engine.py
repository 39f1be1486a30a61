"""`Twin`: lines in; feature rows, bars, rejects and counts out (sections 1, 2, 5 and 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any

from .bars import Bar, Closing, bar_row
from .cells import Cells
from .flow import Fill, Update, put_regime, put_update, put_windows, update_of
from .records import Book, RejectError, Trade, TradeMessage, is_positive, read_record
from .settings import Settings, milliseconds
from .structure import put_structure

BLANKS = b" \t\r\n"
IDS_REMEMBERED = 1024


class History:
    """All that ever was accepted of one symbol, and its open bars."""

    def __init__(self, exchange: str, symbol: str, durations: tuple[float, ...]) -> None:
        self.exchange, self.symbol = exchange, symbol
        self.last_book: tuple[int, int | None] | None = None  # event time, nonce; valid or not
        self.updates: list[Update] = []
        self.fills: list[Fill] = []
        self.trade_ids: list[str] = []
        self.stream_time: int | None = None
        self.flushed_at: int | None = None
        self.last_bucket: int | None = None
        self.updates_since_row = 0
        self.invalid_since_row = 0
        self.open_bars: dict[float, list[Bar]] = {duration: [] for duration in durations}
        self.late_events: dict[float, int] = dict.fromkeys(durations, 0)  # not yet told in a bar


class Twin:
    """The whole engine, slowly. `config` holds the keys of section 7; a missing one has its default.

    Attributes: `hf` and `bars`, rows as column -> value (None for null, times in ms), each with its `_scale` for
    `compare_rows`; `rejects`, (reason, line) in order; `counts`, as in the summary of a run.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.settings = Settings.from_config(config)
        self.hf: list[dict[str, Any]] = []
        self.bars: list[dict[str, Any]] = []
        self.rejects: list[tuple[str, bytes]] = []
        self._histories: dict[tuple[str, str], History] = {}
        self._tally: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, Any]:
        """The counts of a run's summary; `rejected` maps a reason to its number."""
        names = ("records", "books", "trades", "duplicates", "invalid_books", "late_events")
        of_trades = ("duplicate_trades", "bad_trades")
        still_open = [bar for history in self._histories.values() for bar in chain(*history.open_bars.values())]
        return {
            **{name: self._tally[name] for name in (*names, *of_trades)},
            "rejected": dict(Counter(reason for reason, _ in self.rejects)),
            "symbols": len(self._histories),
            "open_bars": sum(bar.is_written for bar in still_open),
        }

    def feed(self, line: bytes) -> None:
        """Takes one raw line without its newline; an empty or blank one is no record."""
        if not line.strip(BLANKS):
            return
        self._tally["records"] += 1
        try:
            record = read_record(line)
            if isinstance(record, Book):
                self._take_book(record)
            else:
                self._take_trades(record)
        except RejectError as refused:
            self.rejects.append((refused.reason, line))

    def flush(self) -> None:
        """Closes every bar that has begun; what falls in one of them later is a late event."""
        for history in self._histories.values():
            if history.stream_time is not None:
                history.flushed_at = history.stream_time
                self._close_bars(history, "flush")

    # Section 1: the checks that need the clock and the symbol's last book, in their order.

    def _take_book(self, book: Book) -> None:
        time, last = book.event_time, self._last_book(book)
        if time is None:
            raise RejectError("no_timestamp")
        if self._is_future(time, book.collected_at):
            raise RejectError("future")
        if last is not None and book.nonce is not None and last == (time, book.nonce):
            self._tally["duplicates"] += 1
            return
        if last is not None and time < last[0]:
            raise RejectError("late")
        history = self._history(book)
        history.last_book = (time, book.nonce)
        self._tally["books"] += 1
        if book.valid:
            self._apply_valid(history, book, time)
        else:
            self._apply_invalid(history, time)
        self._advance(history, time)

    def _last_book(self, book: Book) -> tuple[int, int | None] | None:
        history = self._histories.get((book.exchange, book.symbol))
        return history.last_book if history else None

    def _is_future(self, time: int, collected_at: int | None) -> bool:
        """More than `max_ahead` after `collected_at`; without one there is nothing to hold it against."""
        return collected_at is not None and time > collected_at + milliseconds(self.settings.max_ahead)

    def _history(self, record: Book | TradeMessage) -> History:
        key = (record.exchange, record.symbol)
        if key not in self._histories:
            self._histories[key] = History(*key, durations=self.settings.bar_durations)
        return self._histories[key]

    def _take_trades(self, message: TradeMessage) -> None:
        history = self._history(message)
        self._tally["trades"] += 1
        for trade in message.trades:  # one after the other, each moving stream time
            self._take_trade(history, trade, message.collected_at)

    def _take_trade(self, history: History, trade: Trade, collected_at: int | None) -> None:
        fill = self._fill_of(trade, collected_at, history)
        if fill is None:  # checked before duplication
            self._tally["bad_trades"] += 1
            return
        if trade.id is not None:
            if trade.id in history.trade_ids[-IDS_REMEMBERED:]:  # a repeat does not refresh its place
                self._tally["duplicate_trades"] += 1
                return
            history.trade_ids.append(trade.id)
        history.fills.append(fill)
        for bar in self._bars_at(history, fill.time):
            bar.fills.append(fill)
        self._advance(history, fill.time)

    def _fill_of(self, trade: Trade, collected_at: int | None, history: History) -> Fill | None:
        """The trade in its place in time; None for a bad one."""
        time = collected_at if trade.timestamp is None else trade.timestamp
        if time is None or self._is_future(time, collected_at):
            return None
        if not is_positive(trade.price) or not is_positive(trade.amount):
            return None
        window_time = max([time, *(fill.window_time for fill in history.fills[-1:])])
        return Fill(time, window_time, trade.side, trade.price, trade.amount)

    # Books: valid ones make updates and feature rows, invalid ones are counted and nothing else.

    def _apply_valid(self, history: History, book: Book, time: int) -> None:
        last = history.updates[-1] if history.updates else None
        update = update_of(book, time, last, self.settings.gap_reset_ms)
        history.updates.append(update)
        history.updates_since_row += 1
        for bar in self._bars_at(history, time):
            bar.updates.append(update)
        if self._begins_bucket(history, time):
            self._write_row(history, update)

    def _apply_invalid(self, history: History, time: int) -> None:
        self._tally["invalid_books"] += 1
        history.invalid_since_row += 1
        for bar in self._bars_at(history, time):
            bar.invalid_books += 1

    def _begins_bucket(self, history: History, time: int) -> bool:
        """Section 5: the first valid book in each bucket of event time; interval 0 means every book."""
        interval_ms = milliseconds(self.settings.hf_emit_interval)
        if interval_ms == 0:
            return True
        is_first = time // interval_ms != history.last_bucket
        history.last_bucket = time // interval_ms
        return is_first

    def _write_row(self, history: History, update: Update) -> None:
        """Section 5: header, sections 3 and 4, and what happened since the previous row."""
        book, cells = update.book, Cells()
        has_clock = book.timestamp is not None
        latency = book.collected_at - update.time if has_clock and book.collected_at is not None else None
        cells.put("exchange", book.exchange)
        cells.put("symbol", book.symbol)
        cells.put("timestamp", update.time)
        cells.put("collected_at", book.collected_at)
        cells.put("latency_ms", latency)
        cells.put("exchange_clock", has_clock)
        cells.put("nonce", book.nonce)
        cells.put("generation", 0)
        put_structure(cells, book, self.settings)
        put_update(cells, update)
        put_windows(cells, history.updates, history.fills, self.settings)
        put_regime(cells, history.updates, self.settings)
        cells.put("updates", history.updates_since_row)
        cells.put("invalid_books", history.invalid_since_row)
        history.updates_since_row = history.invalid_since_row = 0
        self.hf.append(cells.row())

    # Section 6: which bar an event falls in, and when bars close.

    def _bars_at(self, history: History, time: int) -> list[Bar]:
        """The open bar of each duration in which the time falls; a closed one makes it a late event instead."""
        falls_in = []
        for duration, bars in history.open_bars.items():
            length = milliseconds(duration)
            start = time // length * length
            if self._is_closed(history, start, start + length):
                history.late_events[duration] += 1
                self._tally["late_events"] += 1
                continue
            if not any(bar.start == start for bar in bars):
                bars.append(Bar(duration, start))
            falls_in += [bar for bar in bars if bar.start == start]
        return falls_in

    def _is_closed(self, history: History, start: int, end: int) -> bool:
        """Whether or not anything ever fell in it: stream time has passed end + grace, or it had begun at a flush."""
        passed = history.stream_time is not None and history.stream_time >= end + milliseconds(self.settings.bar_grace)
        return passed or (history.flushed_at is not None and start <= history.flushed_at)

    def _advance(self, history: History, time: int) -> None:
        """Stream time: the largest event time of accepted books and trades, this one included."""
        history.stream_time = time if history.stream_time is None else max(history.stream_time, time)
        self._close_bars(history, "time")

    def _close_bars(self, history: History, reason: str) -> None:
        for duration, bars in history.open_bars.items():
            closing = [bar for bar in bars if self._is_closed(history, bar.start, bar.end)]
            history.open_bars[duration] = [bar for bar in bars if bar not in closing]
            for bar in sorted(closing, key=lambda bar: bar.start):
                if bar.is_written:
                    self._write_bar(history, bar, reason)

    def _write_bar(self, history: History, bar: Bar, reason: str) -> None:
        late_events = history.late_events[bar.duration]
        history.late_events[bar.duration] = 0
        closing = Closing(history.exchange, history.symbol, bool(history.fills), late_events, reason)
        self.bars.append(bar_row(bar, closing))
