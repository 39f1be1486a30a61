"""Long streams of plain lines, quickly made: what fills pages and runs of pages."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

START_MS = 1_700_000_000_000


def book_line(symbol: str, t: int, bid: float, bid_size: float, ask: float, ask_size: float) -> bytes:
    """A book of one level a side."""
    data = f'{{"bids":[[{bid},{bid_size}]],"asks":[[{ask},{ask_size}]],"timestamp":{t}}}'
    return f'{{"type":"orderbook","exchange":"x","symbol":"{symbol}","data":{data},"collected_at":{t}}}'.encode()


def trades_line(symbol: str, t: int, trades: Sequence[tuple[int | str, int, str, float, float]]) -> bytes:
    """A message of trades: id, time, side, price, amount of each."""
    data = ",".join(
        f'{{"id":"{id_}","timestamp":{time},"side":"{side}","price":{price},"amount":{amount}}}'
        for id_, time, side, price, amount in trades
    )
    return f'{{"type":"trades","exchange":"x","symbol":"{symbol}","data":[{data}],"collected_at":{t}}}'.encode()


def long_stream(
    seed: int,
    n: int,
    *,
    symbols: int = 1,
    steps_ms: Sequence[int] = (10,),
    trade_share: float = 0.3,
    first_share: float = 0.0,
) -> list[bytes]:
    """`n` lines, some ms apart, of books that walk and trades of which some come again; the same for the same seed.

    `first_share` of the lines are the first symbol's, the others are shared by all.
    """
    rng, t, next_id = Random(seed), START_MS, 0
    mids = [100.0 + 7 * symbol for symbol in range(symbols)]
    lines = []
    for _ in range(n):
        t += rng.choice(steps_ms)
        symbol = 0 if rng.random() < first_share else rng.randrange(symbols)
        if rng.random() < trade_share:
            next_id += 2
            ids = (next_id - 1, next_id, max(0, next_id - rng.choice([5, 900, 1023, 1024, 1025, 1100])))
            trades = [
                (id_, t - rng.choice([0, 0, 3]), rng.choice(["buy", "sell"]), mids[symbol], rng.randrange(1, 900) / 100)
                for id_ in ids
            ]
            lines.append(trades_line(f"s{symbol}", t, trades))
            continue
        mids[symbol] = round(mids[symbol] + rng.choice([0, 0, 0.01, -0.01, 0.05]), 2)
        bid, ask = round(mids[symbol] - 0.01, 2), round(mids[symbol] + rng.choice([0.01, 0.02]), 2)
        lines.append(book_line(f"s{symbol}", t, bid, rng.randrange(1, 999) / 10, ask, rng.randrange(1, 999) / 1000))
    return lines
