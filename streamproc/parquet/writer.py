"""Rows -> files of a partitioned table, within a fixed buffer; and the step that makes them visible."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from streamproc import schema
from streamproc.config import SinkConfig, StateConfig
from streamproc.crash import crash_point
from streamproc.errors import DataError
from streamproc.jit import kernel
from streamproc.parquet.files import cannot_write, fsync_files, fsync_folders, write_file
from streamproc.parquet.partition import MS_PER_DAY, date_of_day, folder
from streamproc.parquet.table import ColumnBlock, Key, Words
from streamproc.schema import SYMBOL_WORD, Stream

_DAYS = 1 << 20
"""More than the days of any event time, so that a symbol or exchange and a day fit into one number."""


class Pending(NamedTuple):
    """A file that is written and durable, but not yet where readers look."""

    staged: Path
    final: PurePosixPath
    """Where it belongs, relative to the output."""
    rows: int


class _Ranks(NamedTuple):
    """What the words of a row do not say, by symbol index."""

    partition: Words
    symbol: Words
    """Place of the symbol in the order of all symbols' texts."""


class _Slice(NamedTuple):
    """Rows of one partition: `order[start:end]` of the buffer."""

    start: int
    end: int


@kernel
def _move_to_front(words: Words, kept: Words) -> None:
    """words[i] = words[kept[i]] in place; `kept` ascending."""
    for i in range(kept.shape[0]):
        words[i, :] = words[kept[i], :]


class PartitionedWriter:
    """Collects rows of a stream and writes them as whole files under `staging`.

    Memory is `sink.buffer_rows` rows from the start, whatever comes. When they are full, the largest partitions are
    written until at least half of the rows are free again; small ones go on collecting. Each file is sorted by symbol,
    timestamp and duration; rows that are equal in these stay in the order of arrival. No file stays open.

    Parameters
    ----------
    stream, config : what the rows are.
    sink : partitioning, sizes and compression.
    staging : folder on the output's file system; a file lies at the same place below it as later below the output.
    stem : start of the file names, unique to this commit in the output. Names must sort in the order of commits
        (numbers padded), because the order of names decides between equal rows of different files.
    """

    def __init__(self, stream: Stream, config: StateConfig, sink: SinkConfig, staging: Path, stem: str) -> None:
        self._stream: Stream = stream
        self._sink = sink
        self._staging = staging
        self._timestamp_word = schema.word(stream, "timestamp")
        self._duration_word = schema.word("bars", "duration") if stream == "bars" else None
        self._words = np.empty((sink.buffer_rows, schema.width(stream, config)), np.int64)
        self._words.fill(0)  # so that the memory is taken now and not little by little
        self._used = 0
        capacity = min(sink.row_group_rows, sink.buffer_rows)
        self._block = ColumnBlock(stream, config, capacity, without=sink.partition_by)
        self._keys: Sequence[Key] = ()
        self._ranks = _Ranks(np.empty(0, np.int64), np.empty(0, np.int64))
        self._pending: list[Pending] = []
        self.begin(stem)

    def begin(self, stem: str) -> None:
        """Begin the next commit, after `finish`."""
        if self._used or self._pending:
            raise RuntimeError("begin() before finish(): rows would go into the files of another commit")
        self._stem = stem

    def add(self, words: Words, keys: Sequence[Key]) -> None:
        """Take rows in (copied).

        Parameters
        ----------
        words : shape (n, width), see `streamproc.schema`.
        keys : exchange and symbol by symbol index; may grow from call to call, never change.
        """
        self._keys = keys
        taken = 0
        while taken < len(words):
            count = min(len(words) - taken, len(self._words) - self._used)
            self._words[self._used : self._used + count] = words[taken : taken + count]
            self._used += count
            taken += count
            if self._used == len(self._words):
                self._write_largest()

    def finish(self, durable: bool = True) -> list[Pending]:
        """Write the rest; all files since `begin`, durable with their folders unless that is not wanted."""
        order, slices = self._partitions()
        for part in slices:
            self._write(order[part.start : part.end])
        self._used = 0
        pending, self._pending = self._pending, []
        if durable:
            fsync_files([file.final for file in pending], self._staging)
        return pending

    def _write_largest(self) -> None:
        order, slices = self._partitions()
        kept = np.ones(self._used, np.bool_)
        freed = 0
        for part in sorted(slices, key=lambda part: part.start - part.end):
            rows = order[part.start : part.end]
            self._write(rows)
            kept[rows] = False
            freed += len(rows)
            if 2 * freed >= self._used:
                break
        remaining = np.flatnonzero(kept)
        _move_to_front(self._words, remaining)
        self._used = len(remaining)

    def _partitions(self) -> tuple[Words, list[_Slice]]:
        """The buffer's rows in order of partition, symbol, timestamp, duration and arrival; the partitions in that."""
        rows = self._words[: self._used]
        if len(self._ranks.symbol) != len(self._keys):
            self._ranks = self._rank_keys()
        symbols = rows[:, SYMBOL_WORD]
        times = rows[:, self._timestamp_word]
        partitions = self._ranks.partition[symbols] * _DAYS + times // MS_PER_DAY
        by = [times, self._ranks.symbol[symbols], partitions]
        if self._duration_word is not None:
            by.insert(0, rows[:, self._duration_word])  # positive doubles sort as their bits do
        order = np.lexsort(by)
        edges = np.flatnonzero(np.diff(partitions[order])) + 1
        ends = [*edges.tolist(), len(order)]
        return order, [_Slice(start, end) for start, end in zip([0, *edges.tolist()], ends, strict=True) if end > start]

    def _rank_keys(self) -> _Ranks:
        exchanges, symbols = (list(texts) for texts in zip(*self._keys, strict=True))
        if "symbol" in self._sink.partition_by:
            partition = np.arange(len(self._keys))
        else:
            partition = np.unique(np.array(exchanges, object), return_inverse=True)[1]
        return _Ranks(partition, np.unique(np.array(symbols, object), return_inverse=True)[1])

    def _write(self, rows: Words) -> None:
        """Write one partition's rows (their places in the buffer, sorted) as a file."""
        final = self._folder(int(rows[0])) / f"{self._stem}-{len(self._pending):06d}.parquet"
        staged = self._staging / final
        write_file(staged, self._block.schema, self._batches(rows), self._sink.compression_level)
        self._pending.append(Pending(staged, final, len(rows)))

    def _batches(self, rows: Words) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), self._block.capacity):
            yield self._block.batch(self._words, rows[start : start + self._block.capacity], self._keys)

    def _folder(self, row: int) -> PurePosixPath:
        exchange, symbol = self._keys[self._words[row, SYMBOL_WORD]]
        date = date_of_day(int(self._words[row, self._timestamp_word]) // MS_PER_DAY)
        values = {"exchange": exchange, "symbol": symbol, "date": date}
        return self._stream / folder({key: values[key] for key in self._sink.partition_by})


def publish(pending: Iterable[Pending], output: Path) -> None:
    """Move finished files to where readers look, durably; doing it again after a crash in the middle is harmless.

    A staged file that is gone counts as moved when its final file is there, or when its staging folder is: then
    `compact` has merged the final file meanwhile. So a staging folder may be removed only when no commit lists its
    files any more.

    Raises
    ------
    DataError : a file cannot be moved, is lost, or would replace another.
    """
    files = list(pending)
    for file in files:
        final = output / file.final
        if file.staged.exists():
            if final.exists():
                raise DataError(
                    "another file of this name is there already",
                    where=str(final),
                    hint="two states may not write to one output; choose another output or move that file away",
                )
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file.staged, final)
            except OSError as error:
                raise cannot_write(final, error) from error
            crash_point("publish.after_rename")
        elif not (final.exists() or file.staged.parent.is_dir()):
            raise DataError(
                f"the file with {file.rows} committed rows is gone",
                where=str(file.staged),
                hint="put it back, or start afresh with an empty state and output",
            )
    present = [file.final for file in files if (output / file.final.parent).is_dir()]
    fsync_folders(present, output)
