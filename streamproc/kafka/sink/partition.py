"""One topic-partition that this sink reads: its commits, the segment at hand, and when that is due."""

from collections.abc import Callable, Sequence

from streamproc.config import SinkConfig
from streamproc.crash import crash_point
from streamproc.errors import DataError
from streamproc.kafka.client import Record
from streamproc.kafka.sink.collect import Collector
from streamproc.kafka.sink.segment import Attempt, Commits, Source


class Partition:
    """Records from `next` on into segments.

    Parameters
    ----------
    first_offset : of the log, asked for where nothing was ever committed.
    clock : seconds from any fixed moment on.
    """

    def __init__(
        self,
        source: Source,
        stem: str,
        commits: Commits,
        collector: Collector,
        first_offset: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self.source = source
        self.collected = collector
        self._stem = stem
        self._commits = commits
        self._first_offset = first_offset
        self._clock = clock
        self.hinted = -1
        """What Kafka was told last of `done`."""
        self.restart()

    def restart(self) -> None:
        """Forget the segment at hand and begin after the last commit."""
        self.collected.clear()
        self.start = self.next = self._commits.recover(self._first_offset)
        self._first_at = self._last_at = 0.0

    def add(self, records: Sequence[Record]) -> None:
        """Take the next records."""
        self._last_at = self._clock()
        if not self.collected.rows:
            self._first_at = self._last_at
        self.collected.add(records)
        self.next = records[-1].offset() + 1

    @property
    def done(self) -> int:
        """All before this offset is in files, as far as it was anything to write."""
        return self.start if self.collected.rows else self.next

    @property
    def age(self) -> float:
        """How long the first record of the segment has waited, in seconds; 0 where there is none."""
        return self._clock() - self._first_at if self.collected.rows else 0.0

    def reach(self, offset: int) -> None:
        """All before this offset has been read: the markers of transactions are passed over too."""
        self.next = max(self.next, offset)

    def is_due(self, sink: SinkConfig) -> bool:
        """Whether the segment is to be committed now."""
        held = self.collected
        if not held.rows:
            return False
        now = self._clock()
        return (
            held.rows >= sink.segment_rows
            or held.files >= sink.segment_files
            or now - self._first_at >= sink.max_age
            or now - self._last_at >= sink.idle
        )

    def commit(self) -> int | None:
        """Commit the segment at hand; number of its files, None where another process had committed from its start.

        Raises `DataError` when it cannot be written: then nothing of it is kept.
        """
        attempt = Attempt.of(self.start, self.next)
        try:
            names = self._write(attempt)
        except DataError:
            self._commits.drop(attempt)
            if self._commits.is_taken(attempt.start):
                return None  # and the files were cleared away by whoever has committed it
            raise
        if not self._commits.commit(attempt, self.collected.rows, names):
            return None
        self.collected.clear()
        self.start = self.next
        return len(names)

    def _write(self, attempt: Attempt) -> list[str]:
        """Write the files, durably, where they wait."""
        stem = f"{self._stem}-{attempt.start:020d}-{attempt.next:020d}-{attempt.id}"
        draft = self._commits.draft(attempt)
        crash_point("sink.after_draft_folder")
        names = [str(name) for name in self.collected.write(draft, stem)]
        crash_point("sink.after_write")
        self._commits.put(attempt, names)
        crash_point("sink.after_put")
        return names
