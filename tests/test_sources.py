import gzip
import os
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.errors import DataError, UsageError
from streamproc.local import sources
from streamproc.local.inputs import Source, expand, find_inputs, identity
from streamproc.local.sources import (
    Chunk,
    LineReader,
    content_hash,
    prefix_hash,
    tail_is_complete_json_object,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOM = b"\xef\xbb\xbf"
Pack = Callable[[bytes], bytes]
PACKINGS: dict[str, Pack] = {
    "": bytes,
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".zst": lambda content: zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}),
}
FORMATS = {".gz": "gzip", ".zst": "zstd"}
PACKED = {suffix: pack for suffix, pack in PACKINGS.items() if suffix}


def drain(reader: LineReader) -> bytes:
    """All that the reader gives now, each chunk held against what a chunk promises."""
    given = b""
    while (chunk := reader.read()) is not None:
        piece = bytes(chunk.data[: chunk.size])
        assert piece.endswith(b"\n")
        assert chunk.lines == piece.count(b"\n")
        assert (reader.offset, reader.next_line) == (chunk.offset + chunk.size, chunk.first_line + chunk.lines)
        given += piece
    return given


def text(chunk: Chunk | None) -> bytes:
    assert chunk is not None
    return bytes(chunk.data[: chunk.size])


def touch(path: Path, content: bytes = b"{}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(found: list[Source], root: Path) -> list[str]:
    return [os.path.relpath(source.path, root) for source in found]


# ---- which files an input means


def test_a_directory_gives_all_inputs_below_in_natural_order(tmp_path: Path) -> None:
    for name in ("part-10.ndjson", "part-2.ndjson", "part-1.jsonl.gz", "b/3.ndjson.zst", "a/2/x.jsonl", "a/10/x.jsonl"):
        touch(tmp_path / name)
    for name in ("notes.txt", "x.ndjson.bz2", ".hidden.ndjson", "_own.ndjson", "_pending/x.ndjson", ".git/x.ndjson"):
        touch(tmp_path / name)
    expected = ["a/2/x.jsonl", "a/10/x.jsonl", "b/3.ndjson.zst", "part-1.jsonl.gz", "part-2.ndjson", "part-10.ndjson"]
    assert names(expand([str(tmp_path)]), tmp_path) == expected
    assert names(find_inputs(str(tmp_path)), tmp_path) == expected


def test_a_directory_may_have_a_hidden_name_itself(tmp_path: Path) -> None:
    touch(tmp_path / "_data" / "x.ndjson")
    assert names(expand([str(tmp_path / "_data")]), tmp_path) == ["_data/x.ndjson"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "x.ndjson")
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (folder / "gone.ndjson").symlink_to(tmp_path / "nothing")
    (folder / "self.ndjson").symlink_to(folder / "self.ndjson")
    assert names(expand([str(folder)]), tmp_path) == ["inputs/linked/x.ndjson"]


def test_the_order_given_is_kept_and_a_file_comes_once(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "1.ndjson"), touch(tmp_path / "2.ndjson")
    (tmp_path / "hard.ndjson").hardlink_to(one)
    (tmp_path / "soft.ndjson").symlink_to(two)
    found = expand([str(two), str(tmp_path), f"{tmp_path}/*.ndjson", f"{tmp_path}/./1.ndjson"])
    assert names(found, tmp_path) == ["2.ndjson", "1.ndjson"]


def test_a_file_named_itself_may_have_any_name(tmp_path: Path) -> None:
    path = touch(tmp_path / "_capture.log")
    assert expand([str(path)]) == [Source(str(path))]


def test_globs_match_in_natural_order(tmp_path: Path) -> None:
    for name in ("p10.ndjson", "p2.ndjson", "a/b/p1.ndjson", "a/p3.log", "_x.ndjson", "_own/p.ndjson", ".h/p.ndjson"):
        touch(tmp_path / name)
    assert names(expand([f"{tmp_path}/p*.ndjson"]), tmp_path) == ["p2.ndjson", "p10.ndjson"]
    assert names(expand([f"{tmp_path}/**/*.ndjson"]), tmp_path) == ["a/b/p1.ndjson", "p2.ndjson", "p10.ndjson"]
    assert names(expand([f"{tmp_path}/**"]), tmp_path) == ["a/b/p1.ndjson", "p2.ndjson", "p10.ndjson"]
    assert names(expand([f"{tmp_path}/a/*"]), tmp_path) == ["a/b/p1.ndjson", "a/p3.log"]
    assert names(expand([f"{tmp_path}/_*.ndjson"]), tmp_path) == ["_x.ndjson"]
    assert names(expand([f"{tmp_path}/_own/*.ndjson"]), tmp_path) == ["_own/p.ndjson"]


def test_a_name_with_wildcard_characters_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path / "x1.ndjson")
    path = touch(tmp_path / "x[1].ndjson")
    assert names(expand([str(path)]), tmp_path) == ["x[1].ndjson"]


def test_standard_input_stands_where_it_is_named(tmp_path: Path) -> None:
    path = touch(tmp_path / "x.ndjson")
    found = expand([str(path), "-"], stdin_fd=7)
    assert found == [Source(str(path)), Source("<stdin>", 7)]
    assert [source.name for source in found] == [str(path), "<stdin>"]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize(("make", "kind"), [(make_fifo, "named pipe"), (make_socket, "socket")])
@pytest.mark.parametrize("by_directory", [False, True])
def test_a_special_file_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], None], kind: str, by_directory: bool
) -> None:
    path = tmp_path / "x.ndjson"
    make(path)
    with pytest.raises(UsageError, match=f"x.ndjson: is a {kind}, not a file") as caught:
        expand([str(tmp_path if by_directory else path)])
    assert "`-`" in caught.value.hint


def test_a_device_is_refused() -> None:
    with pytest.raises(UsageError, match="/dev/null: is a character device"):
        expand(["/dev/null"])


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = touch(tmp_path / "x.ndjson")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(UsageError, match=r"x\.ndjson: may not be read"):
        expand([str(path)])


def test_a_folder_that_may_not_be_searched_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "in" / "x.ndjson")
    real = os.scandir

    def refuse(path: str) -> "os._ScandirIterator[str]":
        if str(path).endswith("in"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match="folder cannot be searched: Permission denied"):
        expand([str(tmp_path)])


@pytest.mark.parametrize(
    ("given_inputs", "message"),
    [
        ([], "no input is given"),
        ([""], "does not exist"),
        (["{tmp}/nothing.ndjson"], "nothing.ndjson: does not exist"),
        (["{tmp}/x.ndjson/y"], "y: does not exist"),
        (["{tmp}/link"], "link: is a link to a file that does not exist"),
        (["{tmp}/" + "n" * 300], "cannot be reached: File name too long"),
        (["{tmp}/\0"], "cannot be reached: embedded null byte"),
        (["{tmp}/*.jsonl"], r"\*.jsonl: the glob matches no input"),
        (["{tmp}/empty"], "empty: the directory holds no input"),
        (["{tmp}/empty/**"], r"\*\*: the glob matches no input"),
        (["-", "{tmp}/x.ndjson", "-"], "given twice"),
    ],
)
def test_what_gives_no_input_is_refused_with_advice(tmp_path: Path, given_inputs: list[str], message: str) -> None:
    touch(tmp_path / "x.ndjson")
    touch(tmp_path / "empty" / "notes.txt")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(UsageError, match=message) as caught:
        expand([entry.format(tmp=tmp_path) for entry in given_inputs])
    assert caught.value.hint


def test_a_folder_without_inputs_is_no_error_to_a_watcher(tmp_path: Path) -> None:
    assert find_inputs(str(tmp_path)) == []


def test_names_that_are_no_text_can_be_shown(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.ndjson")
    Path(path).write_bytes(b"{}\n")
    (source,) = expand([str(tmp_path)])
    assert source.name.encode().endswith("\ufffd.ndjson".encode())
    with LineReader(source) as reader:
        assert drain(reader) == b"{}\n"


def test_identity_follows_the_file(tmp_path: Path) -> None:
    path = touch(tmp_path / "x.ndjson")
    before = identity(str(path))
    assert before == (path.stat().st_ino, 3, path.stat().st_mtime_ns)
    path.write_bytes(b"{}\n{}\n")
    assert identity(str(path)) != before
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        identity(str(path))


# ---- whole lines


def contents() -> st.SearchStrategy[bytes]:
    some = [b"\n", b"\r\n", b'{"a":1}\n', b"ab", b"\xc3\xa9", BOM, b"x" * 50, b"\0", b"\xff", b"\xef", b"\n\n"]
    pieces = st.sampled_from(some)
    return st.builds(lambda start, rest: start + b"".join(rest), st.sampled_from([b"", BOM, BOM[:2]]), st.lists(pieces))


def without_bom(content: bytes) -> tuple[int, bytes]:
    return (3, content[3:]) if content.startswith(BOM) else (0, content)


@given(contents(), st.integers(1, 80), st.sampled_from(list(PACKINGS)), st.data())
@settings(max_examples=200, deadline=None)
def test_chunk_size_packing_and_restart_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, chunk_bytes: int, suffix: str, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(content)))
    pack = PACKINGS[suffix]
    path = tmp_path_factory.mktemp("x") / f"x.ndjson{suffix}"
    path.write_bytes(pack(content[:cut]) + pack(content[cut:]))  # two members
    source = Source(str(path))
    skipped, body = without_bom(content)
    expected = body[: body.rfind(b"\n") + 1]
    with LineReader(source, chunk_bytes=chunk_bytes, hashing=True) as reader:
        given_out = 0
        while (chunk := reader.read()) is not None:
            start = given_out
            given_out += chunk.size
            assert text(chunk) == expected[start:given_out]
            assert chunk.offset == skipped + start
            assert chunk.first_line == 1 + expected[:start].count(b"\n")
            assert chunk.origin(3) == f"{path}:{chunk.first_line + 3}"
            assert reader.digest == prefix_hash(source, reader.offset)
            position = reader.position
            with LineReader(source, offset=position.offset, first_line=position.first_line, hashing=True) as resumed:
                assert resumed.digest == position.digest
                assert drain(resumed) == expected[given_out:]
                assert resumed.next_line == 1 + expected.count(b"\n")
        assert given_out == len(expected)
        assert reader.tail == body[len(expected) :]
        assert reader.warning == ""
        assert reader.read() is None
        tail = reader.take_tail()
        assert (b"" if tail is None else text(tail)[:-1]) == body[len(expected) :]
        assert (reader.offset, reader.digest) == content_hash(source)
        assert reader.offset == len(content)


@given(contents(), st.integers(1, 80), st.sampled_from(list(PACKINGS)), st.data())
@settings(max_examples=150, deadline=None)
def test_a_file_that_grows_gives_the_same_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, chunk_bytes: int, suffix: str, data: st.DataObject
) -> None:
    member = data.draw(st.integers(0, len(content)))
    packed = PACKINGS[suffix](content[:member]) + PACKINGS[suffix](content[member:])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=6)))
    path = tmp_path_factory.mktemp("x") / f"x.ndjson{suffix}"
    path.write_bytes(b"")
    _, body = without_bom(content)
    with LineReader(Source(str(path)), chunk_bytes=chunk_bytes, hashing=True) as reader:
        given_out = drain(reader)
        for start, end in zip([0, *cuts], [*cuts, len(packed)], strict=True):
            with path.open("ab") as file:
                file.write(packed[start:end])
            given_out += drain(reader)
            assert body.startswith(given_out + reader.tail) or BOM.startswith(reader.tail)
        assert given_out == body[: body.rfind(b"\n") + 1]
        assert reader.tail == body[len(given_out) :]
        assert reader.warning == ""
        assert reader.digest == prefix_hash(Source(str(path)), reader.offset)


def test_an_empty_file_and_one_of_blank_lines(tmp_path: Path) -> None:
    for content in (b"", b"\n\n\r\n \n"):
        with LineReader(Source(str(touch(tmp_path / "x.ndjson", content)))) as reader:
            assert drain(reader) == content
            assert reader.next_line == 1 + content.count(b"\n")
            assert reader.tail == b""
            assert reader.take_tail() is None


def test_only_one_byte_order_mark_is_skipped_and_only_at_the_start(tmp_path: Path) -> None:
    source = Source(str(touch(tmp_path / "x.ndjson", BOM + BOM + b"1\n" + BOM + b"2\n")))
    with LineReader(source) as reader:
        assert text(reader.read()) == BOM + b"1\n" + BOM + b"2\n"
    with LineReader(source, offset=8, first_line=2) as reader:
        assert text(reader.read()) == BOM + b"2\n"


class CountingBuffer(bytearray):
    searched = 0
    allocated = 0

    def __init__(self, size: int) -> None:
        super().__init__(size)
        CountingBuffer.allocated += size

    def rfind(self, *arguments: object) -> int:
        _, start, end = arguments
        assert isinstance(start, int) and isinstance(end, int)
        CountingBuffer.searched += end - start
        return super().rfind(b"\n", start, end)


@pytest.mark.parametrize("suffix", PACKINGS)
def test_a_line_of_50_mb_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(sources, "bytearray", CountingBuffer, raising=False)
    monkeypatch.setattr(CountingBuffer, "searched", 0)
    monkeypatch.setattr(CountingBuffer, "allocated", 0)
    long_line = b"x" * 50_000_000 + b"\n"
    content = b"first\n" + long_line + b"last\n" * 4_000_000
    with LineReader(Source(str(touch(tmp_path / "x", PACKINGS[suffix](content)))), chunk_bytes=1 << 16) as reader:
        given_out, largest_after = bytearray(), 0
        while (chunk := reader.read()) is not None:
            given_out += text(chunk)
            largest_after = len(chunk.data)
        assert given_out == content
        assert reader.next_line == 4_000_003
    assert CountingBuffer.searched <= len(content)
    assert CountingBuffer.allocated <= 6 * len(content)
    assert largest_after <= 1 << 17  # the long line's buffer is given back


def test_a_long_line_growing_in_small_steps_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "bytearray", CountingBuffer, raising=False)
    monkeypatch.setattr(CountingBuffer, "searched", 0)
    monkeypatch.setattr(CountingBuffer, "allocated", 0)
    path = touch(tmp_path / "x.ndjson", b"")
    with LineReader(Source(str(path)), chunk_bytes=1000) as reader, path.open("ab", buffering=0) as file:
        for _ in range(1000):
            file.write(b"x" * 1000)
            assert reader.read() is None
        file.write(b"\n")
        assert text(reader.read()) == b"x" * 1_000_000 + b"\n"
    assert CountingBuffer.searched == 1_000_001
    assert CountingBuffer.allocated <= 10_000_000


def test_a_chunk_is_not_larger_than_asked_for(tmp_path: Path) -> None:
    path = touch(tmp_path / "x.ndjson", b"0123456789\n" * 1000)
    with LineReader(Source(str(path)), chunk_bytes=500) as reader:
        sizes = []
        while (chunk := reader.read()) is not None:
            sizes.append(chunk.size)
    assert max(sizes) <= 500
    assert sum(sizes) == 11_000


def test_a_waiting_reader_holds_no_buffer(tmp_path: Path) -> None:
    with LineReader(Source(str(touch(tmp_path / "x.ndjson", b"{}\n{")))) as reader:
        chunk = reader.read()
        assert chunk is not None
        assert reader.read() is None
        assert len(reader._buffer) == len(reader.tail) == 1


# ---- the unterminated last line


def test_a_taken_tail_keeps_its_line_number(tmp_path: Path) -> None:
    path = touch(tmp_path / "x.ndjson", b'1\n{"a":1}')
    with LineReader(Source(str(path)), hashing=True) as reader:
        assert drain(reader) == b"1\n"
        tail = reader.take_tail()
        assert text(tail) == b'{"a":1}\n'
        assert tail is not None
        assert (tail.origin(0), tail.offset, tail.lines) == (f"{path}:2", 2, 1)
        assert (reader.offset, reader.next_line, reader.tail) == (9, 2, b"")
        assert reader.digest == prefix_hash(Source(str(path)), 9)
        with path.open("ab") as file:
            file.write(b"\n3\n")
        chunk = reader.read()
        assert text(chunk) == b"\n3\n"
        assert chunk is not None
        assert chunk.origin(1) == f"{path}:3"
        assert reader.digest == prefix_hash(Source(str(path)), 12)


@pytest.mark.parametrize(
    ("tail", "complete"),
    [
        (b'{"a":1}', True),
        (b'{"a":1} \t\r', True),
        (b"{}" + b" " * 100, True),
        (b'{"a":{"b":1}', False),
        (b'{"a":"}', False),
        (b"[{}]", False),
        (b"12", False),
        (b"", False),
        (b'{"a":NaN}', False),
        (b"\xff}", False),
    ],
)
def test_only_a_whole_object_is_complete(tail: bytes, complete: bool) -> None:
    assert tail_is_complete_json_object(tail) is complete


# ---- compressed files


@pytest.mark.parametrize("suffix", PACKINGS)
@pytest.mark.parametrize("name", ["x.ndjson", "x.ndjson.GZ", "x.ndjson.zst", "capture"])
def test_the_content_tells_the_packing_not_the_name(tmp_path: Path, suffix: str, name: str) -> None:
    with LineReader(Source(str(touch(tmp_path / name, PACKINGS[suffix](BOM + b'{"a":1}\n'))))) as reader:
        assert drain(reader) == b'{"a":1}\n'
        assert reader.warning == ""
        assert reader.disk_bytes == (tmp_path / name).stat().st_size


def members(suffix: str) -> list[bytes]:
    """Three members of some lines; a line runs on from each to the next."""
    return [PACKED[suffix](b"".join(b'{"n":%d%d}\n' % (part, n) for n in range(20)) + b'{"x":') for part in range(3)]


@pytest.mark.parametrize("suffix", PACKED)
def test_a_stream_cut_anywhere_gives_its_lines_and_a_warning(tmp_path: Path, suffix: str) -> None:
    parts = members(suffix)
    whole = b"".join(parts)
    boundaries = {0, len(parts[0]), len(parts[0]) + len(parts[1]), len(whole)}
    path = tmp_path / f"x.ndjson{suffix}"
    with LineReader(Source(str(touch(path, whole)))) as reader:
        content = drain(reader) + reader.tail
    longest = 0
    for cut in range(len(whole)):
        with LineReader(Source(str(touch(path, whole[:cut])))) as reader:
            given_out = drain(reader)
            decoded = given_out + reader.tail
            assert content.startswith(decoded)
            assert len(decoded) >= longest
            longest = len(decoded)
            assert (reader.warning == "") == (cut in boundaries)
            if reader.warning:
                assert reader.warning.startswith(f"{path}: the {FORMATS[suffix]} stream ends early")
                assert f" after {len(decoded):,} decompressed bytes" in reader.warning
                assert "fetch the file again" in reader.warning


def decoded_before_fault(packed: bytes, suffix: str) -> bytes:
    """What a decoder that is fed byte by byte gives before it fails."""
    decoder = zlib.decompressobj(31) if suffix == ".gz" else zstd.ZstdDecompressor()
    decoded: list[bytes] = []
    with pytest.raises((zlib.error, zstd.ZstdError)):
        for byte in packed:
            decoded.append(decoder.decompress(bytes([byte])))
    return b"".join(decoded)


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 0.999])
def test_a_corrupt_stream_gives_all_lines_before_the_fault(tmp_path: Path, suffix: str, place: float) -> None:
    content = b"".join(b'{"n":"%s"}\n' % zlib.crc32(b"%d" % n).to_bytes(4, "big").hex().encode() for n in range(40_000))
    good = PACKED[suffix](content[:100_000])
    bad = bytearray(PACKED[suffix](content[100_000:]))
    fault = 20 + int((len(bad) - 40) * place)
    bad[fault : fault + 16] = bytes(byte ^ 0xFF for byte in bad[fault : fault + 16])
    expected = content[:100_000] + decoded_before_fault(bytes(bad), suffix)
    path = touch(tmp_path / f"x.ndjson{suffix}", good + bytes(bad))
    with LineReader(Source(str(path))) as reader:
        given_out = drain(reader)
        assert given_out == expected[: expected.rfind(b"\n") + 1]
        assert f"{path}: the {FORMATS[suffix]} stream is corrupt (" in reader.warning
        assert f" after {len(given_out + reader.tail):,} decompressed bytes" in reader.warning
        with path.open("ab") as file:
            file.write(PACKED[suffix](b"more\n"))
        assert reader.read() is None  # what follows a fault cannot be trusted


@pytest.mark.parametrize("suffix", PACKED)
def test_a_wrong_checksum_is_told(tmp_path: Path, suffix: str) -> None:
    packed = bytearray(PACKED[suffix](b'{"a":1}\n' * 100))
    packed[-4 if suffix == ".zst" else -8] ^= 1
    with LineReader(Source(str(touch(tmp_path / f"x{suffix}", bytes(packed))))) as reader:
        assert drain(reader) == b'{"a":1}\n' * 100
        assert "corrupt" in reader.warning


def test_zeros_after_a_gzip_member_mean_nothing_and_other_bytes_are_told(tmp_path: Path) -> None:
    packed = gzip.compress(b"1\n")
    for padding, warned in ((bytes(1000), False), (bytes(10) + packed, False), (b"garbage, more of it", True)):
        with LineReader(Source(str(touch(tmp_path / "x.gz", packed + padding)))) as reader:
            assert drain(reader) == b"1\n" * (1 + padding.count(packed))
            assert bool(reader.warning) is warned


def test_a_name_that_promises_what_the_content_is_not(tmp_path: Path) -> None:
    with LineReader(Source(str(touch(tmp_path / "x.ndjson.gz", b"\0" * 20)))) as reader:
        assert drain(reader) == b""
        assert "gzip stream is corrupt" in reader.warning


def test_zstd_windows_of_2_gib_and_skippable_frames_are_read(tmp_path: Path) -> None:
    line = b'{"a":1}\n'
    window_log = 31
    header = b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3])
    raw_last_block = (1 | len(line) << 3).to_bytes(3, "little") + line
    skippable = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    path = touch(tmp_path / "x", skippable + header + raw_last_block + skippable)
    with LineReader(Source(str(path))) as reader:
        assert drain(reader) == line
        assert reader.warning == ""


@pytest.mark.parametrize("suffix", PACKED)
def test_content_that_packs_a_thousandfold_is_read_in_bounded_pieces(tmp_path: Path, suffix: str) -> None:
    content = b"\n" * 20_000_000
    with LineReader(Source(str(touch(tmp_path / "x", PACKED[suffix](content)))), chunk_bytes=1 << 16) as reader:
        lines = 0
        while (chunk := reader.read()) is not None:
            assert len(chunk.data) <= 1 << 17
            lines += chunk.lines
    assert lines == len(content)


# ---- hashes


@pytest.mark.parametrize("suffix", PACKINGS)
def test_a_prefix_has_one_hash_however_it_is_packed(tmp_path: Path, suffix: str) -> None:
    content = b'{"a":1}\n' * 1000
    plain = Source(str(touch(tmp_path / "plain", content)))
    source = Source(str(touch(tmp_path / "x", PACKINGS[suffix](content))))
    for length in (0, 1, 4000, len(content)):
        assert prefix_hash(source, length) == prefix_hash(plain, length) is not None
    assert prefix_hash(source, len(content) + 1) is None
    assert content_hash(source) == (len(content), prefix_hash(plain, len(content)))
    assert prefix_hash(source, 10) != prefix_hash(source, 11)


def test_without_hashing_there_is_no_digest(tmp_path: Path) -> None:
    with LineReader(Source(str(touch(tmp_path / "x")))) as reader:
        assert reader.read() is not None
        assert reader.digest == ""


# ---- what goes wrong


@pytest.mark.parametrize("suffix", PACKINGS)
@pytest.mark.parametrize("hashing", [False, True])
def test_a_file_shorter_than_what_was_taken_is_refused(tmp_path: Path, suffix: str, hashing: bool) -> None:
    path = touch(tmp_path / f"x{suffix}", PACKINGS[suffix](b"12345\n"))
    with pytest.raises(DataError, match=r"x.*: holds 6 bytes, but 7 were taken from it before: it was cut or replaced"):
        LineReader(Source(str(path)), offset=7, hashing=hashing)


def test_a_file_that_is_gone_or_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: cannot be opened: No such file"):
        LineReader(Source(str(tmp_path / "gone")))
    with pytest.raises(DataError, match="cannot be opened: Is a directory"):
        LineReader(Source(str(tmp_path)))


def test_too_many_open_files_are_told_with_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(str(touch(tmp_path / "x")))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("streamproc.local.decompress.io.FileIO", refuse)
    with pytest.raises(DataError) as caught:
        LineReader(source)
    assert "ulimit -n" in caught.value.hint


# ---- standard input


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    ends = [read_end, write_end]
    yield read_end, write_end
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue  # closed by the test


def write_and_close(fd: int, content: bytes) -> threading.Thread:
    def write() -> None:
        with open(fd, "wb") as file:
            file.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("suffix", PACKINGS)
@pytest.mark.parametrize("chunk_bytes", [1, 1000, 1 << 20])
def test_a_pipe_gives_the_same_lines_as_a_file(pipe: tuple[int, int], suffix: str, chunk_bytes: int) -> None:
    content = BOM + b'{"a":1}\n' * (300 if chunk_bytes == 1 else 30_000) + b"tail"
    writer = write_and_close(pipe[1], PACKINGS[suffix](content))
    with LineReader(Source("<stdin>", pipe[0]), chunk_bytes=chunk_bytes, hashing=True) as reader:
        assert drain(reader) == content[3:-4]
        assert text(reader.take_tail()) == b"tail\n"
        assert reader.read() is None
        assert reader.offset == len(content)
        assert reader.warning == ""
    writer.join()
    os.fstat(pipe[0])  # still open: it is not the reader's


def test_a_slow_pipe_is_not_waited_for_until_a_chunk_is_full(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    os.write(write_end, b'{"n":1}\n{"n":')
    give_up = threading.Timer(10, os.close, [write_end])  # ends a wait that should not be
    give_up.start()
    with LineReader(Source("<stdin>", read_end)) as reader:
        chunk = reader.read()
        assert text(chunk) == b'{"n":1}\n'
        assert chunk is not None
        assert chunk.origin(0) == "<stdin>:1"
        os.write(write_end, b"2}\n")
        chunk = reader.read()
        assert text(chunk) == b'{"n":2}\n'
        assert chunk is not None
        assert chunk.origin(0) == "<stdin>:2"
    give_up.cancel()


def test_a_non_blocking_pipe_is_waited_for(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    os.set_blocking(read_end, False)
    timer = threading.Timer(0.05, lambda: write_and_close(write_end, b"1\n").join())
    timer.start()
    with LineReader(Source("<stdin>", read_end)) as reader:
        assert drain(reader) == b"1\n"
    timer.join()


@pytest.mark.parametrize("suffix", PACKED)
def test_a_corrupt_pipe_gives_lines_before_the_fault(pipe: tuple[int, int], suffix: str) -> None:
    content = b"".join(b"%08x\n" % zlib.crc32(b"%d" % n) for n in range(200_000))
    packed = bytearray(PACKED[suffix](content))
    packed[-5000:-4900] = bytes(100)
    writer = write_and_close(pipe[1], bytes(packed))
    with LineReader(Source("<stdin>", pipe[0])) as reader:
        given_out = drain(reader)
        assert content.startswith(given_out)
        assert len(given_out) > len(content) - 600_000
        assert "<stdin>: the" in reader.warning
    writer.join()
