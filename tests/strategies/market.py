"""A small market: instruments, their prices and sizes, books and trades as they should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

Record = dict[str, Any]


def once_in(n: int, rng: Random) -> bool:
    """True once in `n` times."""
    return rng.randrange(n) == 0


@dataclass
class Instrument:
    """One symbol of the market: prices are whole ticks, `digits` after the point."""

    exchange: str
    symbol: str
    digits: int
    base_ticks: int
    mid_ticks: int = 0
    nonce: int = 100
    next_trade_id: int = 7000
    last_book: Record | None = None
    last_trades: list[Record] = field(default_factory=list)

    def price(self, ticks: int) -> float | int:
        """The decimal number of that many ticks, now and then as an integer where it is one."""
        return ticks if self.digits == 0 else ticks / 10**self.digits

    def walk(self, rng: Random) -> None:
        """Mostly stays: ties of best prices are what OFI is about."""
        self.mid_ticks += rng.choice([0, 0, 0, 1, -1, 2, -3])
        if abs(self.mid_ticks - self.base_ticks) > self.base_ticks // 50:
            self.mid_ticks = self.base_ticks


def new_instruments() -> list[Instrument]:
    """At 100.00 a tick is 1 bps; at 10000 a tick is 1 bps with exact band edges; at 0.5 a tick is 20 bps."""
    instruments = [
        Instrument("binance", "BTC/USDT", digits=2, base_ticks=10_000),
        Instrument("kraken", "BTC/USDT", digits=0, base_ticks=10_000),
        Instrument('o"kx', "SÖL\\₮/😀:x", digits=3, base_ticks=500),
    ]
    for instrument in instruments:
        instrument.mid_ticks = instrument.base_ticks
    return instruments


SIZES = [1, 2, 3, 0.5, 0.1, 0.2, 0.3, 10, 0.7, 1e-8, 12345.678]
HUGE_SIZES = [1e15, 100000000000000000000, 123456789012]


def book_levels(instrument: Instrument, rng: Random) -> tuple[list[Any], list[Any]]:
    """Bids and asks around the mid, best first, 1 to 8 levels a side and seldom many."""
    half_spread, sides = rng.choice([1, 1, 2, 5]), []
    for direction in (-1, 1):
        ticks, side = instrument.mid_ticks + direction * half_spread, []
        for _ in range(rng.choice([1, 2, 3, 4, 5, 5, 6, 8, 13, 55])):
            size = rng.choice(HUGE_SIZES) if once_in(500, rng) else rng.choice(SIZES)
            side.append([instrument.price(ticks), size])
            ticks += direction * rng.choice([1, 1, 2, 5])
        sides.append(side)
    return sides[0], sides[1]


def plain_book(instrument: Instrument, now: int, rng: Random) -> Record:
    """A book as it should be."""
    instrument.walk(rng)
    instrument.nonce += 1
    bids, asks = book_levels(instrument, rng)
    data = {"bids": bids, "asks": asks, "timestamp": now, "datetime": None, "nonce": instrument.nonce}
    return envelope("orderbook", instrument, data, now, rng)


def plain_trades(instrument: Instrument, now: int, rng: Random) -> Record:
    """A message of one to four trades as they should be."""
    trades = []
    for _ in range(rng.choice([1, 1, 2, 4])):
        instrument.next_trade_id += 1
        price = instrument.price(instrument.mid_ticks + rng.choice([-2, -1, 0, 1, 2]))
        side, amount = rng.choice(["buy", "sell"]), rng.choice(SIZES)
        time = now - rng.choice([0, 0, 0, 1, 40])
        trades.append({"id": str(instrument.next_trade_id), "timestamp": time, "side": side, "price": price})
        trades[-1]["amount"] = amount
    return envelope("trades", instrument, trades, now, rng)


def envelope(kind: str, instrument: Instrument, data: Any, now: int, rng: Random) -> Record:
    """The record around the data; the recorder's clock may run behind the exchange's."""
    collected_at = now + rng.choice([5, 0, 40, -300])
    return {
        "type": kind,
        "exchange": instrument.exchange,
        "symbol": instrument.symbol,
        "data": data,
        "collected_at": collected_at,
    }
