"""Trades messages: repeats, bad trades, odd ids, sides and times, wrong shapes."""

from functools import partial
from typing import Any

from streamproc.simulate.faults.fault import (
    MALFORMED,
    TRADE_BAD,
    TRADE_REPEATED,
    Edit,
    Fault,
    Ordinary,
    Outcome,
    Record,
    both,
    encode,
    envelope,
    no_envelope,
    trades_fault,
)
from streamproc.simulate.faults.levels import NO_NUMBERS
from streamproc.simulate.faults.times import MAX_AHEAD_MS
from streamproc.simulate.market import MAX_TIME_MS
from streamproc.simulate.stream import TRADES

_REMEMBERED_IDS = 1_024

_NO_IDS: dict[str, Any] = {
    "null": None,
    "empty": "",
    "float": 5.5,
    "boolean": True,
    "array": ["5"],
    "beyond_64_bits": 10**24,
}
"""Ids that are not compared: two trades that share one are two trades."""

_NO_SIDES: dict[str, Any] = {
    "null": None,
    "unknown": "unknown",
    "empty": "",
    "capitals": "BUY",
    "number": 1,
    "array": ["buy"],
}
_NO_TIMES: dict[str, Any] = {"null": None, "word": "yesterday", "zero": 0, "year_2100": MAX_TIME_MS, "boolean": True}
_NO_TRADES: dict[str, Any] = {"null": None, "number": 61855.36, "string": "buy", "array": []}
_NO_LISTS: dict[str, Any] = {"null": None, "object": {}, "string": "[]", "number": 0}


def _set(index: int = 0, **values: Any) -> Edit:
    """Set keys of one trade."""
    return lambda record: record["data"][index].update(values)


def _without(key: str) -> Edit:
    """Take a key out of the first trade."""
    return lambda record: record["data"][0].pop(key)


def _set_all(**values: Any) -> Edit:
    """Set keys of every trade."""
    return lambda record: [trade.update(values) for trade in record["data"]]


def _repeat(name: str, write_id: Any) -> Fault:
    """The last trade of the line before, again, with its id written by `write_id`."""

    def build(line: Ordinary) -> bytes:
        record = line.copy()
        trade = record["data"][-1]
        record["data"] = [trade | {"id": write_id(trade["id"])}]
        return encode(record)

    return Fault(name, TRADES, TRADE_REPEATED, build)


def _ahead(name: str, outcome: Outcome, ahead_ms: int) -> Fault:
    """A trade so much later than its arrival."""

    def build(line: Ordinary) -> bytes:
        record = line.fresh_trades()
        record["data"][0]["timestamp"] = line.arrival_ms + ahead_ms
        return encode(record)

    return Fault(name, TRADES, outcome, build)


def _append(value: Any, record: Record) -> None:
    record["data"].append(value)


def _same_ids(record: Record) -> None:
    """All trades of the message with the id of the first."""
    for trade in record["data"]:
        trade["id"] = record["data"][0]["id"]


def _forgotten_id(record: Record) -> None:
    """An id, others until the memory is full, the id again (a repeat), another, and the id as no repeat any longer."""
    trades = record["data"]
    record["data"] = [*trades[:_REMEMBERED_IDS], trades[0], trades[_REMEMBERED_IDS], trades[0]]


def _bare(record: Record) -> None:
    """Trades with no more than what is needed."""
    wanted = ("id", "timestamp", "side", "price", "amount")
    record["data"] = [{key: trade[key] for key in wanted} for trade in record["data"]]


def _as_strings(record: Record) -> None:
    trade = record["data"][0]
    trade.update({key: str(trade[key]) for key in ("timestamp", "price", "amount")})


TRADE_FAULTS = (
    _repeat("trade_repeated", lambda own: own),
    _repeat("trade_repeated_integer_id", int),
    trades_fault("trade_repeated_within_message", _same_ids, TRADE_REPEATED, trades=2),
    trades_fault("trade_id_forgotten", both(_bare, _forgotten_id), TRADE_REPEATED, trades=_REMEMBERED_IDS + 1),
    *(trades_fault(f"trade_id_{form}", _set_all(id=value), trades=2) for form, value in _NO_IDS.items()),
    trades_fault("trade_id_absent", lambda record: [trade.pop("id") for trade in record["data"]], trades=2),
    trades_fault("trade_id_of_a_bad_trade", both(_same_ids, _set(price=None)), TRADE_BAD, trades=2),
    trades_fault("trade_bad_and_repeated", both(_same_ids, _set(1, amount=None)), TRADE_BAD, trades=2),
    *(trades_fault(f"trade_price_{form}", _set(price=bad), TRADE_BAD, trades=2) for form, bad in NO_NUMBERS.items()),
    *(trades_fault(f"trade_amount_{form}", _set(amount=bad), TRADE_BAD, trades=2) for form, bad in NO_NUMBERS.items()),
    trades_fault("trade_price_absent", _without("price"), TRADE_BAD),
    trades_fault("trade_amount_absent", _without("amount"), TRADE_BAD, trades=2),
    trades_fault("trade_numbers_as_strings", _as_strings),
    trades_fault("trade_bare", _bare),
    *(trades_fault(f"trade_side_{form}", _set(side=value)) for form, value in _NO_SIDES.items()),
    trades_fault("trade_side_absent", _without("side")),
    *(trades_fault(f"trade_timestamp_{form}", _set(timestamp=value)) for form, value in _NO_TIMES.items()),
    trades_fault("trade_timestamp_absent", _without("timestamp")),
    trades_fault(
        "trade_without_any_time", both(_without("timestamp"), no_envelope("collected_at")), TRADE_BAD, trades=2
    ),
    trades_fault("trade_collected_at_word", envelope(collected_at="yesterday")),
    trades_fault("trade_collected_at_absent", no_envelope("collected_at")),
    _ahead("trade_future_by_1_ms", TRADE_BAD, MAX_AHEAD_MS + 1),
    _ahead("trade_future_by_1_d", TRADE_BAD, 86_400_000),
    trades_fault("trades_none", envelope(data=[])),
    *(trades_fault(f"trades_data_{form}", envelope(data=value), MALFORMED) for form, value in _NO_LISTS.items()),
    *(trades_fault(f"trade_{form}", partial(_append, value), MALFORMED) for form, value in _NO_TRADES.items()),
)
