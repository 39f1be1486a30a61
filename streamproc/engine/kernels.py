"""The engine's kernels: a record into its symbol's state and out as rows, and the loop over the lines of a chunk."""

from streamproc.bars import (
    SymbolBars,
    add_book_to_bars,
    add_invalid_to_bars,
    add_trade_to_bars,
    advance_stream,
    close_idle_bars,
    flush_bars,
)
from streamproc.engine.output import FUTURE, LATE, NO_TIMESTAMP, Output
from streamproc.engine.symbols import UNKNOWN, Names, find
from streamproc.features.flow import advance_books, advance_trades, flow_words, release_trades
from streamproc.features.structural import mid_price, structure
from streamproc.features.windows import Scratch
from streamproc.jit import Bytes, Ints, Struct, hot_kernel, inlined, kernel, load_u8, part, prefetch
from streamproc.parse.record import ABSENT_TIME, BOOK, Record
from streamproc.parse.scan import first_members, from_data
from streamproc.parse.tokens import DECLINED, NEWLINE, skip_blanks
from streamproc.schema import LINE_WORD, LOCKED, NULL_INT, SYMBOL_WORD, RowBuffer, word
from streamproc.state.layout import ARRIVED, CHANGED, LEFT, PAGE, Arrays, Params
from streamproc.state.trade_ids import is_remembered, remember_id

DONE, DECLINED_LINE, NEW_SYMBOL, NO_ROOM = range(4)
"""Why `process` came back: the chunk is done; the reference parser must take the line; the symbol must be registered;
buffers or pools must grow."""

TIMESTAMP, COLLECTED_AT, LATENCY = word("hf", "timestamp"), word("hf", "collected_at"), word("hf", "latency_ms")
EXCHANGE_CLOCK, NONCE, GENERATION = word("hf", "exchange_clock"), word("hf", "nonce"), word("hf", "generation")
FLAGS, UPDATES, INVALID_BOOKS = word("hf", "book_flags"), word("hf", "updates"), word("hf", "invalid_books")
INFINITY = float("inf")


@inlined
def reject(out: Output, line: int, start: int, end: int, reason: int, t: int, limit: int) -> None:
    """Put a line among the rejected ones."""
    rejected = out.rejected[out.counts[0].rejected]
    out.counts[0].rejected += 1
    rejected.line = line
    rejected.start = start
    rejected.end = end
    rejected.reason = reason
    rejected.t = t
    rejected.limit = limit


@part
def is_future(t: int, collected_at: int, ahead: int) -> bool:
    """Whether a time is more than `ahead` ms after the receive time, as far as that is known."""
    return collected_at != ABSENT_TIME and t > collected_at + ahead


@inlined
def timely(envelope: Struct, params: Params, out: Output, line: int, start: int, end: int) -> bool:
    """Whether a book has an event time, not in the future: what needs no state. A trades message always passes."""
    if envelope.kind != BOOK:
        return True
    t, collected_at = envelope.timestamp, envelope.collected_at
    if max(t, collected_at) == ABSENT_TIME:
        reject(out, line, start, end, NO_TIMESTAMP, 0, 0)
        return False
    if is_future(t, collected_at, params.ahead):
        reject(out, line, start, end, FUTURE, t, collected_at)
        return False
    return True


@inlined
def has_room(envelope: Struct, arrays: Arrays, params: Params, out: Output) -> bool:
    """Whether rows, pages and slots suffice for whatever one record can need."""
    trades = 0 if envelope.kind == BOOK else envelope.trades
    counts = out.counts[0]
    roomy: bool = (
        counts.hf < len(out.hf.ints)
        and counts.rejected < len(out.rejected)
        and counts.bars + bar_rows(trades, params) <= len(out.bars.ints)
        and arrays.books.free[LEFT] > 0
        and arrays.trades.free[LEFT] > trades // PAGE + 1
        and arrays.ids.free[LEFT] > trades // PAGE + 1
    )
    return roomy


@inlined
def bar_rows(trades: int, params: Params) -> int:
    """Most bars that a record can close: two a duration and event."""
    return (trades + 1) * 2 * len(params.durations)


@part
def write_row(
    arrays: Arrays,
    symbol: int,
    t: int,
    record: Record,
    r: float,
    e: float,
    gap: int,
    params: Params,
    line: int,
    scratch: Scratch,
    rows: RowBuffer,
) -> None:
    """A feature row of a valid book."""
    envelope = record.envelope[0]
    head = arrays.head[symbol]
    row = rows.counts[0].hf
    rows.counts[0].hf += 1
    doubles = rows.doubles[row]
    ints = rows.ints[row]
    collected_at = envelope.collected_at
    clock = envelope.timestamp != ABSENT_TIME
    ints[SYMBOL_WORD] = symbol
    ints[LINE_WORD] = line
    ints[TIMESTAMP] = t
    ints[COLLECTED_AT] = NULL_INT if collected_at == ABSENT_TIME else collected_at
    ints[LATENCY] = collected_at - t if clock and collected_at != ABSENT_TIME else NULL_INT
    ints[EXCHANGE_CLOCK] = clock
    ints[NONCE] = envelope.nonce
    ints[GENERATION] = head.generation
    structure(record.bids, envelope.bids, record.asks, envelope.asks, params, doubles, ints)
    ints[FLAGS] = envelope.flags | (LOCKED if record.bids[0, 0] == record.asks[0, 0] else 0)
    mid = mid_price(record.bids[0, 0], record.asks[0, 0])
    flow_words(arrays, symbol, t, mid, r, e, gap, params, scratch, doubles, ints)
    ints[UPDATES] = head.updates
    ints[INVALID_BOOKS] = head.invalid
    head.updates = 0
    head.invalid = 0


@inlined
def is_news(envelope: Struct, head: Struct, t: int, out: Output, line: int, start: int, end: int) -> bool:
    """Whether a book is neither a duplicate nor late."""
    if t == head.last_t and envelope.nonce != NULL_INT and envelope.nonce == head.last_nonce:
        out.counts[0].duplicates += 1
        return False
    if t < head.last_t:
        reject(out, line, start, end, LATE, t, head.last_t)
        return False
    return True


@part
def count_invalid(envelope: Struct, counts: Struct) -> None:
    """Count a book that says nothing of a price by what is wrong with it."""
    if envelope.bids == 0 and envelope.asks == 0:
        counts.empty_books += 1
    elif envelope.bids == 0 or envelope.asks == 0:
        counts.one_sided_books += 1
    else:
        counts.crossed_books += 1


@inlined
def take_book(
    arrays: Arrays,
    symbol: int,
    record: Record,
    params: Params,
    line: int,
    start: int,
    end: int,
    scratch: Scratch,
    out: Output,
) -> None:
    """A timely book into its symbol's state."""
    envelope = record.envelope[0]
    head = arrays.head[symbol]
    counts = out.counts[0]
    t = envelope.timestamp if envelope.timestamp != ABSENT_TIME else envelope.collected_at
    if not is_news(envelope, head, t, out, line, start, end):
        return
    counts.books += 1
    head.accepted = 1
    head.last_t = t
    head.last_nonce = envelope.nonce
    own = SymbolBars(symbol, head, arrays.bars[symbol], arrays.closes[symbol])
    advance_stream(own, t, params, line, out.bars)
    bids, asks = record.bids, record.asks
    if envelope.bids == 0 or envelope.asks == 0 or bids[0, 0] > asks[0, 0]:
        count_invalid(envelope, counts)
        head.invalid += 1
        add_invalid_to_bars(own, t, params, out.bars)
        return
    r, e, gap = advance_books(arrays.books, head, t, bids, asks, params)
    release_trades(arrays.trades, head, t, params)
    head.updates += 1
    add_book_to_bars(own, t, bids, asks, r, e, params, out.bars)
    bucket = t // params.emit if params.emit > 0 else head.bucket + 1
    if bucket != head.bucket:
        head.bucket = bucket
        write_row(arrays, symbol, t, record, r, e, gap, params, line, scratch, out.hf)


@inlined
def take_trades(arrays: Arrays, symbol: int, record: Record, params: Params, line: int, out: Output) -> None:
    """A trades message into its symbol's state."""
    envelope = record.envelope[0]
    head = arrays.head[symbol]
    counts = out.counts[0]
    own = SymbolBars(symbol, head, arrays.bars[symbol], arrays.closes[symbol])
    chains = arrays.chains[symbol]
    counts.trades += 1
    head.accepted = 1
    collected_at = envelope.collected_at
    for k in range(envelope.trades):
        trade = record.trades[k]
        t = trade.timestamp if trade.timestamp != ABSENT_TIME else collected_at
        # Written so that NaN and infinity fail too.
        whole = 0.0 < trade.price < INFINITY and 0.0 < trade.amount < INFINITY
        if t == ABSENT_TIME or is_future(t, collected_at, params.ahead) or not whole:
            counts.bad_trades += 1
        elif is_remembered(arrays.ids, chains, trade.id_low, trade.id_high):
            counts.duplicate_trades += 1
        else:
            remember_id(arrays.ids, head, chains, trade.id_low, trade.id_high)
            advance_trades(arrays.trades, head, t, trade.amount, trade.side, params)
            advance_stream(own, t, params, line, out.bars)
            add_trade_to_bars(own, t, trade.price, trade.amount, trade.side, params, out.bars)


@part
def line_end(data: Bytes, i: int) -> int:
    """Position of the newline that ends the line at i."""
    while load_u8(data, i) != NEWLINE:
        i += 1
    return i


@inlined
def scan_line(data: Bytes, i: int, names: Names, arrays: Arrays, record: Record) -> tuple[int, int]:
    """Scan the line at i: (position of its newline or `DECLINED`, its symbol or `UNKNOWN`).

    Where the names come before the levels, as they do as a rule, the symbol's state is on its way to the cache while
    these are scanned.
    """
    envelope = record.envelope[0]
    i = first_members(data, i, record)
    if i < 0:
        return DECLINED, UNKNOWN
    symbol = UNKNOWN
    exchange_start, symbol_start = envelope.exchange_start, envelope.symbol_start
    if envelope.exchange_size > 0 and envelope.symbol_size > 0:
        symbol = find_named(names, data, envelope)
        if symbol != UNKNOWN:
            prefetch(arrays.head, symbol)
            prefetch(arrays.closes, symbol)
            prefetch(arrays.bars, symbol)
    end = from_data(data, i, record)
    renamed = envelope.exchange_start != exchange_start or envelope.symbol_start != symbol_start
    if end >= 0 and (renamed or symbol == UNKNOWN):
        symbol = find_named(names, data, envelope)
    return end, symbol


@part
def find_named(names: Names, data: Bytes, envelope: Struct) -> int:
    """The symbol that a scanned line names, or `UNKNOWN`."""
    exchange, size = envelope.exchange_start, envelope.exchange_size
    return find(names, data, exchange, size, envelope.symbol_start, envelope.symbol_size)


@hot_kernel
def process(
    data: Bytes,
    position: int,
    size: int,
    line: int,
    parsed: int,
    names: Names,
    arrays: Arrays,
    params: Params,
    record: Record,
    scratch: Scratch,
    out: Output,
) -> tuple[int, int, int, int]:
    """Take lines from `position` on until the end or something that needs Python.

    It returns (why, position, end of the line, line). `parsed` is the symbol of the first line where the reference
    parser has filled the record with it and room is made, else `UNKNOWN`.
    """
    envelope = record.envelope[0]
    while position < size:
        begin = skip_blanks(data, position)
        if load_u8(data, begin) == NEWLINE:
            position = begin + 1
            line += 1
            continue
        if parsed != UNKNOWN:
            end, symbol = line_end(data, position), parsed
        else:
            end, symbol = scan_line(data, begin, names, arrays, record)
        if end < 0:
            return DECLINED_LINE, position, line_end(data, position), line
        if not has_room(envelope, arrays, params, out):
            return NO_ROOM, position, end, line
        if timely(envelope, params, out, line, position, end):
            if symbol == UNKNOWN:
                return NEW_SYMBOL, position, end, line
            arrays.dirty[symbol] = ARRIVED | CHANGED
            if envelope.kind == BOOK:
                take_book(arrays, symbol, record, params, line, position, end, scratch, out)
            else:
                take_trades(arrays, symbol, record, params, line, out)
        parsed = UNKNOWN
        position = end + 1
        line += 1
    return DONE, position, position, line


@kernel
def flush(first: int, last: int, arrays: Arrays, params: Params, rows: RowBuffer) -> None:
    """Close the open bars of the symbols [first, last)."""
    for symbol in range(first, last):
        own = SymbolBars(symbol, arrays.head[symbol], arrays.bars[symbol], arrays.closes[symbol])
        flush_bars(own, params, -1, rows)
        arrays.dirty[symbol] |= CHANGED


@kernel
def close_idle(first: int, last: int, idle_ms: Ints, arrays: Arrays, params: Params, rows: RowBuffer) -> None:
    """Close the bars of the symbols [first, last) that have been silent for `idle_ms` ms, each its own."""
    for symbol in range(first, last):
        before = arrays.head[symbol].stream_t
        own = SymbolBars(symbol, arrays.head[symbol], arrays.bars[symbol], arrays.closes[symbol])
        close_idle_bars(own, idle_ms[symbol], params, -1, rows)
        if arrays.head[symbol].stream_t != before:
            arrays.dirty[symbol] |= CHANGED
