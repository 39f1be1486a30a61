"""The names of all columns, spelled out from sections 3 to 6, so that none can be missing on both sides."""

from __future__ import annotations

from .settings import Settings, label

HEADER = ["exchange", "symbol", "timestamp", "collected_at", "latency_ms", "exchange_clock", "nonce", "generation"]
TOP = ["best_bid", "best_ask", "mid_price", "spread", "relative_spread", "microprice", "microprice_drift"]
DEPTH = [
    "bid_reach_bps",
    "ask_reach_bps",
    "bid_50pct_depth_levels",
    "ask_50pct_depth_levels",
    "bid_concentration",
    "ask_concentration",
    "vwap_bid_5",
    "vwap_ask_5",
    "vwap_spread",
    "smart_bid_depth",
    "smart_ask_depth",
    "smart_depth_imbalance",
    "lambda_proxy",
    "amihud_proxy",
    "bid_slope",
    "ask_slope",
    "book_flags",
]
UPDATE = ["log_return", "ofi", "gap_ms", "spread_regime", "updates", "invalid_books"]
BAR_HEADER = ["exchange", "symbol", "timestamp", "bar_end", "duration", "generation"]
BAR_PRICES = ["open", "high", "low", "close"]
BAR_TRADES = ["volume", "buy_volume", "sell_volume", "trade_count", "vwap"]
BAR_SPREADS = ["mean_spread", "min_spread", "max_spread", "mean_relative_spread", "mean_imbalance_L1"]
BAR_FLOW = ["sum_ofi", "realized_variance"]
BAR_COUNTS = ["count", "invalid_books", "late_events", "bar_reason", "max_gap_ms"]


def hf_columns(settings: Settings) -> list[str]:
    """Every column of a feature row, section 5."""
    levels = [
        f"{side}_{what}_L{i}"
        for i in range(1, settings.max_levels + 1)
        for side in ("bid", "ask")
        for what in ("price", "size")
    ]
    bands = [f"{what}_band_{name}bps" for _, _, name in settings.bands() for what in ("bid_vol", "ask_vol", "imb")]
    flow = ["log_return", "realized_vol", "realized_var", "ofi", "trade_vol", "tfi", "warm"]
    windows = [f"{what}_{label(h)}s" for h in settings.horizons for what in flow]
    regime = [f"tight_frac_{label(settings.regime_window)}s"]
    return [*HEADER, *TOP, "imbalance_L1", *levels, *bands, *DEPTH, *UPDATE, *windows, *regime]


def bar_columns() -> list[str]:
    """Every column of a bar, section 6."""
    return [*BAR_HEADER, *BAR_PRICES, *BAR_TRADES, *BAR_SPREADS, *BAR_FLOW, *BAR_COUNTS]
