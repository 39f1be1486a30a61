"""`publish`: reads the inputs, packs their lines, and commits."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamproc.config import Settings
from streamproc.crash import crash_point
from streamproc.errors import DataError, UsageError
from streamproc.jit import is_compiled
from streamproc.kafka import client, rights
from streamproc.kafka.names import Names
from streamproc.kafka.publish.files import Follower, read_once
from streamproc.kafka.publish.inputs import Inputs
from streamproc.kafka.publish.journal import Journal
from streamproc.kafka.publish.pace import Pace
from streamproc.kafka.publish.packer import Packed, Packer, cut_segments
from streamproc.kafka.publish.pieces import Piece
from streamproc.kafka.publish.progress import KnownFiles
from streamproc.kafka.publish.rejects import REASON, RejectFolder
from streamproc.kafka.publish.stdin import StdinReader
from streamproc.kafka.publish.transactions import Transactions
from streamproc.kafka.topics import Topic, check_topics
from streamproc.local.inputs import Source, identity
from streamproc.observe.progress import Progress
from streamproc.observe.stop import StopRequest

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
        self._due_s = None
        self._bytes = self._records = 0

    def _reject(self, piece: Piece, begin: int, end: int, index: int) -> None:
        raw = bytes(piece.data[begin : end - 1])
        name = "stdin" if piece.place is None or piece.place.known is None else piece.place.known.file
        origin = f"{piece.path}:{piece.first_line + index}"
        file = self._rejects.add(raw, origin, name, piece.offset + begin)
        crash_point("publish.rejected")
        self._progress.warn(f"{origin}: {len(raw):,} bytes are too long for a record: kept in {file}")


@dataclass(frozen=True)
class Job:
    """What is asked of a publisher."""

    inputs: Inputs
    follow: bool
    speed: float | None
    settings: Settings
    progress: Progress
    stop: StopRequest
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def pieces(self, sources: Sequence[Source], files: KnownFiles) -> Iterator[Piece | None]:
        """All lines when they are due, None while none is."""
        tick_s = self.settings.publish.segment_delay
        pieces = self._followed(files) if self.follow and not self.inputs.has_stdin else self._once(sources, files)
        if self.speed is not None:
            return Pace(self.speed, tick_s, self.clock, self.sleep).through(pieces)
        return pieces

    def _once(self, sources: Sequence[Source], files: KnownFiles) -> Iterator[Piece | None]:
        local = self.settings.local
        renamed = files.renamed(self.inputs.covers)
        beside = {source.real_path for source in sources}
        for source in [*(source for source in renamed if source.real_path not in beside), *sources]:
            if source.fd is None:
                yield from read_once(source, files, local.chunk_bytes, self.progress)
            else:
                delay_s = self.settings.publish.segment_delay
                yield from StdinReader(source, local.chunk_bytes, delay_s, self.clock).pieces(self.progress)

    def _followed(self, files: KnownFiles) -> Iterator[Piece | None]:
        chunk_bytes = self.settings.local.chunk_bytes
        follower = Follower(self.inputs, files, chunk_bytes, self.progress, self.clock)
        with closing(follower):
            took_bytes = 0
            for piece in follower.pieces():
                yield piece
                took_bytes += 0 if piece is None else len(piece.data)
                if piece is None and took_bytes < chunk_bytes:
                    self.sleep(self.settings.publish.segment_delay)
                if piece is None:
                    took_bytes = 0


def publish_files(
    inputs: Sequence[str],
    settings: Settings,
    *,
    follow: bool,
    speed: float | None,
    progress: Progress,
    stop: StopRequest,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Publish files, directories, globs or `-`, each line once whatever happens; the summary of what was done.

    Parameters
    ----------
    follow : go on with what the files get, and with those that appear, until asked to stop.
    speed : None for as fast as it goes, else times the pace of the recording.

    Raises
    ------
    UsageError : for inputs that cannot be used.
    DataError : for a file that cannot be read, or no longer holds what was published of it.
    TopicsError, BrokerError : for what Kafka has not, refuses or fails to do.
    FencedError : when another publisher of the same id has begun.
    """
    given = Inputs(inputs)
    if follow and given.has_stdin and len(inputs) > 1:
        raise UsageError("standard input cannot be followed beside files", hint="run a publisher for each")
    sources = [] if follow and not given.has_stdin else given.sources()
    if follow and not given.has_stdin:
        given.sources_so_far()
    if not is_compiled(cut_segments):
        progress.note("compiling kernels for this machine: takes some seconds, once")
    started_s = clock()
    job = Job(given, follow, speed, settings, progress, stop, clock, sleep)
    return _published(job, sources) | {"seconds": clock() - started_s}


def _published(job: Job, sources: Sequence[Source]) -> dict[str, Any]:
    kafka, publish = job.settings.kafka, job.settings.publish
    topics = check_topics(client.admin(kafka), kafka, rights.PUBLISH)
    journal = Journal(kafka, topics["publish"], publish.publisher_id)
    raw = topics["raw"]
    name = Names(kafka.prefix).transaction("publish", publish.publisher_id)
    longest = _longest(raw, job.settings)
    transactions = Transactions(kafka, name, raw.name, longest, journal, job.progress, job.stop, job.clock, job.sleep)
    files = KnownFiles(transactions.begin())
    packer = Packer(publish.segment_bytes, longest)
    rejects = RejectFolder(Path(publish.rejects), publish.publisher_id, packer.longest_bytes)
    publisher = Publisher(transactions, packer, rejects, files, publish.commit_interval, job.progress, job.clock)
    job.progress.start(None if job.follow else _total_bytes(sources))
    try:
        cut = _drive(publisher, job.pieces(sources, files), job.stop)
    except BaseException:
        transactions.abort()
        raise
    summary = publisher.tally.summary()
    return summary | {"interrupted": True} if cut and not job.follow else summary


def _drive(publisher: Publisher, pieces: Iterator[Piece | None], stop: StopRequest) -> bool:
    """Publish what comes until nothing more does, or the end is asked for; whether it was."""
    for piece in _committed_before_errors(publisher, pieces):
        if piece is not None:
            publisher.take(piece)
        publisher.commit_when_due()
        if stop.requested:
            publisher.commit()
            return True
    publisher.commit()
    return False


def _committed_before_errors(publisher: Publisher, pieces: Iterator[Piece | None]) -> Iterator[Piece | None]:
    """The pieces; a file that cannot be read keeps back nothing that was read before it."""
    try:
        yield from pieces
    except DataError:
        publisher.commit()
        raise


def _longest(raw: Topic, settings: Settings) -> int:
    """Most bytes that the topic takes at once, and the user's own limit of the client."""
    own = settings.kafka.properties.get("message.max.bytes", "")
    return min(raw.max_message_bytes, int(own)) if own.isdigit() else raw.max_message_bytes


def _total_bytes(sources: Sequence[Source]) -> int | None:
    if any(source.fd is not None for source in sources):
        return None
    return sum(identity(source.path).size for source in sources)
