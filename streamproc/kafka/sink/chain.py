"""The chain of a topic-partition's segments: what is committed, and up to where."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from streamproc.crash import crash_point
from streamproc.errors import DataError
from streamproc.kafka.sink.segment import Attempt, Source
from streamproc.kafka.sink.storage import Storage

CHECKPOINT_RECORDS = 64
"""A walk passes no more records than about these."""

_logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """What a commit record says."""

    start: int
    next: int
    attempt: str
    rows: int
    files: list[str]
    """Final names, relative to the output."""

    @property
    def folder(self) -> str:
        """Where its files waited."""
        return Attempt(self.start, self.next, self.attempt).folder

    @property
    def is_sound(self) -> bool:
        """Whether a sink may have written it: it leads on, and its files lie within the output."""
        numbers = (self.start, self.next, self.rows)
        return (
            all(type(number) is int for number in numbers)
            and 0 <= self.start < self.next
            and isinstance(self.attempt, str)
            and self.attempt.isalnum()
            and isinstance(self.files, list)
            and all(isinstance(file, str) and is_inside(file) for file in self.files)
        )


def is_inside(name: str) -> bool:
    """Whether a name relative to the output leads to a place within it."""
    return bool(name) and "\0" not in name and not {"", ".", ".."} & {*name.split("/")}


class Chain:
    """Commits by records, each of which leads to the next."""

    def __init__(self, storage: Storage, source: Source) -> None:
        self._storage = storage
        self._source = source
        self._commits = f"_commits/{source.folder}"
        self._pending = f"_pending/{source.folder}"
        self._unmarked = 0

    def recover(self, first_offset: Callable[[], int]) -> int:
        """Publish what was committed and waits, clear what need not wait; the offset where the chain ends."""
        at = self._begin(first_offset)
        records = []
        while record := self._read(at):
            records.append(record)
            at = record.next
        waiting = {*self._storage.names(self._pending)}  # asked for after the walk: files wait before their record is
        for record in records:
            if record.folder in waiting:
                self._storage.publish(f"{self._pending}/{record.folder}", record.files)
            self._mark(record)
        self._clear(at)
        return at

    def is_taken(self, start: int) -> bool:
        """Whether a segment that begins there is committed."""
        return self._read(start) is not None

    def draft(self, attempt: Attempt) -> Path:
        """A local folder in which to write the attempt's files."""
        return self._storage.draft(self._folder(attempt))

    def put(self, attempt: Attempt, files: Sequence[str]) -> None:
        """Have the files wait."""
        self._storage.put(self._folder(attempt), files)

    def commit(self, attempt: Attempt, rows: int, files: Sequence[str]) -> bool:
        """Create the record, then publish; False where there is another's record."""
        record = Record(attempt.start, attempt.next, attempt.id, rows, [*files])
        if not self._storage.create(self._name(attempt.start), orjson.dumps(record._asdict())):
            self.drop(attempt)
            return False
        crash_point("sink.after_record")
        self._storage.publish(self._folder(attempt), files)
        self._mark(record)
        crash_point("sink.after_publish")
        return True

    def drop(self, attempt: Attempt) -> None:
        """Delete the files of an attempt of this process that is not, and will not be, committed."""
        self._storage.delete(self._folder(attempt))

    def _begin(self, first_offset: Callable[[], int]) -> int:
        """Where the walk begins: at the checkpoint, or at the chain's first offset."""
        for name in ("_checkpoint", "_genesis"):
            content = self._storage.read(f"{self._commits}/{name}")
            if content is not None:
                found = self._loaded(content, name).get("next")
                if type(found) is not int or found < 0:
                    raise self._damaged(name)
                return found
        first = first_offset()
        if first:
            _logger.warning("%s: what was before offset %d was deleted before a sink read it", self._source, first)
        self._storage.create(f"{self._commits}/_genesis", orjson.dumps({"next": first}))
        crash_point("sink.after_genesis")
        return self._begin(first_offset)  # as whoever was first has it

    def _folder(self, attempt: Attempt) -> str:
        return f"{self._pending}/{attempt.folder}"

    def _name(self, start: int) -> str:
        return f"{self._commits}/{start}.json"

    def _read(self, start: int) -> Record | None:
        content = self._storage.read(self._name(start))
        if content is None:
            return None
        try:
            record = Record(**self._loaded(content, f"{start}.json"))
        except TypeError as error:
            raise self._damaged(f"{start}.json") from error
        if record.start != start or not record.is_sound:
            raise self._damaged(f"{start}.json")
        return record

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

    def _mark(self, published: Record) -> None:
        """Now and then, note up to where all is published."""
        self._unmarked += 1
        if self._unmarked >= CHECKPOINT_RECORDS:
            self._storage.replace(f"{self._commits}/_checkpoint", orjson.dumps({"next": published.next}))
            self._unmarked = 0
            crash_point("sink.after_checkpoint")

    def _clear(self, end: int) -> None:
        """Delete what waits without need: attempts at segments that are committed.

        Those at the segment that comes next stay, for their process may be only asleep.
        """
        for name in self._storage.names(self._pending):
            start, _, attempt = name.partition("-")
            if attempt and start.isdecimal() and int(start) < end and self.is_taken(int(start)):
                self._storage.delete(f"{self._pending}/{name}")
