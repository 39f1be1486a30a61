"""The compiled scanner against the reference parser: it may decline a line, but never say anything else of it."""

from __future__ import annotations

import ctypes
import json
import mmap
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamproc.jit import kernel
from streamproc.parse import scan as scanning
from streamproc.parse.ccxt import Book, RawParser, Reject, Trades
from streamproc.parse.record import ABSENT_TIME, BOOK, TRADES, Record
from streamproc.parse.tokens import DECLINED
from streamproc.schema import NULL_INT, UNSORTED
from tests.known_values import CASES
from tests.strategies import random_stream

ROOM = 64
"""Levels a side and trades a message that the scanner has room for here."""

POISONS = [b"", b'ull,"x":1}]}', b'"}]}}', b"0" * 40, b"\xff" * 40, b"alse,", b" " * 40, b"\n{}\n"]
"""What may follow a line's newline; nothing of it may matter."""

scan: Any = scanning.scan
id_key: Any = scanning.id_key


@kernel
def scanned(data: NDArray[np.uint8], i: int, record: Record) -> Any:
    """`scan`, from Python."""
    return scan(data, i, record)


class Scanner:
    """Scans lines, each in the midst of other bytes."""

    def __init__(self) -> None:
        self.record = Record.empty(ROOM, ROOM)

    def outcome(self, line: bytes, before: bytes = b"", after: bytes = b"") -> dict[str, Any] | None:
        """What the scanner makes of a line, None where it declines."""
        text = before + line + b"\n" + after + bytes(8)
        end = scanned(frozen(text), len(before), self.record)
        if end == DECLINED:
            return None
        assert end == len(before) + len(line)
        return plain_record(self.record, text)


def frozen(text: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def doubles(values: NDArray[np.float64]) -> list[Any]:
    """Bits of doubles; every NaN is null, and zeros (which count for nothing) are one."""
    return [None if np.isnan(value) else (value + 0.0).tobytes() for value in values.ravel()]


def plain_record(record: Record, text: bytes) -> dict[str, Any]:
    """What a scanned record says."""
    envelope = {name: int(record.envelope[0][name]) for name in record.envelope.dtype.names or ()}
    names = (text[envelope[f"{name}_start"] :][: envelope[f"{name}_size"]].decode() for name in ("exchange", "symbol"))
    said: dict[str, Any] = {"names": tuple(names), "collected_at": envelope["collected_at"]}
    if envelope["kind"] == TRADES:
        return said | {"trades": plain_trades(record.trades[: envelope["trades"]])}
    assert envelope["kind"] == BOOK
    sides = {name: doubles(getattr(record, name)[: envelope[name]]) for name in ("bids", "asks")}
    return said | sides | {name: envelope[name] for name in ("timestamp", "nonce", "flags")}


def plain_trades(trades: NDArray[np.void]) -> list[Any]:
    integers = [trades[name].tolist() for name in ("timestamp", "side", "id_low", "id_high")]
    return [*integers, doubles(trades["price"]), doubles(trades["amount"])]


def reference(line: bytes) -> dict[str, Any] | Reject:
    """The same of the reference parser."""
    parsed = RawParser().parse(line)
    if isinstance(parsed, Reject):
        return parsed
    collected_at = ABSENT_TIME if parsed.collected_at is None else parsed.collected_at
    said: dict[str, Any] = {"names": (parsed.exchange, parsed.symbol), "collected_at": collected_at}
    if isinstance(parsed, Trades):
        return said | {"trades": plain_trades(parsed.trades)}
    assert isinstance(parsed, Book)
    return said | {
        "bids": doubles(parsed.bids),
        "asks": doubles(parsed.asks),
        "timestamp": ABSENT_TIME if parsed.timestamp is None else parsed.timestamp,
        "nonce": NULL_INT if parsed.nonce is None else parsed.nonce,
        "flags": UNSORTED if parsed.unsorted else 0,
    }


def check(scanner: Scanner, line: bytes, before: bytes = b"", after: bytes = b"") -> bool:
    """Hold the scanner against the reference; whether it took the line."""
    outcome = scanner.outcome(line, before, after)
    if outcome is not None:
        assert outcome == reference(line), line
    return outcome is not None


# What the ordinary line looks like, and that it is taken

BOOK_LINE = (
    b'{"type":"orderbook","exchange":"binance","symbol":"BTC/USDT","data":{"symbol":"BTC/USDT",'
    b'"bids":[[61710.01,3.74502],[61710.0,0.00009],[61709.99,1e-05]],"asks":[[61710.02,1.2E+1],[61711,2.5e0]],'
    b'"timestamp":1723161600123,"datetime":"2024-08-09T00:00:00.123Z","nonce":50123456789},'
    b'"collected_at":1723161600200}'
)
TRADES_LINE = (
    b'{"type":"trades","exchange":"binance","symbol":"BTC/USDT","data":['
    b'{"info":{"e":"trade","E":1723161600101,"s":"BTCUSDT","t":3732400417,"p":"61710.01000000","m":true,"M":[]},'
    b'"timestamp":1723161600100,"datetime":"2024-08-09T00:00:00.100Z","symbol":"BTC/USDT","id":"3732400417",'
    b'"order":null,"type":null,"side":"sell","takerOrMaker":null,"price":61710.01,"amount":0.00161,"cost":99.35,'
    b'"fee":{"cost":null,"currency":null},"fees":[{"cost":0.1},{}]},'
    b'{"id":17,"timestamp":1723161600101,"side":"buy","price":61710.02,"amount":12}],"collected_at":1723161600200}'
)


def replaced(line: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    for old, new in changes:
        assert old in line
        line = line.replace(old, new)
    return line


ORDINARY = {
    "a book": BOOK_LINE,
    "trades with info, fee and fees": TRADES_LINE,
    "Python's spacing": json.dumps(json.loads(BOOK_LINE)).encode(),
    "blanks everywhere": b"".join(
        b" \t%c\r " % c if c in b"[]{}:," else b"%c" % c for c in replaced(BOOK_LINE, (b"00:00:00.123Z", b""))
    ),
    "keys in another order": json.dumps(dict(reversed(json.loads(BOOK_LINE).items()))).encode(),
    "prices and sizes as strings": replaced(
        BOOK_LINE, (b"[61710.01,3.74502]", b'["61710.01","3.74502"]'), (b"[61711,2.5e0]", b'["61711","25E-1"]')
    ),
    "levels of three": replaced(
        BOOK_LINE, (b"3.74502]", b"3.74502,7]"), (b"0.00009]", b"0.00009,null]"), (b"2.5e0]", b'2,{"a":[]}]')
    ),
    "no time of the exchange": replaced(BOOK_LINE, (b'"timestamp":1723161600123', b'"timestamp":null')),
    "no nonce": replaced(BOOK_LINE, (b'"nonce":50123456789', b'"nonce":null')),
    "times out of range": replaced(BOOK_LINE, (b"1723161600123", b"0"), (b"1723161600200", b"4102444800000")),
    "levels that count for nothing": replaced(
        BOOK_LINE, (b"[61710.0,0.00009]", b"[61712.5,0],[0,5],[61711,-1],[-1,1]")
    ),
    "an empty side": replaced(BOOK_LINE, (b"[61710.02,1.2E+1],[61711,2.5e0]", b"")),
    "no trades": b'{"type":"trades","exchange":"x","symbol":"y","data":[],"collected_at":5}',
    "trades that lack everything": b'{"type":"trades","exchange":"x","symbol":"y","data":[{},{"info":{}}]}',
    "a trade with nulls": replaced(
        TRADES_LINE, (b'"side":"buy"', b'"side":null'), (b'"id":17', b'"id":null'), (b'"amount":12', b'"amount":null')
    ),
    "a trade with strings": replaced(TRADES_LINE, (b"61710.02", b'"61710.02"'), (b'"amount":12', b'"amount":"12.0"')),
    "a long id": replaced(TRADES_LINE, (b'"3732400417"', b'"0190f3c2-5b1e-7b60-9d0c-1a2b3c4d5e6f"')),
    "a key twice": replaced(BOOK_LINE, (b'"collected_at"', b'"collected_at":null,"collected_at"')),
    "carriage return": BOOK_LINE + b"\r",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_lines_are_taken(name: str) -> None:
    scanner = Scanner()
    for after in POISONS:
        assert check(scanner, ORDINARY[name], b'{"a":\n', after)


def test_most_lines_of_a_market_are_taken() -> None:
    scanner = Scanner()
    lines = [line for line in random_stream(3, 2000) if not isinstance(reference(line), Reject)]
    plain = [line for line in lines if line.startswith(b'{"type":"') and b"\\" not in line]
    taken = sum(check(scanner, line) for line in plain)
    assert taken > 0.75 * len(plain)


# Numbers: each token as a price, a size, a time, a nonce, an unread value

NUMBERS = [
    *("0", "-0", "-0.0", "0.0", "00", "01", "-01", "1", "-1", "+1", "1.", ".5", "-.5", "-", "1e", "1e+", "1e-", "e5"),
    *("1e5", "1E5", "1e+5", "1E-5", "1e05", "1e0005", "1e00005", "0e0", "0e99999", "1.5e3", "5e-1", "0.1e1", "1.0"),
    *("1e22", "1e23", "1e-22", "1e-23", "123e20", "0.1e-30", "1e308", "1e309", "-1e309", "1e-324", "5e-324"),
    *("9007199254740992", "9007199254740993", "9007199254740991e22", "9007199254740993e-3", "0.9007199254740993"),
    *("999999999999999999", "1000000000000000000", "123456789012345678901", "9223372036854775807"),
    *("1e9999", "18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809"),
    *("9223372036854775808", "1" + "0" * 308, "1" + "0" * 309, "9" * 400),
    *("0." + "0" * 30 + "1", "0." + "1" * 300, "1." + "0" * 17, "1." + "0" * 18, "0x1"),
    *("1723161600123", "1723161600123.0", "1723161600123.75", "4102444799999", "4102444800000", "0.999"),
    *("1e12", "17e11"),
    *("NaN", "Infinity", "-Infinity", "nan", "1_0", "1 0", "1,0", "\u0661", "0.1.2", "1e5e5", "1e5.5", "--1"),
    *("1-", "0-"),
    *("0.1", "0.3", "1.1", "8.41", "2.2250738585072014e-308", "1.7976931348623157e308", "61710.01", "5e-7", "1e-8"),
]
VALUES = [
    *NUMBERS,
    *(f'"{number}"' for number in NUMBERS),
    *("null", "true", "false", "nul", "nulll", "True", "None", "nan", "tru", "fals", "", "[]", "{}", "[1]", "[[]]"),
    *('""', '" "', '" 1"', '"1 "', '"a"', "'a'", '"a', '"\\u0031"', '"\\n"', '"\\/"', '"\\ud800"', '"\t"', '"\x7f"'),
    *('"ñ"', '"\x00"', "{1:2}", "{,}", "[,]", "[1,]", "[1 2]", '{"a":1,}', '{"a"}', '{"a":}', '{"":0}', '{"a":1"b":2}'),
    *('{"a":[{"b":{"c":[[],{},[{}]]}}]}', "[" * 61 + "]" * 61, "[" * 59 + "]" * 59, '{"a":' * 61 + "1" + "}" * 61),
    *('{"a":{"b":1}', "[1}", '{"a":1]', "[1],", '"a":1', "]", "}", "1}", "/**/1", "\ufeff1", "buy", '"buy"', '"sell"'),
    *("[1,2,3,]", "[null,true,false]", "[nullx]", '["a","b"]', '["a" "b"]', "[ \t\r]", "{ }", "[-]"),
    *("[-1,-0.5]", "[1e5]"),
]

SLOTS = {
    "price": (BOOK_LINE, b"61710.01"),
    "size": (BOOK_LINE, b"3.74502"),
    "spaced price": (replaced(BOOK_LINE, (b"[61710.01,", b"[ 61710.01 ,")), b"61710.01"),
    "last size": (BOOK_LINE, b"2.5e0"),
    "timestamp": (BOOK_LINE, b"1723161600123"),
    "collected_at": (BOOK_LINE, b"1723161600200"),
    "nonce": (BOOK_LINE, b"50123456789"),
    "unread": (BOOK_LINE, b'"2024-08-09T00:00:00.123Z"'),
    "side of a book": (BOOK_LINE, b"[[61710.02,1.2E+1],[61711,2.5e0]]"),
    "level": (BOOK_LINE, b"[61710.0,0.00009]"),
    "third": (replaced(BOOK_LINE, (b"3.74502]", b"3.74502,77]")), b"77"),
    "exchange": (BOOK_LINE, b'"binance"'),
    "type": (BOOK_LINE, b'"orderbook"'),
    "data": (replaced(BOOK_LINE, (BOOK_LINE[BOOK_LINE.index(b'"data":') + 7 : -29], b"DATA")), b"DATA"),
    "trade": (TRADES_LINE, b'{"id":17,"timestamp":1723161600101,"side":"buy","price":61710.02,"amount":12}'),
    "trade's price": (TRADES_LINE, b"61710.02"),
    "trade's amount": (TRADES_LINE, b"12}]"),
    "trade's time": (TRADES_LINE, b"1723161600101,"),
    "trade's id": (TRADES_LINE, b"17,"),
    "trade's text id": (TRADES_LINE, b'"3732400417"'),
    "trade's side": (TRADES_LINE, b'"buy"'),
    "trade's info": (TRADES_LINE, b"3732400417,"),
}


@pytest.mark.parametrize("slot", SLOTS)
def test_tokens(slot: str) -> None:
    line, token = SLOTS[slot]
    tail = token[len(token.rstrip(b",}]")) :] if slot.startswith("trade's") else b""
    scanner = Scanner()
    assert token in line
    taken = 0
    for value in VALUES:
        text = line.replace(token, value.encode() + tail, 1)
        taken += check(scanner, text, after=POISONS[len(value) % len(POISONS)])
    assert taken > 0 or slot in {"type", "data"}


# Mutations

DIGITS = b"0123456789"
PIECES = [b'"a":1,', b',"bids":[]', b"[1,2],", b"{},", b'"data":[],', b"\xef\xbb\xbf", b"[[", b"]]"]


def mutated(line: bytes, rng: Random) -> bytes:
    """A line with some bytes changed, put in or taken out, or parts of it moved."""
    text = bytearray(line)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(text) + 1)
        way = rng.randrange(9)
        if way == 0 and at < len(text):
            text[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            text[at:at] = bytes([rng.choice(b'{}[]",:.-+eE019 \t\r\\\x00\x0b\x7f\x80\xffnulltrue')])
        elif way == 2:
            del text[at : at + rng.choice([1, 1, 1, 2, 8])]
        elif way == 3:
            start = rng.randrange(len(text) + 1)
            text[at:at] = text[start : start + rng.choice([1, 4, 20, 60])]
        elif way == 4:
            text[at:at] = rng.choice(VALUES).encode()
        elif way == 5:
            text = swapped_value(text, rng)
        elif way == 6:
            text = bytearray(rng.choice(DIGITS) if c in DIGITS and rng.random() < 0.2 else c for c in text)
        elif way == 7:
            text[at:at] = rng.choice([b" ", b"\t", b"\r", b"0", b"1"])
        else:
            text[at:at] = rng.choice(PIECES)
    return bytes(text).replace(b"\n", b" ")


def swapped_value(text: bytearray, rng: Random) -> bytearray:
    """Another value where one stood after a colon, comma or bracket."""
    starts = [i + 1 for i, c in enumerate(text) if c in b":,["]
    if not starts:
        return text
    start = rng.choice(starts)
    stop = start
    while stop < len(text) and text[stop] not in b",]}":
        stop += 1
    return text[:start] + rng.choice(VALUES).encode() + text[stop:]


def seed_lines() -> list[bytes]:
    """Ordinary lines above all, so that many mutated ones are still taken."""
    cases = [line for case in CASES for line in case.lines if len(line) < 2000]
    lines = [*ORDINARY.values()] * 15 + [*cases[::7], *random_stream(11, 300)]
    return [line for line in lines if line]


@pytest.mark.parametrize("seed", range(4))
def test_mutations(seed: int) -> None:
    rng, scanner, lines = Random(seed), Scanner(), seed_lines()
    taken = 0
    for _ in range(20_000):
        taken += check(scanner, mutated(rng.choice(lines), rng), after=rng.choice(POISONS))
    assert taken > 2000  # else the mutations are too wild to say anything


# Whole lines put together at random

BLANKS = st.sampled_from(["", "", "", " ", "\t", "\r", "  "])
TOKEN = st.sampled_from(VALUES)
PRICE = st.one_of(st.integers(0, 10**6).map(str), st.decimals(0, 10**6, places=3).map(str), st.sampled_from(NUMBERS))


def spread_out(opening: str, parts: list[str], closing: str, blank: str) -> str:
    return opening + blank + f"{blank},{blank}".join(parts) + blank + closing


@st.composite
def level_text(draw: st.DrawFn) -> str:
    numbers = [draw(PRICE) for _ in range(draw(st.sampled_from([2, 2, 2, 2, 3, 1])))]
    quoted = [f'"{number}"' if draw(st.integers(0, 5)) == 0 else number for number in numbers]
    return spread_out("[", quoted, "]", draw(BLANKS))


@st.composite
def side_text(draw: st.DrawFn, descending: bool) -> str:
    if draw(st.integers(0, 3)):
        prices = sorted(draw(st.lists(st.integers(1, 10**5), max_size=5)), reverse=descending)
        return spread_out("[", [f"[{price / 100},{draw(PRICE)}]" for price in prices], "]", draw(BLANKS))
    return spread_out("[", draw(st.lists(level_text(), max_size=4)), "]", draw(BLANKS))


@st.composite
def object_text(draw: st.DrawFn, members: dict[str, st.SearchStrategy[str]]) -> str:
    """An object with these members in any order, some odd, twice, or missing."""
    names = draw(st.permutations(list(members)))
    extra = draw(st.lists(st.sampled_from([*members, "info", "", "bid", "datax", "collected_a"]), max_size=2))
    blank, parts = draw(BLANKS), []
    for name in [*names, *extra]:
        odd = draw(st.integers(0, 25))
        if odd == 0:
            continue
        value = draw(TOKEN if odd == 1 or name not in members else members[name])
        parts.append(f'"{name}"{blank}:{blank}{value}')
    return spread_out("{", parts, "}", blank)


TIME = st.one_of(st.integers(0, 5 * 10**12).map(str), st.sampled_from(["null", "1723161600123", "0", "-1"]))
TRADE = object_text(
    {
        "id": st.one_of(st.integers(-3, 10**19).map(str), st.text("ab19-", max_size=40).map(json.dumps), TOKEN),
        "timestamp": TIME,
        "side": st.sampled_from(['"buy"', '"sell"', '"BUY"', '"bu"', '"sells"', "null"]),
        "price": st.one_of(PRICE, PRICE.map('"{}"'.format)),
        "amount": PRICE,
    }
)
DATA = st.one_of(
    object_text({"bids": side_text(True), "asks": side_text(False), "timestamp": TIME, "nonce": TIME}),
    st.lists(TRADE, max_size=3).map(lambda trades: "[" + ",".join(trades) + "]"),
)
LINES = object_text(
    {
        "type": st.sampled_from(['"orderbook"', '"orderbook"', '"trades"', '"trades"', '"trade"', '"orderbooK"']),
        "exchange": st.sampled_from(['"binance"', '"x"', '""', '"' + "x" * 66 + '"', '"' + "/" * 67 + '"', '"é"']),
        "symbol": st.sampled_from(['"BTC/USDT"', '"1"', '"a\\/b"']),
        "data": DATA,
        "collected_at": TIME,
    }
)


@settings(max_examples=400)
@given(line=LINES, after=st.sampled_from(POISONS))
@example(line='{"type":"orderbook","exchange":"a","symbol":"b","data":[],"data":{"bids":[],"asks":[]}}', after=b"")
@example(line='{"type":"orderbook","exchange":"a","symbol":"b","data":{"bids":[],"asks":[]},"data":[]}', after=b"")
@example(line='{"exchange":"a","symbol":"b","type":"trades","data":[{"id":"5","id":5.5,"price":null}]}', after=b"")
@example(line='{"exchange":"a","symbol":"b","type":"trades","data":[{"side":"buy","side":"x"}]}', after=b"")
@example(line='{"exchange":"a","symbol":"b","type":"trades","data":[],"type":"orderbook"}', after=b"")
def test_lines_put_together(line: str, after: bytes) -> None:
    check(SCANNER, line.replace("\n", " ").encode(), after=after)


SCANNER = Scanner()


def test_lines_longer_than_the_scratch_are_declined() -> None:
    scanner = Scanner()
    levels = [[100 - i, 1] for i in range(ROOM + 1)]
    for count, taken in ((ROOM, True), (ROOM + 1, False)):
        book = {"type": "orderbook", "exchange": "x", "symbol": "y", "data": {"bids": levels[:count], "asks": []}}
        trades = {"type": "trades", "exchange": "x", "symbol": "y", "data": [{"id": i} for i in range(count)]}
        assert check(scanner, json.dumps(book).encode()) == taken
        assert check(scanner, json.dumps(trades).encode()) == taken


def test_no_line_is_read_beyond_its_newline() -> None:
    """The newline is the last byte of a page, and the next page must not be read: a read of it kills the process."""
    code = [sys.executable, "-c", "from tests.test_scan import scan_at_the_edge; scan_at_the_edge()"]
    ended = subprocess.run(code, cwd=Path(__file__).parents[1], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"done\n"), ended.stderr.decode()


def scan_at_the_edge() -> None:
    """Scan lines that end where readable memory ends."""
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    memory = np.frombuffer(pages, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    edge = ctypes.c_void_p(memory.ctypes.data + mmap.PAGESIZE)
    assert libc.mprotect(edge, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    memory.flags.writeable = True
    room, record = memory[: mmap.PAGESIZE], Record.empty(ROOM, ROOM)
    readable = room.view()
    readable.flags.writeable = False
    for line in lines_cut_short():
        text = line + b"\n"
        if len(text) <= len(room):
            room[-len(text) :] = np.frombuffer(text, np.uint8)
            end = scanned(readable, len(room) - len(text), record)
            assert end in {DECLINED, len(room) - 1}
    print("done")


def lines_cut_short() -> list[bytes]:
    """Every beginning of some lines, and mutated ones."""
    rng, lines = Random(5), seed_lines()
    cut = [line[:size] for line in ORDINARY.values() for size in range(len(line) + 1)]
    return cut + [mutated(rng.choice(lines), rng) for _ in range(3000)]


# Ids


def test_keys_of_ids_differ() -> None:
    rng = Random(1)
    texts = {"".join(rng.choices("abc01-", k=rng.randrange(1, 40))) for _ in range(20_000)}
    texts |= {"x" * n for n in range(60)} | {"x" * n + "\0" for n in range(60)} | {str(n) for n in range(10_000)}
    texts |= {f"{n:016}" for n in range(10_000)} | {f"0190f3c2-5b1e-7b60-9d0c-{n:012x}" for n in range(10_000)}
    keys = {id_key(frozen(text.encode()), 0, len(text)) for text in texts}
    assert len(keys) == len(texts)
    assert (0, 0) not in {id_key(frozen(text.encode()), 0, len(text)) for text in texts if text}


# The reference by itself: what no other test of rows can see


@pytest.mark.parametrize(("nesting", "accepted"), [(64, True), (998, True), (999, False), (1020, False), (5000, False)])
def test_nesting(nesting: int, accepted: bool) -> None:
    """1,000 deep are accepted; the record and one key's array are two of them."""
    strings = rb'"[{\"[[\\","}]\\\"]",' * 300
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        deep = b"[" + strings + opening * nesting + b"1" + closing * nesting + b"]"
        parsed = RawParser().parse(BOOK_LINE[:-1] + b',"deep":' + deep + b"}")
        assert isinstance(parsed, Book if accepted else Reject)


def test_a_line_of_many_brackets_takes_no_long() -> None:
    text = b"\\n" * 500_000 + b"x" * 1_000_000
    line = BOOK_LINE[:-1] + b',"text":"' + text + b'","empty":[' + b"[]," * 300_000 + b"[]]}"
    begin = time.process_time()
    assert isinstance(RawParser().parse(line), Book)
    assert time.process_time() - begin < 3


@given(line=st.binary(max_size=60))
def test_any_bytes_have_an_outcome(line: bytes) -> None:
    line = line.replace(b"\n", b"")
    assert isinstance(RawParser().parse(line), Reject)
    assert not check(SCANNER, line)
