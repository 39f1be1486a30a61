"""One session of work between files: chunks through a crew, rejects beside, all of it finished for a commit."""

from collections.abc import Iterable
from typing import Any, Protocol

from streamproc.local.crew import Crew, Done
from streamproc.local.journal import Staging
from streamproc.local.merge import MergedChunk
from streamproc.local.rejects import RejectWriter, reject_line
from streamproc.local.sources import Chunk
from streamproc.parquet.writer import Pending


class Target(Protocol):
    """Where files are staged: a `Journal` or a `OneShot`."""

    staging: Staging

    @property
    def stem(self) -> str:
        """Start of the names of the next files."""


class Work:
    """What a driver does with chunks, whoever the crew is."""

    def __init__(self, crew: Crew, target: Target) -> None:
        self.crew = crew
        self._target = target
        self._rejects = RejectWriter(target.staging.path, target.stem)
        self._bytes = 0

    def take(self, chunk: Chunk | MergedChunk) -> None:
        """Work on a chunk."""
        self._bytes += chunk.size
        self._settle(self.crew.take(chunk))

    def flush(self) -> None:
        """Close all open bars."""
        self._settle(self.crew.drain())
        self.crew.flush()

    def finish(self) -> list[Pending]:
        """All files since the last commit, durable."""
        self._settle(self.crew.drain())
        return self.crew.finish() + self._rejects.finish()

    def begin(self) -> None:
        """Begin the next commit."""
        self.crew.begin(self._target.stem)
        self._rejects.begin(self._target.stem)

    def summary(self, seconds: float) -> dict[str, Any]:
        """What was done, as the summary of a command."""
        counts, rejected = self.crew.tally()
        names = ("records", "books", "trades", "duplicates")
        return {
            **{name: counts[name] for name in names},
            "rejected": dict(sorted(rejected.items())),
            **{name: counts[name] for name in ("invalid_books", "late_events", "duplicate_trades", "bad_trades")},
            **{name: counts[name] for name in ("hf_rows", "bar_rows", "open_bars", "symbols")},
            "bytes": self._bytes,
            "seconds": round(seconds, 3),
        }

    def close(self) -> None:
        """End; what was not committed is lost."""
        self.crew.close()
        self._rejects.close()

    def _settle(self, done: Iterable[Done]) -> None:
        for chunk, rejected in done:
            self._rejects.add(reject_line(line, chunk.origin(line.line)) for line in rejected)
