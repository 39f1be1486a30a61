"""Several inputs as one, by the time their lines were collected: for recorders that write books and trades apart.

The order is that of (key, input, line). A line's key is the largest `collected_at` of its file up to and with that
line, so no file's own order changes; ties go by the order of the inputs. How the files are read does not matter.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamproc.jit import kernel
from streamproc.local.collected_at import line_times
from streamproc.local.sources import NO_KEY, Chunk, LineReader, Position, tail_is_complete_json_object

MEMORY_BYTES = 16 << 20
_SMALL_CHUNK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class MergedChunk:
    """Whole lines of several sources. `data` belongs to the merge and is good until its next `read`."""

    data: bytearray
    """Of this the first `size` bytes count; the last of them is a newline."""
    size: int
    lines: int
    order: NDArray[np.intp]
    """(lines,) which of the runs' lines, laid end to end, stands at each place."""
    runs: tuple["Run", ...]
    """Where the lines come from, input by input."""

    def origin(self, line_index: int) -> str:
        """Where line `line_index` (from 0) of the chunk comes from: `path:line`."""
        place = int(self.order[line_index])
        run = self.runs[bisect_right(self.runs, place, key=lambda run: run.start) - 1]
        return f"{run.path}:{run.first_line + place - run.start}"


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive lines of one input within a merged chunk."""

    path: str
    first_line: int
    start: int
    """Lines of the chunk that stand in earlier runs."""


class MergedReader:
    """Interleaves readers by `collected_at`. `read` gives None when all of them are at their present end.

    A reader that has no more at that moment is out until then; lines that come later are merged from there on.

    Parameters
    ----------
    readers : the inputs, in the order that ties go by; they are the merge's own from now on.
    keys : largest `collected_at` given out before, of each reader, in ms.
    memory_bytes : about what the lines in waiting may take, shared out by how fast the inputs are used up.
    accept_tail : whether an unterminated last line is to be taken as it is.
    """

    def __init__(
        self,
        readers: Sequence[LineReader],
        *,
        keys: Sequence[int] | None = None,
        memory_bytes: int = MEMORY_BYTES,
        accept_tail: Callable[[bytes], bool] = tail_is_complete_json_object,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._accept_tail = accept_tail
        keys = [NO_KEY] * len(readers) if keys is None else keys
        self._lanes = [_Lane(reader, key) for reader, key in zip(readers, keys, strict=True)]
        self._out = bytearray(0)

    @classmethod
    def open(
        cls,
        positions: Sequence[Position],
        *,
        memory_bytes: int = MEMORY_BYTES,
        accept_tail: Callable[[bytes], bool] = tail_is_complete_json_object,
        hashing: bool = False,
    ) -> Self:
        """A merge that begins at, or goes on from, these positions."""
        readers: list[LineReader] = []
        try:
            for position in positions:
                readers.append(
                    LineReader(position.source, offset=position.offset, first_line=position.first_line, hashing=hashing)
                )
        except BaseException:
            for reader in readers:
                reader.close()
            raise
        keys = [position.key for position in positions]
        return cls(readers, keys=keys, memory_bytes=memory_bytes, accept_tail=accept_tail)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all readers."""
        for lane in self._lanes:
            lane.reader.close()

    def read(self) -> MergedChunk | None:
        """The next lines in merged order, or None at the present end of all inputs."""
        for lane in self._lanes:
            if not lane.waiting and not lane.ended:
                lane.refill(self._share(lane), self._accept_tail)
        due = self._due()
        if not due:
            for lane in self._lanes:
                lane.ended = False
            return None
        return self._interleave(due)

    @property
    def readers(self) -> list[LineReader]:
        """The inputs; what they have given out is more than the merge has: see `positions`."""
        return [lane.reader for lane in self._lanes]

    @property
    def warnings(self) -> list[str]:
        """Warnings of the readers that have one."""
        return [lane.reader.warning for lane in self._lanes if lane.reader.warning]

    def positions(self) -> list[Position]:
        """Up to where each input has been given out, in the order of the readers; held lines are not given out."""
        return [lane.position() for lane in self._lanes]

    def _share(self, lane: "_Lane") -> int:
        """Bytes that `lane` may read now: as large a part of the memory as it has of what was given out lately."""
        small = min(_SMALL_CHUNK_BYTES, self._memory_bytes // len(self._lanes))
        used = sum(other.used_bytes for other in self._lanes)
        part = lane.used_bytes / used if used else 1 / len(self._lanes)
        free = self._memory_bytes - sum(other.held_bytes for other in self._lanes if other is not lane)
        return max(small, min(int(self._memory_bytes * part), free))

    def _due(self) -> list[tuple["_Lane", int]]:
        """How many waiting lines of each input come before everything that is still to be read.

        That is what is not behind the last line held of any reader that may have more.
        """
        limits = [(lane.last_key, index) for index, lane in enumerate(self._lanes) if not lane.ended]
        if not limits:
            return [(lane, lane.waiting) for lane in self._lanes if lane.waiting]
        limit, limiting = min(limits)
        counts = ((lane, lane.count_up_to(limit, index <= limiting)) for index, lane in enumerate(self._lanes))
        return [(lane, count) for lane, count in counts if count]

    def _interleave(self, due: list[tuple["_Lane", int]]) -> MergedChunk:
        keys = np.concatenate([lane.keys[lane.next : lane.next + count] for lane, count in due])
        sizes = np.concatenate([np.diff(lane.bounds[lane.next : lane.next + count + 1]) for lane, count in due])
        order = np.argsort(keys, kind="stable")
        ends = np.cumsum(sizes[order])
        total = int(ends[-1])
        places = np.empty_like(sizes)
        places[order] = ends - sizes[order]
        if not total <= len(self._out) <= 2 * max(total, self._memory_bytes):
            self._out = bytearray(total)
        out = np.frombuffer(self._out, np.uint8)
        runs = []
        start = 0
        for lane in self._lanes:
            lane.used_bytes >>= 1  # what is long past counts less and less
        for lane, count in due:
            runs.append(Run(lane.reader.source.name, lane.next_line, start))
            _copy_lines(lane.data, lane.bounds, lane.next, places[start : start + count], out)
            lane.give(count)
            start += count
        return MergedChunk(self._out, total, start, order, tuple(runs))


class _Lane:
    """One input of a merge: its reader, and the lines of the reader's chunk that have not been given out."""

    def __init__(self, reader: LineReader, key: int) -> None:
        self.reader = reader
        self.ended = False
        """At its end, as far as this pass of the merge goes."""
        self.keys = np.empty(0, np.int64)
        self.bounds = np.zeros(1, np.int64)
        """Line i of the chunk is data[bounds[i]:bounds[i + 1]]."""
        self.data = np.empty(0, np.uint8)
        self.next = 0
        """The first line of the chunk that has not been given out."""
        self.used_bytes = 0
        """Given out lately."""
        self.last_key = key
        self._given_key = key
        self._chunk: Chunk | None = None
        self._hash = reader.lend_hash()

    @property
    def waiting(self) -> int:
        """Lines held."""
        return len(self.keys) - self.next

    @property
    def held_bytes(self) -> int:
        """Size of the chunk in hand, as long as there are lines in it to come."""
        return self._chunk.size if self._chunk is not None and self.waiting else 0

    @property
    def next_line(self) -> int:
        """Number, in its file, of the next line to be given out."""
        line = self.reader.next_line
        return line if self._chunk is None else min(line, self._chunk.first_line + self.next)

    def refill(self, chunk_bytes: int, accept_tail: Callable[[bytes], bool]) -> None:
        """Read the next chunk; at the end of the file the tail, where it is accepted."""
        self.reader.chunk_bytes = chunk_bytes
        chunk = self.reader.read()
        if chunk is None:
            self.ended = True
            tail = self.reader.tail
            chunk = self.reader.take_tail() if tail and accept_tail(tail) else None
        self._chunk = chunk
        self.next = 0
        if chunk is None:
            self.keys, self.bounds = np.empty(0, np.int64), np.zeros(1, np.int64)
            return
        self.data = np.frombuffer(chunk.data, np.uint8)
        self.bounds, times = line_times(self.data, chunk.size, chunk.lines)
        times[0] = max(times[0], self.last_key)
        self.keys = np.maximum.accumulate(times)
        self.last_key = int(self.keys[-1])

    def count_up_to(self, key: int, inclusive: bool) -> int:
        """Waiting lines before `key`, or up to and with it."""
        if not self.waiting or self.keys[self.next] > key:
            return 0
        return int(np.searchsorted(self.keys[self.next :], key, side="right" if inclusive else "left"))

    def give(self, count: int) -> None:
        """Take note that the next `count` lines are given out."""
        before = self._offset()
        start = int(self.bounds[self.next])
        self.next += count
        size = self._offset() - before
        self.used_bytes += size
        self._given_key = int(self.keys[self.next - 1])
        if self._hash is not None:
            self._hash.update(self.data.data[start : start + size])

    def position(self) -> Position:
        """Up to where this input has been given out."""
        digest = self._hash.hexdigest() if self._hash is not None else ""
        return Position(self.reader.source, self._offset(), self.next_line, self._given_key, digest)

    def _offset(self) -> int:
        """The reader's offset bounds it: the newline added to a tail is no content."""
        offset = self.reader.offset
        return offset if self._chunk is None else min(offset, self._chunk.offset + int(self.bounds[self.next]))


@kernel
def _copy_lines(data: Any, bounds: Any, first: int, places: Any, out: Any) -> None:
    """Copy the lines of `data` from `first` on to their `places`; neighbours that stay so go in one piece."""
    count = places.size
    line = 0
    while line < count:
        begin = bounds[first + line]
        place = places[line]
        line += 1
        while line < count and places[line] - place == bounds[first + line] - begin:
            line += 1
        size = bounds[first + line] - begin
        source = data[begin : begin + size]
        target = out[place : place + size]
        for i in range(size):  # four times as fast as assigning the slice
            target[i] = source[i]
