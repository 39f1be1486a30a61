"""BarBuilder: bars [k d, (k + 1) d) of event time for each duration d.

They are kept open until the stream time has passed their end by the grace. At most two bars a duration are open,
because the grace is at most the shortest bar and the bars that an event closes are closed before it is added to its
own, which it cannot close.
"""

from typing import NamedTuple

import numpy as np

from streamproc.features.structural import NAN, finite, imbalance, mid_price, relative
from streamproc.jit import Doubles, Struct, StructArray, inlined, part
from streamproc.parse.record import BUY, SELL
from streamproc.schema import BAR_REASONS, LINE_WORD, SYMBOL_WORD, RowBuffer, word
from streamproc.state.layout import NONE, Params

TIME, IDLE, FLUSH = (BAR_REASONS.index(reason) for reason in ("time", "idle", "flush"))


def _word(name: str) -> int:
    return word("bars", name)


START, END, DURATION, GENERATION = _word("timestamp"), _word("bar_end"), _word("duration"), _word("generation")
OPEN, HIGH, LOW, CLOSE = _word("open"), _word("high"), _word("low"), _word("close")
VOLUME, BUY_VOLUME, SELL_VOLUME = _word("volume"), _word("buy_volume"), _word("sell_volume")
TRADE_COUNT, VWAP = _word("trade_count"), _word("vwap")
MEAN_SPREAD, MIN_SPREAD, MAX_SPREAD = _word("mean_spread"), _word("min_spread"), _word("max_spread")
MEAN_RELATIVE, MEAN_IMBALANCE = _word("mean_relative_spread"), _word("mean_imbalance_L1")
SUM_OFI, REALIZED_VARIANCE = _word("sum_ofi"), _word("realized_variance")
COUNT, INVALID, LATE = _word("count"), _word("invalid_books"), _word("late_events")
REASON, MAX_GAP = _word("bar_reason"), _word("max_gap_ms")


class SymbolBars(NamedTuple):
    """One symbol's part of the state that bars are built in. D durations."""

    symbol: int
    head: Struct  # HEAD
    bars: StructArray  # (D, 2) BAR
    closes: StructArray  # (D,) CLOSE


@part
def begin_bar(bar: Struct, index: int) -> None:
    """An empty open bar."""
    bar.index = index
    bar.open = NAN
    bar.high = NAN
    bar.low = NAN
    bar.close = NAN
    bar.volume = 0.0
    bar.buy_volume = 0.0
    bar.sell_volume = 0.0
    bar.notional = 0.0
    bar.trades = 0
    bar.spread_sum = 0.0
    bar.spread_min = NAN
    bar.spread_max = NAN
    bar.relative_sum = 0.0
    bar.imbalance_sum = 0.0
    bar.ofi_sum = 0.0
    bar.ofi_count = 0
    bar.rr_sum = 0.0
    bar.rr_count = 0
    bar.count = 0
    bar.invalid = 0
    bar.last_t = NONE
    bar.max_gap = 0


@part
def write_bar(own: SymbolBars, bar: Struct, duration: int, line: int, reason: int, late: int, out: RowBuffer) -> None:
    """A closed bar as a row."""
    row = out.counts[0].bars
    out.counts[0].bars += 1
    doubles = out.doubles[row]
    ints = out.ints[row]
    start = bar.index * duration
    ints[SYMBOL_WORD] = own.symbol
    ints[LINE_WORD] = line
    ints[START] = start
    ints[END] = start + duration
    doubles[DURATION] = duration / 1000
    ints[GENERATION] = own.head.generation
    doubles[OPEN] = finite(bar.open)
    doubles[HIGH] = finite(bar.high)
    doubles[LOW] = finite(bar.low)
    doubles[CLOSE] = finite(bar.close)
    doubles[VOLUME] = finite(bar.volume) if own.head.traded else NAN
    doubles[BUY_VOLUME] = finite(bar.buy_volume) if own.head.traded else NAN
    doubles[SELL_VOLUME] = finite(bar.sell_volume) if own.head.traded else NAN
    ints[TRADE_COUNT] = bar.trades
    doubles[VWAP] = relative(bar.notional, bar.volume) if bar.trades else NAN
    doubles[MEAN_SPREAD] = relative(bar.spread_sum, bar.count)
    doubles[MIN_SPREAD] = finite(bar.spread_min)
    doubles[MAX_SPREAD] = finite(bar.spread_max)
    doubles[MEAN_RELATIVE] = relative(bar.relative_sum, bar.count)
    doubles[MEAN_IMBALANCE] = relative(bar.imbalance_sum, bar.count)
    doubles[SUM_OFI] = finite(bar.ofi_sum) if bar.ofi_count else NAN
    doubles[REALIZED_VARIANCE] = finite(bar.rr_sum) if bar.rr_count else NAN
    ints[COUNT] = bar.count
    ints[INVALID] = bar.invalid
    ints[LATE] = late
    ints[REASON] = reason
    ints[MAX_GAP] = max(bar.max_gap, start + duration - bar.last_t) if bar.count else duration


@part
def close_bar(own: SymbolBars, d: int, slot: int, duration: int, line: int, reason: int, out: RowBuffer) -> None:
    """Close an open bar; it becomes a row when it holds a valid book or a trade."""
    bar = own.bars[d, slot]
    if bar.count > 0 or bar.trades > 0:
        closes = own.closes[d]
        write_bar(own, bar, duration, line, reason, closes.late, out)
        closes.late = 0
    bar.index = NONE


@inlined
def oldest_bar(own: SymbolBars, d: int) -> int:
    """Slot of the older open bar of a duration, NONE when none is open."""
    first, second = own.bars[d, 0].index, own.bars[d, 1].index
    if first == NONE and second == NONE:
        return NONE
    return 0 if second == NONE or (first != NONE and first < second) else 1


@part
def close_until(own: SymbolBars, d: int, end: int, duration: int, line: int, reason: int, out: RowBuffer) -> None:
    """Close the open bars of a duration that end at or before `end`, oldest first."""
    slot = oldest_bar(own, d)
    while slot != NONE and (own.bars[d, slot].index + 1) * duration <= end:
        close_bar(own, d, slot, duration, line, reason, out)
        slot = oldest_bar(own, d)


@inlined
def advance_stream(own: SymbolBars, t: int, params: Params, line: int, out: RowBuffer) -> None:
    """Move the symbol's stream time and close the bars it has passed."""
    head = own.head
    if t <= head.stream_t:
        return
    head.stream_t = t
    for d in range(len(params.durations)):
        close_until(own, d, t - params.grace, params.durations[d], line, TIME, out)


@inlined
def bar_at(own: SymbolBars, d: int, t: int, params: Params, out: RowBuffer) -> int:
    """Slot of the bar that t falls in, opened if need be; NONE when it is closed, which counts as a late event."""
    duration = params.durations[d]
    index = t // duration
    closes = own.closes[d]
    end = (index + 1) * duration
    if end <= closes.flushed or end + params.grace <= own.head.stream_t:
        closes.late += 1
        out.counts[0].late_events += 1
        return NONE
    slot = 0 if own.bars[d, 0].index == index else 1
    if own.bars[d, slot].index != index:
        slot = 0 if own.bars[d, 0].index == NONE else 1
        begin_bar(own.bars[d, slot], index)
    return slot


@part
def add_invalid_to_bars(own: SymbolBars, t: int, params: Params, out: RowBuffer) -> None:
    """Count an invalid book."""
    for d in range(len(params.durations)):
        slot = bar_at(own, d, t, params, out)
        if slot != NONE:
            own.bars[d, slot].invalid += 1


@inlined
def add_book_to_bars(
    own: SymbolBars, t: int, bids: Doubles, asks: Doubles, r: float, e: float, params: Params, out: RowBuffer
) -> None:
    """Add a valid book, the return and the order flow it ends."""
    bid, bid_size, ask, ask_size = bids[0, 0], bids[0, 1], asks[0, 0], asks[0, 1]
    mid = mid_price(bid, ask)
    spread = ask - bid
    for d in range(len(params.durations)):
        slot = bar_at(own, d, t, params, out)
        if slot == NONE:
            continue
        bar = own.bars[d, slot]
        if bar.count == 0:
            bar.open = mid
            bar.high = mid
            bar.low = mid
            bar.spread_min = spread
            bar.spread_max = spread
            bar.max_gap = t - bar.index * params.durations[d]
        else:
            bar.high = max(bar.high, mid)
            bar.low = min(bar.low, mid)
            bar.spread_min = min(bar.spread_min, spread)
            bar.spread_max = max(bar.spread_max, spread)
            bar.max_gap = max(bar.max_gap, t - bar.last_t)
        bar.close = mid
        bar.last_t = t
        bar.count += 1
        bar.spread_sum += spread
        bar.relative_sum += relative(spread, mid)
        bar.imbalance_sum += imbalance(bid_size, ask_size)
        if not np.isnan(e):
            bar.ofi_sum += e
            bar.ofi_count += 1
        if not np.isnan(r):
            bar.rr_sum += r * r
            bar.rr_count += 1


@inlined
def add_trade_to_bars(
    own: SymbolBars, t: int, price: float, amount: float, side: int, params: Params, out: RowBuffer
) -> None:
    """Add a trade at its own time."""
    for d in range(len(params.durations)):
        slot = bar_at(own, d, t, params, out)
        if slot == NONE:
            continue
        bar = own.bars[d, slot]
        bar.volume += amount
        bar.notional += price * amount
        bar.trades += 1
        if side == BUY:
            bar.buy_volume += amount
        elif side == SELL:
            bar.sell_volume += amount


@part
def flush_bars(own: SymbolBars, params: Params, line: int, out: RowBuffer) -> None:
    """Close every bar up to the stream time; what arrives for one of them later is late."""
    stream_t = own.head.stream_t
    if stream_t == NONE:
        return
    for d in range(len(params.durations)):
        duration = params.durations[d]
        end = (stream_t // duration + 1) * duration
        close_until(own, d, end, duration, line, FLUSH, out)
        own.closes[d].flushed = max(own.closes[d].flushed, end)


@part
def close_idle_bars(own: SymbolBars, idle_ms: int, params: Params, line: int, out: RowBuffer) -> None:
    """Close the bars for which the symbol has been silent long enough, moving its stream time past them."""
    head = own.head
    for d in range(len(params.durations)):
        duration = params.durations[d]
        slot = oldest_bar(own, d)
        while slot != NONE:
            end = (own.bars[d, slot].index + 1) * duration
            if idle_ms < max(0, end - head.stream_t) + params.grace + params.idle:
                break
            close_until(own, d, end, duration, line, IDLE, out)
            head.stream_t = max(head.stream_t, end + params.grace)
            slot = oldest_bar(own, d)
