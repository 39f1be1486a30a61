"""The record around the data: keys that are missing, wrong, long, escaped, repeated, in another order; other types."""

import json
from typing import Any

from streamproc.simulate.faults.fault import (
    BOOK_ACCEPTED,
    DUPLICATE,
    MALFORMED,
    Edit,
    Fault,
    Ordinary,
    Outcome,
    Record,
    book_fault,
    both,
    encode,
    envelope,
    no_envelope,
    verbatim,
)
from streamproc.simulate.stream import BOOK

_IGNORED = Outcome(rejected="ignored_type")

_NO_NAMES: dict[str, Any] = {"null": None, "empty": "", "number": 7, "boolean": True, "array": ["BTC/USDT"]}

_LONGEST = 200
_SLASH_BYTES = 3
"""Bytes of ``%2F``: names are measured percent-encoded."""

_TOO_LONG = {
    "too_long": "A" * (_LONGEST + 1),
    "too_long_encoded": "A" * (_LONGEST + 1 - _SLASH_BYTES) + "/",
    "too_long_non_ascii": "Ä" * 34,
}

_OWN_SYMBOLS = {
    "symbol_longest": ("binance", "A" * (_LONGEST - _SLASH_BYTES) + "/"),
    "symbol_longest_non_ascii": ("binance", "Ä" * 33 + "AA"),
    "exchange_longest": ("x" * _LONGEST, "BTC/USDT"),
    "symbol_digits": ("binance", "123"),
    "symbol_with_reserved_characters": ("binance", "A=B&C%2F?#+ :/USDT"),
    "symbol_with_quote_and_backslash": ("binance", 'A"B\\C/USDT'),
    "symbol_non_ascii_escaped": ("binance", "МИР/USDT"),
    "symbol_beyond_the_basic_plane_escaped": ("binance", "🚀/USDT"),
}
"""Unusual names that are good ones, written in ASCII; each is an instrument of its own."""

_RAW_SYMBOLS = {
    "symbol_non_ascii": ("binance", "МИР/USDT"),
    "symbol_beyond_the_basic_plane": ("binance", "🚀/USDT"),
    "exchange_non_ascii": ("börse", "BTC/USDT"),
}
"""Unusual names written in UTF-8."""

_CONFUSING: Record = {
    "note": '"symbol":"X","data":{"bids":[[1,1]]}}',
    "": {"bids": [[1, 2]], "timestamp": 1, "type": "trades"},
    "list": [[], {}, [{"symbol": "X"}], "]}", None, True, -1.5e-7],
    "backslash": '\\"}\\\\',
}
"""Keys that nobody asked for, made to confuse who does not parse."""


def _at_arrival(name: str, key: tuple[str, str], exchange: str, symbol: str) -> Fault:
    """A book of another symbol; lines are in order of arrival, so its time is the arrival."""

    def build(line: Ordinary) -> bytes:
        record = line.fresh_book() | {"exchange": exchange, "symbol": symbol}
        record["data"] |= {"timestamp": line.arrival_ms, "nonce": None, "symbol": symbol}
        return encode(record)

    return Fault(name, BOOK, BOOK_ACCEPTED, build, symbol=key)


def _quoted(text: str) -> str:
    return verbatim(json.dumps(text, ensure_ascii=False))


def _escaped(text: str) -> str:
    """A JSON string of \\u escapes only."""
    return verbatim('"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"')


def _rewritten(key: str, write: Any) -> Edit:
    """Another way of writing the same value."""
    return lambda record: record.update({key: write(record[key])})


def _ordered(*keys: str) -> Edit:
    """These keys first, in this order."""

    def edit(record: Record) -> None:
        before = dict(record)
        record.clear()
        record.update({key: before[key] for key in keys} | before)

    return edit


def _reversed_keys(record: Record) -> None:
    before = dict(record)
    before["data"] = dict(reversed(before["data"].items()))
    record.clear()
    record.update(reversed(before.items()))


def _escaped_keys(record: Record) -> None:
    """Keys written with escapes: a verbatim value brings the keys after it along."""
    bids, asks = json.dumps(record["data"].pop("bids")), json.dumps(record["data"].pop("asks"))
    record["data"]["padding"] = verbatim(f'0,"\\u0062ids":{bids},"as\\u006bs":{asks}')
    record["type"] = verbatim(f'"orderbook","\\u0073ymbol":{json.dumps(record.pop("symbol"))}')


def _twice(key: str, first: Any, last: Any = None, inside: bool = True) -> Edit:
    """The key a second time: `first` comes before its own value, or before `last` where that is given."""

    def edit(record: Record) -> None:
        place = record["data"] if inside else record
        value = json.dumps(place[key] if last is None else last)
        place[key] = verbatim(f"{json.dumps(first)},{json.dumps(key)}:{value}")

    return edit


def _duplicate(name: str, edit: Edit) -> Fault:
    """The same book again in another writing."""

    def build(line: Ordinary) -> bytes:
        record = line.copy()
        edit(record)
        return encode(record)

    return Fault(name, BOOK, DUPLICATE, build, nonce=True)


ENVELOPE_FAULTS = (
    *(book_fault(f"exchange_{form}", envelope(exchange=value), MALFORMED) for form, value in _NO_NAMES.items()),
    *(book_fault(f"symbol_{form}", envelope(symbol=value), MALFORMED) for form, value in _NO_NAMES.items()),
    *(book_fault(f"exchange_{form}", envelope(exchange=value), MALFORMED) for form, value in _TOO_LONG.items()),
    *(book_fault(f"symbol_{form}", envelope(symbol=value), MALFORMED) for form, value in _TOO_LONG.items()),
    *(book_fault(f"{key}_absent", no_envelope(key), MALFORMED) for key in ("exchange", "symbol", "type", "data")),
    *(
        book_fault(f"type_{form}", envelope(type=value), MALFORMED)
        for form, value in {"null": None, "number": 1, "array": ["orderbook"]}.items()
    ),
    book_fault("type_unknown", envelope(type="ticker"), _IGNORED),
    book_fault("type_empty", envelope(type=""), _IGNORED),
    book_fault("type_in_capitals", envelope(type="ORDERBOOK"), _IGNORED),
    book_fault("type_unknown_with_other_data", envelope(type="status", data="maintenance"), _IGNORED),
    book_fault("type_unknown_without_data", both(envelope(type="ticker"), no_envelope("data")), MALFORMED),
    book_fault("type_unknown_without_symbol", both(envelope(type="ticker"), no_envelope("symbol")), MALFORMED),
    *(_at_arrival(name, key, *key) for name, key in _OWN_SYMBOLS.items()),
    *(_at_arrival(name, key, _quoted(key[0]), _quoted(key[1])) for name, key in _RAW_SYMBOLS.items()),
    book_fault("symbol_escaped", _rewritten("symbol", _escaped)),
    book_fault("slash_escaped", _rewritten("symbol", lambda text: verbatim(json.dumps(text).replace("/", "\\/")))),
    book_fault("exchange_escaped", _rewritten("exchange", _escaped)),
    book_fault("type_escaped", _rewritten("type", _escaped)),
    _duplicate("duplicate_symbol_escaped", _rewritten("symbol", _escaped)),
    book_fault("keys_reversed", _reversed_keys),
    book_fault("keys_data_first", _ordered("data", "collected_at")),
    book_fault("keys_collected_at_first", _ordered("collected_at", "symbol")),
    _duplicate("duplicate_keys_reversed", _reversed_keys),
    book_fault("keys_escaped", _escaped_keys),
    book_fault("keys_unknown", lambda record: (record.update(_CONFUSING), record["data"].update(_CONFUSING))),
    book_fault("key_twice_symbol", _twice("symbol", "X/Y", inside=False)),
    book_fault("key_twice_exchange", _twice("exchange", 7, inside=False)),
    book_fault("key_twice_data", _twice("data", [], inside=False)),
    book_fault("key_twice_type", _twice("type", "orderbook", "ticker", inside=False), _IGNORED),
    book_fault("key_twice_timestamp", _twice("timestamp", 1)),
    book_fault("key_twice_bids", _twice("bids", None)),
    book_fault("key_twice_asks_bad_last", _twice("asks", [], {}), MALFORMED),
    _duplicate("key_twice_nonce", _twice("nonce", 1)),
)
