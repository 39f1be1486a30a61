"""Section 1 by hand: what is accepted, what it means, and what is refused in which order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .case import ABSENT, SYMBOL, Case, at, book, line, settings, trade, trades

GOOD = book(0)
END_OF_TIME = 4102444800000


def refused(name: str, reason: str, lines: Sequence[bytes]) -> Case:
    """None of the lines is accepted, each for that reason; a good one behind them keeps its place."""
    return Case(
        name=name,
        config=settings(),
        lines=[*lines, GOOD],
        expect_hf=[{"timestamp": at(0), "best_bid": 100.0}],
        expect_counts={"records": len(lines) + 1, "books": 1, "trades": 0, "rejected": {reason: len(lines)}},
        expect_rejects=[(reason, raw) for raw in lines],
    )


def with_value(token: bytes) -> bytes:
    """A good record with one more key of that value."""
    return b'{"extra": ' + token + b", " + GOOD[1:]


NO_JSON = refused(
    "not JSON, or no JSON object",
    "malformed",
    [
        *(b"{", b"}", b"{}{}", b"x", b"'", b"\x00", b"\xef\xbb\xbf\xef\xbb\xbf{}"),
        *(b"[]", b"5", b'"x"', b"null", b"true", b"{}"),
        *(GOOD[:-1], GOOD[:20], GOOD + b"}", GOOD + b",", GOOD + GOOD, GOOD + b"\x0b", GOOD + b"\xc2\xa0"),
        *(GOOD.replace(b'"', b"'"), GOOD.replace(b": 1", b": 01")),
    ],
)

VALUES_REFUSED = refused(
    "tokens that are no JSON, wherever they stand",
    "malformed",
    [
        with_value(token)
        for token in (
            *(b"NaN", b"Infinity", b"-Infinity", b"nan", b"01", b"-01", b"+1", b"1.", b".5", b"-", b"1e", b"0x1"),
            *(b"1e309", b"-1e309", b"1" + b"0" * 309, b"9" * 5000, b"1e99999"),
            *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\udfff"', b'{"\\ud800": 1}', b'[[["\\ud800"]]]'),
            *(b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"', b'"\xe2\x82"'),
            *(b'"\t"', b'"\x00"', b'"\x1f"', b'"\\x41"', b'"\\u12g4"', b"tru", b"True", b"", b"[1,]", b'{"a": 1,}'),
            *(b"[" * 3000 + b"]" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000),
        )
    ],
)

OVERRIDDEN_SURROGATE = refused(
    "a lone surrogate or NaN under a key that comes again is no JSON either",
    "malformed",
    [b'{"symbol": "\\ud800", ' + GOOD[1:], b'{"symbol": ["\\ud800"], ' + GOOD[1:], b'{"data": NaN, ' + GOOD[1:]],
)

ENVELOPE = refused(
    "exchange, symbol, type and data must be there",
    "malformed",
    [
        *(book(0, exchange=value) for value in ("", None, 5, ["binance"], ABSENT)),
        *(book(0, symbol=value) for value in ("", None, 5, {"a": 1}, ABSENT)),
        *(book(0, type=value) for value in (None, 5, ["orderbook"], ABSENT)),
        *(book(0, data=ABSENT), book(0, type="ticker", data=ABSENT), book(0, type="ticker", symbol="")),
        *(book(0, symbol="x" * 201), book(0, exchange="/" * 67), book(0, symbol="é" * 34)),  # 201, 201, 204 bytes
    ],
)

UNKNOWN_TYPE = refused(
    "another type is ignored, whatever its data",
    "ignored_type",
    [book(0, type=value) for value in ("ticker", "", "Orderbook", "trade", "ohlcv")]
    + [book(0, type="ticker", data=5, collected_at=None)],
)

BAD_DATA: tuple[Any, ...] = (None, 5, "x", [], {}, {"bids": []}, {"asks": []})
BAD_MESSAGES: tuple[Any, ...] = (None, 5, "x", {}, [5], [None], [[]], [{}, "x"])
BAD_AMOUNTS: tuple[Any, ...] = (None, 0, -1, "", False, "-1", {})
BAD_SIDES: tuple[Any, ...] = (
    None,
    {},
    "x",
    5,
    [5],
    [[]],
    [[100]],
    [{}],
    ["ab"],
    [None],
    [[100, 1], 5],
    [[99, 1], [98]],
)

SHAPE = refused(
    "shape of books and trades; checked before their times",
    "malformed",
    [
        *(book(0, side, [[101, 1]]) for side in BAD_SIDES),
        *(book(0, [[100, 1]], side) for side in BAD_SIDES),
        *(book(0, data=value) for value in BAD_DATA),
        *(trades(0, data=value) for value in BAD_MESSAGES),
        book(0, [[100]], collected_at=None, timestamp=None),
    ],
)

NO_TIMESTAMP = refused(
    "neither time: null, absent, out of range, nonsense",
    "no_timestamp",
    [
        book(0, timestamp=own, collected_at=collected)
        for own, collected in (
            *((None, None), (ABSENT, ABSENT), (None, ABSENT), (0, -1), (END_OF_TIME, END_OF_TIME + 1)),
            *(("", "soon"), (True, False), ([1], {}), ("1e400", 1e300), (0.9, "0.5"), ("2023-11-14T22:13:00Z", " 5")),
        )
    ],
)

TIMES = Case(
    name="times: strings and floats are truncated to whole ms; what is out of range is absent",
    config=settings(),
    lines=[
        book(0, timestamp=1, collected_at=1),
        book(0, timestamp="2.9", collected_at="5e0"),
        book(0, timestamp=3.999, collected_at=4),
        book(0, timestamp=0, collected_at="7"),
        book(0, timestamp=END_OF_TIME, collected_at=8.5),
        book(0, timestamp=at(0) + 0.75, collected_at=at(3) + 0.25),
        book(0, timestamp=at(1), collected_at="never"),
        book(0, timestamp=END_OF_TIME - 1, collected_at=END_OF_TIME),
    ],
    expect_hf=[
        {"timestamp": 1, "collected_at": 1, "latency_ms": 0},
        {"timestamp": 2, "collected_at": 5, "latency_ms": 3, "exchange_clock": True},
        {"timestamp": 3, "collected_at": 4},
        {"timestamp": 7, "collected_at": 7, "exchange_clock": False, "latency_ms": None},
        {"timestamp": 8, "collected_at": 8, "exchange_clock": False},
        {"timestamp": at(0), "collected_at": at(3), "latency_ms": 3},
        {"timestamp": at(1), "collected_at": None, "latency_ms": None, "exchange_clock": True},
        {"timestamp": END_OF_TIME - 1, "collected_at": None},
    ],
    flush=False,
)

NUMBERS = Case(
    name="numbers as strings, by JSON's grammar; other strings and booleans are null: the level is dropped",
    config=settings(),
    lines=[
        book(0, [["99.5", "1e1"], [99, "0.5"]], [["1.01e2", 2], ["102", "3E-0"]]),
        book(
            1,
            [[99, 1], *([99.5, odd] for odd in ("", "x", " 1", "1 ", "+1", "01", "1.", ".5", "0x1", "NaN", "1_0"))],
            [[101, 1], *([odd, 1] for odd in (True, False, None, "1e400", "1e-400", "-100.5", "٣", "Infinity"))],
        ),
    ],
    expect_hf=[
        {
            "best_bid": 99.5,
            "bid_size_L1": 10.0,
            "bid_size_L2": 0.5,
            "best_ask": 101.0,
            "ask_size_L2": 3.0,
            "book_flags": 0,
        },
        {"best_bid": 99.0, "bid_price_L2": None, "best_ask": 101.0, "ask_price_L2": None, "book_flags": 0},
    ],
)

LEVELS = Case(
    name="levels: of two and three elements mixed, dropped without a positive price and size, sorted, joined",
    config=settings(),
    lines=[
        book(0, [[100, 1, 7], [99, 2], [98, 3, None, "x"]], [[101, 1, 1700000000.5], [102, 2]]),
        book(
            1,
            [[100.5, 0], [100, 1], [99.5, -1], [99.25, None], [None, 1], [0, 5], [-1, 5], [99, 2]],
            [[101, 0.0], [102, 1], [[101], 1], [101, {}]],
        ),
        book(2, [[98, 3], [100, 1], [99, 2]], [[103, 1], [101, 1], [102, 1]]),
        book(3, [[100, 1], [99, 2], [100, 4]], [[101, 1], [101, 2], [101, 3]]),
    ],
    expect_hf=[
        {"bid_price_L3": 98.0, "bid_size_L1": 1.0, "ask_size_L1": 1.0, "book_flags": 0},
        {"best_bid": 100.0, "bid_price_L2": 99.0, "bid_price_L3": None, "best_ask": 102.0, "book_flags": 0},
        {"bid_price_L1": 100.0, "bid_price_L2": 99.0, "bid_size_L3": 3.0, "ask_price_L3": 103.0, "book_flags": 16},
        {
            "bid_size_L1": 1.0 + 4,
            "bid_size_L2": 2.0,
            "ask_size_L1": 1.0 + 2 + 3,
            "ask_price_L2": None,
            "book_flags": 16,
        },
    ],
)

INVALID = Case(
    name="one-sided, empty and crossed books are books, and invalid; locked ones are valid",
    config=settings(),
    lines=[
        book(0, [], [[101, 1]]),
        book(1, [[100, 1]], []),
        book(2, [], []),
        book(3, [[100, 0]], [[101, 1]]),
        book(4, [[101, 1]], [[100, 1]]),
        book(5, [[99, 1], [101, 1]], [[100, 1], [102, 1]]),
        book(6, [[100, 1]], [[100, 1]]),
    ],
    expect_hf=[{"timestamp": at(6), "invalid_books": 6, "updates": 1, "book_flags": 8}],
    expect_counts={"books": 7, "invalid_books": 6, "rejected": {}},
)

DUPLICATES = Case(
    name="duplicate: the time and the nonce of the last book, valid or not, whatever else it says",
    config=settings(),
    lines=[
        book(0, nonce=5),
        book(0, [[1, 1]], [[2, 1]], nonce="5", collected_at=at(9)),  # duplicate
        book(0, nonce=6),
        book(0, nonce=5),  # not the last one's any more
        book(1, nonce=5),
        book(2, [], [], nonce=5),
        book(2, nonce=5),  # duplicate of an invalid one
        book(3),
        book(3),  # no nonce, no duplicate
        book(0, nonce=5, timestamp=None, collected_at=at(4)),
        book(4, nonce=5),  # duplicate: event times count
    ],
    expect_hf=[{"timestamp": at(ms)} for ms in (0, 0, 0, 1, 3, 3, 4)],
    expect_counts={"records": 11, "books": 8, "duplicates": 3, "invalid_books": 1, "rejected": {}},
)

LATE = Case(
    name="late: earlier than the last book, valid or not; at the same time is not",
    config=settings(),
    lines=[
        book(10),
        book(9),
        book(10),
        book(20, [], []),
        book(19),
        book(30, collected_at=None),
        trades(40, trade(40, "buy", 100, 1)),  # trades do not make books late
        book(30),
        book(29, [], [], timestamp=None, collected_at=at(29)),
    ],
    expect_hf=[{"timestamp": at(ms)} for ms in (10, 10, 30, 30)],
    expect_counts={"books": 5, "invalid_books": 1, "rejected": {"late": 3}},
    expect_rejects=[
        ("late", book(9)),
        ("late", book(19)),
        ("late", book(29, [], [], timestamp=None, collected_at=at(29))),
    ],
)

FUTURE = Case(
    name="future: more than max_ahead after collected_at; it silences nobody",
    config=settings(max_ahead=2),
    lines=[
        book(0),
        book(2101, collected_at=at(100)),  # 2001 ms ahead
        book(200),
        book(2300, collected_at=at(300)),  # exactly 2000 ms
        book(9000, collected_at=None),  # nothing to hold it against
    ],
    expect_hf=[{"timestamp": at(ms)} for ms in (0, 200, 2300, 9000)],
    expect_counts={"rejected": {"future": 1}},
)

ORDER = Case(
    name="the first check that fails names the reason",
    config=settings(max_ahead=2),
    lines=[
        book(5000, nonce=1),
        book(5000, nonce=1, collected_at=at(1)),  # a duplicate, but future comes first
        book(4000, nonce=1, collected_at=at(1)),  # late, but future comes first
        book(4000, nonce=1),
    ],
    expect_counts={"duplicates": 0, "rejected": {"future": 2, "late": 1}},
)

NONCES = Case(
    name="nonce: an int64 or its decimal string, else null",
    config=settings(),
    lines=[
        *(book(i, nonce=value) for i, value in enumerate((0, -5, 2**63 - 1, 1 - 2**63, "7", "-9223372036854775807"))),
        *(
            book(10 + i, nonce=value)
            for i, value in enumerate(
                (ABSENT, 2**63, "9223372036854775808", 10**30, 5.0, True, "", "x", "5.0", " 5", [5])
            )
        ),
    ],
    expect_hf=[{"nonce": value} for value in (0, -5, 2**63 - 1, 1 - 2**63, 7, 1 - 2**63, *[None] * 11)],
)

TRADE_REPEATS = Case(
    name="trades again: by id as text, within a message too; null, empty and other ids are not compared",
    config=settings(horizons=[1]),
    lines=[
        trades(0, trade(0, "buy", 100, 1, id="5"), trade(0, "buy", 100, 2, id=5), trade(0, "buy", 100, 4, id="05")),
        trades(0, trade(0, "buy", 100, 8, id=5), trade(0, "buy", 100, 16, id="a"), trade(0, "buy", 100, 32, id="a")),
        *(
            trades(0, trade(0, "buy", 100, 64, id=odd), trade(0, "buy", 100, 64, id=odd))
            for odd in ("", None, 5.0, True)
        ),
        trades(0, trade(0, "buy", 0, 128, id="b"), trade(0, "buy", 100, 1000, id="b")),  # a bad one leaves no id
        trades(0, trade(0, "buy", 0, 128, id="b")),  # bad is checked before repeated
        book(0),
    ],
    expect_hf=[{"trade_vol_1s": 1.0 + 4 + 16 + 8 * 64 + 1000}],
    expect_counts={"trades": 8, "duplicate_trades": 3, "bad_trades": 2},
)

TRADE_IDS_REMEMBERED = Case(
    name="trades again: the last 1,024 accepted ids; a repeat does not refresh its place",
    config=settings(horizons=[1]),
    lines=[
        trades(0, *(trade(0, "buy", 100, 1, id=i) for i in range(1, 1026))),  # remembered: 2 to 1025
        trades(0, trade(0, "buy", 100, 1, id="2")),  # repeated, and 2 stays the oldest
        trades(0, trade(0, "buy", 100, 1, id="1")),  # forgotten: accepted; remembered: 3 to 1025, 1
        trades(0, trade(0, "buy", 100, 1, id="2")),  # forgotten by now: accepted; remembered: 4 to 1025, 1, 2
        trades(0, trade(0, "buy", 100, 1, id="4"), trade(0, "buy", 100, 1, id="1")),  # repeated, both
        book(0),
    ],
    expect_hf=[{"trade_vol_1s": 1025.0 + 1 + 1}],
    expect_counts={"duplicate_trades": 3, "bad_trades": 0, "trades": 5},
)

BAD_TRADES = Case(
    name="bad trades are dropped and counted; the others of their message stand",
    config=settings(horizons=[100], max_ahead=2),
    lines=[
        trades(
            0,
            *(trade(0, "buy", price, 1) for price in (None, 0, -1, "x", True, "1e400", ABSENT, [], 1e-400)),
            *(trade(0, "buy", 100, amount) for amount in BAD_AMOUNTS),
            trade(2001, "buy", 100, 1),  # later than collected_at + max_ahead
            trade(2000, "buy", "100", "0.5"),
            {**trade(0, "sell", 1e2, 2), "timestamp": "nonsense"},  # has collected_at's time
        ),
        trades(0, {**trade(0, "buy", 100, 1), "timestamp": None}, trade(9000, "buy", 100, 4), collected_at=None),
        trades(0, {}, {"price": 5}),
        trades(0),
        trades(0, collected_at=None),
        book(9000),
    ],
    expect_hf=[{"trade_vol_100s": 0.5 + 2 + 4, "tfi_100s": (4.5 - 2) / 6.5}],
    expect_counts={"trades": 5, "bad_trades": 9 + 7 + 1 + 1 + 2, "duplicate_trades": 0, "rejected": {}},
)

TRADE_SIDES = Case(
    name="a side that is neither buy nor sell counts in volume alone",
    config=settings(horizons=[1]),
    lines=[
        trades(0, *(trade(0, side, 100, 1) for side in (None, "BUY", "Sell", "", "unknown", 1, ABSENT, ["buy"]))),
        trades(0, trade(0, "buy", 100, 3), trade(0, "sell", 100, 1)),
        book(0),
    ],
    expect_hf=[{"trade_vol_1s": 8.0 + 4, "tfi_1s": (3 - 1) / 4}],
    expect_bars=[{"volume": 12.0, "buy_volume": 3.0, "sell_volume": 1.0, "trade_count": 10}],
)

NO_RECORDS = Case(
    name="empty and blank lines are no records; a CR before the newline and blanks around do not matter",
    config=settings(),
    lines=[b"", b" ", b"\t", b"\r", b" \t \r", GOOD + b"\r", b" \t" + book(1) + b" \r"],
    expect_hf=[{"timestamp": at(0)}, {"timestamp": at(1)}],
    expect_counts={"records": 2, "books": 2, "rejected": {}},
)


def escaped(raw: bytes) -> bytes:
    """Every letter of the keys and strings of a plain record as \\u00xx, slashes as \\/."""
    text = raw.decode().replace("/", "\\/")
    return "".join(f"\\u{ord(letter):04x}" if letter.isalpha() else letter for letter in text).encode()


NESTED = json.loads("[" * 60 + "]" * 60)

AS_JSON_MAY_SAY = Case(
    name="order of keys, spacing, escapes, unknown keys, a key twice (the last counts), nesting to 64",
    config=settings(),
    lines=[
        json.dumps(dict(reversed(json.loads(book(0)).items())), indent=0).replace("\n", "\t").encode(),
        escaped(book(1, nonce=3)),
        book(2, info={"symbol": 5, "data": None, "deep": NESTED}, more=[1e308, -0.0, 10**300, 2**64, "\x7f\u2028"]),
        b'{"symbol": "other", "data": [], "type": 5, "collected_at": null, ' + book(3)[1:],
        book(4).replace(b'"bids"', b'"bids": 5, "asks": null, "timestamp": 17, "bids"'),
    ],
    expect_hf=[
        {"symbol": "BTC/USDT", "timestamp": at(ms), "best_ask": 102.0, "collected_at": at(ms)} for ms in range(5)
    ],
    expect_counts={"symbols": 1, "books": 5},
)

BIG_NUMBERS = Case(
    name="integers beyond 64 bits are doubles",
    config=settings(),
    lines=[book(0, [[100, 10**20]], [[102, 2**63]]), book(1, [[100, 2**64]], [[102, "100000000000000000000"]])],
    expect_hf=[{"bid_size_L1": 1e20, "ask_size_L1": 2.0**63}, {"bid_size_L1": 2.0**64, "ask_size_L1": 1e20}],
)

NAMES = Case(
    name="names: any text of at most 200 bytes percent-encoded; exchange and symbol together are the key",
    config=settings(),
    lines=[
        book(0, exchange="x" * 200, symbol="/" * 66),
        book(0, exchange="a:b", symbol="SÖL/₮"),
        line({**json.loads(book(1)), "exchange": "a:b", "symbol": "SÖL/₮"}).replace(b"\\u00d6", "Ö".encode()),
        book(0, exchange="a", symbol="b:SÖL/₮"),
        trades(0, exchange="late", symbol="riser"),
        book(0, exchange="never", symbol="accepted", timestamp=None, collected_at=None),
    ],
    expect_hf=[
        {"exchange": "a", "symbol": "b:SÖL/₮", "gap_ms": None},
        {"exchange": "a:b", "symbol": "SÖL/₮", "timestamp": at(0)},
        {"exchange": "a:b", "symbol": "SÖL/₮", "timestamp": at(1), "gap_ms": 1},
        {"exchange": "x" * 200, "symbol": "/" * 66},
    ],
    expect_counts={"symbols": 4, "rejected": {"no_timestamp": 1}},
)

MINIMAL = Case(
    name="a record with nothing it does not need",
    config=settings(),
    lines=[
        line({"type": "orderbook", **SYMBOL, "data": {"bids": [[1, 1]], "asks": [[2, 1]]}, "collected_at": 9}),
        line({"type": "orderbook", **SYMBOL, "data": {"bids": [[1, 1]], "asks": [[2, 1]], "timestamp": 10}}),
        line({"type": "trades", **SYMBOL, "data": [{"price": 3, "amount": 4, "timestamp": 10}]}),
    ],
    expect_hf=[{"timestamp": 9, "collected_at": 9, "nonce": None}, {"timestamp": 10, "collected_at": None}],
    expect_bars=[{"volume": 4.0, "vwap": 3.0, "count": 2}],
)

CASES = [
    NO_JSON,
    VALUES_REFUSED,
    OVERRIDDEN_SURROGATE,
    ENVELOPE,
    UNKNOWN_TYPE,
    SHAPE,
    NO_TIMESTAMP,
    TIMES,
    NUMBERS,
    LEVELS,
    INVALID,
    DUPLICATES,
    LATE,
    FUTURE,
    ORDER,
    NONCES,
    TRADE_REPEATS,
    TRADE_IDS_REMEMBERED,
    BAD_TRADES,
    TRADE_SIDES,
    NO_RECORDS,
    AS_JSON_MAY_SAY,
    BIG_NUMBERS,
    NAMES,
    MINIMAL,
]
