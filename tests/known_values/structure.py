"""Section 3 by hand: one book, no memory."""

from __future__ import annotations

from math import exp

from .case import Case, book, settings

FIVE_BIDS = [[99, 1], [98, 2], [97, 3], [96, 4], [95, 10], [90, 1000]]
FIVE_ASKS = [[101, 2], [102, 2], [103, 2], [104, 2], [105, 2], [190, 1000]]

TOP = Case(
    name="best quotes, mid, spread, microprice, imbalance",
    config=settings(),
    lines=[book(0, [[99, 3], [98, 1]], [[101, 1], [102, 4]])],
    expect_hf=[
        {
            "best_bid": 99.0,
            "best_ask": 101.0,
            "mid_price": (99 + 101) / 2,
            "spread": 101.0 - 99,
            "relative_spread": 2 / 100,
            "microprice": (99 * 1 + 101 * 3) / (3 + 1),  # 402/4 = 100.5: the heavy bid pushes it to the ask
            "microprice_drift": 100.5 - 100,
            "imbalance_L1": (3 - 1) / (3 + 1),
            "bid_price_L1": 99.0,
            "bid_size_L1": 3.0,
            "bid_price_L2": 98.0,
            "bid_size_L2": 1.0,
            "bid_price_L3": None,
            "bid_size_L3": None,
            "ask_price_L1": 101.0,
            "ask_size_L1": 1.0,
            "ask_price_L2": 102.0,
            "ask_size_L2": 4.0,
            "ask_price_L3": None,
            "ask_size_L3": None,
            "book_flags": 0,
            "generation": 0,
        }
    ],
)

LEVELS_BEYOND_MAX = Case(
    name="levels beyond max_levels count in bands, reach and vwap, not in shape",
    config=settings(max_levels=2, bands_bps=[1000]),
    lines=[book(0, FIVE_BIDS, FIVE_ASKS)],
    expect_hf=[
        {
            "bid_price_L2": 98.0,
            "bid_vol_band_0_1000bps": 1.0 + 2 + 3 + 4 + 10,  # 90 lies at 1000 bps, outside [0, 1000)
            "bid_reach_bps": 1e4 * 10 / 100,
            "ask_reach_bps": 1e4 * 90 / 100,
            "bid_concentration": (1 / 3) ** 2 + (2 / 3) ** 2,
            "bid_50pct_depth_levels": 2,  # 1 < 1.5 ≤ 1 + 2
            "ask_50pct_depth_levels": 1,  # 2 ≥ 2
            "vwap_bid_5": (99 * 1 + 98 * 2 + 97 * 3 + 96 * 4 + 95 * 10) / 20,
            "amihud_proxy": None,  # one band only
        }
    ],
)

BANDS = Case(
    name="bands: a level on an edge lies in the band that begins there",
    config=settings(bands_bps=[5, 10, 25, 50]),
    lines=[
        book(
            0,
            [[9999, 1], [9995, 2], [9990, 4], [9975, 8], [9950, 16]],  # 1, 5, 10, 25 and 50 bps below 10000
            [[10001, 3], [10004.99, 5], [10024.99, 7], [10049.99, 9]],
        )
    ],
    expect_hf=[
        {
            "bid_vol_band_0_5bps": 1.0,
            "bid_vol_band_5_10bps": 2.0,
            "bid_vol_band_10_25bps": 4.0,
            "bid_vol_band_25_50bps": 8.0,
            "ask_vol_band_0_5bps": 3.0 + 5,
            "ask_vol_band_5_10bps": 0.0,
            "ask_vol_band_10_25bps": 7.0,
            "ask_vol_band_25_50bps": 9.0,
            "imb_band_0_5bps": (1 - 8) / (1 + 8),
            "imb_band_5_10bps": 1.0,
            "imb_band_10_25bps": (4 - 7) / 11,
            "imb_band_25_50bps": (8 - 9) / 17,
            "bid_reach_bps": 50.0,
            "lambda_proxy": 2 / (1 + 8),
            "amihud_proxy": 2 / (1 + 8 + 2 + 0),
        }
    ],
)

BAND_EDGE_IN_DOUBLES = Case(
    name="bands: edges are compared in the order of operations that is fixed",
    config=settings(bands_bps=[3, 6, 12.5]),
    # (1e4·3)/10000 is 3 and (1e4·6)/10000 is 6; 1e4·(3/10000) would be 2.9999999999999996, a band too low
    lines=[book(0, [[9999, 1], [9997, 2], [9994, 4]], [[10001, 8], [10003, 16], [10006, 32], [10012.5, 64]])],
    expect_hf=[
        {
            "bid_vol_band_0_3bps": 1.0,
            "bid_vol_band_3_6bps": 2.0,
            "bid_vol_band_6_12.5bps": 4.0,
            "ask_vol_band_0_3bps": 8.0,
            "ask_vol_band_3_6bps": 16.0,
            "ask_vol_band_6_12.5bps": 32.0,  # 10012.5 lies on the last edge, outside
        }
    ],
)

EMPTY_BANDS = Case(
    name="bands without volume: 0, their imbalance and the proxies null",
    config=settings(bands_bps=[5, 10]),
    lines=[book(0, [[99, 1]], [[101, 1]])],  # 100 bps from mid
    expect_hf=[
        {
            "bid_vol_band_0_5bps": 0.0,
            "ask_vol_band_0_5bps": 0.0,
            "imb_band_0_5bps": None,
            "imb_band_5_10bps": None,
            "lambda_proxy": None,
            "amihud_proxy": None,
        }
    ],
)

SECOND_BAND_ONLY = Case(
    name="proxies: volume in the second band alone gives amihud_proxy alone",
    config=settings(bands_bps=[50, 200, 500]),
    lines=[book(0, [[99, 1], [97, 8]], [[101, 3]])],
    expect_hf=[{"lambda_proxy": None, "amihud_proxy": 2 / (1 + 3)}],
)

HALF_DEPTH = Case(
    name="50pct depth: reached exactly counts, rounding of decimals does not decide",
    config=settings(max_levels=4),
    lines=[
        book(0, [[99, 1], [98, 1], [97, 2]], [[101, 1], [102, 1], [103, 1], [104, 4]]),
        # 0.3 is half of 0.3 + 0.1 + 0.2, whose sum in doubles is 0.6000000000000001
        book(100, [[99, 0.3], [98, 0.1], [97, 0.2]], [[101, 0.1], [102, 0.2], [103, 0.3]]),
    ],
    expect_hf=[
        {"bid_50pct_depth_levels": 2, "ask_50pct_depth_levels": 4},  # 1 + 1 ≥ 2; 1 + 1 + 1 < 3.5
        {"bid_50pct_depth_levels": 1, "ask_50pct_depth_levels": 2},
    ],
)

SHAPE = Case(
    name="concentration, vwap and slope",
    config=settings(max_levels=3),
    lines=[book(0, FIVE_BIDS, FIVE_ASKS)],
    expect_hf=[
        {
            "bid_concentration": (1 + 4 + 9) / 36,  # (1/6)² + (2/6)² + (3/6)²
            "ask_concentration": 3 * (2 / 6) ** 2,
            "vwap_bid_5": 1920 / 20,  # 99 + 196 + 291 + 384 + 950 = 1920
            "vwap_ask_5": (202 + 204 + 206 + 208 + 210) / 10,
            "vwap_spread": 103.0 - 96.0,
            "bid_slope": (99 - 95) / 20,
            "ask_slope": (105 - 101) / 10,
        }
    ],
)

FOUR_LEVELS = Case(
    name="slope is null with fewer than 5 levels, vwap takes what there is",
    config=settings(),
    lines=[book(0, FIVE_BIDS[:4], FIVE_ASKS[:5])],
    expect_hf=[
        {
            "bid_slope": None,
            "ask_slope": (105 - 101) / 10,
            "vwap_bid_5": (99 + 196 + 291 + 384) / 10,
        }
    ],
)

SMART_DEPTH = Case(
    name="smart depth: sizes fade with distance",
    config=settings(smart_depth_decay=50),
    lines=[book(0, [[99, 3], [98, 1]], [[101, 1], [104, 4]])],
    expect_hf=[
        {
            "smart_bid_depth": 3 * exp(-50 * 0.01) + 1 * exp(-50 * 0.02),
            "smart_ask_depth": 1 * exp(-50 * 0.01) + 4 * exp(-50 * 0.04),
            "smart_depth_imbalance": (2 * exp(-0.5) + exp(-1) - 4 * exp(-2)) / (4 * exp(-0.5) + exp(-1) + 4 * exp(-2)),
        }
    ],
)

SMART_DEPTH_OF_50 = Case(
    name="smart depth: the 51st level does not count",
    config=settings(smart_depth_decay=100),
    lines=[book(0, [[999 - i, 1] for i in range(51)], [[1001 + i, 2] for i in range(50)])],
    expect_hf=[
        {
            "smart_bid_depth": sum(exp(-100 * i / 1000) for i in range(1, 51)),
            "smart_ask_depth": sum(2 * exp(-100 * i / 1000) for i in range(1, 51)),
        }
    ],
)

FLAGS = Case(
    name="flags: locked, unsorted, a price twice, both",
    config=settings(),
    lines=[
        book(0, [[100, 1]], [[100, 3]]),
        book(1, [[98, 2], [99, 1]], [[101, 1]]),
        book(2, [[99, 1]], [[101, 1], [102, 5], [101, 0.5]]),
        book(3, [[98, 1], [100, 1]], [[100, 1], [100, 1]]),
    ],
    expect_hf=[
        {"book_flags": 8, "spread": 0.0, "mid_price": 100.0, "microprice": 100.0, "spread_regime": "tight"},
        {"book_flags": 16, "best_bid": 99.0, "bid_price_L2": 98.0, "bid_size_L2": 2.0},
        {"book_flags": 16, "ask_size_L1": 1.0 + 0.5, "ask_price_L2": 102.0, "ask_price_L3": None},
        {"book_flags": 8 + 16, "bid_price_L2": 98.0, "ask_size_L1": 2.0},
    ],
    expect_counts={"books": 4, "invalid_books": 0},
)

LOCKED_PROXIES = Case(
    name="a locked book costs nothing: proxies are 0, not null",
    config=settings(bands_bps=[5, 10]),
    lines=[book(0, [[100, 1]], [[100, 3]])],
    expect_hf=[{"lambda_proxy": 0.0, "amihud_proxy": 0.0, "relative_spread": 0.0, "imbalance_L1": (1 - 3) / 4}],
)

CASES = [
    TOP,
    LEVELS_BEYOND_MAX,
    BANDS,
    BAND_EDGE_IN_DOUBLES,
    EMPTY_BANDS,
    SECOND_BAND_ONLY,
    HALF_DEPTH,
    SHAPE,
    FOUR_LEVELS,
    SMART_DEPTH,
    SMART_DEPTH_OF_50,
    FLAGS,
    LOCKED_PROXIES,
]
