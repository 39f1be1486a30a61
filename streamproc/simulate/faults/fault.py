"""What a fault is: a line put behind an ordinary one, and what must become of it.

No fault changes what later lines count as: an accepted book stays at the time of the ordinary book before it, or, where
its time is that of its arrival, is put in only where nothing of its symbol happens in between; its nonce is new; a
trade's id is one that the market never gives.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from streamproc.simulate.stream import BOOK, TRADES

Record = dict[str, Any]


class Outcome(NamedTuple):
    """What a line adds to the counts of the one who reads it."""

    books: int = 0
    trades: int = 0
    duplicates: int = 0
    rejected: str = ""
    invalid_books: int = 0
    duplicate_trades: int = 0
    bad_trades: int = 0


BOOK_ACCEPTED = Outcome(books=1)
BOOK_INVALID = Outcome(books=1, invalid_books=1)
DUPLICATE = Outcome(duplicates=1)
TRADES_ACCEPTED = Outcome(trades=1)
TRADE_BAD = Outcome(trades=1, bad_trades=1)
TRADE_REPEATED = Outcome(trades=1, duplicate_trades=1)
MALFORMED = Outcome(rejected="malformed")
NO_RECORD = Outcome()


@dataclass(frozen=True)
class Ordinary:
    """The line before a fault.

    Parameters
    ----------
    text : the line without its line feed.
    kind : BOOK or TRADES.
    time_ms, arrival_ms : its event time and `collected_at`.
    next_ms : no later line of its symbol has an event time before this.
    """

    text: bytes
    kind: int
    time_ms: int
    arrival_ms: int
    next_ms: int

    @cached_property
    def parsed(self) -> Record:
        """The record as it is; not to be changed."""
        return dict(json.loads(self.text))

    @property
    def nonce(self) -> int | None:
        """The book's nonce."""
        nonce: int | None = self.parsed["data"]["nonce"]
        return nonce

    def copy(self) -> Record:
        """The record, to be changed at will."""
        return dict(json.loads(self.text))

    def fresh_book(self) -> Record:
        """A book of the same time that is no duplicate: its nonce is one that the market skipped."""
        record = self.copy()
        if self.nonce is not None:
            record["data"]["nonce"] = self.nonce + 1
        return record

    def fresh_trades(self, count: int = 1) -> Record:
        """A message of `count` trades like the line's first; their ids begin with 9, which no id of the market does."""
        record = self.copy()
        first = record["data"][0]
        record["data"] = [first | {"id": f"9{number}{first['id']}"} for number in range(count)]
        return record


Build = Callable[[Ordinary], bytes]
Edit = Callable[[Record], object]


@dataclass(frozen=True)
class Fault:
    """One kind of oddity.

    Parameters
    ----------
    name : what the summary calls it.
    kind : the kind of line that it can stand behind.
    outcome : what the reader must count.
    build : makes the line, without its line feed.
    at_arrival : its event time is its arrival, so the symbol's next event must not lie before that.
    nonce : whether the line before must have a nonce; None: no matter.
    symbol : the (exchange, symbol) that it brings with it, if not the line's own.
    """

    name: str
    kind: int
    outcome: Outcome
    build: Build
    at_arrival: bool = False
    nonce: bool | None = None
    symbol: tuple[str, str] | None = None

    def fits(self, line: Ordinary) -> bool:
        """Whether it can stand behind this line."""
        return (
            line.kind == self.kind
            and (not self.at_arrival or line.arrival_ms <= line.next_ms)
            and (self.nonce is None or self.nonce == (line.nonce is not None))
        )


def verbatim(text: str) -> str:
    """A value that `encode` writes as it stands, as no JSON encoder would; U+DC80 to U+DCFF are the bytes 80 to FF."""
    return f"\x00{text}\x00"


def encode(record: Record) -> bytes:
    """Compact JSON, in ASCII but for what is verbatim."""
    text = json.dumps(record, separators=(",", ":"))
    text = re.sub(r'"\\u0000(.*?)\\u0000"', lambda match: str(json.loads(f'"{match[1]}"')), text)
    return text.encode("utf-8", "surrogateescape")


def book_fault(name: str, edit: Edit, outcome: Outcome = BOOK_ACCEPTED, **options: Any) -> Fault:
    """A fault made from a fresh book by changing its record."""
    return Fault(name, BOOK, outcome, lambda line: _edited(line.fresh_book(), edit), **options)


def trades_fault(name: str, edit: Edit, outcome: Outcome = TRADES_ACCEPTED, trades: int = 1) -> Fault:
    """A fault made from a message of fresh trades by changing its record."""
    return Fault(name, TRADES, outcome, lambda line: _edited(line.fresh_trades(trades), edit))


def _edited(record: Record, edit: Edit) -> bytes:
    edit(record)
    return encode(record)


def envelope(**values: Any) -> Edit:
    """Set keys of the record."""
    return lambda record: record.update(values)


def data(**values: Any) -> Edit:
    """Set keys of the record's data."""
    return lambda record: record["data"].update(values)


def no_data(key: str) -> Edit:
    """Take a key out of the record's data."""
    return lambda record: record["data"].pop(key)


def no_envelope(key: str) -> Edit:
    """Take a key out of the record."""
    return lambda record: record.pop(key)


def both(first: Edit, second: Edit) -> Edit:
    """Two changes."""

    def edit(record: Record) -> None:
        first(record)
        second(record)

    return edit
