"""Section 1: one line of bytes to a book, a message of trades, or the reason why it is neither."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard
from urllib.parse import quote

MAX_DEPTH = 1000
LEVEL_LENGTH = 2
MAX_NAME_BYTES = 200
END_OF_TIME_MS = 4102444800000

ONE_SIDED, EMPTY, CROSSED, LOCKED, UNSORTED = 1, 2, 4, 8, 16

JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

Levels = tuple[tuple[float, float], ...]
"""(price, size) of one side, best first, each price once."""


class RejectError(Exception):
    """A record is refused; `reason` is the specification's word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Book:
    """One order book as it arrived; times in ms, None where absent."""

    exchange: str
    symbol: str
    collected_at: int | None
    timestamp: int | None
    nonce: int | None
    bids: Levels
    asks: Levels
    unsorted: bool

    @property
    def event_time(self) -> int | None:
        """Its own `timestamp`, else `collected_at`."""
        return self.collected_at if self.timestamp is None else self.timestamp

    @property
    def flags(self) -> int:
        """`book_flags`, section 3."""
        flags = UNSORTED if self.unsorted else 0
        if not self.bids and not self.asks:
            return flags | EMPTY
        if not self.bids or not self.asks:
            return flags | ONE_SIDED
        bid, ask = self.bids[0][0], self.asks[0][0]
        return flags | (CROSSED if bid > ask else LOCKED if bid == ask else 0)

    @property
    def valid(self) -> bool:
        """One-sided, empty and crossed books are invalid; locked and unsorted ones are not."""
        return not self.flags & (ONE_SIDED | EMPTY | CROSSED)


@dataclass(frozen=True)
class Trade:
    """One trade of a message as it arrived; None where a value is missing or not of its kind."""

    id: str | None
    timestamp: int | None
    side: str | None
    price: float | None
    amount: float | None


@dataclass(frozen=True)
class TradeMessage:
    """One message of trades, in the order in which they stand."""

    exchange: str
    symbol: str
    collected_at: int | None
    trades: tuple[Trade, ...]


def read_record(line: bytes) -> Book | TradeMessage:
    """The line's record; raises `RejectError` with `malformed` or `ignored_type`, checked in section 1's order."""
    record = parse_json(line)
    if not isinstance(record, dict):
        raise RejectError("malformed")
    exchange, symbol, kind = record.get("exchange"), record.get("symbol"), record.get("type")
    if not is_name(exchange) or not is_name(symbol) or not isinstance(kind, str) or "data" not in record:
        raise RejectError("malformed")
    collected_at = time_ms(record.get("collected_at"))
    if kind == "orderbook":
        return read_book(exchange, symbol, collected_at, record["data"])
    if kind == "trades":
        return read_trades(exchange, symbol, collected_at, record["data"])
    raise RejectError("ignored_type")


def is_name(value: Any) -> TypeGuard[str]:
    """A non-empty string of at most 200 bytes percent-encoded."""
    return isinstance(value, str) and 0 < len(quote(value, safe="")) <= MAX_NAME_BYTES


def read_book(exchange: str, symbol: str, collected_at: int | None, data: Any) -> Book:
    """A book; malformed when a side is no array (absent or null is none) or a level is none of at least 2."""
    if not isinstance(data, dict):
        raise RejectError("malformed")
    bids, bids_unsorted = read_side(data.get("bids"), best_is_highest=True)
    asks, asks_unsorted = read_side(data.get("asks"), best_is_highest=False)
    timestamp, nonce = time_ms(data.get("timestamp")), nonce_of(data.get("nonce"))
    return Book(exchange, symbol, collected_at, timestamp, nonce, bids, asks, bids_unsorted or asks_unsorted)


def read_side(side: Any, *, best_is_highest: bool) -> tuple[Levels, bool]:
    """The kept levels, best first, and whether they had to be sorted or joined."""
    if not isinstance(side, list) or any(not isinstance(level, list) or len(level) < LEVEL_LENGTH for level in side):
        raise RejectError("malformed")
    pairs = [(number(level[0]), number(level[1])) for level in side]  # a third element is not looked at
    kept = [(price, size) for price, size in pairs if is_positive(price) and is_positive(size)]
    prices = sorted({price for price, _ in kept}, reverse=best_is_highest)
    sizes: dict[float, list[float]] = {price: [] for price in prices}
    for price, size in kept:
        sizes[price].append(size)
    levels = tuple((price, total(sizes[price])) for price in prices)  # a price that comes twice: sizes added
    return levels, [price for price, _ in kept] != prices


def total(values: list[float]) -> float:
    """Their exact sum rounded once; not a number where it cannot be one."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return math.nan


def read_trades(exchange: str, symbol: str, collected_at: int | None, data: Any) -> TradeMessage:
    """A message of trades; malformed when `data` is no array or a trade is no object."""
    if not isinstance(data, list) or any(not isinstance(trade, dict) for trade in data):
        raise RejectError("malformed")
    return TradeMessage(exchange, symbol, collected_at, tuple(read_trade(trade) for trade in data))


def read_trade(trade: dict[str, Any]) -> Trade:
    """A trade's five fields; whether it is a bad one is decided when it is applied."""
    side = trade.get("side")
    return Trade(
        id=trade_id(trade.get("id")),
        timestamp=time_ms(trade.get("timestamp")),
        side=side if side in ("buy", "sell") else None,
        price=number(trade.get("price")),
        amount=number(trade.get("amount")),
    )


def trade_id(value: Any) -> str | None:
    """Strings and integers compare as text; anything else, and an empty string, is not compared."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """A number, or a string that as a whole is one by JSON's grammar; anything else is null."""
    if isinstance(value, str):
        return float(value) if JSON_NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def is_positive(value: float | None) -> TypeGuard[float]:
    """Finite and greater than 0."""
    return value is not None and math.isfinite(value) and value > 0


def time_ms(value: Any) -> int | None:
    """Truncated to whole ms; absent when no number or outside 0 < t < 2100-01-01."""
    time = number(value)
    if time is None or not math.isfinite(time):
        return None
    whole = math.trunc(time)
    return whole if 0 < whole < END_OF_TIME_MS else None


def nonce_of(value: Any) -> int | None:
    """An int64 or its decimal string; anything else is null."""
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9][0-9]{0,18}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(2**63) <= value < 2**63 else None


# JSON, made strict: what the standard library lets through beyond the grammar and section 1 is refused here.


def parse_json(line: bytes) -> Any:
    """The value of the line; raises `RejectError("malformed")` for all that section 1 calls not JSON."""
    depth = depth_of(line)
    if depth > MAX_DEPTH:
        raise RejectError("malformed")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 4 * depth)  # the standard parser calls itself once a level
    try:
        return json.loads(
            line.decode("utf-8"),  # given bytes, it would guess UTF-16 and UTF-32 too
            parse_constant=refuse,
            parse_float=parse_float,
            parse_int=parse_int,
            object_pairs_hook=parse_object,
        )
    except ValueError:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise RejectError("malformed") from None
    finally:
        sys.setrecursionlimit(limit)


def depth_of(line: bytes) -> int:
    """The deepest nesting of brackets outside strings; its value for a line that is not JSON does not matter."""
    depth = deepest = 0
    for bracket in re.findall(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', line):
        if bracket in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in (b"]", b"}"):
            depth -= 1
    return deepest


def refuse(token: str) -> NoReturn:
    """NaN, Infinity and -Infinity, which the standard parser would take."""
    raise ValueError(token)


def parse_float(token: str) -> float:
    """A number beyond double is no JSON here."""
    value = float(token)
    if math.isinf(value):
        raise ValueError(token)
    return value


def parse_int(token: str) -> int | float:
    """Integers beyond 64 bits, signed or not, are doubles."""
    if len(token) > len(str(-(2**63))):  # never int() of a token of any length: it is quadratic and limited
        return parse_float(token)
    value = int(token)
    return value if -(2**63) <= value < 2**64 else parse_float(token)


def parse_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last of equal keys counts; a lone surrogate is refused even under one that does not."""
    waiting: list[Any] = [part for pair in pairs for part in pair]
    while waiting:  # objects inside have been through here themselves; arrays have not
        value = waiting.pop()
        if isinstance(value, str):
            value.encode("utf-8")  # UnicodeEncodeError is a ValueError
        elif isinstance(value, list):
            waiting.extend(value)
    return dict(pairs)
