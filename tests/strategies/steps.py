"""Streams of lines: a market that goes on step by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st

from .faults import BOOK_FAULTS, TRADE_FAULTS
from .lines import broken, dressed, misshapen
from .market import Instrument, Record, new_instruments, once_in, plain_book, plain_trades

START_MS = 1_700_000_000_000
ELAPSED_MS = [100, 0, 1, 50, 250, 499, 500, 501, 1000, 1001, 2000, 2001, 5000, 5001, 9000]
"""Steps of the clock: windows, bars, buckets and gaps of the settings end at them, and 1 ms beside them."""


@dataclass(frozen=True)
class Step:
    """One line to be: what kind, of which instrument, how long after the last, and what decides its details."""

    kind: str
    instrument: int
    elapsed_ms: int
    seed: int


PLAIN_KINDS = ["book", "trades"]
OTHER_KINDS = ["book_again", "trades_again", "misshapen", "broken", "blank"]
KINDS = ["book"] * 22 + ["trades"] * 8 + [*BOOK_FAULTS, *TRADE_FAULTS, "odd_trades", "book_again", *OTHER_KINDS]
"""What kinds of step there are, as often as they should come; the plainest first, for shrinking."""


class Market:
    """Turns steps into lines, one after the other; the clock is one for all instruments."""

    def __init__(self) -> None:
        self.now = START_MS
        self.instruments = new_instruments()

    def line(self, step: Step) -> bytes:
        """The step's line, without its newline."""
        self.now += step.elapsed_ms
        rng, instrument = Random(step.seed), self.instruments[step.instrument]
        if step.kind == "blank":
            return rng.choice([b"", b" ", b"\t \r", b"\r"])
        record = self.record(step.kind, instrument, rng)
        if step.kind == "misshapen":
            return dressed(misshapen(record, rng), rng)
        plain = step.kind in PLAIN_KINDS and step.seed % 3  # most lines of a feed look alike
        line = json.dumps(record, separators=(",", ":")).encode() if plain else dressed(record, rng)
        return broken(line.strip(), rng) if step.kind == "broken" else line

    def record(self, kind: str, instrument: Instrument, rng: Random) -> Record:
        """The record of a step, faults included."""
        if kind == "book_again" and instrument.last_book is not None:
            return self.again(instrument.last_book, rng)
        if kind == "trades" or kind in TRADE_FAULTS or kind == "trades_again":
            return self.trades(kind, instrument, rng)
        record = plain_book(instrument, self.now, rng)
        if kind in BOOK_FAULTS:
            BOOK_FAULTS[kind](record, rng)
        if kind not in ("misshapen", "broken"):
            instrument.last_book = record
        return record

    def again(self, last: Record, rng: Random) -> Record:
        """The last book once more: as it was, with other levels, or one millisecond or one nonce on (no duplicate)."""
        record: Record = json.loads(json.dumps(last))
        record["collected_at"] = rng.choice([record.get("collected_at"), self.now])
        change = rng.choice(["none", "none", "levels", "nonce", "time"])
        if change == "levels":
            record["data"]["bids"] = record["data"]["bids"][1:]
        elif change == "nonce":
            record["data"]["nonce"] = 77
        elif change == "time" and isinstance(record["data"].get("timestamp"), int):
            record["data"]["timestamp"] += 1
        return record

    def trades(self, kind: str, instrument: Instrument, rng: Random) -> Record:
        """A message of trades, with its faults or with trades that were sent before."""
        record = plain_trades(instrument, self.now, rng)
        if kind in TRADE_FAULTS:
            TRADE_FAULTS[kind](record, rng)
        if kind == "trades_again" and instrument.last_trades:
            earlier = rng.choices(instrument.last_trades, k=2)
            record["data"] = [*earlier, *record["data"], earlier[0]]
        instrument.last_trades = [*instrument.last_trades, *record["data"]][-2000:]
        return record


def lines_of(steps: Sequence[Step]) -> list[bytes]:
    """The lines of the steps, in a fresh market."""
    market = Market()
    return [market.line(step) for step in steps]


def random_stream(seed: int, n: int) -> list[bytes]:
    """`n` lines of three instruments with all faults, the same for the same seed; blank ones are among them."""
    rng = Random(seed)
    instruments = range(rng.choice([1, 3, 3]))
    elapsed = [0, 1, 20, 50, 100, 100, 100, 250, *([] if once_in(5, rng) else ELAPSED_MS)]
    steps = (
        Step(rng.choice(KINDS), rng.choice(instruments), rng.choice(elapsed), rng.randrange(1_000_000))
        for _ in range(n)
    )
    return lines_of(list(steps))


def streams(min_size: int = 0, max_size: int = 60) -> st.SearchStrategy[list[bytes]]:
    """Streams of lines of one to three instruments; they shrink to few, plain and quick ones."""
    step = st.builds(
        Step,
        kind=st.sampled_from(KINDS),
        instrument=st.integers(0, 2),
        elapsed_ms=st.sampled_from(ELAPSED_MS),
        seed=st.integers(0, 65535),
    )
    return st.lists(step, min_size=min_size, max_size=max_size).map(lines_of)
