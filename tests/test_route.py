"""To whom each line goes: held against full parsing, with every way there is to write a name."""

import json
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamproc.local.route import NOBODY, Router
from streamproc.parse.ccxt import RawParser, Reject

from .strategies import streams

WORKERS = 3
NAMES = ["A/B", "C/D:D", "a", "symbol", "exchange", "{", "]", '"', "\\", "é", "\u2028", "A\\/B", ":", "x" * 63]
BLANKS = [b"", b" ", b"\t", b" \r "]


def as_array(data: bytes, beyond: bytes = b"") -> NDArray[np.uint8]:
    """The data, and what happens to lie behind it, as readers hand them over."""
    array = np.frombuffer(data + beyond, np.uint8)
    array.flags.writeable = False
    return array


def owners(router: Router, lines: list[bytes], beyond: bytes = b"") -> list[int]:
    """The owner of each line, after a look at the bounds."""
    data = b"".join(line + b"\n" for line in lines)
    found, bounds = router.owners(as_array(data, beyond), len(data), len(lines))
    assert [data[begin:end] for begin, end in pairwise(bounds)] == [line + b"\n" for line in lines]
    return list(map(int, found))


def expected(router: Router, line: bytes) -> set[int]:
    """Who may get a line: its symbol's owner by full parsing, nobody when it is blank, anybody when it is rejected."""
    if not line.strip(b" \t\r"):
        return {NOBODY}
    parsed = RawParser().parse(line)
    return set(range(WORKERS)) if isinstance(parsed, Reject) else {router.owner(parsed.exchange, parsed.symbol)}


def check(lines: list[bytes]) -> None:
    """Names that are new and known, lines at the end of memory and before it: always the owner of the symbol."""
    router = Router(WORKERS)
    first = owners(router, lines)
    again = owners(router, lines, beyond=b'"symbol":"x"\n\\' * 10)
    for line, owner, owner_again in zip(lines, first, again, strict=True):
        allowed = expected(router, line)
        assert owner in allowed, line
        assert owner_again in allowed, line
    assert owners(Router(WORKERS), lines, beyond=b"\xff" * 100) == first
    one_by_one = Router(WORKERS)
    assert [owners(one_by_one, [line])[0] for line in lines] == first


class Writer:
    """Writes JSON full of the two keys and of what looks like them; one in two writes no backslash."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.escapes = bool(self.rng.randrange(2))
        self.names = [name for name in NAMES if self.escapes or not set(name) & set('"\\')]
        if self.rng.randrange(2):
            self.names = self.names[:2]

    def text(self, value: str) -> str:
        """A JSON string, some of its characters escaped in one of the ways there are."""
        if not self.escapes or self.rng.randrange(3):
            return json.dumps(value, ensure_ascii=False)
        ways = {"/": ["/", "\\/"], '"': ['\\"'], "\\": ["\\\\"]}
        return '"' + "".join(self.rng.choice([*ways.get(c, [c]), f"\\u{ord(c):04x}"]) for c in value) + '"'

    def value(self, depth: int = 0) -> str:
        """Any JSON value."""
        kind = self.rng.randrange(6 if depth < 3 else 3)
        if kind == 0:
            return self.rng.choice(["1", "null", "[]", "{}", "-2.5e3", "true"])
        if kind <= 2:
            tricks = ["", '"symbol":"x"', 'x"exchange":'] if self.escapes else [""]
            return self.text(self.rng.choice([*self.names, *tricks]))
        if kind == 3:
            return "[" + ",".join(self.value(depth + 1) for _ in range(self.rng.randrange(4))) + "]"
        return self.object(self.others(3, depth + 1))

    def others(self, most: int, depth: int) -> list[tuple[str, str]]:
        """Members, some of the two keys, with any values."""
        listed = ["symbol", "exchange", "sym", "symbols", "exchanges", "s", "e"]
        return [(self.rng.choice(listed), self.value(depth)) for _ in range(self.rng.randrange(most))]

    def object(self, members: list[tuple[str, str]]) -> str:
        """An object with its members in this order."""
        colon, comma = self.rng.choice([(":", ","), (" : ", " ,\t"), (":", ", ")])
        return "{" + comma.join(self.text(key) + colon + value for key, value in members) + "}"

    def record(self) -> bytes:
        """A record, mostly a good one: members in any order, keys twice, names in nested values."""
        data = [("bids", "[[1,2]]"), ("asks", "[[2,1]]"), *self.others(4, 0)]
        members = [
            ("type", '"orderbook"'),
            ("data", self.object(data)),
            ("collected_at", "1700000000000"),
            *(("info", self.value()) for _ in range(2)),
            *(
                (key, self.text(self.rng.choice(self.names)))
                for key in ("symbol", "exchange")
                for _ in range(self.rng.choice([1, 1, 1, 2]))
            ),
        ]
        self.rng.shuffle(members)
        return self.rng.choice(BLANKS[:3]) + self.object(members).encode() + self.rng.choice(BLANKS)


def record_line(seed: int) -> bytes:
    return Writer(seed).record()


def mutated(line: bytes, seed: int) -> bytes:
    """The line with some bytes taken out, doubled or replaced."""
    rng = Random(seed)
    changed = bytearray(line)
    for _ in range(rng.choice([0, 0, 1, 3])):
        at = rng.randrange(len(changed) + 1)
        changed[at : at + rng.choice([0, 1, 5])] = rng.choice(
            [b"", b'"', b"\\", b"{", b"]", b":", b'"symbol"', b"\xff", b"\\\\"]
        )
    return bytes(changed)


@settings(max_examples=200)
@given(streams(max_size=30))
def test_lines_go_where_full_parsing_would_send_them(lines: list[bytes]) -> None:
    check(lines)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=20))
def test_names_may_be_written_in_every_way(seeds: list[int]) -> None:
    check([record_line(seed) for seed in seeds])


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)), min_size=1, max_size=20))
def test_damaged_lines_find_an_owner_and_disturb_no_other(seeds: list[tuple[int, int]]) -> None:
    check([mutated(record_line(seed), damage) for seed, damage in seeds])


def test_the_random_records_are_of_all_sorts() -> None:
    lines = [record_line(seed) for seed in range(300)]
    parsed = [RawParser().parse(line) for line in lines]
    assert sum(isinstance(record, Reject) for record in parsed) < 100
    assert 100 < sum(b"\\" in line for line in lines) < 200
    assert sum(b"\\" not in line and line.count(b'"symbol"') > 1 for line in lines) > 30


def line(**changes: Any) -> bytes:
    record = {"type": "orderbook", "exchange": "x", "symbol": "A", "data": {"bids": [[1, 1]], "asks": [[2, 1]]}}
    return json.dumps({**record, **changes}).encode()


def test_a_name_that_reads_like_an_escaped_one_is_another() -> None:
    escaped = line(symbol="A/B").replace(b"A/B", rb"A\/B")
    assert owners(Router(3), [line(symbol="A/B"), line(symbol="A\\/B"), escaped]) == [0, 1, 0]


def test_symbols_are_dealt_in_turn() -> None:
    lines = [line(symbol=f"S{i}") for i in range(7)]
    assert owners(Router(3), lines) == [0, 1, 2, 0, 1, 2, 0]


def test_one_name_on_two_exchanges_is_two_symbols() -> None:
    assert owners(Router(2), [line(exchange="x"), line(exchange="y")]) == [0, 1]


def test_the_border_between_the_names_counts() -> None:
    assert owners(Router(2), [line(exchange="xA", symbol="B"), line(exchange="x", symbol="AB")]) == [0, 1]


def test_names_of_rejected_lines_take_no_turn() -> None:
    lines = [line(), *(line(symbol=f"T{i}", type="ticker") for i in range(50)), line(symbol="B")]
    assert owners(Router(2), lines) == [0, *[0] * 50, 1]


@pytest.mark.parametrize(
    "other",
    [
        rb'{"symbol":"Z","exchange":"x","type":"orderbook","data":{"bids":[],"asks":[]},"symbol":"B"}',
        rb'{"exchange":"x","type":"orderbook","symbol":"B","data":{"bids":[],"asks":[],"symbol":"Z"}}',
        rb'{"exchange":"x","type":"trades","symbol":"B","data":[{"symbol":"B","info":{"symbol":"Z","exchange":"y"}}]}',
        rb'{"exchange":"x","type":"trades","symbol":"B","data":[],"note":"\"symbol\":\"Z\""}',
        rb'{"exchange":"x","type":"trades","symbol":"\u0042","data":[]}',
        rb'{"exchange":"x","type":"trades","s\u0079mbol":"B","data":[],"info":{"symbol":"Z"}}',
        rb'{"exchange" : "x" , "type":"trades","symbol"	:	"B","data":[]}',
        rb'{"exchange":"symbol","exchange":"x","type":"trades","symbol":"B","data":["symbol"]}',
    ],
)
def test_the_last_key_at_the_top_counts(other: bytes) -> None:
    router = Router(3)
    known = [line(), line(symbol="B"), line(symbol="Z")]
    assert owners(router, [*known, other]) == [0, 1, 2, 1]


def test_a_line_of_twenty_megabytes() -> None:
    names = '"exchange":"x","symbol":"B"'
    long, odd = (
        f'{{"type":"orderbook",{names},"data":{{"bids":[{"[1,2]," * 3_500_000}[1,1]],{more}"asks":[]}}}}'.encode()
        for more in ("", '"symbol":"C",')
    )
    assert len(long) > 20 << 20
    assert owners(Router(2), [line(), line(symbol="B"), long, odd, line()]) == [0, 1, 1, 1, 0]


def test_each_worker_gets_its_lines_together_in_order() -> None:
    lines = [line(symbol="A"), b" ", line(symbol="B"), line(symbol="A", nonce=2), b"", b"{", line(symbol="B", nonce=2)]
    data = b"".join(text + b"\n" for text in lines)
    out = np.zeros(len(data), np.uint8)
    shares = Router(3).deal(as_array(data), len(data), len(lines), out)
    given = [out[share.start : share.start + share.size].tobytes().splitlines() for share in shares]
    assert [share.lines.tolist() for share in shares] == [[0, 3, 5], [2, 6], []]
    assert given == [[lines[i] for i in share.lines] for share in shares]
