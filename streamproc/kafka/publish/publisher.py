"""The publisher: takes pieces of inputs, packs their lines, and commits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streamproc.crash import crash_point
from streamproc.kafka.publish.packer import Packed, Packer
from streamproc.kafka.publish.pieces import Piece
from streamproc.kafka.publish.progress import KnownFiles
from streamproc.kafka.publish.rejects import REASON, RejectFolder
from streamproc.kafka.publish.transactions import Transactions
from streamproc.observe.progress import Progress

COMMIT_BYTES = 32 << 20
COMMIT_RECORDS = 50_000
"""A transaction is committed when it holds so much, however early: its records are kept until then."""


@dataclass
class Tally:
    """What was published."""

    lines: int = 0
    bytes: int = 0
    """Of the lines, newlines apart."""
    records: int = 0
    segments: int = 0
    """Records with a key."""
    unkeyed: int = 0
    too_long: int = 0
    files: set[str] = field(default_factory=set)

    def add(self, packed: Packed, path: str) -> int:
        """Count what became of some lines; the bytes of their values."""
        size = sum(len(record.value) for record in packed.records)
        records = len(packed.records)
        self.lines += packed.lines
        self.bytes += size - (packed.lines - records)
        self.records += records
        self.segments += records - packed.unkeyed
        self.unkeyed += packed.unkeyed
        self.too_long += len(packed.too_long)
        self.files.add(path)
        return size

    def summary(self) -> dict[str, Any]:
        """As the command's summary has it."""
        return {
            "lines": self.lines,
            "bytes": self.bytes,
            "records": self.records,
            "segments": self.segments,
            "unkeyed": self.unkeyed,
            "rejected": {REASON: self.too_long} if self.too_long else {},
            "files": len(self.files),
        }


class Publisher:
    """Takes pieces, and commits them together with how far their files are read.

    Parameters
    ----------
    transactions : to produce in.
    packer : lines into records.
    rejects : for lines that no record can hold.
    files : know how far they are read.
    commit_interval_s : a commit is due so long after the first line since the last one.
    progress : is told of lines that are too long.
    clock : s, monotonic.
    """

    def __init__(
        self,
        transactions: Transactions,
        packer: Packer,
        rejects: RejectFolder,
        files: KnownFiles,
        commit_interval_s: float,
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        self._transactions = transactions
        self._packer = packer
        self._rejects = rejects
        self._files = files
        self._commit_interval_s = commit_interval_s
        self._progress = progress
        self._clock = clock
        self._due_s: float | None = None
        self._bytes = self._records = 0
        """Of the open transaction."""
        self.tally = Tally()
        self.committed_lines = self.committed_bytes = 0

    def take(self, piece: Piece) -> None:
        """Produce the lines of a piece."""
        packed = self._packer.pack(piece.data, piece.times)
        if piece.place is not None:
            piece.place.advance(piece.content, piece.offset, piece.next_line)
        for index in packed.too_long.tolist():
            self._reject(piece, int(packed.bounds[index]), int(packed.bounds[index + 1]), index)
        if packed.records:
            self._transactions.add(packed.records)
        self._bytes += self.tally.add(packed, piece.path)
        self._records += len(packed.records)
        self._due_s = self._due_s or self._clock() + self._commit_interval_s

    def commit_when_due(self) -> None:
        """Commit where there is enough of it, in time or in size."""
        if self._due_s is None:
            return
        if self._bytes >= COMMIT_BYTES or self._records >= COMMIT_RECORDS or self._clock() >= self._due_s:
            self.commit()

    def commit(self) -> None:
        """Commit all that was taken."""
        changes = self._files.changes()
        if self._due_s is None and not changes:
            return
        self._transactions.commit(changes)
        self.committed_lines, self.committed_bytes = self.tally.lines, self.tally.bytes
        self._due_s = None
        self._bytes = self._records = 0

    def _reject(self, piece: Piece, begin: int, end: int, index: int) -> None:
        raw = bytes(piece.data[begin : end - 1])
        name = "stdin" if piece.place is None or piece.place.known is None else piece.place.known.file
        origin = f"{piece.path}:{piece.first_line + index}"
        file = self._rejects.add(raw, origin, name, piece.offset + begin)
        crash_point("publish.rejected")
        self._progress.warn(f"{origin}: {len(raw):,} bytes are too long for a record: kept in {file}")
