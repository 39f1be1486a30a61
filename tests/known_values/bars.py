"""Section 6 by hand: what falls in a bar, when it closes, and what is too late."""

from __future__ import annotations

from math import log

from .case import Case, at, book, settings, trade, trades
from .flow import mid

BOOK_COLUMNS = Case(
    name="prices, spreads, imbalance, flow: updates belong to the bar of their later book",
    config=settings(),
    lines=[
        book(500, [[99, 4]], [[101, 1]]),  # mid 100, spread 2, imbalance 3/5
        book(1100, [[100, 1]], [[104, 3]]),  # mid 102, spread 4, imbalance -2/4; e = +1 + 1 = 2
        book(1400, [[97, 2]], [[98, 2]]),  # mid 97.5, spread 1, imbalance 0; e = -1 - 2 = -3
        book(1900, [[98, 5]], [[101, 1]]),  # mid 99.5, spread 3, imbalance 4/6; e = +5 + 2 = 7
    ],
    expect_bars=[
        {"timestamp": at(0), "count": 1, "open": 100.0, "close": 100.0, "sum_ofi": None, "realized_variance": None}
        | {"mean_imbalance_L1": 3 / 5},
        {
            "exchange": "binance",
            "symbol": "BTC/USDT",
            "timestamp": at(1000),
            "bar_end": at(2000),
            "duration": 1.0,
            "generation": 0,
            "open": 102.0,
            "high": 102.0,
            "low": 97.5,
            "close": 99.5,
            "mean_spread": (4 + 1 + 3) / 3,
            "min_spread": 1.0,
            "max_spread": 4.0,
            "mean_relative_spread": (4 / 102 + 1 / 97.5 + 3 / 99.5) / 3,
            "mean_imbalance_L1": (-2 / 4 + 0 + 4 / 6) / 3,
            "sum_ofi": 2.0 - 3 + 7,
            "realized_variance": log(102 / 100) ** 2 + log(97.5 / 102) ** 2 + log(99.5 / 97.5) ** 2,
            "count": 3,
            "invalid_books": 0,
            "late_events": 0,
            "bar_reason": "flush",
            "max_gap_ms": 500,  # 1400 to 1900
        },
    ],
)

MAX_GAP = Case(
    name="max_gap_ms: its edges included; one book parts the bar in two",
    config=settings(bar_durations=[1, 2]),
    lines=[mid(700, 100), mid(1200, 100), mid(1250, 100)],
    expect_bars=[
        {"timestamp": at(0), "duration": 1.0, "max_gap_ms": 700},  # from the start
        {"timestamp": at(0), "duration": 2.0, "max_gap_ms": 750},  # 1250 to the end
        {"timestamp": at(1000), "duration": 1.0, "max_gap_ms": 750},
    ],
)

GAP_IN_BAR = Case(
    name="a gap within a bar: its return and OFI are in no sum",
    config=settings(bar_durations=[10], gap_reset=2),
    lines=[mid(0, 100), mid(1000, 101), mid(4000, 50), mid(5000, 51)],
    expect_bars=[
        {
            "open": 100.0,
            "low": 50.0,
            "close": 51.0,
            "realized_variance": log(101 / 100) ** 2 + log(51 / 50) ** 2,
            "sum_ofi": 2.0 + 2,
            "max_gap_ms": 5000,
        }
    ],
)

TRADE_COLUMNS = Case(
    name="volumes and vwap; an unknown side is in neither",
    config=settings(),
    lines=[
        mid(0, 100),
        trades(100, trade(100, "buy", 100, 2), trade(200, "sell", 103, 1), trade(300, "unknown", 110, 5)),
        mid(1000, 100),
        mid(2600, 100),
    ],
    expect_bars=[
        {
            "volume": 8.0,
            "buy_volume": 2.0,
            "sell_volume": 1.0,
            "trade_count": 3,
            "vwap": (200 + 103 + 550) / 8,
            "count": 1,
            "bar_reason": "time",
        },
        {"volume": 0.0, "buy_volume": 0.0, "sell_volume": 0.0, "trade_count": 0, "vwap": None},
        {"volume": 0.0, "bar_reason": "flush"},
    ],
)

VOLUME_BEFORE_TRADES = Case(
    name="volume: null until the symbol's first trade, by the time the bar closes",
    config=settings(bar_grace=0.5),
    lines=[
        mid(0, 100),
        mid(1000, 100),
        mid(1500, 100),  # closes the first bar: no trade yet
        mid(2000, 100),
        trades(2500, trade(2500, "buy", 100, 3)),  # closes the second bar, and is counted by then
    ],
    expect_bars=[
        {
            "timestamp": at(0),
            "volume": None,
            "buy_volume": None,
            "sell_volume": None,
            "vwap": None,
            "bar_reason": "time",
        },
        {"timestamp": at(1000), "volume": 0.0, "buy_volume": 0.0, "sell_volume": 0.0, "vwap": None},
        {"timestamp": at(2000), "volume": 3.0, "buy_volume": 3.0, "sell_volume": 0.0, "vwap": 100.0},
    ],
)

TRADES_ONLY = Case(
    name="a bar of trades alone: book columns null, count 0, so that no volume is lost",
    config=settings(),
    lines=[trades(0, trade(100, "sell", 50, 4)), book(300, [], [])],
    expect_hf=[],
    expect_bars=[
        {
            "open": None,
            "high": None,
            "low": None,
            "close": None,
            "mean_spread": None,
            "min_spread": None,
            "max_spread": None,
            "mean_relative_spread": None,
            "mean_imbalance_L1": None,
            "sum_ofi": None,
            "realized_variance": None,
            "count": 0,
            "invalid_books": 1,
            "volume": 4.0,
            "sell_volume": 4.0,
            "buy_volume": 0.0,
            "vwap": 50.0,
            "max_gap_ms": 1000,
        }
    ],
)

INVALID_ONLY = Case(
    name="a bar of invalid books alone is not written; others count theirs",
    config=settings(),
    lines=[book(0, [], []), mid(1000, 100), book(1001, [[105, 1]], [[104, 1]]), book(1002, [], []), book(4000, [], [])],
    expect_bars=[{"timestamp": at(1000), "count": 1, "invalid_books": 2, "bar_reason": "time"}],
    expect_counts={"books": 5, "invalid_books": 4, "late_events": 0},
)

GRACE_EDGE = Case(
    name="grace: a bar takes trades until stream time reaches its end + bar_grace",
    config=settings(bar_grace=0.5),
    lines=[
        mid(0, 100),
        mid(1499, 100),
        trades(1499, trade(999, "buy", 100, 1)),  # still in
        mid(1500, 100),  # closes it
        trades(1500, trade(998, "buy", 100, 10), trade(1000, "buy", 100, 100)),  # late; in the next bar
    ],
    expect_bars=[
        {"timestamp": at(0), "volume": 1.0, "late_events": 0, "bar_reason": "time"},
        {"timestamp": at(1000), "volume": 100.0, "late_events": 1, "count": 2, "bar_reason": "flush"},
    ],
    expect_counts={"late_events": 1, "bad_trades": 0},
)

LATE_TOLD_ONCE = Case(
    name="late events: told by the next bar written of their duration, one per event and duration",
    config=settings(bar_durations=[1, 2], bar_grace=0.5, hf_emit_interval=0),
    lines=[
        mid(0, 100),
        mid(2500, 100),  # closes [0, 1), [0, 2) and, though nothing fell in it, [1, 2)
        trades(2500, trade(100, "buy", 100, 1), trade(1900, "sell", 100, 1)),  # late for both durations
        mid(9000, 100),
        mid(19000, 100),
    ],
    expect_bars=[
        {"timestamp": at(0), "duration": 1.0, "late_events": 0},
        {"timestamp": at(0), "duration": 2.0, "late_events": 0},
        {"timestamp": at(2000), "duration": 1.0, "late_events": 2, "volume": 0.0},
        {"timestamp": at(2000), "duration": 2.0, "late_events": 2},
        {"timestamp": at(8000), "duration": 2.0, "late_events": 0},
        {"timestamp": at(9000), "duration": 1.0, "late_events": 0},
        {"timestamp": at(18000), "duration": 2.0, "late_events": 0},
        {"timestamp": at(19000), "duration": 1.0, "late_events": 0},
    ],
    expect_counts={"late_events": 4},
)

LATE_UNTOLD = Case(
    name="late events that no bar is left to tell are in the summary all the same",
    config=settings(),
    lines=[mid(0, 100), book(5000, [], []), trades(5000, trade(0, "buy", 100, 1))],
    expect_bars=[{"timestamp": at(0), "late_events": 0, "volume": None}],
    expect_counts={"late_events": 1},
)

LATE_BOOK = Case(
    name="a book may be late for a bar that trades have closed, and is none for rows and returns",
    config=settings(bar_grace=0.5),
    lines=[
        mid(0, 100),
        trades(100, trade(1500, "buy", 100, 1)),  # ahead of the books: closes [0, 1)
        mid(200, 101),
        book(300, [], []),
        mid(1600, 99),
    ],
    expect_hf=[
        {"timestamp": at(0)},
        {"timestamp": at(200), "log_return": log(101 / 100)},
        {"timestamp": at(1600), "log_return": log(99 / 101), "invalid_books": 1},
    ],
    expect_bars=[
        {"timestamp": at(0), "count": 1, "realized_variance": None, "volume": 0.0},
        {
            "timestamp": at(1000),
            "count": 1,
            "late_events": 2,  # the valid and the invalid book
            "invalid_books": 0,
            "realized_variance": log(99 / 101) ** 2,
        },
    ],
    expect_counts={"late_events": 2, "invalid_books": 1},
)

JUMP = Case(
    name="a jump closes all bars before it; those without events are not written",
    config=settings(bar_grace=1),
    lines=[mid(900, 100), mid(1900, 101), mid(9500, 99), mid(9600, 98)],
    expect_bars=[
        {"timestamp": at(0), "close": 100.0, "bar_reason": "time"},
        {"timestamp": at(1000), "close": 101.0, "bar_reason": "time"},
        {"timestamp": at(9000), "open": 99.0, "close": 98.0, "bar_reason": "flush"},
    ],
)

EACH_TRADE_MOVES_TIME = Case(
    name="the trades of a message come one after the other, each moving stream time",
    config=settings(bar_grace=0.5),
    lines=[
        mid(0, 100),
        trades(1600, trade(900, "buy", 100, 1), trade(1600, "buy", 100, 2), trade(901, "buy", 100, 4)),
    ],
    expect_bars=[
        {"timestamp": at(0), "volume": 1.0, "late_events": 0},
        {"timestamp": at(1000), "volume": 2.0, "late_events": 1, "count": 0},
    ],
)

TRADE_WITHOUT_TIME = Case(
    name="a trade without a time of its own has that of collected_at",
    config=settings(),
    lines=[mid(0, 100), trades(1200, {**trade(0, "buy", 100, 1), "timestamp": None}), mid(1500, 100)],
    expect_bars=[{"timestamp": at(0), "volume": 0.0}, {"timestamp": at(1000), "volume": 1.0}],
)

BAD_MOVES_NOTHING = Case(
    name="bad and repeated trades, duplicates and rejected books move no clock and are late for no bar",
    config=settings(max_ahead=1),
    lines=[
        mid(0, 100, nonce=1),
        trades(10, trade(5000, "buy", 100, 1), trade(900, "buy", 0, 1), trade(20, "buy", 100, 1, id="a")),
        trades(10, trade(900, "buy", 100, 1, id="a")),
        mid(0, 100, nonce=1),
        mid(5000, 100, collected_at=at(10)),
    ],
    flush=False,
    expect_bars=[],
    expect_counts={"bad_trades": 2, "duplicate_trades": 1, "duplicates": 1, "rejected": {"future": 1}, "open_bars": 1},
)

FLUSH_CLOSES = Case(
    name="flush closes every bar that has begun, also one in its grace; what comes for it later is late",
    config=settings(bar_durations=[1, 5], bar_grace=0.5),
    lines=[mid(900, 100), mid(1100, 101)],
    later=[
        trades(1200, trade(950, "buy", 100, 1)),  # in its grace, but flushed: late for 1 s and 5 s
        mid(1300, 99),  # late for both
        mid(2000, 98),  # late for the bar of 5 s
        mid(5000, 97),
    ],
    expect_hf=[{}, {}, {"log_return": log(99 / 101)}, {"log_return": log(98 / 99)}, {}],
    expect_bars=[
        {"timestamp": at(0), "duration": 1.0, "count": 1, "bar_reason": "flush"},
        {"timestamp": at(0), "duration": 5.0, "count": 2, "bar_reason": "flush"},
        {"timestamp": at(1000), "duration": 1.0, "count": 1, "bar_reason": "flush"},
        {"timestamp": at(2000), "duration": 1.0, "count": 1, "late_events": 2, "bar_reason": "time"},
        {"timestamp": at(5000), "duration": 1.0, "count": 1, "late_events": 0, "bar_reason": "flush"},
        {"timestamp": at(5000), "duration": 5.0, "count": 1, "late_events": 3, "bar_reason": "flush"},
    ],
    expect_counts={"late_events": 2 + 2 + 1, "open_bars": 0},
)

FLUSH_CLOSES_EMPTY = Case(
    name="flush closes the bar in its grace though nothing fell in it",
    config=settings(bar_grace=0.5),
    lines=[mid(1100, 100)],  # [0, 1) is open until 1500
    later=[trades(1200, trade(950, "buy", 100, 1)), mid(2100, 100)],
    expect_bars=[
        {"timestamp": at(1000), "bar_reason": "flush", "late_events": 0},
        {"timestamp": at(2000), "bar_reason": "flush", "late_events": 1, "volume": 0.0},
    ],
)

OPEN_BARS = Case(
    name="without flush open bars are not written, and counted",
    config=settings(bar_durations=[0.5, 1, 5], bar_grace=0.5),
    lines=[mid(900, 100), mid(1400, 101)],
    flush=False,
    # open: 0.5 s: [500, 1000), [1000, 1500); 1 s: [0, 1000), [1000, 2000); 5 s: [0, 5000)
    expect_bars=[],
    expect_counts={"open_bars": 5},
)

TWO_SYMBOLS = Case(
    name="symbols have their own clocks, bars and trades; exchanges keep them apart",
    config=settings(),
    lines=[
        mid(0, 100),
        mid(9000, 50, exchange="kraken"),
        trades(9000, trade(9000, "buy", 50, 1), exchange="kraken"),
        mid(100, 101),  # late for nothing of its own
    ],
    expect_hf=[
        {"exchange": "binance", "timestamp": at(0), "log_return": None, "trade_vol_1s": None},
        {"exchange": "binance", "timestamp": at(100), "log_return": log(101 / 100), "trade_vol_1s": None},
        {"exchange": "kraken", "timestamp": at(9000), "log_return": None, "trade_vol_1s": None},
    ],
    expect_bars=[
        {"exchange": "binance", "timestamp": at(0), "count": 2, "volume": None, "duration": 1.0},
        {"exchange": "kraken", "timestamp": at(9000), "count": 1, "volume": 1.0},
    ],
    expect_counts={"symbols": 2, "late_events": 0},
)

SHORT_DURATION = Case(
    name="durations below a second",
    config=settings(bar_durations=[0.25], bar_grace=0.25),
    lines=[mid(249, 100), mid(250, 101), mid(499, 102), mid(750, 103)],
    expect_bars=[
        {"timestamp": at(0), "bar_end": at(250), "duration": 0.25, "count": 1, "max_gap_ms": 249, "bar_reason": "time"},
        {"timestamp": at(250), "bar_end": at(500), "count": 2, "max_gap_ms": 249, "bar_reason": "time"},
        {"timestamp": at(750), "bar_end": at(1000), "count": 1, "max_gap_ms": 250, "bar_reason": "flush"},
    ],
)

CASES = [
    BOOK_COLUMNS,
    MAX_GAP,
    GAP_IN_BAR,
    TRADE_COLUMNS,
    VOLUME_BEFORE_TRADES,
    TRADES_ONLY,
    INVALID_ONLY,
    GRACE_EDGE,
    LATE_TOLD_ONCE,
    LATE_UNTOLD,
    LATE_BOOK,
    JUMP,
    EACH_TRADE_MOVES_TIME,
    TRADE_WITHOUT_TIME,
    BAD_MOVES_NOTHING,
    FLUSH_CLOSES,
    FLUSH_CLOSES_EMPTY,
    OPEN_BARS,
    TWO_SYMBOLS,
    SHORT_DURATION,
]
