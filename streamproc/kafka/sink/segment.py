"""What is committed, and by what: a topic-partition's segments, attempts at them, and the commits they end in."""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


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

    @property
    def folder(self) -> str:
        """Where its files wait, below the source's folder."""
        return f"{self.start}-{self.id}"


class Commits(Protocol):
    """The commits of one topic-partition into one output, each of which only one process can make."""

    def recover(self, first_offset: Callable[[], int]) -> int:
        """Finish what was committed, clear what was not; the offset where the next segment begins.

        Parameters
        ----------
        first_offset : the log's first offset, asked for where nothing was ever committed.
        """

    def is_taken(self, start: int) -> bool:
        """Whether a segment that begins there is committed."""

    def draft(self, attempt: Attempt) -> Path:
        """A local folder in which to write the attempt's files."""

    def put(self, attempt: Attempt, files: Sequence[str]) -> None:
        """Make the attempt's files durable. Names are those below the draft, and below the output too."""

    def commit(self, attempt: Attempt, rows: int, files: Sequence[str]) -> bool:
        """Commit files that were put; False where another process has committed from this offset."""

    def drop(self, attempt: Attempt) -> None:
        """Delete the files of an attempt of this process that is not, and will not be, committed."""
