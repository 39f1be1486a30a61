"""Sorted files -> one sorted stream of rows, within bounded memory.

Of each file no more is in memory than the row group being merged, and a file is not touched before the merge reaches
its first row: files that follow one another in time are read one after the other. Where too many rows would be in
memory, because many files overlap, runs of files are merged into intermediate files first.
"""

import bisect
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from streamproc.parquet.files import write_file
from streamproc.parquet.footer import unreadable
from streamproc.parquet.sorting import SORTED_BY, sort_rows

ROW_GROUPS_IN_MEMORY = 8
"""Rows in memory during a merge, as a multiple of the rows of an output's row group."""

SortKey = tuple[Any, ...]
"""Values of the columns of `SORTED_BY` that a file has; a time as ms."""
RowFilter = Callable[[pa.Table], pa.Table]


def _unfiltered(rows: pa.Table) -> pa.Table:
    return rows


class SortedFile:
    """A file sorted by `SORTED_BY`, read row group by row group; open only while one is read.

    Parameters
    ----------
    keep : drops rows of a row group that are not wanted.
    """

    def __init__(self, path: Path, keep: RowFilter = _unfiltered) -> None:
        self.path = path
        self._keep = keep
        try:
            metadata = pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error) from error
        names = metadata.schema.names
        self._sorted_by = [name for name in SORTED_BY if name in names]
        columns = [names.index(name) for name in self._sorted_by]
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        self._lows = [_bound(group, columns, "min_raw") for group in groups]
        self.span = (min(self._lows), max(_bound(group, columns, "max_raw") for group in groups))
        """A lower and an upper bound of its keys."""
        self.group_rows: int = max(group.num_rows for group in groups)
        self._next = 0
        self._held: pa.Table | None = None
        self._held_from: SortKey = ()

    @property
    def unread_from(self) -> SortKey | None:
        """A lower bound of the keys not read yet; None when all are read."""
        if self._next == len(self._lows):
            return None
        low = self._lows[self._next]
        return max(low, self._key(len(self._held) - 1)) if self._held else low

    @property
    def is_empty(self) -> bool:
        """Whether all rows read so far are taken."""
        return self._held is None

    def read_on(self) -> None:
        """Read the next row group."""
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                rows = self._keep(file.read_row_group(self._next))
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.path, error) from error
        self._next += 1
        self._hold(pa.concat_tables([self._held, rows]) if self._held else rows)

    def take_below(self, bound: SortKey | None) -> pa.Table | None:
        """Rows read and not yet taken whose key is less than `bound` (None: all); None when there are none."""
        rows = self._held
        if not rows or (bound is not None and bound <= self._held_from):
            return None
        count = len(rows) if bound is None else bisect.bisect_left(range(len(rows)), bound, key=self._key)
        self._hold(rows.slice(count))
        return rows.slice(0, count)

    def _hold(self, rows: pa.Table) -> None:
        self._held = rows or None
        self._held_from = self._key(0) if rows else ()

    def _key(self, row: int) -> SortKey:
        assert self._held is not None
        cells = (self._held[name][row] for name in self._sorted_by)
        return tuple(cell.value if pa.types.is_timestamp(cell.type) else cell.as_py() for cell in cells)


def _bound(group: Any, columns: Sequence[int], side: str) -> SortKey:
    values = (getattr(group.column(column).statistics, side) for column in columns)
    return tuple(value.decode() if isinstance(value, bytes) else value for value in values)


def merged(files: Sequence[SortedFile]) -> Iterator[pa.Table]:
    """All rows in sorted order, in pieces; equal ones in the order of the files."""
    unread = [(file.unread_from, i) for i, file in enumerate(files)]
    heapq.heapify(unread)
    held: set[int] = set()
    while unread:
        _, i = heapq.heappop(unread)
        files[i].read_on()
        held.add(i)
        if files[i].unread_from is not None:
            heapq.heappush(unread, (files[i].unread_from, i))
        bound = unread[0][0] if unread else None
        parts = [(i, files[i].take_below(bound)) for i in sorted(held)]
        held.difference_update(i for i, _ in parts if files[i].is_empty)
        taken = [rows for _, rows in parts if rows]
        if taken:
            yield sort_rows(pa.concat_tables(taken))


def row_groups(pieces: Iterable[pa.Table], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `rows`; the last one may be smaller."""
    held: list[pa.Table] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        while count >= rows:
            table = pa.concat_tables(held)
            yield _batch(table.slice(0, rows))
            held, count = [table.slice(rows)], count - rows
    if count:
        yield _batch(pa.concat_tables(held))


def _batch(table: pa.Table) -> pa.RecordBatch:
    [batch] = table.combine_chunks().to_batches()
    return batch


def merge(
    files: Sequence[SortedFile], output: Path, schema: pa.Schema, group_rows: int, compression_level: int
) -> None:
    """Merge files of one schema into `output`; intermediate files lie beside it, as `<its name>.<n>.part`."""

    def write(inputs: Sequence[SortedFile], path: Path) -> None:
        write_file(path, schema, row_groups(merged(inputs), group_rows), compression_level)

    runs, parts = list(files), 0
    while len(runs) > 2 and _rows_at_once(runs) > ROW_GROUPS_IN_MEMORY * group_rows:
        longer = []
        for run in _runs(runs, ROW_GROUPS_IN_MEMORY * group_rows):
            path = output.with_name(f"{output.name}.{parts}.part")
            parts += 1
            write(run, path)
            longer.append(SortedFile(path))
        _delete(runs, files)
        runs = longer
    write(runs, output)
    _delete(runs, files)


def _delete(runs: Sequence[SortedFile], inputs: Sequence[SortedFile]) -> None:
    for run in set(runs).difference(inputs):
        run.path.unlink()


def _rows_at_once(files: Sequence[SortedFile]) -> int:
    """Most rows in memory when these are merged: the row groups of all files around one key."""
    edges = [(file.span[0], 0, file.group_rows) for file in files]
    edges += [(file.span[1], 1, -file.group_rows) for file in files]
    rows = most = 0
    for _, _, change in sorted(edges):
        rows += change
        most = max(most, rows)
    return most


def _runs(files: Sequence[SortedFile], rows: int) -> Iterator[list[SortedFile]]:
    """Neighbours that can be merged with so many rows in memory, but at least two (save the last)."""
    run: list[SortedFile] = []
    for file in files:
        if len(run) > 1 and sum(each.group_rows for each in run) + file.group_rows > rows:
            yield run
            run = []
        run.append(file)
    yield run
