"""The reference parser: any line of bytes to a book, a trades message or a reject.

`RawParser` reads the envelope and picks the parser by type, `CcxtParser` normalises what CCXT's `watchOrderBook` and
`watchTrades` deliver. Both run only for lines that the compiled scanner declines, and define what the scanner must
agree with.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray

from streamproc.jit import StructArray
from streamproc.parse.record import BUY, MAX_TIME, OTHER_SIDE, SELL, TRADE_MESSAGE
from streamproc.parse.scan import id_key

MAX_NAME_BYTES = 200
MAX_DEPTH = 1000
INT64 = range(-(2**63), 2**63)

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_ESCAPE = re.compile(rb"\\.")
_NESTING = np.array([(chr(c) in "[{") - (chr(c) in "]}") for c in range(256)], np.int8)
_SIDES = {"buy": BUY, "sell": SELL}


@dataclass(frozen=True)
class Reject:
    """Why a record is neither a book nor a trades message."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Book:
    """A book: sides are (levels, 2) arrays of price and size, cleaned, best first; times in ms."""

    exchange: str
    symbol: str
    timestamp: int | None
    collected_at: int | None
    nonce: int | None
    bids: NDArray[np.float64]
    asks: NDArray[np.float64]
    unsorted: bool


@dataclass(frozen=True)
class Trades:
    """A trades message: `trades` is an array of `TRADE_MESSAGE`, as they came."""

    exchange: str
    symbol: str
    collected_at: int | None
    trades: StructArray


class MalformedError(Exception):
    """What is wrong with a record's form."""


def number(value: Any) -> float:
    """A number, or a string that is one by JSON's grammar; NaN for all else."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return math.nan


def time_ms(value: Any) -> int | None:
    """A time truncated to whole ms, or None for what is no time between 1970 and 2100."""
    ms = value if type(value) is int else number(value)
    return int(ms) if 1 <= ms < MAX_TIME else None


def integer(value: Any) -> int | None:
    """An int64 or its decimal string; None for all else."""
    if isinstance(value, str) and len(value) <= 20 and _INTEGER.fullmatch(value):
        value = int(value)
    return value if type(value) is int and value in INT64 else None


def depth(line: bytes) -> int:
    """Deepest nesting of a valid JSON text."""
    text = np.frombuffer(_ESCAPE.sub(b"", line), np.uint8)
    quoted = np.logical_xor.accumulate(text == ord('"'))
    return int(np.cumsum(np.where(quoted, 0, _NESTING[text]), dtype=np.int32).max())


class RawParser:
    """Reads a line's envelope and hands its data to the parser of its type."""

    def parse(self, line: bytes) -> Book | Trades | Reject:
        """One record, without its newline. Never raises for whatever bytes."""
        try:
            envelope = self._envelope(line)
            kind = envelope["type"]
            if kind == "orderbook":
                return CcxtParser.book(envelope)
            if kind == "trades":
                return CcxtParser.trades(envelope)
            return Reject("ignored_type", f"type is {kind[:50]!r}, not orderbook or trades")
        except MalformedError as fault:
            return Reject("malformed", str(fault))

    @staticmethod
    def _envelope(line: bytes) -> dict[str, Any]:
        try:
            envelope = orjson.loads(line)
        except orjson.JSONDecodeError as fault:
            raise MalformedError(f"no JSON: {fault}") from None
        if not isinstance(envelope, dict):
            raise MalformedError(f"no JSON object but {_kind(envelope)}")
        if line.count(b"[") + line.count(b"{") > MAX_DEPTH and depth(line) > MAX_DEPTH:
            raise MalformedError(f"nested deeper than {MAX_DEPTH}")
        for name in ("exchange", "symbol"):
            value = envelope.get(name)
            if not isinstance(value, str) or not value:
                raise MalformedError(f"{name} is no non-empty string")
            if len(quote(value, safe="")) > MAX_NAME_BYTES:
                raise MalformedError(f"{name} is longer than {MAX_NAME_BYTES} bytes percent-encoded")
        if not isinstance(envelope.get("type"), str):
            raise MalformedError("type is no string")
        if "data" not in envelope:
            raise MalformedError("data is missing")
        return envelope


class CcxtParser:
    """Normalises CCXT's unified order books and trades."""

    @staticmethod
    def book(envelope: dict[str, Any]) -> Book:
        """A book from its envelope."""
        data = envelope["data"]
        if not isinstance(data, dict):
            raise MalformedError(f"data of a book is no object but {_kind(data)}")
        bids, bids_unsorted = _side(data, "bids", descending=True)
        asks, asks_unsorted = _side(data, "asks", descending=False)
        return Book(
            envelope["exchange"],
            envelope["symbol"],
            time_ms(data.get("timestamp")),
            time_ms(envelope.get("collected_at")),
            integer(data.get("nonce")),
            bids,
            asks,
            bids_unsorted or asks_unsorted,
        )

    @staticmethod
    def trades(envelope: dict[str, Any]) -> Trades:
        """A trades message from its envelope."""
        data = envelope["data"]
        if not isinstance(data, list):
            raise MalformedError(f"data of trades is no array but {_kind(data)}")
        trades = np.zeros(len(data), TRADE_MESSAGE)
        for i, trade in enumerate(data):
            if not isinstance(trade, dict):
                raise MalformedError(f"data[{i}] is no object but {_kind(trade)}")
            side = trade.get("side")
            trades[i] = (
                time_ms(trade.get("timestamp")) or -1,
                number(trade.get("price")),
                number(trade.get("amount")),
                _SIDES.get(side, OTHER_SIDE) if isinstance(side, str) else OTHER_SIDE,
                *_trade_id(trade.get("id")),
            )
        return Trades(envelope["exchange"], envelope["symbol"], time_ms(envelope.get("collected_at")), trades)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _trade_id(value: Any) -> tuple[int, int]:
    if type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not value:
        return 0, 0
    text = np.frombuffer(value.encode(), np.uint8)
    low, high = id_key(text, 0, len(text))
    return low, high


def _side(data: dict[str, Any], name: str, *, descending: bool) -> tuple[NDArray[np.float64], bool]:
    side = data.get(name)
    if not isinstance(side, list):
        raise MalformedError(f"{name} is no array but {_kind(side)}")
    return _ordered(_levels(side, name), descending=descending)


def _levels(side: Sequence[Any], name: str) -> NDArray[np.float64]:
    levels = np.empty((len(side), 2))
    for i, level in enumerate(side):
        if not isinstance(level, list) or len(level) < 2:
            raise MalformedError(f"{name}[{i}] is no array of at least 2")
        levels[i] = number(level[0]), number(level[1])
    return levels[(np.isfinite(levels) & (levels > 0)).all(axis=1)]


def _ordered(levels: NDArray[np.float64], *, descending: bool) -> tuple[NDArray[np.float64], bool]:
    """Levels best first, sizes of one price added in their order; and whether they came otherwise."""
    keys = -levels[:, 0] if descending else levels[:, 0]
    if (keys[1:] > keys[:-1]).all():
        return levels, False
    order = np.argsort(keys, kind="stable")
    prices, place = np.unique(keys[order], return_inverse=True)
    sizes = np.zeros(len(prices))
    with np.errstate(over="ignore"):  # a sum beyond double is null where it is shown
        np.add.at(sizes, place, levels[order, 1])
    return np.column_stack((-prices if descending else prices, sizes)), True
