"""Section 3: what one valid book says by itself."""

from __future__ import annotations

import math
from itertools import accumulate

from .cells import Cells, imbalance, ratio
from .records import Book, Levels, total
from .settings import Settings

VWAP_LEVELS = 5
SLOPE_LEVELS = 5
SMART_LEVELS = 50


def mid_price(book: Book) -> float:
    """(b_1 + a_1)/2."""
    return (book.bids[0][0] + book.asks[0][0]) / 2


def spread(book: Book) -> float:
    """a_1 - b_1."""
    return book.asks[0][0] - book.bids[0][0]


def best_imbalance(book: Book) -> float | None:
    """`imbalance_L1`: (qb_1 - qa_1)/(qb_1 + qa_1)."""
    return imbalance(book.bids[0][1], book.asks[0][1])


def distance_bps(price: float, mid: float) -> float:
    """10⁴·reldist in the order of operations that section 3 fixes for band edges."""
    return (1e4 * abs(price - mid)) / mid


def put_structure(cells: Cells, book: Book, settings: Settings) -> None:
    """All columns of section 3."""
    put_top(cells, book)
    put_levels(cells, book, settings)
    put_bands(cells, book, settings)
    put_impact(cells, book, settings)
    for side, levels in (("bid", book.bids), ("ask", book.asks)):
        put_shape(cells, side, levels, mid_price(book), settings.max_levels)
    put_vwap(cells, book)
    put_smart_depth(cells, book, settings.smart_depth_decay)
    cells.put("book_flags", book.flags)


def put_top(cells: Cells, book: Book) -> None:
    """The best quotes and what follows from them alone."""
    (bid, bid_size), (ask, ask_size) = book.bids[0], book.asks[0]
    mid = mid_price(book)
    micro = ratio(bid * ask_size + ask * bid_size, bid_size + ask_size)
    cells.put("best_bid", bid)
    cells.put("best_ask", ask)
    cells.put("mid_price", mid)
    cells.put("spread", spread(book), scale=mid)
    cells.put("relative_spread", ratio(spread(book), mid), scale=1)
    cells.put("microprice", micro)
    cells.put("microprice_drift", None if micro is None else micro - mid, scale=mid)
    cells.put("imbalance_L1", best_imbalance(book), scale=1)


def put_levels(cells: Cells, book: Book, settings: Settings) -> None:
    """Levels 1 to N; a missing level is null."""
    for side, levels in (("bid", book.bids), ("ask", book.asks)):
        for i in range(1, settings.max_levels + 1):
            price, size = levels[i - 1] if i <= len(levels) else (None, None)
            cells.put(f"{side}_price_L{i}", price)
            cells.put(f"{side}_size_L{i}", size)


def band_volume(levels: Levels, mid: float, low: float, high: float) -> float:
    """Sum of sizes with low ≤ distance < high, over all levels received; 0 when there is none."""
    return total([size for price, size in levels if low <= distance_bps(price, mid) < high])


def put_bands(cells: Cells, book: Book, settings: Settings) -> None:
    """Volumes and imbalance of each band."""
    mid = mid_price(book)
    for low, high, name in settings.bands():
        bid, ask = band_volume(book.bids, mid, low, high), band_volume(book.asks, mid, low, high)
        cells.put(f"bid_vol_band_{name}bps", bid)
        cells.put(f"ask_vol_band_{name}bps", ask)
        cells.put(f"imb_band_{name}bps", imbalance(bid, ask), scale=1)


def put_impact(cells: Cells, book: Book, settings: Settings) -> None:
    """Spread over the volume within the first band, and within the first two; null when that is 0."""
    mid = mid_price(book)
    for column, edge in zip(("lambda_proxy", "amihud_proxy"), (*settings.bands_bps, None), strict=False):
        if edge is None:  # one band only: the column stays, null
            cells.put(column, None)
            continue
        volume = total([band_volume(book.bids, mid, 0, edge), band_volume(book.asks, mid, 0, edge)])
        cells.put(column, ratio(spread(book), volume), scale=ratio(mid, volume))


def put_shape(cells: Cells, side: str, levels: Levels, mid: float, max_levels: int) -> None:
    """How far a side reaches, how deep half of it lies, how concentrated and how steep it is."""
    cells.put(f"{side}_reach_bps", distance_bps(levels[-1][0], mid), scale=1e4)
    sizes = [size for _, size in levels[:max_levels]]
    whole = total(sizes)
    half = 0.5 * whole * (1 - 1e-12)
    reached = [k for k, depth in enumerate(accumulate(sizes), start=1) if depth >= half]
    cells.put(f"{side}_50pct_depth_levels", reached[0] if reached else None)
    cells.put(f"{side}_concentration", total([(size / whole) ** 2 for size in sizes]))
    put_slope(cells, side, levels, mid)


def put_slope(cells: Cells, side: str, levels: Levels, mid: float) -> None:
    """|p_5 - p_1| over the volume of the top 5; null with fewer than 5 levels."""
    if len(levels) < SLOPE_LEVELS:
        cells.put(f"{side}_slope", None)
        return
    volume = total([size for _, size in levels[:SLOPE_LEVELS]])
    cells.put(f"{side}_slope", abs(levels[SLOPE_LEVELS - 1][0] - levels[0][0]) / volume, scale=mid / volume)


def put_vwap(cells: Cells, book: Book) -> None:
    """Size-weighted price of the top min(5, n), whatever `max_levels` is."""
    tops = (book.bids[:VWAP_LEVELS], book.asks[:VWAP_LEVELS])
    bid, ask = (total([price * size for price, size in top]) / total([size for _, size in top]) for top in tops)
    cells.put("vwap_bid_5", bid)
    cells.put("vwap_ask_5", ask)
    cells.put("vwap_spread", ask - bid, scale=mid_price(book))


def put_smart_depth(cells: Cells, book: Book, decay: float) -> None:
    """Sizes discounted by e^(-k·reldist) over the top min(50, n)."""
    mid = mid_price(book)
    bid, ask = (
        total([size * math.exp(-decay * (abs(price - mid) / mid)) for price, size in levels[:SMART_LEVELS]])
        for levels in (book.bids, book.asks)
    )
    cells.put("smart_bid_depth", bid)
    cells.put("smart_ask_depth", ask)
    cells.put("smart_depth_imbalance", imbalance(bid, ask), scale=1)
