"""Section 7 by hand: what holds when nothing is configured, and how columns are named."""

from __future__ import annotations

from math import exp, log
from typing import Any

from .case import Case, at, book, settings, trade, trades
from .flow import mid

TEN_BIDS = [[9999.5 - i, 1] for i in range(11)]
"""Eleven bids, the deepest 10.5 below a mid of 10000."""
TEN_ASKS = [[10000.5, 3], [10040, 5]]

DEFAULTS = Case(
    name="defaults: horizons, bars, interval, bands, levels, threshold, window, decay, gap, grace, max_ahead",
    config={},
    lines=[
        book(0, TEN_BIDS, TEN_ASKS),
        mid(60_001, 9000, collected_at=at(0)),  # more than 60 s ahead of collected_at: future
        mid(60_000, 101, collected_at=at(0)),  # exactly 60 s ahead, and 60 s after the last: no gap
        trades(60_000, trade(59_000, "buy", 1, 1)),  # in time: bars up to 60 s are open until 60.5 s
        mid(60_499, 101),  # no row: the same second
        trades(60_499, trade(59_500, "sell", 1, 2)),  # in time
        mid(60_500, 101),  # closes them
        trades(60_500, trade(59_600, "buy", 1, 4)),  # late for all four
        mid(120_501, 100),  # 60,001 ms after the last: a gap
    ],
    expect_hf=[
        {
            "timestamp": at(0),
            "bid_price_L10": 9990.5,
            "ask_price_L10": None,
            "spread_regime": "tight",  # 1/10000
            "bid_50pct_depth_levels": 5,  # half of the 10 that count
            "bid_vol_band_0_5bps": 5.0,  # 0.5 to 4.5 bps
            "bid_vol_band_5_10bps": 5.0,
            "bid_vol_band_10_25bps": 1.0,
            "ask_vol_band_25_50bps": 5.0,
            "smart_ask_depth": 3 * exp(-100 * 0.5 / 10000) + 5 * exp(-100 * 40 / 10000),
            "tight_frac_30s": None,
        },
        {
            "timestamp": at(60_000),
            "log_return": log(101 / 10000),
            "log_return_60s": log(101 / 10000),
            "warm_60s": True,
            "tight_frac_30s": 1.0,
            "updates": 1,
        },
        {
            "timestamp": at(120_501),
            "log_return": None,
            "warm_1s": False,
            "trade_vol_60s": 0.0,  # the window begins at 60,501
            "updates": 3,
        },
    ],
    expect_bars=[
        {"timestamp": at(0), "duration": 1.0, "bar_reason": "time", "volume": None, "count": 1},
        {"timestamp": at(0), "duration": 5.0, "bar_reason": "time", "volume": None},
        {"timestamp": at(0), "duration": 30.0, "bar_reason": "time", "volume": None},
        {"timestamp": at(0), "duration": 60.0, "bar_reason": "time", "volume": 3.0, "count": 1, "late_events": 0},
        {"timestamp": at(30_000), "duration": 30.0, "bar_reason": "time", "volume": 3.0, "count": 0},
        {"timestamp": at(55_000), "duration": 5.0, "bar_reason": "time", "volume": 3.0, "count": 0},
        {"timestamp": at(59_000), "duration": 1.0, "bar_reason": "time", "volume": 3.0, "count": 0},
        {"timestamp": at(60_000), "duration": 1.0, "count": 3, "volume": 0.0, "late_events": 1, "bar_reason": "time"},
        {"timestamp": at(60_000), "duration": 5.0, "count": 3, "volume": 0.0, "late_events": 1, "bar_reason": "time"},
        {"timestamp": at(60_000), "duration": 30.0, "count": 3, "volume": 0.0, "late_events": 1, "bar_reason": "time"},
        {"timestamp": at(60_000), "duration": 60.0, "count": 3, "volume": 0.0, "late_events": 1, "bar_reason": "time"},
        {"timestamp": at(120_000), "duration": 1.0, "count": 1},
        {"timestamp": at(120_000), "duration": 5.0, "count": 1},
        {"timestamp": at(120_000), "duration": 30.0, "count": 1},
        {"timestamp": at(120_000), "duration": 60.0, "count": 1, "bar_reason": "flush"},
    ],
    expect_counts={"late_events": 4, "rejected": {"future": 1}},
)

ODD_SETTINGS: dict[str, Any] = {
    "horizons": [0.001, 0.25, 2.0, 3600],
    "bar_durations": [0.1, 1.0, 90],
    "bands_bps": [0.5, 2.0, 1000],
    "regime_window": 0.75,
    "bar_grace": 0.1,
}

COLUMN_NAMES = Case(
    name="names of columns use the shortest decimal",
    config=settings(**ODD_SETTINGS),
    lines=[mid(0, 100), mid(100, 101)],
    expect_hf=[
        {},
        {
            "realized_var_0.001s": log(101 / 100) ** 2,
            "warm_0.25s": False,
            "ofi_2s": 2.0,
            "tfi_3600s": None,
            "bid_vol_band_0_0.5bps": 0.0,
            "ask_vol_band_0.5_2bps": 0.0,
            "imb_band_2_1000bps": 0.0,  # 1 and 1, 99 bps from 101
            "tight_frac_0.75s": 0.0,
        },
    ],
    expect_bars=[
        {"timestamp": at(-60_000), "bar_end": at(30_000), "duration": 90.0, "max_gap_ms": 60_000},
        {"timestamp": at(0), "duration": 0.1},
        {"timestamp": at(0), "duration": 1.0},
        {"timestamp": at(100), "duration": 0.1},
    ],
)

CASES = [DEFAULTS, COLUMN_NAMES]
