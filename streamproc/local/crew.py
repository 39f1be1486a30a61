"""Who does the work: one pipeline in this process, or several in processes of their own, to the same effect."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from streamproc.engine import Rejected
from streamproc.local.merge import MergedChunk
from streamproc.local.pipeline import Pipeline, Tally
from streamproc.local.sources import Chunk
from streamproc.parquet.writer import Pending
from streamproc.state.snapshot import Changes


class Done(NamedTuple):
    """A chunk that all of the crew have taken, and its rejected lines in their order."""

    chunk: Chunk | MergedChunk
    rejected: list[Rejected]


class Crew(Protocol):
    """What the drivers ask for.

    Each symbol belongs to one member; a commit is `drain`, `finish`, `changes`, `begin`.
    """

    def take(self, chunk: Chunk | MergedChunk) -> Iterator[Done]:
        """Give a chunk to work on; what is done by now, in the order given."""

    def drain(self) -> Iterator[Done]:
        """Wait for the rest."""

    def flush(self) -> None:
        """Close all open bars."""

    def close_idle(self, now_ms: int, caught_up: bool) -> None:
        """Let idle time pass up to `now_ms` (monotonic) where the input is caught up.

        Then close the bars of symbols that have been silent long enough.
        """

    def finish(self) -> list[Pending]:
        """Everything since `begin` as durable files."""

    def begin(self, stem: str) -> None:
        """Begin the next commit."""

    def changes(self) -> Iterable[Changes]:
        """State changed since the last call."""

    def tally(self) -> Tally:
        """What was done so far."""

    def close(self) -> None:
        """End; what was not finished is lost."""


class Alone:
    """One pipeline, in this process."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def take(self, chunk: Chunk | MergedChunk) -> Iterator[Done]:
        """Work on the chunk at once."""
        yield Done(chunk, self._pipeline.take(chunk.data, chunk.size))

    def drain(self) -> Iterator[Done]:
        """Nothing is under way."""
        return iter(())

    def flush(self) -> None:
        """Close all open bars."""
        self._pipeline.flush()

    def close_idle(self, now_ms: int, caught_up: bool) -> None:
        """See `Crew.close_idle`."""
        self._pipeline.pass_time(now_ms, caught_up)

    def finish(self) -> list[Pending]:
        """Everything since `begin` as durable files."""
        return self._pipeline.finish()

    def begin(self, stem: str) -> None:
        """Begin the next commit."""
        self._pipeline.begin(stem)

    def changes(self) -> Iterable[Changes]:
        """State changed since the last call."""
        return [self._pipeline.changes()]

    def tally(self) -> Tally:
        """What was done so far."""
        return self._pipeline.tally()

    def close(self) -> None:
        """Nothing to end."""
