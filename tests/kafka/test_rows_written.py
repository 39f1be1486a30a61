"""Rows are written as JSON that means what their words mean, doubles with the fewest digits, each with its source."""

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import cast

import numba
import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamproc.config import StateConfig
from streamproc.kafka.client import Headers
from streamproc.kafka.names import Names
from streamproc.kafka.process.changelog import Position
from streamproc.kafka.process.digits import LONGEST, MOST_STORED, Powers, powers_of_ten, write_double, write_int
from streamproc.kafka.process.partition import Encoders, Outgoing, Partition
from streamproc.kafka.process.rows import ROWS_AT_ONCE, RowEncoder
from streamproc.kafka.process.store import PartitionStore
from streamproc.kafka.sink.rows import RowReader, Symbols
from streamproc.schema import LINE_WORD, NULL_INT, SYMBOL_WORD, Stream, columns, word
from streamproc.simulate import Market, generate
from tests.parquet_rows import KEYS, Words, plain_rows, random_words

CONFIG = StateConfig(max_levels=3, horizons=(0.5, 2.0))
POWERS = powers_of_ten()
UNTOUCHED = 0xAA
BOTH = pytest.mark.parametrize("stream", ["hf", "bars"])


def _write_number(number: Words, whole: int, powers: Powers, out: Words, ends: Words) -> None:
    value = number[0]
    ends[0] = write_int(out, 3, value) if whole else write_double(out, 3, value, powers)  # type: ignore[arg-type]


_compiled = cast(Callable[..., None], numba.njit(_write_number))  # anew each time: the cache knows no imports of tests


def written(word: int, whole: bool) -> str:
    out, ends = np.full(100, UNTOUCHED, np.uint8), np.zeros(1, np.int64)
    _compiled(np.array([word]), whole, POWERS, out, ends)
    assert set(out[:3]) | set(out[3 + MOST_STORED :]) == {UNTOUCHED}
    assert ends[0] - 3 <= LONGEST
    return out[3 : ends[0]].tobytes().decode()


def bits(number: float) -> int:
    [word] = struct.unpack("<q", struct.pack("<d", number))
    return int(word)


def number(word: int) -> float:
    [double] = struct.unpack("<d", struct.pack("<q", word))
    return float(double)


def check_double(double: float) -> None:
    """The text is a JSON number with a point or an exponent, reads back as the same bits, is as short as Python's."""
    text = written(bits(double), whole=False)
    assert bits(float(text)) == bits(double)
    back = orjson.loads(text)
    assert type(back) is float
    assert bits(back) == bits(double)
    assert Decimal(text) == Decimal(repr(double))  # the nearest of the shortest ones
    assert len(text) <= len(repr(double)) + 2  # 0.00001 for 1e-05


finite = st.integers(-(2**63), 2**63 - 1).map(number).filter(np.isfinite)


@given(finite)
@example(0.0)
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
@example(2.2250738585072009e-308)
@example(2.2250738585072014e-308)
@example(-2.2250738585072014e-308)
@example(9007199254740993.0)
@example(2.0**63)
@example(9.5e-06)
@example(9999999999999998.0)
@example(1e16)
@example(1e23)
@example(9e-265)
@example(5.764607523034235e39)
@example(1.152921504606847e40)
def test_any_double(double: float) -> None:
    check_double(double)


@given(st.integers(-(2**52) + 1, 2**52 - 1))
def test_subnormal_doubles(fraction: int) -> None:
    check_double(fraction * 5e-324)


@given(st.integers(-(10**17), 10**17), st.integers(-30, 30))
@example(1, -4)
@example(1, -5)
@example(1, -6)
@example(15, -1)
@example(123456789, -8)
@example(1234567890, -8)
def test_short_decimals(mantissa: int, power: int) -> None:
    check_double(float(f"{mantissa}e{power}"))


def test_powers_of_ten_and_of_two_and_their_neighbours() -> None:
    exact = [float(f"1e{power}") for power in range(-323, 309)] + [2.0**power for power in range(-1074, 1024)]
    for double in exact:
        for neighbour in (np.nextafter(double, 0.0), double, np.nextafter(double, 1e308)):
            check_double(float(neighbour))


@given(st.integers(-(2**63), 2**63 - 1))
@example(0)
@example(-1)
@example(2**63 - 1)
@example(-(2**63))
def test_integers(value: int) -> None:
    assert written(value, whole=True) == str(value)


@pytest.mark.parametrize("digits", range(19))
def test_integers_of_each_length(digits: int) -> None:
    for value in (10**digits - 1, 10**digits, 10**digits + 1):
        assert written(value, whole=True) == str(value)
        assert written(-value, whole=True) == str(-value)


def encoded(stream: Stream, words: Words, keys: Sequence[tuple[str, str]] = KEYS) -> list[bytes]:
    return list(RowEncoder(stream, CONFIG).encode(words, keys))


def expected(stream: Stream, words: Words, keys: Sequence[tuple[str, str]] = KEYS) -> list[str]:
    """`repr` tells -0.0 from 0.0, 1 from 1.0 and True, and the order."""
    names = [column.name for column in columns(stream, CONFIG)]
    return [repr(list(zip(names, row, strict=True))) for row in plain_rows(stream, CONFIG, words, keys)]


def pairs(values: Sequence[bytes]) -> list[str]:
    return [repr([*orjson.loads(value).items()]) for value in values]


@BOTH
@pytest.mark.parametrize("count", [0, 1, ROWS_AT_ONCE, 3 * ROWS_AT_ONCE + 1])
def test_rows_say_what_their_words_say(stream: Stream, count: int) -> None:
    words = random_words(stream, CONFIG, count, seed=count)
    values = encoded(stream, words)
    assert pairs(values) == expected(stream, words)
    assert all(value == orjson.dumps(orjson.loads(value)).replace(b"e+", b"e") for value in values)  # no blank, no more


@BOTH
def test_rows_of_any_bits(stream: Stream) -> None:
    words = random_words(stream, CONFIG, 300, seed=5)
    rng = np.random.default_rng(5)
    for place, column in enumerate(columns(stream, CONFIG)[2:], start=2):
        if column.kind in {"double", "int", "time"}:
            words[:, place] = rng.integers(-(2**63), 2**63 - 1, len(words))
    words[::7, word(stream, "generation")] = NULL_INT
    values = encoded(stream, words)
    assert pairs(values) == expected(stream, words)


@BOTH
def test_a_double_that_is_none_is_null(stream: Stream) -> None:
    words = random_words(stream, CONFIG, 4)
    place = 2 + [column.name for column in columns(stream, CONFIG)[2:]].index("spread" if stream == "hf" else "open")
    words.view(np.float64)[:, place] = [np.nan, np.inf, -np.inf, -np.nan]
    name = columns(stream, CONFIG)[place].name
    assert [orjson.loads(value)[name] for value in encoded(stream, words)] == [None] * 4


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(names, names), min_size=1, max_size=5))
@example([('"', "\\"), ("\x00\x1f\x7f", "\n\t"), ("börse", "₿/USDT"), ("🪙", "\u2028"), ("", "x" * 100_000)])
def test_names_of_any_characters(keys: list[tuple[str, str]]) -> None:
    words = random_words("bars", CONFIG, 20, symbols=len(keys))
    assert pairs(ENCODER.encode(words, keys)) == expected("bars", words, keys)  # type: ignore[arg-type]


ENCODER = RowEncoder("bars", CONFIG)


def test_keys_of_several_engines_are_not_mixed_up() -> None:
    """The same index is another symbol in another partition."""
    words = random_words("bars", CONFIG, 20)
    for keys in (KEYS, KEYS[::-1]):
        assert pairs([*ENCODER.encode(words, keys)]) == expected("bars", words, keys)


@BOTH
def test_the_sink_reads_the_same_bits(stream: Stream) -> None:
    words = random_words(stream, CONFIG, 200, seed=8)
    rng = np.random.default_rng(8)
    for place, column in enumerate(columns(stream, CONFIG)[2:], start=2):
        if column.kind == "double":
            words[:, place] = (rng.random(len(words)) * 10.0 ** rng.integers(-300, 300, len(words))).view(np.int64)
    back = RowReader(stream, CONFIG).read(encoded(stream, words), symbols := Symbols())
    assert [symbols.keys[i] for i in back[:, SYMBOL_WORD]] == [KEYS[i] for i in words[:, SYMBOL_WORD]]
    assert np.array_equal(back[:, LINE_WORD + 1 :], words[:, LINE_WORD + 1 :])


class Message:
    """A record as a consumer gives it."""

    def __init__(self, offset: int, value: bytes | None) -> None:
        self._offset, self._value = offset, value

    def topic(self) -> str:
        return "raw"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return b"a key"

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def error(self) -> None:
        return None


@pytest.fixture
def partition(tmp_path: Path) -> Partition:
    config = StateConfig(max_levels=3)
    start = Position(0, 0, "raw id", "state id", config.canonical())
    return Partition(0, 1, PartitionStore(tmp_path, "here"), start, config, Encoders(Names("t"), config))


LINES = b"".join(generate(Market(symbols=3, seconds=150, levels=3, seed=4, rate_hz=2, faults=True))).splitlines()


@pytest.mark.parametrize("most", [1, 4])
def test_each_record_names_the_line_that_it_came_of(partition: Partition, most: int) -> None:
    """Messages of one line, and of several among which some are empty; offsets have gaps."""
    rng = np.random.default_rng(most)
    messages: list[Message] = []
    rest = LINES
    while rest:
        taken = int(rng.integers(most == 1, most + 1))
        messages.append(Message(1000 + 3 * len(messages), b"\n".join(rest[:taken]) if taken else None))
        rest = rest[taken:]
    topics: Counter[str] = Counter()
    for start in range(0, len(messages), 100):
        for record in partition.feed(messages[start : start + 100]):
            topics[record.topic] += 1
            check_source(record, messages)
    assert topics.keys() == {"t.hf", "t.bars", "t.dlq"}
    assert min(topics.values()) > 5
    partition.close()


def check_source(record: Outgoing, messages: Sequence[Message]) -> None:
    source = dict(record.headers)["source"]
    number, offset, line = map(int, source.split(b":"))
    assert number == 0
    message = messages[(offset - 1000) // 3]
    assert message.offset() == offset
    raw = (message.value() or b"").split(b"\n")[line]
    if record.topic == "t.dlq":
        assert record.value == raw
        assert record.key == message.key()
        return
    row, cause = orjson.loads(record.value), orjson.loads(raw)
    assert record.key == f"{row['exchange']}:{row['symbol']}".encode()
    assert record.timestamp == row["timestamp"]
    assert row["symbol"] == cause["symbol"]
    if record.topic == "t.hf":
        assert row["timestamp"] == (cause["data"]["timestamp"] if row["exchange_clock"] else cause["collected_at"])
