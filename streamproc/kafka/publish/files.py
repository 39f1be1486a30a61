"""Files as pieces: one after the other to their present ends, or followed as they appear and grow."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain

from streamproc.errors import DataError
from streamproc.kafka.publish.inputs import Inputs
from streamproc.kafka.publish.pieces import Piece, pieces_of
from streamproc.kafka.publish.progress import Bookmark, FileProgress, KnownFiles, cut_or_rewritten
from streamproc.local.inputs import Identity, Source, identity
from streamproc.local.sources import LineReader, tail_is_complete_json_object
from streamproc.observe.progress import Progress

LOOK_INTERVAL_S = 1.0
"""New files are looked for so often."""

MAX_OPEN = 64
"""Files held open to follow them; others are opened again when they change."""


class OpenFile:
    """A file that is being read.

    Parameters
    ----------
    source : the file; `DataError` when it cannot be read.
    known : how far it is published, None when it is new.
    files : is told of its progress.
    chunk_bytes : see `LineReader`.
    """

    def __init__(self, source: Source, known: FileProgress | None, files: KnownFiles, chunk_bytes: int) -> None:
        self.source = source
        offset, line = (known.offset, known.line) if known else (0, 1)
        self._reader = LineReader(source, offset=offset, first_line=line, chunk_bytes=chunk_bytes)
        self.file = _file_of(self._reader.status)
        """Device and inode."""
        self.place = Bookmark(files, source.real_path, self.file[1], known)
        self._read: Identity | None = None

    @classmethod
    def unless_taken_in(cls, source: Source, files: KnownFiles, chunk_bytes: int) -> "OpenFile | None":
        """The file where it goes on, None when nothing is left of it.

        `DataError` when it cannot be read, or no longer holds what was published of it.
        """
        while True:
            now = identity(source.path)
            known = files.find(source)
            if known is not None and known.is_taken_in(now):
                return None
            opened = cls(source, known, files, chunk_bytes)
            if opened.file[1] == now.inode:
                return opened
            opened.close()  # another file has taken its name meanwhile

    def pieces(self) -> Iterator[Piece]:
        """All complete lines to the present end."""
        before = self._identity()
        self._check(before)
        while (chunk := self._reader.read()) is not None:
            yield from pieces_of(chunk, self.place)
        self._read = before

    def last_piece(self) -> Iterator[Piece]:
        """The unterminated last line, if it is a complete JSON object; else it waits for growth."""
        tail = self._reader.tail
        if tail_is_complete_json_object(tail) and (chunk := self._reader.take_tail()) is not None:
            yield from pieces_of(chunk, self.place, unterminated=True)

    def note_end(self) -> None:
        """Let the progress tell whether nothing is left."""
        if self._read is not None and not self._reader.tail and not self._reader.warning:
            self.place.at_end(self._read)

    @property
    def has_changed(self) -> bool:
        """Whether it is another than when it was last read to its end."""
        return self._identity() != self._read

    @property
    def is_deleted(self) -> bool:
        """Whether it has no name any more."""
        return self._reader.status.st_nlink == 0

    @property
    def read_as(self) -> Identity | None:
        """What it was when it was last read to its end."""
        return self._read

    @property
    def warning(self) -> str:
        """Why a packed file could not be read to its proper end."""
        return self._reader.warning

    @property
    def disk_bytes(self) -> int:
        """Bytes of the file itself that lie before the place of reading, packed as they are."""
        return self._reader.disk_bytes

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _identity(self) -> Identity:
        return _identity_of(self._reader.status)

    def _check(self, now: Identity) -> None:
        """`DataError` where the file no longer holds what this process has read of it."""
        tail = self.place.tail
        if now.size < self._reader.disk_bytes or (tail and self._reader.look_back(len(tail)) not in {tail, None}):
            raise cut_or_rewritten(self.source.name, self._reader.offset)


def read_once(source: Source, files: KnownFiles, chunk_bytes: int, progress: Progress) -> Iterator[Piece]:
    """Pieces of a file to its present end."""
    file = OpenFile.unless_taken_in(source, files, chunk_bytes)
    if file is None:
        progress.advance(os.stat(source.path).st_size, 0)
        return
    told_bytes = 0
    with closing(file):
        for piece in chain(file.pieces(), file.last_piece()):
            yield piece
            progress.advance(file.disk_bytes - told_bytes, piece.lines)
            told_bytes = file.disk_bytes
        file.note_end()
        if file.warning:
            progress.warn(file.warning)


class Follower:
    """Pieces of files as they appear and grow.

    Parameters
    ----------
    inputs : where files are looked for.
    files : what is known of them.
    chunk_bytes : see `LineReader`.
    progress : is told of what is waited for.
    clock : s, monotonic.
    """

    def __init__(
        self, inputs: Inputs, files: KnownFiles, chunk_bytes: int, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self._inputs = inputs
        self._files = files
        self._chunk_bytes = chunk_bytes
        self._progress = progress
        self._clock = clock
        self._open: dict[tuple[int, int], OpenFile] = {}
        self._closed: dict[tuple[int, int], Identity | None] = {}
        """Files that were let go of, as they were when read last."""
        self._look_s = clock()
        self._said: set[str] = set()

    def pieces(self) -> Iterator[Piece | None]:
        """What there is, then what comes, without end; None after each pass."""
        appeared = self._files.renamed(self._inputs.covers)
        while True:
            if self._clock() >= self._look_s:
                self._look_s = self._clock() + LOOK_INTERVAL_S
                appeared += self._appeared()
            for file in list(self._open.values()):  # a file that was rotated, to its end, before the one in its place
                yield from self._new_in(file)
            for source in appeared:
                yield from self._begin(source)
            appeared = []
            yield None

    def close(self) -> None:
        """Close all files."""
        for file in self._open.values():
            file.close()

    def _appeared(self) -> list[Source]:
        """Files that are not open, and others than they were when they were let go of."""
        found, missing = self._inputs.sources_so_far()
        for error in missing:
            self._say_once(f"{error}: waiting for it")
        return [source for source in found if self._is_to_be_read(source)]

    def _is_to_be_read(self, source: Source) -> bool:
        try:
            status = os.stat(source.path)
        except FileNotFoundError:
            return False  # it was there a moment ago
        file = self._open.get(_file_of(status))
        if file is not None:
            file.place.path = source.real_path
            return False
        return self._closed.get(_file_of(status)) != _identity_of(status)

    def _begin(self, source: Source) -> Iterator[Piece]:
        """Take up a file."""
        try:
            status = os.stat(source.path)
            opened = OpenFile.unless_taken_in(source, self._files, self._chunk_bytes)
        except (FileNotFoundError, DataError):
            if os.path.exists(source.path):
                raise
            return  # it was there a moment ago
        if opened is None:
            self._closed[_file_of(status)] = _identity_of(status)
        elif opened.file in self._open:
            opened.close()
        else:
            self._open[opened.file] = opened
            yield from self._new_in(opened)
            self._let_go()

    def _new_in(self, file: OpenFile) -> Iterator[Piece]:
        deleted = file.is_deleted
        if file.has_changed:
            for piece in file.pieces():
                yield piece
                self._progress.advance(len(piece.data), piece.lines)
            self._open[file.file] = self._open.pop(file.file)  # the last to be let go of
            file.note_end()
            if file.warning and "corrupt" in file.warning:
                self._say_once(file.warning)
        if deleted:
            self._open.pop(file.file).close()
            file.place.deleted()

    def _let_go(self) -> None:
        while len(self._open) > MAX_OPEN:
            key = next(iter(self._open))
            file = self._open.pop(key)
            self._closed[key] = file.read_as
            file.close()

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._progress.warn(message)


def _file_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identity_of(status: os.stat_result) -> Identity:
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns)
