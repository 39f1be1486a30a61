import gzip
import itertools
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.errors import DataError
from streamproc.local.collected_at import line_times
from streamproc.local.inputs import Source
from streamproc.local.merge import MergedReader
from streamproc.local.sources import NO_KEY, Chunk, LineReader, Position, prefix_hash
from streamproc.parse.ccxt import time_ms

T = 1723161283951


def lines_of(content: bytes) -> list[bytes]:
    """Lines with their newlines; a carriage return ends none."""
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def times_of(content: bytes) -> list[int]:
    data = np.frombuffer(bytearray(content), np.uint8)
    bounds, times = line_times(data, len(content), content.count(b"\n"))
    assert [content[a:b] for a, b in itertools.pairwise(bounds)] == lines_of(content)
    return [int(time) for time in times]


def reference_time(line: bytes) -> int:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return NO_KEY
    time = time_ms(record.get("collected_at")) if isinstance(record, dict) else None
    return NO_KEY if time is None else time


# ---- the time of one line


@pytest.mark.parametrize(
    ("line", "time"),
    [
        (b'{"type":"trades","collected_at":%d}' % T, T),
        (b'{ "type" : "trades" , "collected_at" : %d } \t\r' % T, T),
        (b'{"collected_at":%d}' % T, T),
        (b'{"collected_at":%d,"data":{}}' % T, T),
        (b'{"a":[1,{"b":"}]"}],"collected_at":%d ,"data":{"x":"\\\\"}}' % T, T),
        # spellings of the number
        (b'{"collected_at":"%d"}' % T, T),
        (b'{"collected_at":"%d","a":1}' % T, T),
        (b'{"collected_at":%d.0}' % T, T),
        (b'{"collected_at":%d.999}' % T, T),
        (b'{"collected_at":%d.99999}' % T, T + 1),  # what the double nearest to it truncates to
        (b'{"collected_at":1.723161283951e12}', T),
        (b'{"collected_at":"1.723161283951e12"}', T),
        (b'{"collected_at":1}', 1),
        (b'{"collected_at":4102444799999}', 4102444799999),
        # no usable value
        (b'{"collected_at":4102444800000}', NO_KEY),
        (b'{"collected_at":99999999999999}', NO_KEY),
        (b'{"collected_at":123456789012345678901234567890}', NO_KEY),
        (b'{"collected_at":0}', NO_KEY),
        (b'{"collected_at":0.9}', NO_KEY),
        (b'{"collected_at":-5}', NO_KEY),
        (b'{"collected_at":null}', NO_KEY),
        (b'{"collected_at":true}', NO_KEY),
        (b'{"collected_at":[%d]}' % T, NO_KEY),
        (b'{"collected_at":{"collected_at":%d}}' % T, NO_KEY),
        (b'{"collected_at":"0%d"}' % T, NO_KEY),
        (b'{"collected_at":" %d"}' % T, NO_KEY),
        (b'{"collected_at":"%d."}' % T, NO_KEY),
        (b'{"collected_at":"1.2.3"}', NO_KEY),
        (b'{"collected_at":""}', NO_KEY),
        (b'{"collected_at":"x"}', NO_KEY),
        (b"{}", NO_KEY),
        (b'{"type":"trades"}', NO_KEY),
        (b"", NO_KEY),
        (b" \t\r", NO_KEY),
        # which occurrence counts
        (b'{"data":{"collected_at":5}}', NO_KEY),
        (b'{"data":[{"collected_at":5}],"x":1}', NO_KEY),
        (b'{"collected_at":7,"data":{"collected_at":5}}', 7),
        (b'{"data":{"collected_at":5},"collected_at":7}', 7),
        (b'{"collected_at":7,"collected_at":8}', 8),
        (b'{"collected_at":7,"collected_at":8,"a":1}', 8),
        (b'{"collected_at":7,"collected_at":null}', NO_KEY),
        (b'{"collected_at":7,"collected_at":null,"a":1}', NO_KEY),
        (b'{"collected_at":7,"collected\\u005fat":8}', 8),
        (b'{"collected\\u005fat":8,"a":1}', 8),
        (b'{"x":"collected_at","y":9}', NO_KEY),
        (b'{"x":",\\"collected_at\\":5"}', NO_KEY),
        (b'{"x\\",\\"collected_at":5}', NO_KEY),
        (b'{"\\"collected_at":5}', NO_KEY),
        (b'{"xcollected_at":5}', NO_KEY),
        (b'{"collected_at_":5}', NO_KEY),
        (b'{"Collected_at":5,"a":{}}', NO_KEY),
        (b'{"a":"\\\\","collected_at":5,"b":1}', 5),
        ('{"a":"é€𝄞","collected_at":5,"b":1}'.encode(), 5),
        # no JSON object
        (b'[{"collected_at":5}]', NO_KEY),
        (b'"collected_at":5', NO_KEY),
        (b'{"collected_at":5', NO_KEY),
        (b'{"collected_at":5} x', NO_KEY),
        (b'{"collected_at":5,"a":"}', NO_KEY),
        (b'{"collected_at":5,"a":"\\', NO_KEY),
        (b"}", NO_KEY),
        (b'":5}', NO_KEY),
        (b'"collected_at":5}', NO_KEY),
        (b"5}", NO_KEY),
        (b'"5"}', NO_KEY),
        (b"{" * 100, NO_KEY),
    ],
)
def test_the_time_of_a_line(line: bytes, time: int) -> None:
    assert reference_time(line) == time
    assert times_of(line + b"\n") == [time]
    assert times_of(b'{"collected_at":3}\n' + line + b'\n{"collected_at":4}\n') == [3, time, 4]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(1, 4102444800000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(1e12, 2e12),
    st.text(max_size=5),
    st.sampled_from(["collected_at", ',"collected_at":5}', "1723161283951", "17.5", "\\", '"']),
    st.integers(0, 2**45).map(str),
)
names = st.sampled_from(["collected_at", "data", "x", 'a"', "b\\", "collected_at ", "é"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))


def as_json(value: object, blank: str, escape: bool) -> str:
    if isinstance(value, dict):
        members = (f"{as_json(k, blank, escape)}{blank}:{blank}{as_json(v, blank, escape)}" for k, v in value.items())
        return "{" + blank + f"{blank},".join(members) + blank + "}"
    if isinstance(value, list):
        return "[" + ",".join(as_json(v, blank, escape) for v in value) + "]"
    if isinstance(value, str) and escape:
        return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in value) + '"'
    return orjson.dumps(value).decode() if not isinstance(value, int) or abs(value) < 2**63 else str(value)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """JSON objects in any spelling, keys repeated too."""
    blank = draw(st.sampled_from(["", " ", "\t", "  \r"]))
    members = []
    for _ in range(draw(st.integers(0, 4))):
        name = as_json(draw(names), blank, draw(st.booleans()))
        members.append(f"{name}{blank}:{blank}{as_json(draw(values), blank, draw(st.booleans()))}")
    return (blank + "{" + blank + f"{blank},".join(members) + blank + "}" + blank).encode()


@given(st.lists(objects(), min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_the_time_is_what_the_parser_says_for_every_object(lines: list[bytes]) -> None:
    assert times_of(b"".join(line + b"\n" for line in lines)) == [reference_time(line) for line in lines]


# ---- the merge


def write_all(folder: Path, contents: Sequence[bytes]) -> list[Position]:
    positions = []
    for index, content in enumerate(contents):
        path = folder / f"{index}.ndjson"
        path.write_bytes(content)
        positions.append(Position(Source(str(path))))
    return positions


Origins = list[tuple[str, bytes]]


def merged_plainly(positions: Sequence[Position], *, with_tails: bool = True) -> Origins:
    """All lines sorted by (key, input, line): the definition."""
    entries = []
    for index, position in enumerate(positions):
        key = NO_KEY
        content = Path(position.source.path).read_bytes()
        if with_tails and content and not content.endswith(b"\n"):
            content += b"\n"
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            key = max(key, reference_time(line))
            entries.append((key, index, number, f"{position.source.path}:{number}", line + b"\n"))
    return [(origin, line) for *_, origin, line in sorted(entries)]


def drain(merge: MergedReader) -> Origins:
    given_out: Origins = []
    while (chunk := merge.read()) is not None:
        lines = lines_of(bytes(chunk.data[: chunk.size]))
        assert len(lines) == chunk.lines
        given_out += [(chunk.origin(index), line) for index, line in enumerate(lines)]
    return given_out


def a_line(time: int | None, label: int) -> bytes:
    return b'{"n":%d}' % label if time is None else b'{"n":%d,"collected_at":%d}' % (label, time)


merge_lines = st.one_of(
    st.builds(a_line, st.integers(1, 12) | st.none(), st.integers(0, 10**6)),
    st.sampled_from([b"", b"\r", b"no json", b'{"data":{"collected_at":99}}', b'{"collected_at":"7","x":1}']),
    st.just(b'{"collected_at":3.5}'),
)
merge_files = st.lists(st.builds(b"\n".join, st.lists(merge_lines, max_size=12)), max_size=5)


@given(merge_files, st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_the_merge_is_the_sort_and_can_be_resumed_after_every_chunk(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], memory_bytes: int
) -> None:
    start = write_all(tmp_path_factory.mktemp("merge"), contents)
    expected = merged_plainly(start)
    done = 0
    with MergedReader.open(start, memory_bytes=memory_bytes, accept_tail=lambda _: True, hashing=True) as merge:
        while (chunk := merge.read()) is not None:
            lines = lines_of(bytes(chunk.data[: chunk.size]))
            for index, line in enumerate(lines):
                assert (chunk.origin(index), line) == expected[done + index]
            done += chunk.lines
            positions = merge.positions()
            for position in positions:
                assert position.digest == prefix_hash(position.source, position.offset)
            with MergedReader.open(positions, memory_bytes=500, accept_tail=lambda _: True) as resumed:
                assert drain(resumed) == expected[done:]
        assert done == len(expected)
        assert [position.offset for position in merge.positions()] == [len(content) for content in contents]
        assert merge.read() is None


@given(merge_files)
@settings(max_examples=50, deadline=None)
def test_readers_may_be_compressed(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("merge")
    expected = [line for _, line in merged_plainly(write_all(folder, contents))]
    packed = write_all(folder, [gzip.compress(content) for content in contents])
    with MergedReader.open(packed, accept_tail=lambda _: True) as merge:
        assert [line for _, line in drain(merge)] == expected


def test_books_and_trades_interleave_and_ties_go_by_input(tmp_path: Path) -> None:
    books = b"".join(a_line(time, 1) + b"\n" for time in (10, 20, 30))
    trades = b"".join(a_line(time, 2) + b"\n" for time in (5, 20, 25, 40))
    with MergedReader.open(write_all(tmp_path, [books, trades])) as merge:
        assert [(times_of(line)[0], line[5:6]) for _, line in drain(merge)] == [
            (5, b"2"), (10, b"1"), (20, b"1"), (20, b"2"), (25, b"2"), (30, b"1"), (40, b"2"),
        ]  # fmt: skip


def test_a_tie_across_chunks_goes_by_input(tmp_path: Path) -> None:
    """The first file's equal keys fill many chunks; none of the second's may come between."""
    first = b"".join(a_line(7, n) + b"\n" for n in range(200))
    second = b"".join(a_line(7, 1000 + n) + b"\n" for n in range(200))
    positions = write_all(tmp_path, [first, second])
    with MergedReader.open(positions, memory_bytes=100) as merge:
        assert [line for _, line in drain(merge)] == lines_of(first + second)
    with MergedReader.open(positions[::-1], memory_bytes=100) as merge:
        assert [line for _, line in drain(merge)] == lines_of(second + first)


def test_one_file_and_none_and_empty_ones(tmp_path: Path) -> None:
    content = a_line(9, 1) + b"\n" + a_line(3, 2) + b"\n"
    with MergedReader.open(write_all(tmp_path, [content])) as merge:
        assert [line for _, line in drain(merge)] == lines_of(content)
    with MergedReader.open([]) as merge:
        assert merge.read() is None
    with MergedReader.open(write_all(tmp_path, [b"", content, b""])) as merge:
        assert [line for _, line in drain(merge)] == lines_of(content)


def test_a_byte_order_mark_is_counted_in_positions_and_hashes(tmp_path: Path) -> None:
    contents = [b"\xef\xbb\xbf" + a_line(5, 1) + b"\n" + a_line(9, 1) + b"\n", a_line(7, 2) + b"\n"]
    with MergedReader.open(write_all(tmp_path, contents), memory_bytes=2, hashing=True) as merge:
        given_out = b""
        while (chunk := merge.read()) is not None:
            given_out += bytes(chunk.data[: chunk.size])
            for position in merge.positions():
                assert position.digest == prefix_hash(position.source, position.offset)
        assert times_of(given_out) == [5, 7, 9]
        assert [position.offset for position in merge.positions()] == [len(content) for content in contents]


def test_a_line_longer_than_the_memory_goes_through(tmp_path: Path) -> None:
    long_line = b'{"x":"%s","collected_at":6}\n' % (b"x" * 1_000_000)
    contents = [a_line(5, 1) + b"\n" + long_line + a_line(9, 1) + b"\n", a_line(7, 2) + b"\n"]
    positions = write_all(tmp_path, contents)
    with MergedReader.open(positions, memory_bytes=1000) as merge:
        assert drain(merge) == merged_plainly(positions)


# ---- the last line, and files that grow


def test_a_whole_object_without_newline_is_merged_in_its_place(tmp_path: Path) -> None:
    positions = write_all(tmp_path, [a_line(5, 1), a_line(4, 2) + b"\n" + a_line(6, 2) + b"\n"])
    with MergedReader.open(positions) as merge:
        assert drain(merge) == merged_plainly(positions)
        assert merge.positions()[0].offset == len(a_line(5, 1))
        assert merge.positions()[0].first_line == 1


def test_a_half_line_waits_unless_it_is_accepted(tmp_path: Path) -> None:
    positions = write_all(tmp_path, [b'{"collected_at":5', a_line(4, 2) + b"\n"])
    with MergedReader.open(positions) as merge:
        assert drain(merge) == merged_plainly(positions, with_tails=False)
        assert merge.readers[0].tail == b'{"collected_at":5'
        assert merge.positions()[0].offset == 0
        with Path(positions[0].source.path).open("ab") as file:
            file.write(b"}\n")
        assert drain(merge) == [(f"{positions[0].source.path}:1", b'{"collected_at":5}\n')]
    positions = write_all(tmp_path, [b'{"collected_at":5', a_line(4, 2) + b"\n"])
    with MergedReader.open(positions, accept_tail=lambda _: True) as merge:
        assert drain(merge) == merged_plainly(positions)


def test_lines_that_come_later_are_merged_from_there_on(tmp_path: Path) -> None:
    positions = write_all(tmp_path, [a_line(10, 1) + b"\n", a_line(20, 2) + b"\n"])
    with MergedReader.open(positions) as merge:
        assert len(drain(merge)) == 2
        later = [a_line(17, 3) + b"\n" + a_line(25, 4) + b"\n", a_line(15, 5) + b"\n" + a_line(30, 6) + b"\n"]
        for position, content in zip(positions, later, strict=True):
            with Path(position.source.path).open("ab") as file:
                file.write(content)
        held = merge.positions()
        assert [position.key for position in held] == [10, 20]
        expected = [b"3", b"5", b"4", b"6"]  # the 15 counts as 20, which its file had reached
        assert [line[5:6] for _, line in drain(merge)] == expected
    with MergedReader.open(held) as resumed:
        assert [line[5:6] for _, line in drain(resumed)] == expected


def test_a_reader_at_its_end_is_out_until_all_are(tmp_path: Path) -> None:
    other = b"".join(a_line(time, 2) + b"\n" for time in range(4, 100))
    positions = write_all(tmp_path, [a_line(50, 1), other])
    path = positions[0].source.path
    with MergedReader.open(positions, memory_bytes=200) as merge:
        assert merge.read() is not None
        assert merge.positions()[0].offset == 0  # the tail is taken and waits for its turn
        with Path(path).open("ab") as file:
            file.write(b"\n" + a_line(60, 3) + b"\n")
        assert {line[5:6] for _, line in drain(merge)} == {b"1", b"2"}
        assert drain(merge) == [(f"{path}:1", b"\n"), (f"{path}:2", a_line(60, 3) + b"\n")]


# ---- bounds and errors


def test_hundreds_of_files_are_merged_in_little_memory(tmp_path: Path) -> None:
    files, lines = 300, 50
    padding = b"x" * 700
    contents = [
        b"".join(b'{"p":"%s","collected_at":%d}\n' % (padding, 1 + line * files + file) for line in range(lines))
        for file in range(files)
    ]
    positions = write_all(tmp_path, contents)
    total = sum(map(len, contents))
    del contents
    memory_bytes = 1 << 20
    tracemalloc.start()
    with MergedReader.open(positions, memory_bytes=memory_bytes) as merge:
        expected_time = 1
        while (chunk := merge.read()) is not None:
            _, times = line_times(np.frombuffer(chunk.data, np.uint8), chunk.size, chunk.lines)
            assert times.tolist() == list(range(expected_time, expected_time + chunk.lines))
            expected_time += chunk.lines
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert expected_time == 1 + files * lines
    assert peak < 5 * memory_bytes < total / 2


def test_files_that_are_busy_one_after_the_other_hold_no_more(tmp_path: Path) -> None:
    """Each has its hour, for which it is given much memory, and then a rest that must wait until the end."""
    files = 30
    hour = b'{"p":"%s","collected_at":%%d}\n' % (b"x" * 950)
    contents = [
        b"".join(hour % time for time in (*range(1 + 400 * file, 401 + 400 * file), *range(10**6, 10**6 + 400)))
        for file in range(files)
    ]
    positions = write_all(tmp_path, contents)
    total = sum(map(len, contents))
    del contents
    memory_bytes = 1 << 20
    tracemalloc.start()
    lines = 0
    with MergedReader.open(positions, memory_bytes=memory_bytes) as merge:
        while (chunk := merge.read()) is not None:
            lines += chunk.lines
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines == files * 800
    assert peak < 5 * memory_bytes < total / 4


def test_a_busy_file_gets_more_of_the_memory_than_quiet_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = b"".join(a_line(1000 + n, n) + b"\n" for n in range(100_000))
    quiet = [b"".join(a_line(1000 + n, n) + b"\n" for n in range(file, 100_000, 5000)) for file in range(50)]
    reads: list[Source] = []
    read = LineReader.read

    def counted_read(reader: LineReader) -> Chunk | None:
        reads.append(reader.source)
        return read(reader)

    monkeypatch.setattr(LineReader, "read", counted_read)
    positions = write_all(tmp_path, [busy, *quiet])
    with MergedReader.open(positions, memory_bytes=1 << 20) as merge:
        while merge.read() is not None:
            pass
    assert reads.count(positions[0].source) < 30  # an equal share would take 180


def test_a_merge_tells_the_warnings_of_its_readers(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(a_line(n + 1, n) + b"\n" for n in range(100)))
    with MergedReader.open(write_all(tmp_path, [a_line(5, 1) + b"\n", packed[:-20]])) as merge:
        drain(merge)
        (warning,) = merge.warnings
        assert f"{tmp_path}/1.ndjson: the gzip stream ends early" in warning


def test_a_source_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    positions = write_all(tmp_path, [b"{}\n", b"{}\n"])
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DataError, match="gone: cannot be opened"):
        MergedReader.open([*positions, Position(Source(str(tmp_path / "gone")))])
    assert len(os.listdir("/proc/self/fd")) == before


def test_readers_of_ones_own_may_be_merged(tmp_path: Path) -> None:
    first, second = write_all(tmp_path, [a_line(5, 1) + b"\n", a_line(4, 2) + b"\n"])
    with MergedReader([LineReader(first.source), LineReader(second.source)]) as merge:
        assert [line[5:6] for _, line in drain(merge)] == [b"2", b"1"]
    with LineReader(first.source) as reader, pytest.raises(ValueError, match="shorter"):
        MergedReader([reader], keys=[])
