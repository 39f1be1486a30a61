"""Lines into records: nothing changed, nothing lost, the order of a key kept, sizes bounded."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.kafka.publish.packer import FRAME_BYTES, NOW, Packed, Packer
from streamproc.kafka.publish.pieces import PIECE_LINES, pieces_of
from streamproc.local.sources import Chunk
from tests.kafka.publishing import key_of, lines_of
from tests.strategies import streams

ROOM = 1 << 20


def pack(lines: list[bytes], segment_bytes: int = 1000, longest: int = ROOM, packer: Packer | None = None) -> Packed:
    data = b"".join(line + b"\n" for line in lines)
    chunk = Chunk(bytearray(data), len(data), len(lines), "x", 1, 0)
    (piece,) = pieces_of(chunk)
    return (packer or Packer(segment_bytes, longest + FRAME_BYTES)).pack(piece.data, piece.times)


def line(symbol: str = "A", exchange: str = "x", **more: object) -> bytes:
    return orjson.dumps({"type": "trades", "exchange": exchange, "symbol": symbol, "data": [], **more})


@settings(max_examples=150)
@given(streams(max_size=40).filter(bool), st.integers(1, 3000))
def test_every_line_is_in_one_record_as_it_came(lines: list[bytes], segment_bytes: int) -> None:
    packer = Packer(segment_bytes, ROOM)
    for _ in range(2):  # names that are new, and known
        packed = pack(lines, packer=packer)
        wanted = lines_of(b"\n".join([b"", *lines]))
        given = [text for record in packed.records for text in record.value.split(b"\n")]
        assert sorted(given) == sorted(wanted)
        assert packed.lines == len(wanted)
        orders = defaultdict(list)
        for record in packed.records:
            alone = b"\n" not in record.value
            assert alone or (record.key is not None and len(record.value) <= segment_bytes)
            for text in record.value.split(b"\n"):
                if key_of(text) is not None:
                    assert record.key == key_of(text)
                    orders[record.key].append(text)
        for key, texts in orders.items():
            assert texts == [text for text in wanted if key_of(text) == key]
        assert packed.unkeyed == sum(record.key is None for record in packed.records)


def test_lines_of_a_symbol_come_together_up_to_the_bound() -> None:
    one, other = line("A"), line("B")
    packed = pack([one, other, one, one, other], segment_bytes=2 * len(one) + 1)
    assert [record.value for record in packed.records] == [
        one + b"\n" + one,
        other + b"\n" + other,
        one,
    ]
    assert [record.key for record in packed.records] == [b"x:A", b"x:B", b"x:A"]


@pytest.mark.parametrize(("spare", "count"), [(0, 1), (-1, 2)])
def test_the_bound_counts_the_newlines_between_lines_and_no_more(spare: int, count: int) -> None:
    one = line()
    assert len(pack([one, one], segment_bytes=2 * len(one) + 1 + spare).records) == count


def test_a_line_longer_than_a_segment_is_a_record_of_its_own() -> None:
    short, long = line(), line(note="x" * 2000)
    packed = pack([short, long, short], segment_bytes=500)
    assert [record.value for record in packed.records] == [short, long, short]


def test_a_line_longer_than_a_record_is_left_out_and_told() -> None:
    fits = line(note="x" * (1000 - len(line(note=""))))
    assert len(fits) == 1000
    packed = pack([line(), fits + b" ", fits, line()], segment_bytes=4000, longest=1000)
    assert packed.too_long.tolist() == [1]
    assert packed.lines == 3
    assert [record.value for record in packed.records] == [line(), fits, line()]


@pytest.mark.parametrize(
    "odd",
    [
        b"no json",
        b"{}",
        b"[1]",
        b"\xff\xfe",
        b'{"exchange":"x"}',
        b'{"exchange":"","symbol":"A"}',
        b'{"exchange":"x","symbol":5}',
        b'{"exchange":"x","symbol":"' + b"A" * 201 + b'"}',
        b'{"exchange":"\xff","symbol":"A"}',
        b'{"exchange":"x","symbol":"\\ud800"}',
    ],
)
def test_a_line_without_names_has_no_key_and_is_alone(odd: bytes) -> None:
    packed = pack([odd, line(), odd, odd])
    assert [(record.key, record.value) for record in packed.records] == [
        (None, odd),
        (b"x:A", line()),
        (None, odd),
        (None, odd),
    ]
    assert packed.unkeyed == 3


def test_records_that_are_rejected_later_have_the_key_of_their_names() -> None:
    (record,) = pack([line(type="ticker")]).records
    assert record.key == b"x:A"


def test_a_symbol_with_colons_is_a_key_as_it_is() -> None:
    (record,) = pack([line("BTC/USDT:USDT", "binanceusdm")]).records
    assert record.key == b"binanceusdm:BTC/USDT:USDT"


def test_names_that_are_escaped_are_those_they_stand_for() -> None:
    escaped = line("A/B").replace(b"A/B", rb"A\/\u0042")
    (record,) = pack([escaped, line("A/B")]).records
    assert record.key == b"x:A/B"
    assert record.value == escaped + b"\n" + line("A/B")


def test_a_carriage_return_belongs_to_its_line_and_blank_lines_to_none() -> None:
    (record,) = pack([line() + b"\r", b"\r", b" \t", b"", line()]).records
    assert record.value == line() + b"\r\n" + line()


def test_a_record_bears_the_receive_time_of_its_first_line() -> None:
    timed = [line(collected_at=1_700_000_000_000 + k) for k in range(3)]
    packed = pack([*timed, line("B"), line("B", collected_at=5), b"{", b'{"collected_at":7}'])
    assert [record.timestamp for record in packed.records] == [1_700_000_000_000, NOW, NOW, 7]


def test_pieces_are_a_chunk_in_order() -> None:
    lines = [b"x" * (k % 5) for k in range(2 * PIECE_LINES + 10)]
    data = b"".join(text + b"\n" for text in lines)
    chunk = Chunk(bytearray(data) + b"beyond", len(data), len(lines), "x", 10, 1000)
    pieces = list(pieces_of(chunk))
    assert [piece.lines for piece in pieces] == [PIECE_LINES, PIECE_LINES, 10]
    assert b"".join(piece.data.tobytes() for piece in pieces) == data
    for one, other in pairwise(pieces):
        assert one.next_line == other.first_line
        assert one.offset + len(one.data) == other.offset
    part = pieces[1].part(3, 7)
    assert part.data.tobytes() == b"".join(text + b"\n" for text in lines[PIECE_LINES + 3 : PIECE_LINES + 7])
    assert part.offset == pieces[1].offset + int(np.diff(pieces[1].bounds)[:3].sum())


def test_an_unterminated_line_is_content_without_its_newline() -> None:
    (piece,) = pieces_of(Chunk(bytearray(b"{}\n"), 3, 1, "x", 4, 100), unterminated=True)
    assert bytes(piece.content) == b"{}"
    assert piece.next_line == 4
