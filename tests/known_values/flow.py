"""Sections 2, 4 and 5 by hand: returns, OFI, windows, trades, regime, gaps, and when a row is written."""

from __future__ import annotations

from math import log, sqrt
from typing import Any

from .case import ABSENT, Case, at, book, settings, trade, trades


def mid(ms: int, price: float, **changes: Any) -> bytes:
    """A book around that mid, 1 wide to either side, sizes 1."""
    return book(ms, [[price - 1, 1]], [[price + 1, 1]], **changes)


def sample_deviation(*values: float) -> float:
    """Of two or more values, with n - 1."""
    mean = sum(values) / len(values)
    return sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


UP, DOWN, BACK = log(101 / 100), log(99 / 101), log(100 / 99)

RETURNS = Case(
    name="returns: per update, by horizon, their deviation and squares; a window is (t - h, t]",
    config=settings(horizons=[0.8, 1]),
    lines=[mid(0, 100), mid(400, 101), mid(800, 99), mid(1200, 100)],
    expect_hf=[
        {
            "log_return": None,
            "log_return_0.8s": None,
            "realized_vol_1s": None,
            "realized_var_1s": None,
            "gap_ms": None,
        },
        {"log_return": UP, "realized_vol_1s": None, "realized_var_1s": UP**2, "log_return_1s": None, "gap_ms": 400},
        {
            "log_return": DOWN,
            "log_return_0.8s": log(99 / 100),  # the mid at 0 is exactly 0.8 s old
            "log_return_1s": None,
            "realized_vol_1s": sample_deviation(UP, DOWN),
            "realized_var_0.8s": UP**2 + DOWN**2,
        },
        {
            "log_return": BACK,
            "log_return_0.8s": log(100 / 101),  # the mid at 400
            "log_return_1s": log(100 / 100),  # at or before 200: the mid at 0
            "realized_vol_0.8s": sample_deviation(DOWN, BACK),  # the return at 400 is exactly 0.8 s old: out
            "realized_vol_1s": sample_deviation(UP, DOWN, BACK),
            "realized_var_0.8s": DOWN**2 + BACK**2,
            "realized_var_1s": UP**2 + DOWN**2 + BACK**2,
        },
    ],
)

EVICTED_WHEN_READ = Case(
    name="windows are evicted when read: after a pause only the present update is left",
    config=settings(horizons=[1]),
    lines=[mid(0, 100), mid(100, 101), mid(200, 99), mid(5000, 100)],
    expect_hf=[
        {},
        {},
        {},
        {
            "realized_var_1s": BACK**2,
            "realized_vol_1s": None,
            "log_return_1s": BACK,  # the last mid at or before 4000 is 99
            "ofi_1s": 2.0,  # both prices went up: +1 (bid), +1 (ask that left)
            "warm_1s": True,
        },
    ],
)

EQUAL_TIMES = Case(
    name="two books at one time: the later one counts as the last, no time lies between",
    config=settings(horizons=[1]),
    lines=[mid(0, 100), mid(0, 200), mid(1000, 100), mid(1000, 400)],
    expect_hf=[
        {"gap_ms": None, "tight_frac_30s": None},
        {"gap_ms": 0, "log_return": log(200 / 100), "realized_var_1s": log(2) ** 2, "tight_frac_30s": None},
        {"log_return_1s": log(100 / 200), "realized_var_1s": log(2) ** 2},
        {"log_return_1s": log(400 / 200), "realized_vol_1s": sample_deviation(log(1 / 2), log(4))},
    ],
)

# Last book: bid 100 x 5, ask 102 x 7. Each step is from this one, so the book is laid again between them.
OFI_STEPS = [
    # bid, size, ask, size -> e
    (100, 6, 102, 4, +6 - 5 - 4 + 7),  # both stay
    (101, 2, 102, 4, +2 - 4 + 7),  # bid up
    (99, 2, 102, 4, -5 - 4 + 7),  # bid down
    (100, 6, 103, 4, +6 - 5 + 7),  # ask up
    (100, 6, 101, 4, +6 - 5 - 4),  # ask down
    (101, 2, 103, 4, +2 + 7),  # both up
    (99, 2, 101, 4, -5 - 4),  # both down
    (101, 2, 101.5, 4, +2 - 4),  # inward
    (99, 2, 103, 4, -5 + 7),  # outward
]
OFI_LINES = [
    book(
        1000 * i + ms,
        [[bid, bid_size], [90, 77]],
        [[ask, ask_size], [110, 99]],
    )
    for i, (b, qb, a, qa, _) in enumerate(OFI_STEPS)
    for ms, bid, bid_size, ask, ask_size in ((0, 100, 5, 102, 7), (500, b, qb, a, qa))
]

OFI = Case(
    name="OFI of one update: every way the best bid and ask can go; deeper levels do not matter",
    config=settings(horizons=[0.5], hf_emit_interval=0),
    lines=OFI_LINES,
    expect_hf=[row for step in OFI_STEPS for row in ({}, {"ofi": float(step[4]), "ofi_0.5s": float(step[4])})],
)

OFI_WINDOW = Case(
    name="OFI of a window: the sum of what lies in it; null with none",
    config=settings(horizons=[0.2, 1]),
    lines=[
        book(0, [[100, 5]], [[102, 7]]),
        book(100, [[100, 8]], [[102, 7]]),  # +8 - 5 - 7 + 7 = 3
        book(200, [[100, 8]], [[102, 2]]),  # +8 - 8 - 2 + 7 = 5
        book(300, [[99, 1]], [[102, 2]]),  # -8 - 2 + 2 = -8
    ],
    expect_hf=[
        {"ofi": None, "ofi_0.2s": None, "ofi_1s": None},
        {"ofi": 3.0, "ofi_0.2s": 3.0, "ofi_1s": 3.0},
        {"ofi": 5.0, "ofi_0.2s": 8.0, "ofi_1s": 8.0},
        {"ofi": -8.0, "ofi_0.2s": 5.0 - 8, "ofi_1s": 3.0 + 5 - 8},  # what came at 100 is exactly 0.2 s old: out
    ],
)

TRADE_WINDOW = Case(
    name="trades: null before the first, 0 when none lies in the window, edges, an unknown side",
    config=settings(horizons=[1, 5]),
    lines=[
        mid(0, 100),
        trades(100, trade(100, "buy", 100, 3), trade(100, "sell", 100, 1)),
        mid(200, 100),
        trades(300, trade(300, None, 100, 6)),
        mid(1099, 100),
        mid(1100, 100),  # what was traded at 100 is exactly 1 s old: out
        mid(2000, 100),
    ],
    expect_hf=[
        {"trade_vol_1s": None, "tfi_1s": None},
        {"trade_vol_1s": 4.0, "tfi_1s": (3 - 1) / 4, "trade_vol_5s": 4.0},
        {"trade_vol_1s": 10.0, "tfi_1s": (3 - 1) / 4},
        {"trade_vol_1s": 6.0, "tfi_1s": None, "trade_vol_5s": 10.0, "tfi_5s": 2 / 4},
        {"trade_vol_1s": 0.0, "tfi_1s": None, "trade_vol_5s": 10.0},
    ],
    expect_counts={"trades": 2, "records": 7},
)

TRADE_WAITS = Case(
    name="a trade later than the book waits until a book reaches it",
    config=settings(horizons=[1]),
    lines=[
        mid(0, 100),
        trades(100, trade(500, "buy", 100, 2)),
        mid(100, 100),
        mid(499, 100),
        mid(500, 100),
        mid(1500, 100),
    ],
    expect_hf=[
        {"trade_vol_1s": None},
        {"trade_vol_1s": 0.0, "tfi_1s": None},  # an accepted trade has come: 0, no longer null
        {"trade_vol_1s": 0.0},
        {"trade_vol_1s": 2.0, "tfi_1s": 1.0},
        {"trade_vol_1s": 0.0},
    ],
)

TRADES_BACKWARDS = Case(
    name="a trade's time in windows never goes back: it takes that of the one before it",
    config=settings(horizons=[1]),
    lines=[
        mid(0, 100),
        trades(1000, trade(1000, "buy", 100, 2), trade(400, "sell", 100, 5)),
        mid(1000, 100),
        mid(1500, 100),  # by its own time the second trade would be out by now
        mid(2000, 100),
    ],
    expect_hf=[{}, {"trade_vol_1s": 7.0, "tfi_1s": -3 / 7}, {"trade_vol_1s": 7.0}, {"trade_vol_1s": 0.0}],
)

TRADES_ACROSS_GAP = Case(
    name="trade windows go by time alone, across a gap too",
    config=settings(horizons=[5], gap_reset=1),
    lines=[mid(0, 100), trades(100, trade(100, "buy", 100, 2)), mid(3000, 100)],
    expect_hf=[{}, {"trade_vol_5s": 2.0, "tfi_5s": 1.0, "log_return": None, "warm_5s": False}],
)

GAP_EDGE = Case(
    name="exactly gap_reset is no gap; 1 ms more is, and all starts again",
    config=settings(horizons=[0.5, 5], gap_reset=2, regime_window=30, tight_spread_threshold=0.5),
    lines=[mid(0, 100), mid(2000, 101), mid(4001, 99), mid(4501, 100), mid(4600, 101)],
    expect_hf=[
        {"gap_ms": None, "warm_0.5s": False},
        {"gap_ms": 2000, "log_return": UP, "ofi": 2.0, "warm_0.5s": True, "tight_frac_30s": 1.0},
        {
            "gap_ms": 2001,
            "log_return": None,
            "ofi": None,
            "ofi_5s": None,
            "realized_var_5s": None,
            "log_return_0.5s": None,
            "warm_0.5s": False,
            "tight_frac_30s": None,
        },
        {
            "gap_ms": 500,
            "log_return": BACK,
            "log_return_0.5s": BACK,
            "realized_var_5s": BACK**2,  # the return at 2000 lies in the window, but beyond the gap
            "ofi_5s": 2.0,
            "warm_0.5s": True,
            "warm_5s": False,
        },
        {"realized_var_5s": BACK**2 + UP**2, "log_return_5s": None},
    ],
)

GAP_DEFAULT = Case(
    name="gap_reset is the longest horizon unless it is set",
    config={key: value for key, value in settings(horizons=[1, 3]).items() if key != "gap_reset"},
    lines=[mid(0, 100), mid(3000, 101), mid(6001, 99)],
    expect_hf=[{}, {"log_return": UP}, {"log_return": None, "gap_ms": 3001}],
)

WARM = Case(
    name="warm: from exactly h after the first valid book on; an invalid one does not begin it",
    config=settings(horizons=[1, 2]),
    lines=[book(0, [], [[101, 1]]), mid(500, 100), mid(1499, 100), mid(1500, 100), mid(2500, 100)],
    expect_hf=[
        {"warm_1s": False, "warm_2s": False},
        {"warm_1s": False},
        {"warm_1s": True, "warm_2s": False},
        {"warm_1s": True, "warm_2s": True},
    ],
)

TIGHT = ([[9999.5, 1]], [[10000.5, 1]])  # 1/10000, exactly the threshold
WIDE = ([[9999, 1]], [[10001, 1]])

REGIME = Case(
    name="regime: at the threshold tight; its share of time is cut at the window's edge",
    config=settings(regime_window=2, tight_spread_threshold=0.0001),
    lines=[
        book(0, *TIGHT),
        book(500, *WIDE),
        book(1500, *TIGHT),
        book(2000, *WIDE),
        book(2200, *WIDE),
        book(4000, *TIGHT),
    ],
    expect_hf=[
        {"spread_regime": "tight", "tight_frac_2s": None},
        {"spread_regime": "wide", "tight_frac_2s": 500 / 500},
        {"spread_regime": "tight", "tight_frac_2s": 500 / 1500},
        {"spread_regime": "wide", "tight_frac_2s": (500 + 500) / 2000},
        {"tight_frac_2s": (300 + 500) / 2000},  # (200, 2200]: of the first 500 ms, 200 to 500 are left
        {"spread_regime": "tight", "tight_frac_2s": 0 / 2000},  # (2000, 4000]: tight ended at the edge
    ],
)

REGIME_FROM_BEFORE = Case(
    name="regime: one that began before the window counts from the window's edge",
    config=settings(regime_window=1, tight_spread_threshold=0.0001),
    lines=[book(0, *TIGHT), book(5000, *WIDE), book(5250, *WIDE)],
    expect_hf=[{}, {"tight_frac_1s": 1.0}, {"tight_frac_1s": 750 / 1000}],
)

INVALID_BETWEEN = Case(
    name="an invalid book gives no row, return or OFI; the next valid one is compared with the last valid one",
    config=settings(horizons=[5]),
    lines=[
        mid(0, 100),
        book(100, [], []),
        book(200, [[105, 1]], [[104, 1]]),
        book(300, [], [[101, 1]]),
        mid(400, 101),
        mid(500, 101),
    ],
    expect_hf=[
        {"invalid_books": 0, "updates": 1},
        {"invalid_books": 3, "updates": 1, "log_return": UP, "ofi": 2.0, "gap_ms": 400},
        {"invalid_books": 0, "updates": 1, "log_return": 0.0},
    ],
    expect_counts={"books": 6, "invalid_books": 3},
)

EMISSION = Case(
    name="rows: at the first valid book of each bucket, saying what came since the previous row",
    config=settings(hf_emit_interval=1, horizons=[1]),
    lines=[
        mid(300, 100),
        mid(999, 101),
        book(1000, [], []),
        mid(1001, 99),
        book(1500, [], []),
        mid(1999, 99),
        mid(3000, 100),
        mid(3000, 100),
    ],
    expect_hf=[
        {"timestamp": at(300), "updates": 1, "invalid_books": 0},
        {
            "timestamp": at(1001),
            "updates": 2,
            "invalid_books": 1,
            "log_return": DOWN,
            "realized_var_1s": UP**2 + DOWN**2,
        },
        {"timestamp": at(3000), "updates": 2, "invalid_books": 1},
    ],
)

EMISSION_BUCKETS = Case(
    name="rows: buckets are those of event time since 1970, whatever the first book's time",
    config=settings(hf_emit_interval=0.9),
    lines=[mid(ms, 100) for ms in (0, 299, 300, 1199, 1200)],
    # 1,699,999,980,000 = 1,888,888,866·900 + 600: the next bucket begins 300 ms after it
    expect_hf=[
        {"timestamp": at(0), "updates": 1},
        {"timestamp": at(300), "updates": 2},
        {"timestamp": at(1200), "updates": 2},
    ],
)

HEADER = Case(
    name="rows: both times, latency, clock, nonce",
    config=settings(),
    lines=[
        mid(1000, 100, collected_at=at(1040), nonce=7),
        mid(2000, 100, collected_at=at(1700)),
        mid(0, 100, timestamp=None, collected_at=at(3000)),
        mid(4000, 100, collected_at=None),
        mid(5000, 100, collected_at=ABSENT),
    ],
    expect_hf=[
        {"exchange": "binance", "symbol": "BTC/USDT", "timestamp": at(1000), "collected_at": at(1040), "latency_ms": 40}
        | {"exchange_clock": True, "nonce": 7},
        {"timestamp": at(2000), "latency_ms": -300, "nonce": None, "exchange_clock": True},
        {"timestamp": at(3000), "collected_at": at(3000), "latency_ms": None, "exchange_clock": False},
        {"timestamp": at(4000), "collected_at": None, "latency_ms": None, "exchange_clock": True},
        {"timestamp": at(5000), "collected_at": None, "latency_ms": None, "exchange_clock": True},
    ],
)

CASES = [
    RETURNS,
    EVICTED_WHEN_READ,
    EQUAL_TIMES,
    OFI,
    OFI_WINDOW,
    TRADE_WINDOW,
    TRADE_WAITS,
    TRADES_BACKWARDS,
    TRADES_ACROSS_GAP,
    GAP_EDGE,
    GAP_DEFAULT,
    WARM,
    REGIME,
    REGIME_FROM_BEFORE,
    INVALID_BETWEEN,
    EMISSION,
    EMISSION_BUCKETS,
    HEADER,
]
