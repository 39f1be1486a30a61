"""The chain of a topic-partition's segments: what is committed, and up to where."""

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from streamproc.crash import crash_point
from streamproc.errors import DataError
from streamproc.kafka.sink.storage import Move, Storage

CHECKPOINT_RECORDS = 64
"""A walk passes no more records than about these."""

_logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """A topic-partition."""

    topic: str
    topic_id: str
    """Another one when a topic of the same name is made anew: its offsets are other records."""
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"

    @property
    def folder(self) -> str:
        """Below `_commits` and `_pending`."""
        return f"{self.topic}/{self.topic_id}/{self.partition}"


class Attempt(NamedTuple):
    """One process's try to commit the segment [start, next)."""

    start: int
    next: int
    id: str

    @classmethod
    def of(cls, start: int, next_: int) -> "Attempt":
        """A new one."""
        return cls(start, next_, secrets.token_hex(16))


class Commit(NamedTuple):
    """What a commit record says."""

    start: int
    next: int
    attempt: str
    rows: int
    files: list[str]
    """Final names, relative to the output."""

    @property
    def folder(self) -> str:
        return f"{self.start}-{self.attempt}"


class Chain:
    """The commits of one topic-partition into one output."""

    def __init__(self, storage: Storage, source: Source) -> None:
        self._storage = storage
        self._source = source
        self._commits = f"_commits/{source.folder}"
        self._pending = f"_pending/{source.folder}"
        self._unmarked = 0

    def recover(self, first_offset: Callable[[], int]) -> int:
        """Finish what was committed, clear what was not; the offset where the next segment begins.

        Parameters
        ----------
        first_offset : the log's first offset, asked for where the chain has not begun.
        """
        at = self._begin(first_offset)
        while commit := self._read(at):
            self._publish(commit)
            at = commit.next
        self._clear(at)
        return at

    def pending(self, attempt: Attempt) -> str:
        """Folder in which the attempt's files wait."""
        return f"{self._pending}/{attempt.start}-{attempt.id}"

    def is_taken(self, start: int) -> bool:
        """Whether a segment that begins there is committed."""
        return self._read(start) is not None

    def commit(self, attempt: Attempt, rows: int, files: Sequence[str]) -> bool:
        """Commit files that wait in the attempt's folder; False where another process has committed from this offset.

        Parameters
        ----------
        files : their final names, which they have below the attempt's folder too.
        """
        commit = Commit(attempt.start, attempt.next, attempt.id, rows, [*files])
        if not self._storage.create(self._record(attempt.start), orjson.dumps(commit._asdict())):
            self.drop(attempt)
            return False
        crash_point("sink.after_record")
        self._publish(commit)
        self._storage.delete(self.pending(attempt))
        crash_point("sink.after_publish")
        return True

    def drop(self, attempt: Attempt) -> None:
        """Delete the files of an attempt of this process that is not, and will not be, committed."""
        self._storage.delete(self.pending(attempt))

    def _begin(self, first_offset: Callable[[], int]) -> int:
        """Where the walk begins: at the checkpoint, or at the chain's first offset."""
        for name in ("_checkpoint", "_genesis"):
            content = self._storage.read(f"{self._commits}/{name}")
            if content is not None:
                return int(self._loaded(content, name)["next"])
        first = first_offset()
        if first:
            _logger.warning("%s: what was before offset %d was deleted before a sink read it", self._source, first)
        self._storage.create(f"{self._commits}/_genesis", orjson.dumps({"next": first}))
        crash_point("sink.after_genesis")
        return self._begin(first_offset)  # as whoever was first has it

    def _record(self, start: int) -> str:
        return f"{self._commits}/{start}.json"

    def _read(self, start: int) -> Commit | None:
        content = self._storage.read(self._record(start))
        if content is None:
            return None
        try:
            return Commit(**self._loaded(content, f"{start}.json"))
        except TypeError as error:
            raise self._damaged(f"{start}.json") from error

    def _loaded(self, content: bytes, name: str) -> dict[str, Any]:
        try:
            return dict(orjson.loads(content))
        except (ValueError, TypeError) as error:
            raise self._damaged(name) from error

    def _damaged(self, name: str) -> DataError:
        return DataError(
            "a damaged record of the sink's commits",
            where=f"{self._commits}/{name}",
            hint="restore the output from a backup",
        )

    def _publish(self, commit: Commit) -> None:
        folder = f"{self._pending}/{commit.folder}"
        self._storage.publish([Move(f"{folder}/{name}", name) for name in commit.files])
        self._unmarked += 1
        if self._unmarked >= CHECKPOINT_RECORDS:
            self._storage.replace(f"{self._commits}/_checkpoint", orjson.dumps({"next": commit.next}))
            self._unmarked = 0
            crash_point("sink.after_checkpoint")

    def _clear(self, end: int) -> None:
        """Delete what waits without need: attempts at segments that are committed.

        Those at the segment that comes next stay, for their process may be only asleep.
        """
        for name in self._storage.names(self._pending):
            start, _, attempt = name.partition("-")
            if attempt and int(start) < end and self.is_taken(int(start)):
                self._storage.delete(f"{self._pending}/{name}")
