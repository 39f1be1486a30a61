"""How far files have been published, and which file is which whatever it is called by now.

A file is known by its inode and the hash of its first bytes. A known file under another name is followed; one that no
longer holds what was published of it is refused; any other is new. A file whose known self is nowhere any more and
that holds the same content is that file, moved to another disk or packed.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import orjson
import xxhash

from streamproc.errors import DataError
from streamproc.local.inputs import Identity, Source, identity
from streamproc.local.sources import first_bytes, range_hash

HEAD_SIZES = (64, 256, 1024, 4096)
"""A file is recognised by its first bytes, by as many as it has of these."""

TAIL_BYTES = 4096
"""What is compared before going on behind it."""


DELETED = 0
"""In an inode's place."""


@dataclass(frozen=True)
class FileProgress:
    """A file as far as it is published. Offsets and hashes (xxh3_128) are of decompressed content."""

    file: str
    """Its name in the progress topic: inode and head as they were at first."""
    path: str
    inode: int
    heads: tuple[tuple[int, str], ...]
    """Sizes and hashes of its first bytes, ascending; the last are what it is known by."""
    offset: int
    line: int
    """Number of the next line."""
    tail_size: int
    tail: str
    size: int = 0
    """Bytes on disk when it was last read to its end with nothing left; else 0."""
    mtime_ns: int = 0

    def dumps(self) -> bytes:
        """As a value of the progress topic."""
        return orjson.dumps(asdict(self))

    @classmethod
    def loads(cls, value: bytes, where: str = "") -> "FileProgress":
        """From a value of the progress topic. `DataError` where it is none."""
        try:
            fields = orjson.loads(value)
            found = cls(**fields | {"heads": tuple((size, digest) for size, digest in fields["heads"])})
            found.check()
            return found
        except (TypeError, ValueError, KeyError) as error:
            raise unreadable(value, where) from error

    def check(self) -> None:
        """Raise `TypeError` or `ValueError` for what no publisher has written."""
        numbers = [self.inode, self.offset, self.line, self.tail_size, self.size, self.mtime_ns]
        numbers += [size for size, _ in self.heads]
        texts = [self.file, self.path, self.tail, *(digest for _, digest in self.heads)]
        if not all(type(number) is int for number in numbers) or not all(isinstance(text, str) for text in texts):
            raise TypeError("a field of another kind")
        if min(numbers) < 0 or not self.heads:
            raise ValueError("a number out of its range")

    @property
    def head_size(self) -> int:
        return self.heads[-1][0]

    def begins(self, content: bytes) -> bool:
        """Whether content that begins so may be this file's, as far as that can be told of it."""
        sizes = [(size, digest) for size, digest in self.heads if size <= len(content)]
        return not sizes or _hash(content[: sizes[-1][0]]) == sizes[-1][1]

    def is_taken_in(self, now: Identity) -> bool:
        """Whether the file is as it was when nothing was left of it: believed without reading it."""
        return self.size > 0 and (self.inode, self.size, self.mtime_ns) == now


def unreadable(value: bytes, where: str) -> DataError:
    """The error for a record of the progress topic that no publisher has written."""
    return DataError(
        f"the progress topic holds a record that cannot be read: {value[:200]!r}",
        where=where,
        hint="was something else written to this topic? another --publisher-id begins anew",
    )


class KnownFiles:
    """The files of which a publisher has published something.

    Parameters
    ----------
    records : their progress, the latest last.
    """

    def __init__(self, records: Iterable[FileProgress]) -> None:
        self._records: dict[str, FileProgress] = {}
        self._by_inode: dict[int, FileProgress] = {}
        self._changed: dict[str, FileProgress] = {}
        for record in records:
            self._know(record)

    def note(self, record: FileProgress) -> None:
        """This is how far a file is published once the next commit is done."""
        self._know(record)
        self._changed[record.file] = record

    def changes(self) -> list[FileProgress]:
        """What was noted since the last call."""
        changed, self._changed = self._changed, {}
        return list(changed.values())

    def _know(self, record: FileProgress) -> None:
        before = self._records.get(record.file)
        if before is not None and self._by_inode.get(before.inode) is before:
            del self._by_inode[before.inode]
        self._records[record.file] = record
        if record.inode != DELETED:
            self._by_inode[record.inode] = record

    def find(self, source: Source) -> FileProgress | None:
        """The progress of a file, None when it is new.

        `DataError` when it is known and does not hold what was published of it.
        """
        now = identity(source.path)
        known = self._by_inode.get(now.inode)
        if known is not None and known.is_taken_in(now):
            return replace(known, path=source.real_path)
        beginning = first_bytes(source, HEAD_SIZES[-1])
        if known is not None and known.begins(beginning):
            if _has_tail(source, known):
                return replace(known, path=source.real_path)
            if len(beginning) >= known.head_size or known.path == source.real_path:
                raise cut_or_rewritten(source.name, known.offset)
        return self._moved_here(source, beginning, now.inode)

    def renamed(self, covers: Callable[[str], bool]) -> list[Source]:
        """Known files that lie beside their former path under another name.

        Parameters
        ----------
        covers : whether a path belongs to the inputs.
        """
        gone = [record for record in self._records.values() if covers(record.path) and not _in_place(record)]
        folders = {folder: list(_files(folder)) for folder in {os.path.dirname(record.path) for record in gone}}
        found: list[Source] = []
        for record in gone:
            beside = folders[os.path.dirname(record.path)]
            named = [Source(path) for path, inode in beside if inode == record.inode]
            others = [Source(path) for path, inode in beside if inode not in self._by_inode]
            packed = [source for source in others if source.path.startswith(record.path) and _has_tail(source, record)]
            found += [source for source in [*named, *packed] if _begins_as(source, record)][:1]
        return found

    def _moved_here(self, source: Source, beginning: bytes, inode: int) -> FileProgress | None:
        """The progress of a vanished file that has the content of this one."""
        for known in self._records.values():
            seems = known.head_size <= len(beginning) and known.begins(beginning)
            if seems and not _in_place(known) and _has_tail(source, known):
                return replace(known, path=source.real_path, inode=inode)
        return None


class Bookmark:
    """The place in a file up to which it has been published, moving on as its lines are given out.

    Parameters
    ----------
    files : what is told of its progress.
    path, inode : of the file.
    known : its progress so far, None for a new file.
    """

    def __init__(self, files: KnownFiles, path: str, inode: int, known: FileProgress | None) -> None:
        self._files = files
        self.path = path
        self.inode = inode
        self.known = known
        self.tail = b""
        """The last bytes given out, at most `TAIL_BYTES`."""

    def advance(self, data: memoryview, start: int, line: int) -> None:
        """`data` was given out, which lies at `start` of the content; `line`: the number of the next line."""
        end = start + len(data)
        self.tail = (self.tail + bytes(data[-TAIL_BYTES:]))[-TAIL_BYTES:]
        known = self.known or self._begun(data, start)
        self._note(
            replace(
                known,
                path=self.path,
                inode=self.inode,
                offset=end,
                line=line,
                tail_size=len(self.tail),
                tail=_hash(self.tail),
                size=0,
                mtime_ns=0,
            )
        )

    def at_end(self, at: Identity) -> None:
        """Nothing was left when the file was like that."""
        if self.known is not None:
            self._note(replace(self.known, size=at.size, mtime_ns=at.mtime_ns))

    def deleted(self) -> None:
        """The file is gone: its inode may be another's from now on."""
        if self.known is not None:
            self._note(replace(self.known, inode=DELETED))

    def _note(self, known: FileProgress) -> None:
        if known != self.known:
            self.known = known
            self._files.note(known)

    def _begun(self, data: memoryview, start: int) -> FileProgress:
        head = b"\xef\xbb\xbf"[:start] + bytes(data[: HEAD_SIZES[-1]])
        sizes = sorted({min(size, len(head)) for size in HEAD_SIZES})
        heads = tuple((size, _hash(head[:size])) for size in sizes)
        return FileProgress(f"{self.inode}-{heads[-1][1]}", self.path, self.inode, heads, 0, 1, 0, "")


def _hash(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)


def _begins_as(source: Source, known: FileProgress) -> bool:
    beginning = first_bytes(source, known.head_size)
    return len(beginning) == known.head_size and known.begins(beginning)


def _has_tail(source: Source, known: FileProgress) -> bool:
    """Whether a file holds the bytes before the place up to which a known one is published."""
    return range_hash(source, known.offset - known.tail_size, known.offset) == known.tail


def cut_or_rewritten(where: str, offset: int) -> DataError:
    """The error for a file that does not hold what was published of it."""
    return DataError(
        f"no longer holds the {offset:,} bytes that were published of it: it was cut or rewritten",
        where=where,
        hint="restore it; if all it holds now is new, make a new file of it: cp FILE NEW && mv NEW FILE",
    )


def _in_place(record: FileProgress) -> bool:
    """Whether the file lies where it was, and not another to which its inode was given."""
    try:
        return os.stat(record.path).st_ino == record.inode and _begins_as(Source(record.path), record)
    except (OSError, DataError):
        return False


def _files(folder: str) -> Iterator[tuple[str, int]]:
    """Paths and inodes of the files in a folder; none where it is gone."""
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_file(follow_symlinks=False):
                    yield entry.path, entry.inode()
    except OSError:
        return
