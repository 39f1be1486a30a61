"""From a market to chunks of NDJSON: the kernel that lets events happen and writes each as a line."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from streamproc.jit import kernel
from streamproc.simulate.arrivals import schedule_next, sift_down
from streamproc.simulate.book import I64, MAX_FILLS, Books, Records, market_order, open_books, update_book
from streamproc.simulate.draws import Int, random_bits
from streamproc.simulate.lines import line_room, phrases, write_book, write_trades
from streamproc.simulate.listing import SELF_EXCITED_SHARE, Instrument, instrument_terms
from streamproc.simulate.market import Market
from streamproc.simulate.text import Bytes

CHUNK_BYTES = 1 << 20

BOOK, TRADES = 0, 1

LINE = np.dtype(
    [
        ("end", np.int64),  # where the line ends in the chunk, its line feed included
        ("kind", np.int64),  # BOOK or TRADES
        ("symbol", np.int64),  # index of the instrument
        ("time_ms", np.int64),
        ("arrival_ms", np.int64),  # collected_at
        ("next_ms", np.int64),  # no later event of this symbol lies before this
    ]
)
"""What is known about a written line without parsing it."""

_SHORTEST_LINE_BYTES = 200


class Chunk(NamedTuple):
    """Some whole lines: their bytes, and LINE records of shape (lines,)."""

    data: bytes
    lines: Records


class Calendar(NamedTuple):
    """The symbols' pending events, earliest arrival first.

    heap : int64, shape (symbols,), arrival in microseconds above the symbol's index.
    pending : int64, shape (1,), how many symbols still have one.
    """

    heap: I64
    pending: I64


class Span(NamedTuple):
    """The market's time, and how the calendar's entries are packed."""

    start_ms: int
    end_us: int
    symbol_bits: int


class Fills(NamedTuple):
    """Scratch for the fills of one market order: prices in units, lots; shape (MAX_FILLS,)."""

    prices: I64
    lots: I64


def chunks(market: Market, listed: list[Instrument], chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """The market's lines in order of arrival, in chunks of about `chunk_bytes`; how they are cut changes no line."""
    terms = instrument_terms(listed, market)
    books = open_books(terms, market.levels, market.seed)
    excited_over_base = SELF_EXCITED_SHARE / (1 - SELF_EXCITED_SHARE)
    books.states["excited_q16"] = (terms["base_rate_q32"] * excited_over_base).astype(np.int64) >> 16
    words = phrases(listed)
    fills = Fills(np.zeros(MAX_FILLS, dtype=np.int64), np.zeros(MAX_FILLS, dtype=np.int64))
    span = Span(market.start_ms, round(market.seconds * 1_000_000), market.symbol_bits)
    out = np.empty(chunk_bytes + line_room(market.levels), dtype=np.uint8)
    lines = np.zeros(chunk_bytes // _SHORTEST_LINE_BYTES + 1, dtype=LINE)
    calendar = _calendar(books, span)
    while True:
        count = run_market(books, calendar, span, words, fills, out, lines, chunk_bytes)
        if count == 0:
            return
        yield Chunk(out[: lines[count - 1]["end"]].tobytes(), lines[:count].copy())


def _calendar(books: Books, span: Span) -> Calendar:
    """The first event of each symbol that has one in time; sorted, and so a heap."""
    for symbol in range(len(books.terms)):
        schedule_next(books, symbol)
    entries = books.states["arrival_us"] << span.symbol_bits | np.arange(len(books.terms))
    heap = np.sort(entries[books.states["event_us"] < span.end_us])
    return Calendar(heap, np.array([len(heap)], dtype=np.int64))


@kernel
def run_market(
    books: Any, calendar: Any, span: Any, words: Any, fills: Any, out: Bytes, lines: Records, chunk_bytes: Int
) -> Int:
    """Write lines until `chunk_bytes` are reached or nothing happens any more; returns their number."""
    heap = calendar.heap
    at, count = np.int64(0), 0
    while calendar.pending[0] > 0 and at < chunk_bytes and count < len(lines):
        symbol = heap[0] & ((1 << span.symbol_bits) - 1)
        state, line = books.states[symbol], lines[count]
        line.symbol = symbol
        line.time_ms = span.start_ms + state.event_us // 1000
        line.arrival_ms = span.start_ms + state.arrival_us // 1000
        if (random_bits(books.random, symbol) & 0xFFFF) < books.terms[symbol].trade_share_q16:
            signed_count = market_order(books, symbol, fills.prices, fills.lots)
            line.kind = TRADES
            at = write_trades(books, symbol, words, fills, signed_count, out, at, line.time_ms, line.arrival_ms)
        else:
            update_book(books, symbol)
            line.kind = BOOK
            at = write_book(books, symbol, words, out, at, line.time_ms, line.arrival_ms)
        schedule_next(books, symbol)
        line.next_ms = span.start_ms + state.event_us // 1000
        line.end = at
        count += 1
        if state.event_us < span.end_us:
            heap[0] = state.arrival_us << span.symbol_bits | symbol
        else:
            calendar.pending[0] -= 1
            heap[0] = heap[calendar.pending[0]]
        sift_down(heap, calendar.pending[0])
    return count
