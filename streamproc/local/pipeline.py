"""The engine and its writers: chunks of lines in, finished files and changed state out."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from streamproc.config import Settings
from streamproc.engine import Batch, Engine, Rejected
from streamproc.engine.engine import Buffer
from streamproc.local.idle import IdleClock
from streamproc.parquet.writer import PartitionedWriter, Pending
from streamproc.state.snapshot import Changes


class Tally(NamedTuple):
    """What a pipeline has done since it began, counted; tallies of several add up."""

    counts: Counter[str]
    rejected: Counter[str]

    def __add__(self, other: object) -> "Tally":
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(self.counts + other.counts, self.rejected + other.rejected)


class Pipeline:
    """One engine with a writer for each stream, both staging under one folder."""

    def __init__(self, settings: Settings, staging: Path, stem: str) -> None:
        self._engine = Engine(settings.state)
        self._hf = PartitionedWriter("hf", settings.state, settings.sink, staging, stem)
        self._bars = PartitionedWriter("bars", settings.state, settings.sink, staging, stem)
        self._rows: Counter[str] = Counter()
        self._idle = IdleClock()

    def take(self, data: Buffer, size: int) -> list[Rejected]:
        """Whole lines into rows; the rejected ones, by their place among the lines."""
        return self._write(self._engine.feed(data, size))

    def flush(self) -> None:
        """Close all open bars."""
        self._write(self._engine.flush())

    def pass_time(self, now_ms: int, caught_up: bool) -> None:
        """Let idle time pass, see `IdleClock`, and close the bars of symbols that have been silent long enough."""
        idle_ms = self._idle.pass_time(now_ms, caught_up, self._engine.arrived(), len(self._engine.symbols.keys))
        if caught_up:
            self._write(self._engine.close_idle(idle_ms))

    def finish(self) -> list[Pending]:
        """Everything since `begin` as durable files."""
        return self._hf.finish() + self._bars.finish()

    def begin(self, stem: str) -> None:
        """Begin the next commit."""
        self._hf.begin(stem)
        self._bars.begin(stem)

    def changes(self) -> Changes:
        """State changed since the last call."""
        return self._engine.changes()

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over stored state, before anything else."""
        self._engine.restore(entries)

    def tally(self) -> Tally:
        """What was done so far."""
        counts = Counter(self._engine.counts) + self._rows
        counts["open_bars"] = self._engine.open_bars
        return Tally(counts, Counter(self._engine.reasons))

    def _write(self, batch: Batch) -> list[Rejected]:
        keys = self._engine.symbols.keys
        if len(batch.hf):
            self._hf.add(batch.hf, keys)
        if len(batch.bars):
            self._bars.add(batch.bars, keys)
        self._rows["hf_rows"] += len(batch.hf)
        self._rows["bar_rows"] += len(batch.bars)
        return batch.rejected
