"""The program `publish`: pieces of its inputs to a publisher, until there are no more or the end is asked for."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamproc.config import Settings
from streamproc.errors import DataError, UsageError
from streamproc.jit import is_compiled
from streamproc.kafka import client, rights
from streamproc.kafka.names import Names
from streamproc.kafka.publish.files import Follower, read_once
from streamproc.kafka.publish.inputs import Inputs
from streamproc.kafka.publish.journal import Journal
from streamproc.kafka.publish.pace import Pace
from streamproc.kafka.publish.packer import Packer, cut_segments
from streamproc.kafka.publish.pieces import Piece
from streamproc.kafka.publish.progress import KnownFiles
from streamproc.kafka.publish.publisher import Publisher
from streamproc.kafka.publish.rejects import RejectFolder
from streamproc.kafka.publish.stdin import StdinReader
from streamproc.kafka.publish.transactions import Transactions
from streamproc.kafka.publish.vitals import Vitals
from streamproc.kafka.topics import Topic, check_topics
from streamproc.local.inputs import Source, identity
from streamproc.observe.progress import Progress
from streamproc.observe.serve import serving
from streamproc.observe.stop import StopRequest


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
        with serving(job.settings.observe, Vitals(publisher)):
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
