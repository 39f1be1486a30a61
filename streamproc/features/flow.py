"""Flow: what needs memory. Returns, order-flow imbalance, trades, the spread's regime, and their windows."""

import math

import numpy as np

from streamproc.features.structural import BAND_COLUMNS, LEVEL_COLUMNS, NAN, finite, mid_price, relative
from streamproc.features.windows import Scratch, book_window, move_cursor, move_trade_cursor, trade_window
from streamproc.jit import Doubles, Ints, Struct, inlined, part
from streamproc.schema import HF_HORIZON, LEVELS_WORD, NULL_INT, word
from streamproc.state.layout import NONE, PAGE, Arrays, Params, Pool
from streamproc.state.pages import (
    append_book,
    append_trade,
    drop_first,
    live_pages,
    restart_books,
    trim_books,
    trim_trades,
)

LOG_RETURN, OFI, GAP = word("hf", "log_return"), word("hf", "ofi"), word("hf", "gap_ms")
REGIME, TIGHT_FRACTION = word("hf", "spread_regime"), word("hf", "tight_frac_{w}s")
HORIZON_COLUMNS = len(HF_HORIZON)

WAITING_PAGES, MOST_WAITING_PAGES = 2048, 32_768
"""Trades wait for books to reach them. From 65,536 since the last book on those are dropped that a book at the newest
trade's time would not see in any window, from 1,048,576 on the oldest too: memory is bounded also without books, or
with an absurd time."""


@part
def log_return(mid: float, mid_before: float) -> float:
    """ln(mid / mid_before), the quotient first."""
    return finite(math.log(mid / mid_before))


@part
def order_flow(head: Struct, bid: float, bid_size: float, ask: float, ask_size: float) -> float:
    """Order-flow imbalance of one update at the best level (Cont, Kukanov, Stoikov, arXiv 1011.6402)."""
    e = 0.0
    if bid >= head.bid:
        e += bid_size
    if bid <= head.bid:
        e -= head.bid_size
    if ask <= head.ask:
        e -= ask_size
    if ask >= head.ask:
        e += head.ask_size
    return finite(e)


@inlined
def advance_books(
    pool: Pool, head: Struct, t: int, bids: Doubles, asks: Doubles, params: Params
) -> tuple[float, float, int]:
    """Take a valid book into the ring: (r, e, gap in ms). Across a gap nothing is computed; the segment starts anew."""
    bid, bid_size, ask, ask_size = bids[0, 0], bids[0, 1], asks[0, 0], asks[0, 1]
    mid = mid_price(bid, ask)
    r = NAN
    e = NAN
    gap = NULL_INT if head.valid_t == NONE else t - head.valid_t
    spent_tight = 0
    if head.valid_t == NONE or gap > params.gap:
        restart_books(pool, head)
        head.first_t = t
    else:
        spent_tight = (head.tight >> 1) + (head.tight & 1) * gap
        r = log_return(mid, mid_price(head.bid, head.ask))
        e = order_flow(head, bid, bid_size, ask, ask_size)
    tight = relative(ask - bid, mid) <= params.tight_threshold
    if head.books.head % PAGE == 0:
        trim_books(pool, head, t - params.longest)
    head.tight = (spent_tight << 1) | tight
    append_book(pool, head, t, mid, r, e, head.tight)
    head.valid_t = t
    head.bid = bid
    head.bid_size = bid_size
    head.ask = ask
    head.ask_size = ask_size
    return r, e, gap


@inlined
def release_trades(pool: Pool, head: Struct, t: int, params: Params) -> None:
    """Drop the trades that no window from the valid book at t on will hold."""
    trim_trades(pool, head, t - params.horizons[-1])
    head.pages_at_book = live_pages(head.trades)


@inlined
def advance_trades(pool: Pool, head: Struct, t: int, amount: float, side: int, params: Params) -> None:
    """Take an accepted trade into the ring, its time made non-decreasing."""
    ring = head.trades
    head.traded = 1
    head.trade_t = max(head.trade_t, t)
    if ring.head % PAGE == 0 and live_pages(ring) >= head.pages_at_book + WAITING_PAGES:
        trim_trades(pool, head, head.trade_t - params.horizons[-1])
        if live_pages(ring) >= head.pages_at_book + MOST_WAITING_PAGES:
            drop_first(ring, pool.links, pool.free)
    append_trade(pool, head, head.trade_t, amount, side)


@part
def tight_fraction(pool: Pool, head: Struct, cursor: Struct, t: int, params: Params) -> float:
    """Share of the time in (max(t - w, first), t] spent in tight, counted in whole ms; null when that is empty."""
    move_cursor(pool, head, cursor, t - params.regime)
    begin: int = max(t - params.regime, head.first_t)
    if begin == t:
        return NAN
    until_t: int = head.tight >> 1
    if cursor.before == 0:
        return until_t / (t - begin)
    until_begin: int = (cursor.tight >> 1) + (cursor.tight & 1) * (begin - cursor.t)
    return (until_t - until_begin) / (t - begin)


@part
def book_horizon(
    pool: Pool, head: Struct, cursor: Struct, t: int, horizon: int, mid: float, total: Struct, doubles: Doubles, at: int
) -> None:
    """Return, volatility, variance and order-flow imbalance over one horizon into words `at` to `at + 3`."""
    move_cursor(pool, head, cursor, t - horizon)
    book_window(pool, head, cursor, total)
    doubles[at] = log_return(mid, cursor.mid) if cursor.before else NAN
    doubles[at + 1] = finite(math.sqrt(total.deviation / (total.n - 1))) if total.n >= 2 else NAN
    doubles[at + 2] = finite(total.rr) if total.n >= 1 else NAN
    doubles[at + 3] = finite(total.ofi) if total.ofi_n >= 1 else NAN


@part
def trade_horizon(
    pool: Pool, head: Struct, cursor: Struct, edge: int, reached: Struct, total: Struct, doubles: Doubles, at: int
) -> None:
    """Volume and imbalance of the trades later than `edge` and reached into words `at` and `at + 1`."""
    move_trade_cursor(pool, head, cursor, edge)
    trade_window(pool, cursor, reached.seq, total)
    doubles[at] = finite(total.volume) if head.traded else NAN
    doubles[at + 1] = relative(total.buy - total.sell, total.buy + total.sell)


@part
def flow_words(
    arrays: Arrays,
    symbol: int,
    t: int,
    mid: float,
    r: float,
    e: float,
    gap: int,
    params: Params,
    scratch: Scratch,
    doubles: Doubles,
    ints: Ints,
) -> None:
    """All columns of a row that need memory. The newest element of the ring is the row's own book."""
    head = arrays.head[symbol]
    cursors, trade_cursors = arrays.cursors[symbol], arrays.trade_cursors[symbol]
    horizons = len(params.horizons)
    doubles[LOG_RETURN] = r
    doubles[OFI] = e
    ints[GAP] = gap
    ints[REGIME] = head.tight & 1
    doubles[TIGHT_FRACTION] = tight_fraction(arrays.books, head, cursors[horizons], t, params)
    reached = trade_cursors[horizons]
    move_trade_cursor(arrays.trades, head, reached, t)
    at = LEVELS_WORD + LEVEL_COLUMNS * params.levels + BAND_COLUMNS * len(params.bands)
    for k in range(horizons):
        horizon = params.horizons[k]
        book_horizon(arrays.books, head, cursors[k], t, horizon, mid, scratch.books[0], doubles, at)
        trade_horizon(arrays.trades, head, trade_cursors[k], t - horizon, reached, scratch.trades[0], doubles, at + 4)
        ints[at + 6] = np.int64(t - head.first_t >= horizon)
        at += HORIZON_COLUMNS
