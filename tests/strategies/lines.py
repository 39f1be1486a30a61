"""Records as lines of bytes: dressed in every way JSON allows, misshapen, or broken."""

from __future__ import annotations

import json
from random import Random

from .market import Record, once_in


def misshapen(record: Record, rng: Random) -> Record:
    """A record with one part of a wrong kind or missing."""
    data = record["data"]
    bad_levels = [[5], [[]], [[5]], [{}], ["ab"], [None], [[1, 2], 3]]
    changes: list[Record] = [
        {"exchange": rng.choice(["", None, 5, ["binance"]])},
        {"symbol": rng.choice(["", None, 5, "x" * 201, "/" * 67, "é" * 34])},
        {"type": rng.choice([None, 5, ["orderbook"]])},
        {"type": rng.choice(["ticker", "", "Orderbook", "ohlcv"])},
        {"type": rng.choice(["ticker", "trade"]), "data": rng.choice([{}, 5, [[]]])},
        {"data": rng.choice([None, 5, "x", []]), "type": "orderbook"},
        {"data": rng.choice([None, 5, "x", {}, [5], [None], [{}, []]]), "type": "trades"},
    ]
    if record["type"] == "orderbook":
        side = rng.choice(["bids", "asks"])
        changes.append({"data": {**data, side: rng.choice([None, {}, "x", 5, *bad_levels])}})
        changes.append({"data": {key: value for key, value in data.items() if key != side}})
    changed = {**record, **rng.choice(changes)}
    if once_in(5, rng):
        del changed[rng.choice(["type", "exchange", "symbol", "data"])]
    return changed


NO_NUMBERS = [b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b"1.", b".5", b"-", b"0x1", b"1e", b"\xd9\xa1"]
BEYOND_DOUBLE = [b"1e400", b"-1e309", b"1" + b"0" * 400, b"9" * 5000]
NO_STRINGS = [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\t"', b'"\x00"', b'"\\x41"', b'"\\u12g4"', b"'a'"]
LONE_SURROGATES = [b'"\\ud800"', b'"\\udc00\\ud800"', b'{"\\ud83d":1}', b'[["\\uDFFF"]]']
NO_VALUES = [b"[" * 3000 + b"]" * 3000, b"[1,]", b'{"a":1,}', b"{a:1}", b"nul", b"True", b"", b"\x00", b"/**/1"]
VALUES_REFUSED = [*NO_NUMBERS, *BEYOND_DOUBLE, *NO_STRINGS, *LONE_SURROGATES, *NO_VALUES]
LINES_REFUSED = [
    b"{",
    b"}",
    b"[]",
    b"5",
    b'"x"',
    b"null",
    b"{}",
    b"{}{}",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b"[{}]",
]
TAILS_REFUSED = [b"x", b"}", b",", b"{}", b"\x00", b"\xc2\xa0", b"\x0b"]


def broken(line: bytes, rng: Random) -> bytes:
    """A line that is no JSON, or no JSON object: cut short, another one, with something behind it or within."""
    ways = [
        line[: rng.randrange(1, len(line) - 1)],
        rng.choice(LINES_REFUSED),
        line + rng.choice(TAILS_REFUSED),
        b'{"extra":' + rng.choice(VALUES_REFUSED) + b"," + line[1:],
    ]
    return rng.choice(ways)


def dressed(record: Record, rng: Random) -> bytes:
    """The record as one line: keys in any order, any spacing, escaped or not, a key twice, CR at its end."""
    keys = list(record)
    if once_in(3, rng):
        rng.shuffle(keys)
    separators = rng.choice([(",", ":"), (", ", ": "), (" ,\t", " :  ")])
    text = json.dumps({key: record[key] for key in keys}, ensure_ascii=once_in(2, rng), separators=separators)
    line = text.encode()
    if once_in(5, rng):
        line = line.replace(b"/", b"\\/")
    if once_in(10, rng):
        line = (
            rng.choice([b'{"symbol":"first","data":[5],', b'{"type":5,"exchange":null,', b'{"collected_at":1,'])
            + line[1:]
        )
    return rng.choice([b"", b"", b"", b" ", b"\t"]) + line + rng.choice([b"", b"", b"", b"\r", b" \t"])
