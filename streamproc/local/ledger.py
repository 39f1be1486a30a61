"""Which inputs are taken in, and how far: by path, and by content wherever it lies."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import orjson
import xxhash

from streamproc.local.decompress import open_content
from streamproc.local.inputs import Identity, Source, identity
from streamproc.local.sources import Position, content_hash, prefix_hash

HEAD_BYTES = 64 << 10


@dataclass(frozen=True)
class Record:
    """An input as far as it is taken in. Lengths and hashes are of decompressed content."""

    path: str
    inode: int
    size: int
    """Bytes on disk before it was last read."""
    mtime_ns: int
    offset: int
    line: int
    """Number of the next line."""
    key: int
    """Largest `collected_at`, for a merge to go on from."""
    digest: str
    """Hash of the first `offset` bytes."""
    head_size: int
    head: str
    """Hash of the first `head_size` bytes: tells cheaply that other content is new."""
    complete: bool
    """Whether nothing was left when it was last read."""


class Ledger:
    """The records of a state, and where each source goes on.

    A file is *taken in* when its identity or its whole content is known; *grown* when the known content of the same
    path, or of the same
    inode under a new name, is its prefix. Any other file is new.
    """

    def __init__(self, stored: Iterable[bytes]) -> None:
        self._records: dict[str, Record] = {}
        self._inodes: dict[int, str] = {}
        self._heads: dict[int, set[str]] = {}
        self._noted: dict[str, Record] = {}
        for value in stored:
            self._know(Record(**orjson.loads(value)))

    def position(self, source: Source) -> Position | None:
        """Where to go on with a source, None when it is taken in. Standard input has no identity: it is always new."""
        if source.fd is not None:
            return Position(source)
        path, now = source.real_path, identity(source.path)
        known = self._records.get(path)
        if known is not None and known.complete and (known.inode, known.size, known.mtime_ns) == now:
            return None
        grown = self._grown(source, path, now)
        if grown is not None:
            return Position(source, grown.offset, grown.line, grown.key, grown.digest)
        twin = self._same_content(source)
        if twin is None:
            return Position(source)
        self._note(replace(twin, path=path, inode=now.inode, size=now.size, mtime_ns=now.mtime_ns))
        return None

    def advance(self, position: Position, before: Identity, complete: bool) -> None:
        """Note how far a source has been taken in; `before`: its identity before it was read."""
        source = position.source
        path = source.real_path
        known = self._records.get(path)
        if known is not None and known.head_size == HEAD_BYTES and known.offset <= position.offset:
            head_size, head = known.head_size, known.head
        else:
            head_size = min(HEAD_BYTES, position.offset)
            head = prefix_hash(source, head_size) or ""
        self._note(
            Record(
                path,
                *before,
                position.offset,
                position.first_line,
                position.key,
                position.digest,
                head_size,
                head,
                complete,
            )
        )

    def changes(self) -> list[tuple[str, bytes]]:
        """Records to store since the last call, by path."""
        noted, self._noted = self._noted, {}
        return [(path, orjson.dumps(asdict(record))) for path, record in noted.items()]

    def _note(self, record: Record) -> None:
        if self._records.get(record.path) != record:
            self._know(record)
            self._noted[record.path] = record

    def _know(self, record: Record) -> None:
        self._records[record.path] = record
        self._inodes[record.inode] = record.path
        self._heads.setdefault(record.head_size, set()).add(record.head)

    def _grown(self, source: Source, path: str, now: Identity) -> Record | None:
        """The record of which the source is the grown form."""
        for known in (path, self._inodes.get(now.inode)):
            record = self._records.get(known or "")
            if record is not None and prefix_hash(source, record.offset) == record.digest:
                return record
        return None

    def _same_content(self, source: Source) -> Record | None:
        """A record of a file with all of this content.

        Most new files differ in their first bytes, so few are read twice.
        """
        if not any(head in self._heads[size] for size, head in _heads(source, sorted(self._heads))):
            return None
        content = content_hash(source)
        return next((r for r in self._records.values() if r.complete and (r.offset, r.digest) == content), None)


def _heads(source: Source, sizes: list[int]) -> Iterator[tuple[int, str]]:
    """Hashes of the first bytes of a source, for each size that it has."""
    if not sizes:
        return
    buffer = memoryview(bytearray(sizes[-1]))
    content = open_content(source)
    try:
        filled = 0
        while filled < len(buffer) and (count := content.readinto(buffer[filled:])):
            filled += count
    finally:
        content.raw.close()
    for size in sizes:
        if size <= filled:
            yield size, xxhash.xxh3_128(buffer[:size]).hexdigest()
