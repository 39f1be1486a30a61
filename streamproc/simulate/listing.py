"""Which instruments a market lists, and their terms: names, ticks, lots, typical sizes, rates, latencies.

The listing depends on the number of symbols and the rates alone: seeds differ in what happens, not in what is traded.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamproc.simulate.draws import mix64
from streamproc.simulate.market import Market

INSTRUMENT = np.dtype(
    [
        ("price_decimals", np.int64),  # prices are whole numbers of 10^-price_decimals
        ("size_decimals", np.int64),  # sizes are whole numbers of 10^-size_decimals, the lots
        ("tick", np.int64),  # smallest step of a price, in price units
        ("price", np.int64),  # about where the market opens, in price units
        ("size_lots", np.int64),  # typical size of a level
        ("gap_ticks", np.int64),  # typical distance between levels
        ("spread_ticks", np.int64),  # typical spread
        ("move_q8", np.int64),  # typical move of the fair price at one event, in price units
        ("base_rate_q32", np.int64),  # events a second that nothing else set off
        ("trade_share_q16", np.int64),  # share of trades messages among the events
        ("latency_us", np.int64),  # smallest delay from event to arrival
        ("jitter_us", np.int64),  # mean of what comes on top
        ("has_nonce", np.int64),
    ]
)
"""Constants of an instrument as the kernels read them."""

SELF_EXCITED_SHARE = 0.5
"""Branching ratio of the arrivals: this share of the events was set off by earlier ones."""

_VOLATILITY_BPS = 1
"""Typical move of the fair price in one second."""


@dataclass(frozen=True)
class Exchange:
    """How one exchange differs from the others."""

    name: str
    quote: str
    dropped_decimals: int
    tick: int
    level_notional: int
    latency_us: int
    has_nonce: bool
    activity: int


@dataclass(frozen=True)
class Asset:
    """A traded asset: its name and price as a whole number of 10^-decimals of the quote currency."""

    name: str
    price: int
    decimals: int


@dataclass(frozen=True)
class Instrument:
    """One (exchange, symbol) pair with its terms."""

    exchange: Exchange
    asset: Asset
    rank: int

    @property
    def symbol(self) -> str:
        """The CCXT name, such as ``BTC/USDT`` or ``BTC/USDT:USDT`` for a perpetual swap."""
        return f"{self.asset.name}/{self.exchange.quote}"

    @property
    def activity(self) -> int:
        """Relative rate: large exchanges and well-known assets are busier."""
        return self.exchange.activity * (8 + 24 // (1 + self.rank))


EXCHANGES = (
    Exchange("binance", "USDT", 0, 1, 24_000, 6_000, True, 12),
    Exchange("kraken", "USD", 1, 1, 9_000, 28_000, False, 8),
    Exchange("coinbase", "USD", 0, 1, 16_000, 18_000, True, 10),
    Exchange("bybit", "USDT:USDT", 1, 1, 30_000, 45_000, True, 12),
    Exchange("bitmex", "USDT:USDT", 0, 5, 12_000, 60_000, True, 7),
)

ASSETS = (
    Asset("BTC", 6_169_433, 2),
    Asset("ETH", 268_312, 2),
    Asset("SOL", 155_470, 3),
    Asset("XRP", 612_340, 6),
    Asset("DOGE", 108_370, 6),
    Asset("BNB", 514_200, 3),
    Asset("ADA", 346_180, 6),
    Asset("AVAX", 224_150, 4),
    Asset("LINK", 105_820, 4),
    Asset("DOT", 468_910, 5),
    Asset("LTC", 612_050, 4),
    Asset("TRX", 127_640, 6),
    Asset("BCH", 349_700, 3),
    Asset("UNI", 601_330, 5),
    Asset("ATOM", 491_270, 5),
    Asset("NEAR", 412_880, 5),
    Asset("APT", 603_410, 5),
    Asset("ARB", 567_290, 6),
    Asset("OP", 143_180, 5),
    Asset("SUI", 891_540, 6),
    Asset("PEPE", 81_234, 10),
    Asset("SHIB", 13_872, 9),
    Asset("FIL", 371_260, 5),
    Asset("INJ", 179_850, 4),
    Asset("AAVE", 991_600, 4),
)

_CONSONANTS, _VOWELS = "BCDFGHJKLMNPRSTVZ", "AEIOU"
_STRIDE = 48_611
"""Coprime to the number of generated names, so that every name comes once and neighbours do not look alike."""

_GENERATED_NAMES = len(_CONSONANTS) ** 3 * len(_VOWELS) ** 2


def instruments(count: int) -> list[Instrument]:
    """The first `count` pairs: well-known assets across the exchanges in turn, then generated ones."""
    return [instrument for instrument, _ in zip(_all_instruments(), range(count), strict=False)]


def _all_instruments() -> Iterator[Instrument]:
    for row in range(len(ASSETS)):
        for column, exchange in enumerate(EXCHANGES):
            rank = (row + column) % len(ASSETS)
            yield Instrument(exchange, ASSETS[rank], rank)
    for number in range(_GENERATED_NAMES):
        asset = _generated_asset(number)
        for exchange in EXCHANGES:
            yield Instrument(exchange, asset, len(ASSETS) + number)


def _generated_asset(number: int) -> Asset:
    """A pronounceable name of five letters; price from about 0.001 to 1,000."""
    rest, letters = number * _STRIDE % _GENERATED_NAMES, ""
    for position in range(5):
        alphabet = _VOWELS if position % 2 else _CONSONANTS
        rest, letter = divmod(rest, len(alphabet))
        letters += alphabet[letter]
    scrambled = mix64(number)
    return Asset(letters, 100_000 + scrambled % 900_000, 3 + (scrambled >> 32) % 6)


def instrument_terms(listed: list[Instrument], market: Market) -> npt.NDArray[np.void]:
    """The instruments' constants, INSTRUMENT records of shape (symbols,); rates are scaled to the market's means."""
    mean_activity = math.fsum(one.activity for one in listed) / len(listed)
    terms = np.zeros(len(listed), dtype=INSTRUMENT)
    for index, one in enumerate(listed):
        terms[index] = _terms(one, market, one.activity / mean_activity)
    return terms


def _terms(one: Instrument, market: Market, relative_rate: float) -> tuple[Any, ...]:
    exchange, asset = one.exchange, one.asset
    price_decimals = asset.decimals - exchange.dropped_decimals
    price = asset.price // 10**exchange.dropped_decimals // exchange.tick * exchange.tick
    size_decimals, size_lots = _level_size(price, price_decimals, exchange.level_notional // (1 + one.rank // 8))
    ticks = price // exchange.tick
    rate_hz = (market.rate_hz + market.trades_hz) * relative_rate
    return (
        price_decimals,
        size_decimals,
        exchange.tick,
        price,
        size_lots,
        max(1, ticks // 125_000),
        1 + (one.rank + exchange.dropped_decimals) % 4,
        max(1, price * 256 * _VOLATILITY_BPS // (10_000 * max(1, math.isqrt(math.ceil(rate_hz))))),
        round(rate_hz * (1.0 - SELF_EXCITED_SHARE) * (1 << 32)),
        round(market.trades_hz / (market.rate_hz + market.trades_hz) * (1 << 16)),
        exchange.latency_us,
        exchange.latency_us // 3,
        exchange.has_nonce,
    )


def _level_size(price: int, price_decimals: int, notional: int) -> tuple[int, int]:
    """Decimals of a size, and lots worth about `notional`: enough of them that sizes look continuous."""
    for size_decimals in range(9):
        lots = notional * 10 ** (price_decimals + size_decimals) // price
        if lots >= 10_000:
            break
    return size_decimals, lots
