"""Rows come back from their topic's JSON bit for bit, and what is no row of the configuration is refused."""

import math
import struct

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamproc.config import StateConfig
from streamproc.jit import hot_kernel
from streamproc.kafka.process.rows import RowEncoder
from streamproc.kafka.sink.decimal import Powers, double_at, powers_of_five
from streamproc.kafka.sink.rows import RefusedError, RowReader, Symbols
from streamproc.parquet.table import to_table
from streamproc.schema import Stream, columns
from tests.parquet_rows import KEYS, Words, random_words

CONFIG = StateConfig(max_levels=3, horizons=(0.5, 2.0))
POWERS = powers_of_five()
BOTH = pytest.mark.parametrize("stream", ["hf", "bars"])


@hot_kernel
def _double_at(data: Words, powers: Powers, found: Words) -> None:
    found[0], found[1] = double_at(data, 0, powers)  # type: ignore[arg-type]


def parsed(text: str) -> tuple[int, float]:
    """Position after the number, -1 where it was left, and its value."""
    found = np.zeros(2, np.int64)
    _double_at(np.frombuffer(text.encode() + b"\n" + bytes(8), np.uint8), POWERS, found)
    return int(found[0]), float(found.view(np.float64)[1])


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(-0.0)
@example(5e-324)
@example(2.2250738585072014e-308)
@example(1.7976931348623157e308)
@example(9007199254740993.0)
@example(1e23)
def test_every_double_is_read_as_it_was_written(number: float) -> None:
    text = orjson.dumps(number).decode()
    end, value = parsed(text)
    normal = number == 0 or 2.3e-308 < abs(number) < 8e307
    assert end == len(text) if normal else end in {-1, len(text)}
    assert end < 0 or bits(value) == bits(number)


@given(st.integers(0, 10**18 - 1), st.integers(-330, 300))
@example(9007199254740993, 0)  # halfway between two doubles
@example(45035996273704985, -1)
@example(9007199254740995, 0)
def test_decimals_of_up_to_18_digits_are_the_nearest_double(mantissa: int, power: int) -> None:
    text = f"{mantissa}e{power}"
    end, value = parsed(text)
    assert end < 0 or bits(value) == bits(float(text))
    assert end == len(text) or not 2.3e-308 < float(text) < 8e307


@pytest.mark.parametrize("text", ["", "-", "01", "1.", ".5", "1e", "+1", "1" * 19, "NaN", "0x1", "1e999", "--1"])
def test_what_is_no_plain_number_is_left(text: str) -> None:
    end, _ = parsed(text)
    assert end < 0 or end < len(text)


def encoded(stream: Stream, words: Words) -> list[bytes]:
    return list(RowEncoder(stream, CONFIG).encode(words, KEYS))


@BOTH
def test_rows_come_back_as_they_were(stream: Stream) -> None:
    words = random_words(stream, CONFIG, 500, seed=1)
    symbols = Symbols()
    reader = RowReader(stream, CONFIG)
    values = encoded(stream, words)
    back = np.concatenate([reader.read(values[:200], symbols), reader.read(values[200:], symbols)])
    assert to_table(stream, CONFIG, back, symbols.keys).equals(to_table(stream, CONFIG, words, KEYS))


@BOTH
def test_json_of_another_form_means_the_same(stream: Stream) -> None:
    """Blanks, another order, escapes: nothing a member writes, but JSON all the same."""
    words = random_words(stream, CONFIG, 50, seed=2)
    plain = [orjson.loads(value) for value in encoded(stream, words)]
    forms = [
        [orjson.dumps(dict(reversed(row.items())), option=orjson.OPT_INDENT_2) for row in plain],
        [value.replace(b"BTC", b"\\u0042TC") for value in encoded(stream, words)],
    ]
    for values in forms:
        symbols = Symbols()
        back = RowReader(stream, CONFIG).read(values, symbols)
        assert to_table(stream, CONFIG, back, symbols.keys).equals(to_table(stream, CONFIG, words, KEYS))


def test_symbols_beyond_ascii_and_with_quotes() -> None:
    keys = [("börse", "BTC/USDT"), ('with "quotes"', "\\"), ("", "\n")]
    words = random_words("hf", CONFIG, 30, symbols=3)
    symbols = Symbols()
    values = list(RowEncoder("hf", CONFIG).encode(words, keys))
    back = RowReader("hf", CONFIG).read(values, symbols)
    assert [symbols.keys[i] for i in back[:, 0]] == [keys[i] for i in words[:, 0]]
    assert len(symbols.keys) == 3


ROW = orjson.loads(encoded("hf", random_words("hf", CONFIG, 1, seed=3))[0])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b"", "no JSON: "),
        (b"\xff", "no JSON: "),
        (b"[]", "no JSON object"),
        ({**ROW, "more": 1}, "1 columns are unknown, such as more"),
        ({name: ROW[name] for name in ROW if name != "spread"}, "1 columns are missing, such as spread"),
        ({**ROW, "spread": "1"}, 'spread is "1"'),
        ({**ROW, "spread": True}, "spread is true"),
        ({**ROW, "timestamp": 1.5}, "timestamp is 1.5"),
        ({**ROW, "timestamp": None}, "timestamp is null"),
        ({**ROW, "timestamp": 2**63}, f"timestamp is {2**63}"),
        ({**ROW, "exchange_clock": 1}, "exchange_clock is 1"),
        ({**ROW, "spread_regime": "odd"}, 'spread_regime is "odd"'),
        ({**ROW, "symbol": 5}, "symbol is 5"),
    ],
)
def test_what_is_no_row_is_refused(row: object, why: str) -> None:
    value = row if isinstance(row, bytes) else orjson.dumps(row)
    with pytest.raises(RefusedError) as caught:
        RowReader("hf", CONFIG).read([orjson.dumps(ROW), value], Symbols())
    assert caught.value.place == 1
    assert caught.value.why.startswith(why)


@pytest.mark.parametrize("other", [StateConfig(), CONFIG.model_copy(update={"regime_window": 10.0})])
def test_rows_of_another_configuration_are_refused(other: StateConfig) -> None:
    with pytest.raises(RefusedError, match="columns are missing"):
        RowReader("hf", other).read([orjson.dumps(ROW)], Symbols())


def test_integers_of_19_digits_and_whole_doubles() -> None:
    row = {**ROW, "nonce": 2**63 - 1, "latency_ms": -(2**62), "spread": 5, "best_bid": -0.0}
    symbols = Symbols()
    words = RowReader("hf", CONFIG).read([orjson.dumps(row)], symbols)
    [back] = to_table("hf", CONFIG, words, symbols.keys).to_pylist()
    assert (back["nonce"], back["latency_ms"], back["spread"]) == (2**63 - 1, -(2**62), 5.0)
    assert math.copysign(1, back["best_bid"]) == -1
    assert [column.name for column in columns("hf", CONFIG)] == [*ROW]
