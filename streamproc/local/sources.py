"""Whole lines from one input, in chunks: exact positions, files that grow, and nothing copied without need."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from streamproc.jit import kernel, load_u8
from streamproc.local.decompress import ContentStream, open_content, shrunk
from streamproc.local.inputs import Source

NEWLINE = 10
CHUNK_BYTES = 4 << 20
_BOM = b"\xef\xbb\xbf"
_FIRST_STEP_BYTES = 64 << 10
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of one source. `data` belongs to the reader and is good until its next `read` or `take_tail`."""

    data: bytearray
    """Of this the first `size` bytes count; the last of them is a newline."""
    size: int
    lines: int
    """Newlines in it."""
    path: str
    first_line: int
    """Number of the first line in the file, from 1."""
    offset: int
    """Place of the first byte in the decompressed file."""

    def origin(self, line_index: int) -> str:
        """Where line `line_index` (from 0) of the chunk comes from: `path:line`."""
        return f"{self.path}:{self.first_line + line_index}"


NO_KEY = -(2**63)
"""The merge key before the first line that has a time."""


class Position(NamedTuple):
    """Up to where an input has been given out: reading from here on gives exactly the rest."""

    source: Source
    offset: int = 0
    """Decompressed bytes."""
    first_line: int = 1
    """Number of the next line."""
    key: int = NO_KEY
    """Largest `collected_at` so far, in ms; only a merge uses it."""
    digest: str = ""
    """Hash of the first `offset` bytes, when asked for."""


class LineReader:
    """Reads `source` from `offset` on. At the present end `read` gives None, and goes on later if the file has grown.

    Parameters
    ----------
    source : what to read.
    offset : decompressed bytes to pass over; what lies there was given out before.
    first_line : number of the line at `offset`.
    chunk_bytes : size that chunks grow to where there is so much to read; a longer line makes a larger one.
    hashing : keep the hash of the content given out; the part before `offset` is read for it.

    `DataError` when the source cannot be read or is shorter than `offset`.
    """

    def __init__(
        self,
        source: Source,
        *,
        offset: int = 0,
        first_line: int = 1,
        chunk_bytes: int = CHUNK_BYTES,
        hashing: bool = False,
    ) -> None:
        self.source = source
        self.chunk_bytes = chunk_bytes
        self.offset = offset
        """Place in the decompressed file up to which lines have been given out."""
        self.next_line = first_line
        """Number of the next line."""
        self._name = source.name
        self._hash = xxhash.xxh3_128() if hashing else None
        self._hash_is_lent = False
        self._may_have_bom = offset == 0
        self._buffer = bytearray(0)
        self._array: NDArray[np.uint8] = np.frombuffer(self._buffer, np.uint8)
        self._begin = self._end = 0  # what is read and not given out
        self._step_bytes = _FIRST_STEP_BYTES  # what is read at once: doubles up to a chunk while there is that much
        self._content = open_content(source)
        try:
            _pass_over(self._content, offset, self._hash, self._name)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file (standard input stays open)."""
        self._content.raw.close()

    def read(self) -> Chunk | None:
        """The next lines, or None at the present end."""
        while True:
            room = self._room()
            count = self._content.readinto(room)
            if count == len(room):
                self._step_bytes *= 2
            if count == 0:
                self._release()
                return None
            searched, self._end = self._end, self._end + count
            if self._may_have_bom:
                searched = max(0, searched - self._drop_bom())
            newline = self._buffer.rfind(b"\n", searched, self._end)
            if newline >= 0:
                return self._give(newline + 1)

    def take_tail(self) -> Chunk | None:
        """The unterminated rest as a line of its own, or None when there is none.

        The newline that is added is no content: it counts neither in `offset` nor in the hash, and what the file gets
        later belongs to the same line number.
        """
        tail = self.tail
        if not tail:
            return None
        chunk = Chunk(bytearray(tail + b"\n"), len(tail) + 1, 1, self._name, self.next_line, self.offset)
        self._hash_next(len(tail))
        self._advance(len(tail), 0)
        return chunk

    @property
    def tail(self) -> bytes:
        """What follows the last newline so far."""
        return bytes(memoryview(self._buffer)[self._begin : self._end])

    @property
    def warning(self) -> str:
        """Why a compressed file could not be read to its proper end; empty when all is well."""
        fault = self._content.fault
        if fault is None:
            return ""
        decoded = self.offset + self._end - self._begin
        taken = f"after {decoded:,} decompressed bytes, the complete lines of which are taken"
        return f"{self._name}: {fault.message} {taken}; {fault.hint}"

    @property
    def disk_bytes(self) -> int:
        """Bytes of the file itself read so far, packed as they are: what progress is measured by."""
        return self._content.raw.position

    @property
    def status(self) -> os.stat_result:
        """Of the file that is open, whatever its name is by now."""
        return self._content.raw.status

    def look_back(self, size: int) -> bytes | None:
        """The `size` bytes before `offset` as they lie in the file now; None for a file that is packed."""
        raw = self._content.raw
        return raw.read_again(self.offset - size, self.offset) if self._content is raw else None

    @property
    def digest(self) -> str:
        """Hash of the content up to `offset`, as `prefix_hash` gives it; empty without `hashing`."""
        return self._hash.hexdigest() if self._hash else ""

    @property
    def position(self) -> Position:
        """Where a new reader goes on."""
        return Position(self.source, self.offset, self.next_line, digest=self.digest)

    def lend_hash(self) -> "xxhash.xxh3_128 | None":
        """The running hash, for one who gives the lines on in smaller parts and from now on hashes them as they go."""
        self._hash_is_lent = True
        return self._hash

    def _room(self) -> memoryview:
        """Where to read to: behind the bytes not yet given out, which move to the buffer's front."""
        kept = self._end - self._begin
        self._step_bytes = size = max(1, min(self._step_bytes, self.chunk_bytes))
        while size < 2 * kept:  # a long line: doubling keeps its copies linear
            size *= 2
        fits = size <= len(self._buffer) <= 2 * size  # a much larger one was a long line's, and is given back
        self._to_front(self._buffer if fits else bytearray(size))
        return memoryview(self._buffer)[kept:size]

    def _release(self) -> None:
        """Hold little while there is nothing to read: many readers may wait at their ends."""
        self._step_bytes = _FIRST_STEP_BYTES
        kept = self._end - self._begin
        if len(self._buffer) > 4 * kept:
            self._to_front(bytearray(kept))

    def _to_front(self, buffer: bytearray) -> None:
        """Move what is read and not given out to the start of `buffer`."""
        kept = self._end - self._begin
        memoryview(buffer)[:kept] = memoryview(self._buffer)[self._begin : self._end]
        if buffer is not self._buffer:
            self._buffer, self._array = buffer, np.frombuffer(buffer, np.uint8)
        self._begin, self._end = 0, kept

    def _drop_bom(self) -> int:
        """Take a byte order mark off the start of the buffer; the number of bytes that went."""
        head = bytes(self._buffer[: min(self._end, len(_BOM))])
        if head != _BOM:
            self._may_have_bom = _BOM.startswith(head)
            return 0
        if self._hash is not None:
            self._hash.update(_BOM)
        self._advance(len(_BOM), 0)
        self._to_front(self._buffer)
        return len(_BOM)

    def _give(self, size: int) -> Chunk:
        lines = count_newlines(self._array, size)
        chunk = Chunk(self._buffer, size, lines, self._name, self.next_line, self.offset)
        self._hash_next(size)
        self._advance(size, lines)
        return chunk

    def _hash_next(self, size: int) -> None:
        if self._hash is not None and not self._hash_is_lent:
            self._hash.update(memoryview(self._buffer)[self._begin : self._begin + size])

    def _advance(self, size: int, lines: int) -> None:
        self._begin += size
        self.offset += size
        self.next_line += lines
        self._may_have_bom = False


def tail_is_complete_json_object(tail: bytes) -> bool:
    """Whether an unterminated last line may be taken now: a JSON object that is whole needs nothing more."""
    if not tail.rstrip().endswith(b"}"):  # the usual half line costs no parsing
        return False
    try:
        return isinstance(orjson.loads(tail), dict)
    except orjson.JSONDecodeError:
        return False


def prefix_hash(source: Source, length: int) -> str | None:
    """xxh3_128, in hex, of the first `length` decompressed bytes of a file; None when it holds fewer."""
    return range_hash(source, 0, length)


def range_hash(source: Source, start: int, end: int) -> str | None:
    """xxh3_128, in hex, of the decompressed bytes [start, end) of a file; None when it ends before."""
    running = xxhash.xxh3_128()
    with _opened(source) as content:
        if _hash_up_to(content, start, None) < start:
            return None
        length = end - start
        return running.hexdigest() if _hash_up_to(content, length, running) == length else None


def first_bytes(source: Source, most: int) -> bytes:
    """The first decompressed bytes of a file, at most so many."""
    buffer = bytearray(most)
    with _opened(source) as content:
        return bytes(buffer[: content.readinto(memoryview(buffer))])


def content_hash(source: Source) -> tuple[int, str]:
    """Decompressed length of a whole file, and its hash as `prefix_hash` gives it."""
    running = xxhash.xxh3_128()
    with _opened(source) as content:
        return _hash_up_to(content, sys.maxsize, running), running.hexdigest()


@contextmanager
def _opened(source: Source) -> Iterator[ContentStream]:
    content = open_content(source)
    try:
        yield content
    finally:
        content.raw.close()


def _hash_up_to(content: ContentStream, length: int, running: xxhash.xxh3_128 | None) -> int:
    """Pass over the first `length` bytes, or what follows if they are hashed; how many there were."""
    raw = content.raw
    if running is None and content is raw and raw.seekable:
        passed = min(length, raw.status.st_size)
        raw.seek(passed)
        return passed
    buffer = memoryview(bytearray(min(length, _COPY_BYTES)))
    passed = 0
    while passed < length and (count := content.readinto(buffer[: length - passed])):
        if running is not None:
            running.update(buffer[:count])
        passed += count
    return passed


def _pass_over(content: ContentStream, offset: int, running: xxhash.xxh3_128 | None, where: str) -> None:
    passed = _hash_up_to(content, offset, running)
    if passed < offset:
        raise shrunk(where, passed, offset)


@kernel
def count_newlines(data: NDArray[np.uint8], size: int) -> int:
    """Newlines among the first `size` bytes."""
    lines = 0
    for i in range(size):
        lines += load_u8(data, i) == NEWLINE
    return lines
