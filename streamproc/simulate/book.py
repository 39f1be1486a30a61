"""One symbol's order book as whole ticks and lots, and what moves it.

A zero-intelligence book (Smith, Farmer, Gillemot, Krishnamurthy, Quantitative Finance 2003) that follows a fair price:
limit orders and cancellations at random levels, market orders that eat the best levels and push the fair price (Kyle,
Econometrica 1985), quotes that are drawn after it. Spread and depth swing around their means in event time and are
thrown off by bursts. Best bid < best ask, always, and prices of a side are strictly ordered.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamproc.jit import part
from streamproc.simulate.draws import (
    U64,
    Draws,
    Int,
    power_of_two,
    random_below,
    random_bits,
    random_exponential,
    symbol_seeds,
)

I64 = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

SYMBOL_STATE = np.dtype(
    [
        ("event_us", np.int64),  # time of the symbol's next event since the market's start
        ("arrival_us", np.int64),  # when the recorder gets it
        ("excited_q16", np.int64),  # events a second that earlier events set off
        ("nonce", np.int64),
        ("trade_id", np.int64),
        ("fair_q8", np.int64),  # fair price, in price units
        ("spread_q16", np.int64),  # log2 of the wanted spread over the typical one
        ("depth_q16", np.int64),  # log2 of the size of new orders over the typical one
        ("pressure_q16", np.int64),  # share of buyers above one half
    ]
)
"""What changes about a symbol, beside its levels."""

MAX_FILLS = 6
"""Levels that one market order eats at most."""

HIDDEN_LEVELS = 16
"""Levels kept behind those shown, more than can vanish between two refills."""

_SPREAD_MEMORY, _DEPTH_MEMORY = 5, 7
_LARGEST_SIZE = 32
_WIDEST_GAP = 5
_MOST_CANCELLED = 4
_ONE_Q16 = 1 << 16
# numba compiles a function anew for each plain constant it is called with, and once for all numpy ones.
BIDS, ASKS, _BEST = np.int64(0), np.int64(1), np.int64(0)
_MOST_CHANGED, _NONCE_STEPS, _BURST_ODDS = np.int64(6), np.int64(100), np.int64(400)


class Books(NamedTuple):
    """All symbols' books.

    terms : INSTRUMENT records, shape (symbols,).
    states : SYMBOL_STATE records, shape (symbols,).
    prices, sizes : int64, shape (symbols, 2, levels), side 0 bids, side 1 asks, best first, in units and lots.
    depth : int64, shape (symbols, 2), levels there are.
    random : uint64, shape (symbols,).
    """

    terms: Records
    states: Records
    prices: I64
    sizes: I64
    depth: I64
    random: U64


def open_books(terms: Records, levels: int, seed: int) -> Books:
    """Books with their best levels, within 1 % of the listed prices; the others appear at the first event."""
    count, capacity = len(terms), levels + HIDDEN_LEVELS
    books = Books(
        terms,
        np.zeros(count, dtype=SYMBOL_STATE),
        np.zeros((count, 2, capacity), dtype=np.int64),
        np.zeros((count, 2, capacity), dtype=np.int64),
        np.ones((count, 2), dtype=np.int64),
        symbol_seeds(seed, count),
    )
    draws = Draws(seed)
    listed_ticks = terms["price"] // terms["tick"]
    moved_ticks = np.array([draws.below(int(ticks) // 50 + 1) for ticks in listed_ticks]) - listed_ticks // 100
    books.prices[:, BIDS, 0] = (listed_ticks + moved_ticks) * terms["tick"]
    books.prices[:, ASKS, 0] = books.prices[:, BIDS, 0] + terms["spread_ticks"] * terms["tick"]
    books.sizes[:, :, 0] = terms["size_lots"][:, np.newaxis]
    books.states["fair_q8"] = books.prices[:, :, 0].sum(axis=1) << 7
    books.states["nonce"] = [10_000_000_000 + draws.below(1 << 30) for _ in range(count)]
    books.states["trade_id"] = [1_000_000_000 + draws.below(1 << 30) for _ in range(count)]
    return books


@part
def order_size(books: Any, symbol: Int) -> Int:
    """Lots of a new limit order: exponential about the depth of the moment, one in eight very small."""
    bits = random_bits(books.random, symbol) & 255
    base = books.terms[symbol].size_lots
    size = power_of_two(base, books.states[symbol].depth_q16) * random_exponential(books.random, symbol) >> 16
    if bits < 32:
        size >>= 6
    return min(max(size, 1), _LARGEST_SIZE * base)


@part
def insert_level(books: Any, symbol: Int, side: Int, place: Int, price: Int) -> None:
    """Put a new level before `place`; the deepest one falls off a full side."""
    prices, sizes = books.prices[symbol, side], books.sizes[symbol, side]
    last = min(books.depth[symbol, side], len(prices) - 1)
    for i in range(last, place, -1):
        prices[i] = prices[i - 1]
        sizes[i] = sizes[i - 1]
    prices[place] = price
    sizes[place] = order_size(books, symbol)
    books.depth[symbol, side] = last + 1


@part
def remove_level(books: Any, symbol: Int, side: Int, place: Int) -> None:
    """Take a level away; the last one of a side stays."""
    count = books.depth[symbol, side] - 1
    if count == 0:
        return
    prices, sizes = books.prices[symbol, side], books.sizes[symbol, side]
    for i in range(place, count):
        prices[i] = prices[i + 1]
        sizes[i] = sizes[i + 1]
    books.depth[symbol, side] = count


@part
def refill(books: Any, symbol: Int) -> None:
    """Levels behind the deepest ones until both sides are full; a bid's price stays above 0."""
    term, capacity = books.terms[symbol], books.prices.shape[2]
    for side in range(BIDS, ASKS + 1):
        prices = books.prices[symbol, side]
        while books.depth[symbol, side] < capacity:
            count = books.depth[symbol, side]
            gap = (1 + random_below(books.random, symbol, 2 * term.gap_ticks)) * term.tick
            price = prices[count - 1] + (gap if side == ASKS else -gap)
            if price <= 0:
                break
            insert_level(books, symbol, side, count, price)


@part
def change_level(books: Any, symbol: Int) -> None:
    """One limit order or cancellation at a random level, the better ones more often."""
    bits = random_bits(books.random, symbol)
    side = bits & 1
    count = books.depth[symbol, side]
    uniform = bits >> 8 & 0xFFFF
    place = uniform * uniform * count >> 32
    if bits >> 1 & 15 < 10 or place + 1 >= count:
        books.sizes[symbol, side, place] = order_size(books, symbol)
    elif bits >> 1 & 1 and place > 0 and lies_close(books, symbol, side, place):
        remove_level(books, symbol, side, place)
    else:
        fill_gap(books, symbol, side, place)


@part
def lies_close(books: Any, symbol: Int, side: Int, place: Int) -> Any:
    """Whether no hole would be left without this level, so that books do not thin out with time."""
    term, prices = books.terms[symbol], books.prices[symbol, side]
    return abs(prices[place + 1] - prices[place - 1]) <= _WIDEST_GAP * term.gap_ticks * term.tick


@part
def fill_gap(books: Any, symbol: Int, side: Int, place: Int) -> None:
    """A new level between `place` and the one behind it, if a tick is free there."""
    tick = books.terms[symbol].tick
    prices = books.prices[symbol, side]
    outward = tick if side == ASKS else -tick
    free = (prices[place + 1] - prices[place]) // outward - 1
    if free > 0:
        price = prices[place] + outward * (1 + random_below(books.random, symbol, free))
        insert_level(books, symbol, side, place + 1, price)


@part
def breathe(books: Any, symbol: Int) -> None:
    """Spread and depth revert to their means; now and then liquidity is withdrawn at once; the fair price wanders."""
    state, term = books.states[symbol], books.terms[symbol]
    bits = random_bits(books.random, symbol)
    # Differences of two 12-bit uniforms: a triangular distribution about 0.
    state.spread_q16 += (((bits & 4095) - (bits >> 12 & 4095)) << 2) - (state.spread_q16 >> _SPREAD_MEMORY)
    state.depth_q16 += (((bits >> 24 & 4095) - (bits >> 36 & 4095)) << 1) - (state.depth_q16 >> _DEPTH_MEMORY)
    if random_below(books.random, symbol, _BURST_ODDS) == 0:
        state.spread_q16 += 2 * _ONE_Q16
        state.depth_q16 -= _ONE_Q16
    state.spread_q16 = min(max(state.spread_q16, -3 * _ONE_Q16), 4 * _ONE_Q16)
    state.depth_q16 = min(max(state.depth_q16, -2 * _ONE_Q16), 2 * _ONE_Q16)
    state.pressure_q16 -= state.pressure_q16 >> 5
    if bits >> 50 & 3 == 0:
        noise = random_exponential(books.random, symbol) * (term.move_q8 if bits >> 52 & 1 else -term.move_q8) >> 16
        move_fair(books, symbol, noise)


@part
def move_fair(books: Any, symbol: Int, move_q8: Int) -> None:
    """Move the fair price, kept between half and twice the listed one."""
    state, listed_q8 = books.states[symbol], books.terms[symbol].price << 8
    state.fair_q8 = min(max(state.fair_q8 + move_q8, listed_q8 >> 1), listed_q8 << 1)


@part
def follow_fair(books: Any, symbol: Int) -> None:
    """Cancel quotes that the fair price has left behind."""
    prices = books.prices[symbol]
    fair = books.states[symbol].fair_q8 >> 8
    slack = books.terms[symbol].gap_ticks * books.terms[symbol].tick
    for _ in range(_MOST_CANCELLED):
        asks_lag = prices[ASKS, 0] + slack < fair
        if not asks_lag and prices[BIDS, 0] - slack <= fair:
            break
        remove_level(books, symbol, ASKS if asks_lag else BIDS, _BEST)


@part
def adjust_spread(books: Any, symbol: Int) -> None:
    """Bring the spread towards the wanted one: better quotes about the fair price, or a best one taken away."""
    state, term, prices = books.states[symbol], books.terms[symbol], books.prices[symbol]
    fair = state.fair_q8 >> 8
    wanted = max(1, power_of_two(term.spread_ticks, state.spread_q16)) * term.tick
    fair_bid = (fair - (wanted >> 1)) // term.tick * term.tick
    if 2 * (prices[ASKS, 0] - prices[BIDS, 0]) <= wanted:
        rising = 2 * fair > prices[ASKS, 0] + prices[BIDS, 0]
        remove_level(books, symbol, ASKS if rising else BIDS, _BEST)
    for side in range(BIDS, ASKS + 1):
        bid, ask = prices[BIDS, 0], prices[ASKS, 0]
        quote = min(ask - wanted, fair_bid) if side == BIDS else max(bid + wanted, fair_bid + wanted)
        if ask - bid > wanted and bid < quote < ask:
            insert_level(books, symbol, side, _BEST, quote)


@part
def update_book(books: Any, symbol: Int) -> None:
    """What happens between two snapshots of a book."""
    refill(books, symbol)
    breathe(books, symbol)
    for _ in range(2 + random_below(books.random, symbol, _MOST_CHANGED)):
        change_level(books, symbol)
    follow_fair(books, symbol)
    adjust_spread(books, symbol)
    books.states[symbol].nonce += 2 + random_below(books.random, symbol, _NONCE_STEPS)


@part
def market_order(books: Any, symbol: Int, fill_prices: I64, fill_lots: I64) -> Int:
    """A market order eats the best levels and moves the fair price its way.

    Writes the fills and returns their number, negative for a sell.
    """
    refill(books, symbol)
    state, term = books.states[symbol], books.terms[symbol]
    bits = random_bits(books.random, symbol)
    buys = (bits & 0xFFFF) < (_ONE_Q16 >> 1) + state.pressure_q16
    side, sign = (ASKS, 1) if buys else (BIDS, -1)
    lots = max(1, term.size_lots * random_exponential(books.random, symbol) >> 17)
    if bits >> 16 & 15 == 0:
        lots *= 8
    fills = 0
    eaten = 0
    while lots > eaten and fills < MAX_FILLS:
        available = books.sizes[symbol, side, 0]
        taken = min(available, lots - eaten)
        fill_prices[fills], fill_lots[fills] = books.prices[symbol, side, 0], taken
        fills += 1
        eaten += taken
        if taken < available:
            books.sizes[symbol, side, 0] = available - taken
        elif books.depth[symbol, side] > 1:
            remove_level(books, symbol, side, _BEST)
        else:
            break
    push_prices(books, symbol, sign, eaten)
    return sign * fills


@part
def push_prices(books: Any, symbol: Int, sign: Int, eaten_lots: Int) -> None:
    """Impact of a trade: on the fair price, on the side of those to come, on the spread."""
    state, term = books.states[symbol], books.terms[symbol]
    weight_q8 = min(256 + (eaten_lots << 8) // term.size_lots, 4 * 256)
    move_fair(books, symbol, sign * (term.move_q8 * weight_q8 >> 8))
    state.pressure_q16 += sign * (_ONE_Q16 >> 5) - (state.pressure_q16 >> 3)
    if weight_q8 > 2 * 256:
        state.spread_q16 += _ONE_Q16 >> 1
