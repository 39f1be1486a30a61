"""Windows after ten million books: every statistic still is what its window's own events give."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.engine import kernels
from streamproc.engine.output import Output, empty_output, with_rows
from streamproc.features.windows import Scratch
from streamproc.jit import kernel
from streamproc.parse.record import BOOK, BUY, SELL, TRADES, Record
from streamproc.schema import LINE_WORD, NULL_INT
from streamproc.state.layout import LEFT, Arrays, Params, empty_arrays, with_pages, with_symbols
from tests.engine_rows import rows_of

BOOKS = 10_000_000
AT_ONCE = 300_000
"""Events of a piece, a sixth of them trades."""

HORIZONS = (1.0, 60.0, 3600.0)
REGIME_MS = 30_000
GAP_MS = 600_000
CONFIG = StateConfig(
    horizons=HORIZONS,
    hf_emit_interval=10.0,
    regime_window=REGIME_MS / 1000,
    gap_reset=GAP_MS / 1000,
    bar_durations=(60.0,),
    max_levels=1,
    bands_bps=(5.0,),
)
PAGES = 3000
"""Room for 96,000 books and as many trades: 2.7 times what the longest window holds. It does not grow."""

EVENT = np.dtype(
    [
        ("t", "i8"),
        ("is_trade", "i8"),
        ("bid", "f8"),
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        ("amount", "f8"),
        ("side", "i8"),
    ]
)
Events = NDArray[np.void]


@kernel
def take_events(
    events: Events, line: int, arrays: Arrays, params: Params, record: Record, scratch: Scratch, out: Output
) -> int:
    """Take events of one symbol while there is room; how many were taken. Line numbers go on from `line`."""
    envelope = record.envelope[0]
    for k in range(len(events)):
        event = events[k]
        envelope.collected_at = event.t
        if event.is_trade:
            envelope.kind = TRADES
            envelope.trades = 1
            record.trades[0].timestamp = event.t
            record.trades[0].price = 1.0
            record.trades[0].amount = event.amount
            record.trades[0].side = event.side
        else:
            envelope.kind = BOOK
            envelope.timestamp = event.t
            envelope.nonce = NULL_INT
            envelope.bids = 1
            envelope.asks = 1
            record.bids[0, 0] = event.bid
            record.bids[0, 1] = event.bid_size
            record.asks[0, 0] = event.ask
            record.asks[0, 1] = event.ask_size
        if not kernels.has_room(envelope, arrays, params, out):
            return k
        if event.is_trade:
            kernels.take_trades(arrays, 0, record, params, line + k, out)
        else:
            kernels.take_book(arrays, 0, record, params, line + k, 0, 0, scratch, out)
    return len(events)


class Market:
    """Books about 100 ms apart, trades between them; prices stay or move by ticks, sizes span twelve orders of ten."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._t = 1_700_000_000_000
        self._ticks = 1_000_000

    def events(self, n: int, *, gap: bool) -> Events:
        """The next events; `gap`: with a long silence in their midst."""
        rng, events = self._rng, np.zeros(n, EVENT)
        steps = rng.integers(0, 168, n)
        steps[n // 3] += 2 * GAP_MS if gap else 0
        times = self._t + np.cumsum(steps)
        ticks = self._ticks + np.cumsum(rng.choice([0, 0, 0, 1, -1, 3, -3], n))
        self._t, self._ticks = int(times[-1]), int(ticks[-1])
        events["is_trade"] = rng.random(n) < 1 / 6
        events["t"] = np.where(events["is_trade"], times + rng.integers(-50, 10, n), times)
        events["bid"] = (ticks - rng.integers(1, 60, n)) / 100
        events["ask"] = (ticks + rng.integers(0, 60, n)) / 100
        for name in ("bid_size", "ask_size", "amount"):
            events[name] = 10 ** rng.uniform(-6, 6, n)
        events["side"] = rng.integers(0, 3, n)
        return events


class OneSymbol:
    """The state of one symbol, with room that does not grow, and the rows of the last piece."""

    def __init__(self, pages: int) -> None:
        arrays = with_symbols(empty_arrays(CONFIG), 1)
        self.arrays = arrays._replace(
            books=with_pages(arrays.books, pages),
            trades=with_pages(arrays.trades, pages),
            ids=with_pages(arrays.ids, 2),
        )
        self.output = with_rows(empty_output(CONFIG), 60_000, 2_000, 1)
        self._record, self._scratch = Record.empty(1, 1), Scratch.empty()
        self._params, self._line = Params.of(CONFIG), 0

    def take(self, events: Events) -> NDArray[np.int64]:
        """Row words of the events, which must all find room."""
        for name in ("hf", "bars", "rejected"):
            self.output.counts[0][name] = 0
        state = (self.arrays, self._params, self._record, self._scratch, self.output)
        assert take_events(events, self._line, *state) == len(events)
        self._line += len(events)
        words: NDArray[np.int64] = self.output.hf.ints
        return words[: self.output.counts[0]["hf"]]


# The last window's events, by themselves


def books_since_gap(events: Events) -> Events:
    """Books of the present stretch without a gap."""
    books: Events = events[events["is_trade"] == 0]
    gaps = np.flatnonzero(np.diff(books["t"]) > GAP_MS)
    return books[gaps[-1] + 1 :] if len(gaps) else books


def flow_terms(books: Events) -> list[float]:
    """The signed sizes whose sum is the order-flow imbalance of all updates from the second book on."""
    now, before = books[1:], books[:-1]
    terms = (
        now["bid_size"][now["bid"] >= before["bid"]],
        -before["bid_size"][now["bid"] <= before["bid"]],
        -now["ask_size"][now["ask"] <= before["ask"]],
        before["ask_size"][now["ask"] >= before["ask"]],
    )
    return [term for part in terms for term in part.tolist()]


def returns_of(mids: list[float]) -> list[float]:
    return [math.log(now / before) for before, now in pairwise(mids)]


def deviation_of(returns: list[float]) -> float:
    mean = math.fsum(returns) / len(returns)
    return math.sqrt(math.fsum((r - mean) ** 2 for r in returns) / (len(returns) - 1))


def near(actual: float, expected: float, relative: float = 1e-9, absolute: float = 0.0) -> None:
    assert abs(actual - expected) <= max(relative * abs(expected), absolute), (actual, expected)


def check_books(row: dict[str, Any], books: Events, horizon: float) -> None:
    """Returns and order flow of the window at the last of the books."""
    name, edge = f"{horizon:g}s", books["t"][-1] - int(horizon * 1000)
    inside = int(np.searchsorted(books["t"], edge, "right"))
    mids = ((books["bid"] + books["ask"]) / 2).tolist()
    returns = returns_of(mids[max(inside, 1) - 1 :])
    assert row[f"warm_{name}"] == (books["t"][0] <= edge)
    assert len(returns) > 2 or horizon < 60
    if inside:
        near(row[f"log_return_{name}"], math.log(mids[-1] / mids[inside - 1]), absolute=1e-15)
    else:
        assert row[f"log_return_{name}"] is None
    if len(returns) > 1:
        near(row[f"realized_vol_{name}"], deviation_of(returns))
    if returns:
        near(row[f"realized_var_{name}"], math.fsum(r * r for r in returns))
        terms = flow_terms(books[max(inside, 1) - 1 :])
        near(row[f"ofi_{name}"], math.fsum(terms), absolute=1e-12 * math.fsum(map(abs, terms)))


def check_trades(row: dict[str, Any], trades: Events, now: int, horizon: float) -> None:
    """Volume and imbalance of the window at `now`."""
    times = np.maximum.accumulate(trades["t"])
    window = trades[(times > now - int(horizon * 1000)) & (times <= now)]
    bought, sold = (math.fsum(window["amount"][window["side"] == side].tolist()) for side in (BUY, SELL))
    near(row[f"trade_vol_{horizon:g}s"], math.fsum(window["amount"].tolist()))
    if bought + sold:
        near(row[f"tfi_{horizon:g}s"], (bought - sold) / (bought + sold), absolute=1e-12)


def check_regime(row: dict[str, Any], books: Events) -> None:
    """Share of the last 30 s in tight."""
    first = books["t"][0]
    books = books[-10_000:]
    mids, times = (books["bid"] + books["ask"]) / 2, books["t"].tolist()
    tight = ((books["ask"] - books["bid"]) / mids <= CONFIG.tight_spread_threshold).tolist()
    begin = max(times[-1] - REGIME_MS, first)
    spells = zip(pairwise(times), tight[:-1], strict=True)
    spent = sum(max(0, until - max(since, begin)) for (since, until), is_tight in spells if is_tight)
    near(row["tight_frac_30s"], spent / (times[-1] - begin))


def check_row(words: NDArray[np.int64], events: Events, first_line: int) -> None:
    """A row against the events up to its own."""
    (row,) = rows_of("hf", CONFIG, words.reshape(1, -1), [("x", "s")])
    events = events[: int(words[LINE_WORD]) - first_line + 1]
    books, trades = books_since_gap(events), events[events["is_trade"] == 1]
    assert row["timestamp"] == books["t"][-1]
    check_regime(row, books)
    for horizon in HORIZONS:
        check_books(row, books, horizon)
        check_trades(row, trades, int(books["t"][-1]), horizon)


def test_ten_million_books() -> None:
    market, symbol = Market(7), OneSymbol(PAGES)
    taken, before, line = 0, np.zeros(0, EVENT), 0
    while taken < BOOKS:
        events = market.events(AT_ONCE, gap=line // AT_ONCE % 9 == 4)
        rows = symbol.take(events)
        assert len(rows) > 2000
        both = np.concatenate((before, events))
        place = -1 if line // AT_ONCE % 2 else len(rows) // 3  # the silence ends at a third
        check_row(rows[place], both, line - len(before))
        before, line, taken = events, line + len(events), taken + int((events["is_trade"] == 0).sum())
    assert both["t"][-1] - both["t"][0] > 3_600_000
    assert symbol.output.counts[0]["books"] == taken
    for pool in (symbol.arrays.books, symbol.arrays.trades):
        assert pool.free[LEFT] > PAGES // 3


def test_a_trend_with_little_noise() -> None:
    """Returns of 1e-3 that differ by 1e-11: the squares about the mean must not drown in those of the mean."""
    rng, n = np.random.default_rng(1), 50_000
    events = np.zeros(n, EVENT)
    events["t"] = 1_700_000_000_000 + 100 * np.arange(n)
    steps = 1e-3 * np.where(np.arange(n) // 500 % 2, 1, -1) + 1e-11 * rng.normal(size=n)
    events["bid"] = events["ask"] = 1e4 * np.exp(np.cumsum(steps))
    events["bid_size"] = events["ask_size"] = 1.0
    rows = OneSymbol(PAGES).take(events)
    for row in rows[100::100]:
        check_row_of_books(row, events)


def check_row_of_books(words: NDArray[np.int64], events: Events) -> None:
    (row,) = rows_of("hf", CONFIG, words.reshape(1, -1), [("x", "s")])
    books = events[: int(words[LINE_WORD]) + 1]
    mids = ((books["bid"] + books["ask"]) / 2).tolist()
    for horizon in HORIZONS:
        returns = returns_of(mids[-min(len(mids), int(horizon * 10) + 1) :])
        near(row[f"realized_vol_{horizon:g}s"], deviation_of(returns), absolute=1e-15)
        near(row[f"realized_var_{horizon:g}s"], math.fsum(r * r for r in returns))


def test_room_that_is_too_small_is_noticed() -> None:
    """That the pages suffice for ten million books means that they are given back."""
    with pytest.raises(AssertionError):
        OneSymbol(500).take(Market(7).events(AT_ONCE, gap=False))
