"""Structure of one book, without memory.

`extract_orderbook_features` is the family for one book in Python; `structure` is the kernel that fills the same
columns of a row. Sides are (levels, 2) arrays of price and size, cleaned, best first. Formulas and units of the
columns stand in `schema.py`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from streamproc.config import StateConfig
from streamproc.jit import Doubles, Ints, kernel, part
from streamproc.schema import HF_BAND, HF_LEVEL, LEVELS_WORD, NULL_INT, columns, width, word
from streamproc.state.layout import Params

NAN = float("nan")
SMART_LEVELS = 50
VWAP_LEVELS = 5
ROUNDING = 1.0 - 1e-12  # a half that is exact in decimals must not be missed for its binary rounding
LEVEL_COLUMNS, BAND_COLUMNS = len(HF_LEVEL), len(HF_BAND)


def _word(name: str) -> int:
    return word("hf", name)


BEST_BID, BEST_ASK, MID = _word("best_bid"), _word("best_ask"), _word("mid_price")
SPREAD, RELATIVE_SPREAD = _word("spread"), _word("relative_spread")
MICROPRICE, MICROPRICE_DRIFT, IMBALANCE = _word("microprice"), _word("microprice_drift"), _word("imbalance_L1")
BID_REACH, ASK_REACH = _word("bid_reach_bps"), _word("ask_reach_bps")
BID_HALF, ASK_HALF = _word("bid_50pct_depth_levels"), _word("ask_50pct_depth_levels")
BID_CONCENTRATION, ASK_CONCENTRATION = _word("bid_concentration"), _word("ask_concentration")
VWAP_BID, VWAP_ASK, VWAP_SPREAD = _word("vwap_bid_5"), _word("vwap_ask_5"), _word("vwap_spread")
SMART_BID, SMART_ASK = _word("smart_bid_depth"), _word("smart_ask_depth")
SMART_IMBALANCE = _word("smart_depth_imbalance")
LAMBDA, AMIHUD = _word("lambda_proxy"), _word("amihud_proxy")
BID_SLOPE, ASK_SLOPE = _word("bid_slope"), _word("ask_slope")
FIRST_STRUCTURAL, AFTER_STRUCTURAL = BEST_BID, ASK_SLOPE + 1


@part
def finite(value: float) -> float:
    """The value, or null where it is not finite."""
    return value if np.isfinite(value) else NAN


@part
def relative(part: float, whole: float) -> float:
    """part / whole; null where it is not finite (0 / 0 above all), or the whole is not: then 0 would be a lie."""
    return finite(part / whole) if np.isfinite(whole) else NAN


@part
def mid_price(bid: float, ask: float) -> float:
    """(b_1 + a_1) / 2."""
    return (bid + ask) / 2


@part
def imbalance(bid_size: float, ask_size: float) -> float:
    """(qb_1 - qa_1) / (qb_1 + qa_1)."""
    return relative(bid_size - ask_size, bid_size + ask_size)


@part
def distance_bps(price: float, mid: float) -> float:
    """1e4 |price - mid| / mid, in this order of operations: bands cut here."""
    return (1e4 * abs(price - mid)) / mid


@part
def half_depth(side: Doubles, count: int) -> int:
    """Smallest k whose first k sizes hold half the size of the first `count`; null where that is beyond double."""
    total = 0.0
    for i in range(count):
        total += side[i, 1]
    if not np.isfinite(total):
        return NULL_INT
    held = 0.0
    for i in range(count):
        held += side[i, 1]
        if held >= 0.5 * total * ROUNDING:
            return i + 1
    return NULL_INT


@part
def concentration(side: Doubles, count: int) -> float:
    """Sum of squared shares of the first `count` sizes."""
    total = 0.0
    for i in range(count):
        total += side[i, 1]
    squares = 0.0
    for i in range(count):
        share = relative(side[i, 1], total)
        squares += share * share
    return squares


@part
def vwap(side: Doubles, count: int) -> float:
    """Size-weighted price of the first `count` levels."""
    notional = 0.0
    size = 0.0
    for i in range(count):
        notional += side[i, 0] * side[i, 1]
        size += side[i, 1]
    return relative(notional, size)


@part
def smart_depth(side: Doubles, count: int, mid: float, decay: float) -> float:
    """Sum of sizes that decay exponentially with the relative distance from the mid."""
    depth = 0.0
    for i in range(count):
        depth += side[i, 1] * math.exp(-decay * (abs(side[i, 0] - mid) / mid))
    return finite(depth)


@part
def slope(side: Doubles, count: int) -> float:
    """|p_5 - p_1| / (q_1 + .. + q_5); null with fewer than 5 levels."""
    if count < VWAP_LEVELS:
        return NAN
    size = 0.0
    for i in range(VWAP_LEVELS):
        size += side[i, 1]
    return relative(abs(side[VWAP_LEVELS - 1, 0] - side[0, 0]), size)


@part
def band_volumes(side: Doubles, count: int, mid: float, bands: Doubles, doubles: Doubles, at: int) -> None:
    """Sizes of all levels by band into words `at`, `at + BAND_COLUMNS` ...

    Levels come nearest first, so bands only go up.
    """
    for band in range(len(bands)):
        doubles[at + band * BAND_COLUMNS] = 0.0
    band = 0
    for i in range(count):
        away = distance_bps(side[i, 0], mid)
        while band < len(bands) and not away < bands[band]:  # NaN, of a mid beyond double, lies in no band
            band += 1
        if band == len(bands):
            return
        doubles[at + band * BAND_COLUMNS] += side[i, 1]


@part
def level_words(side: Doubles, count: int, levels: int, doubles: Doubles, at: int) -> None:
    """Prices and sizes of the first levels into words `at`, `at + 1`, a level further each LEVEL_COLUMNS words."""
    for i in range(levels):
        doubles[at + i * LEVEL_COLUMNS] = side[i, 0] if i < count else NAN
        doubles[at + i * LEVEL_COLUMNS + 1] = finite(side[i, 1]) if i < count else NAN


@part
def band_words(
    bids: Doubles,
    bid_count: int,
    asks: Doubles,
    ask_count: int,
    mid: float,
    spread: float,
    params: Params,
    doubles: Doubles,
) -> None:
    """Volumes and imbalances by band, and the two proxies of spread per volume."""
    at = LEVELS_WORD + LEVEL_COLUMNS * params.levels
    bands = len(params.bands)
    band_volumes(bids, bid_count, mid, params.bands, doubles, at)
    band_volumes(asks, ask_count, mid, params.bands, doubles, at + 1)
    within = 0.0
    for band in range(bands):
        bid = doubles[at + band * BAND_COLUMNS]
        ask = doubles[at + band * BAND_COLUMNS + 1]
        doubles[at + band * BAND_COLUMNS] = finite(bid)
        doubles[at + band * BAND_COLUMNS + 1] = finite(ask)
        doubles[at + band * BAND_COLUMNS + 2] = relative(bid - ask, bid + ask)
        within += bid + ask
        if band < 2:
            doubles[LAMBDA if band == 0 else AMIHUD] = relative(spread, within)
    if bands == 1:
        doubles[AMIHUD] = NAN


@kernel
def structure(
    bids: Doubles, bid_count: int, asks: Doubles, ask_count: int, params: Params, doubles: Doubles, ints: Ints
) -> None:
    """All structural columns of a valid book into a row's words, seen as doubles and as ints."""
    bid, bid_size, ask, ask_size = bids[0, 0], bids[0, 1], asks[0, 0], asks[0, 1]
    mid = mid_price(bid, ask)
    spread = ask - bid
    microprice = relative(bid * ask_size + ask * bid_size, bid_size + ask_size)
    doubles[BEST_BID] = bid
    doubles[BEST_ASK] = ask
    doubles[MID] = finite(mid)
    doubles[SPREAD] = spread
    doubles[RELATIVE_SPREAD] = relative(spread, mid)
    doubles[MICROPRICE] = microprice
    doubles[MICROPRICE_DRIFT] = finite(microprice - mid)
    doubles[IMBALANCE] = imbalance(bid_size, ask_size)
    doubles[BID_REACH] = finite(distance_bps(bids[bid_count - 1, 0], mid))
    doubles[ASK_REACH] = finite(distance_bps(asks[ask_count - 1, 0], mid))
    bid_top, ask_top = min(bid_count, params.levels), min(ask_count, params.levels)
    ints[BID_HALF] = half_depth(bids, bid_top)
    ints[ASK_HALF] = half_depth(asks, ask_top)
    doubles[BID_CONCENTRATION] = concentration(bids, bid_top)
    doubles[ASK_CONCENTRATION] = concentration(asks, ask_top)
    vwap_bid, vwap_ask = vwap(bids, min(bid_count, VWAP_LEVELS)), vwap(asks, min(ask_count, VWAP_LEVELS))
    doubles[VWAP_BID] = vwap_bid
    doubles[VWAP_ASK] = vwap_ask
    doubles[VWAP_SPREAD] = vwap_ask - vwap_bid
    smart_bid = smart_depth(bids, min(bid_count, SMART_LEVELS), mid, params.decay)
    smart_ask = smart_depth(asks, min(ask_count, SMART_LEVELS), mid, params.decay)
    doubles[SMART_BID] = smart_bid
    doubles[SMART_ASK] = smart_ask
    doubles[SMART_IMBALANCE] = relative(smart_bid - smart_ask, smart_bid + smart_ask)
    doubles[BID_SLOPE] = slope(bids, bid_count)
    doubles[ASK_SLOPE] = slope(asks, ask_count)
    level_words(bids, bid_count, params.levels, doubles, LEVELS_WORD)
    level_words(asks, ask_count, params.levels, doubles, LEVELS_WORD + 2)
    band_words(bids, bid_count, asks, ask_count, mid, spread, params, doubles)


def extract_orderbook_features(
    bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]], config: StateConfig | None = None
) -> dict[str, Any]:
    """Structural features of one valid book by column name, None for null.

    `bids` and `asks` hold (price, size), best first; both must hold a level and not cross, else `ValueError`.
    """
    config = config or StateConfig()
    sides = [np.array(side, np.float64).reshape(-1, 2) for side in (bids, asks)]
    if not all(map(len, sides)) or sides[0][0, 0] > sides[1][0, 0]:
        raise ValueError("a book without both sides, or crossed, has no features")
    words = np.zeros(width("hf", config), np.int64)
    structure(sides[0], len(sides[0]), sides[1], len(sides[1]), Params.of(config), words.view(np.float64), words)
    last = LEVELS_WORD + LEVEL_COLUMNS * config.max_levels + BAND_COLUMNS * len(config.bands_bps)
    features: dict[str, Any] = {}
    for place, column in enumerate(columns("hf", config)[2:], start=_word("timestamp")):
        if FIRST_STRUCTURAL <= place < AFTER_STRUCTURAL or LEVELS_WORD <= place < last:
            value = words[place] if column.kind == "int" else words[place : place + 1].view(np.float64)[0]
            features[column.name] = None if value == NULL_INT or np.isnan(value) else value.item()
    return features
