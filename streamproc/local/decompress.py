"""A file's content as one growing stream of bytes, whatever it is packed in: plain, gzip or Zstandard.

The first bytes tell which; where they fit neither text nor a known format (too few yet, or damaged) the name does.
"""

import errno
import io
import itertools
import os
import select
import sys
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, Protocol, cast

from isal import igzip_lib

from streamproc.errors import DataError
from streamproc.local.inputs import Source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC_BYTES = 4
_BEFORE_TEXT = b"\xef\xbb\xbf \t\r\n"  # byte order mark and blanks
_PIECE_BYTES = 128 << 10
_BLOCK_BYTES = 256 << 10  # stays in the cache between decoder and reader
_ZSTD_WINDOW_LOG = 31


class Fault(NamedTuple):
    """Why a packed stream cannot be read to its proper end."""

    message: str
    hint: str


class ContentStream(Protocol):
    """Decompressed bytes in order. At its present end it gives 0, and may give more later when the file has grown."""

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as there is content now (a pipe: wait for the first byte); the number of bytes."""

    @property
    def fault(self) -> Fault | None:
        """What is wrong with the packed stream where `readinto` gave 0."""

    @property
    def raw(self) -> "RawFile":
        """The file below."""


def open_content(source: Source) -> ContentStream:
    """The content of `source` from its first byte on; `DataError` when it cannot be opened."""
    raw = RawFile(source)
    try:
        packing = _packing(raw.peek(_MAGIC_BYTES), source.path)
    except BaseException:
        raw.close()
        raise
    return raw if packing is None else PackedStream(raw, packing)


class RawFile:
    """The bytes of a file, or of a pipe, as they lie there."""

    fault: Fault | None = None

    def __init__(self, source: Source) -> None:
        self._where = source.name
        self.seekable = source.fd is None
        """Whether it is a file of its own: any part can be read again, and it may grow."""
        self.position = 0
        """Bytes taken from the file so far: what progress is measured by."""
        self._peeked = b""
        self._ended = False
        try:
            self._file = io.FileIO(source.path if source.fd is None else source.fd, closefd=self.seekable)
        except OSError as error:
            raise DataError(f"cannot be opened: {error.strerror}", where=self._where, hint=_hint(error)) from error

    @property
    def raw(self) -> "RawFile":
        return self

    def peek(self, size: int) -> bytes:
        """The first bytes, `size` of them unless the content ends before, without taking them."""
        while len(self._peeked) < size:
            piece = self._read_once(memoryview(head := bytearray(size - len(self._peeked))))
            if not piece:
                break
            self._peeked += head[:piece]
        return self._peeked

    def readinto(self, view: memoryview) -> int:
        filled = 0
        if self._peeked:
            filled = min(len(view), len(self._peeked))
            view[:filled] = self._peeked[:filled]
            self._peeked = self._peeked[filled:]
        while filled < len(view) and (self.seekable or filled == 0 or self._ready()):
            count = self._read_once(view[filled:])
            if count == 0:
                break
            filled += count
        self.position += filled
        return filled

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the present end."""
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    @property
    def status(self) -> os.stat_result:
        """Of the file that is open, whatever its name is by now."""
        return os.fstat(self._file.fileno())

    def read_again(self, start: int, end: int) -> bytes:
        """Bytes [start, end) of a seekable file, without moving the position."""
        return os.pread(self._file.fileno(), end - start, start)

    def seek(self, position: int) -> None:
        """Go on at `position` of a seekable file; `DataError` when it is shorter than that."""
        size = self.status.st_size
        if size < position:
            raise shrunk(self._where, size, position)
        self._peeked = b""
        self.position = self._file.seek(position)

    def close(self) -> None:
        self._file.close()

    def _ready(self) -> bool:
        return bool(select.select([self._file], [], [], 0)[0])

    def _read_once(self, view: memoryview) -> int:
        """One read. The end of a pipe is final, that of a file is not."""
        if self._ended:
            return 0
        try:
            while (count := self._file.readinto(view)) is None:  # a pipe that another process made non-blocking
                select.select([self._file], [], [])
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=self._where, hint=_hint(error)) from error
        self._ended = count == 0 and not self.seekable
        return count


def shrunk(where: str, size: int, taken: int) -> DataError:
    """The error for a file that now holds less than what was taken from it before."""
    return DataError(
        f"holds {size:,} bytes, but {taken:,} were taken from it before: it was cut or replaced",
        where=where,
        hint="restore the file, or take the new one in under another name",
    )


def _hint(error: OSError) -> str:
    if error.errno == errno.EMFILE:
        return "raise the limit of open files (`ulimit -n`)"
    return "check the file and its permissions"


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Packing(NamedTuple):
    """A compressed format. A file is one or more members (zstd: frames), each with a decoder of its own."""

    name: str
    magic: tuple[bytes, ...]
    suffix: str
    padding: bytes
    """Bytes that may follow a member and mean nothing."""
    decoder: Callable[[], _Decoder]


_PACKINGS = (
    _Packing("gzip", (b"\x1f\x8b",), ".gz", b"\0", lambda: igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)),
    _Packing(
        "zstd",
        (b"\x28\xb5\x2f\xfd", *(bytes((kind,)) + b"\x2a\x4d\x18" for kind in range(0x50, 0x60))),  # or skippable
        ".zst",
        b"",
        lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}),
    ),
)
_DECODER_ERRORS = (cast(type[Exception], igzip_lib.error), zstd.ZstdError)


def _packing(head: bytes, path: str) -> _Packing | None:
    by_content = (packing for packing in _PACKINGS if head.startswith(packing.magic))
    by_name = (packing for packing in _PACKINGS if path.lower().endswith(packing.suffix))
    if head.lstrip(_BEFORE_TEXT).startswith(b"{"):  # unpacked on its way here, as web clients do, under its old name
        return None
    return next(by_content, next(by_name, None))


class PackedStream:
    """The content of a gzip or zstd file of any number of members, also while it is being written."""

    def __init__(self, raw: RawFile, packing: _Packing) -> None:
        self.raw = raw
        self.fault: Fault | None = None
        self._packing = packing
        self._blocks = self._decode()
        self._block = memoryview(b"")

    def readinto(self, view: memoryview) -> int:
        filled = 0
        while filled < len(view):
            if not self._block:
                self._block = memoryview(next(self._blocks))
            if not self._block:
                break
            count = min(len(view) - filled, len(self._block))
            view[filled : filled + count] = self._block[:count]
            self._block = self._block[count:]
            filled += count
            if not self.raw.seekable:
                break  # the next block of a pipe may be long in coming
        return filled

    def _decode(self) -> Iterator[bytes]:
        """Blocks of content without end; an empty one says that there is no more for now."""
        piece = b""
        padding = b""  # comes after a member only
        while True:
            found = piece or self.raw.read(_PIECE_BYTES)
            piece = found.lstrip(padding)
            if piece:
                piece = yield from self._member(piece)
                padding = self._packing.padding
            elif not found:
                yield b""

    def _member(self, piece: bytes) -> Generator[bytes, None, bytes]:
        """Blocks of the member that begins with `piece`; returns what was read beyond its end."""
        decoder = self._packing.decoder()
        start = fed = self.raw.position - len(piece)
        given = 0
        while not decoder.eof:
            if decoder.needs_input and not piece:
                fed = self.raw.position
                piece = self.raw.read(_PIECE_BYTES)
                self.fault = None if piece else self._truncated()
                if not piece:
                    yield b""
                    continue
            try:
                block = decoder.decompress(piece, _BLOCK_BYTES)
            except _DECODER_ERRORS as error:
                if self.raw.seekable:
                    yield from self._before_fault(start, fed, given)
                self.fault = self._corrupt(error)
                while True:
                    yield b""
            piece = b""
            if block:
                given += len(block)
                yield block
        return decoder.unused_data

    def _before_fault(self, start: int, broken: int, given: int) -> Iterator[bytes]:
        """What the member at `start` holds beyond `given` bytes of content and before the fault.

        A decoder that fails keeps what it had decoded in that call, so the member is decoded again and its last piece,
        which begins at `broken`, is fed byte by byte.
        """
        end = self.raw.position
        whole = (self.raw.read_again(at, min(at + _PIECE_BYTES, broken)) for at in range(start, broken, _PIECE_BYTES))
        single = (bytes((byte,)) for byte in self.raw.read_again(broken, end))
        decoder = self._packing.decoder()
        for piece in itertools.chain(whole, single):
            if decoder.eof:  # fed byte by byte, zstd may find an end where it found a fault
                return
            data = piece
            while data or not (decoder.needs_input or decoder.eof):
                try:
                    block = decoder.decompress(data, _BLOCK_BYTES)
                except _DECODER_ERRORS:
                    return
                data = b""
                if len(block) > given:
                    yield block[given:]
                given = max(0, given - len(block))

    def _truncated(self) -> Fault:
        return Fault(
            f"the {self._packing.name} stream ends early",
            "while the file is being written the rest is taken as it comes; otherwise fetch the file again",
        )

    def _corrupt(self, error: Exception) -> Fault:
        return Fault(f"the {self._packing.name} stream is corrupt ({error})", "the rest is lost: fetch the file again")
