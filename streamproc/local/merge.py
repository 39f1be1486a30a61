"""Several inputs as one, by the time their lines were collected: for recorders that write books and trades apart.

The order is that of (key, input, line). A line's key is the largest `collected_at` of its file up to and with that
line, so no file's own order changes; ties go by the order of the inputs. How the files are read does not matter.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamproc.jit import kernel
from streamproc.local.collected_at import line_times
from streamproc.local.sources import NO_KEY, Chunk, LineReader, Position, tail_is_complete_json_object

MEMORY_BYTES = 16 << 20
_SMALL_CHUNK_BYTES = 64 << 10
_LINE_BYTES = 64  # as short as lines are taken to be where room for their keys is set aside


class MergedChunk:
    """Whole lines of several sources. `data` belongs to the merge and is good until its next `read`.

    Parameters
    ----------
    data : of this the first `size` bytes count; the last of them is a newline.
    inputs : (lines,) which input each line comes from.
    paths, first_lines : name of each input, and the number of its first line that is in here.
    """

    def __init__(
        self, data: bytearray, size: int, inputs: NDArray[np.int64], paths: Sequence[str], first_lines: Sequence[int]
    ) -> None:
        self.data = data
        self.size = size
        self.lines = len(inputs)
        self._inputs = inputs
        self._paths = paths
        self._first_lines = first_lines
        self._numbers: NDArray[np.int64] | None = None

    def origin(self, line_index: int) -> str:
        """Where line `line_index` (from 0) of the chunk comes from: `path:line`."""
        if self._numbers is None:
            self._numbers = _line_numbers(self._inputs, np.array(self._first_lines, np.int64))
        return f"{self._paths[self._inputs[line_index]]}:{self._numbers[line_index]}"


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
        lines = max(1, memory_bytes // _LINE_BYTES)
        self._waiting = _Waiting.of(len(readers), max(1, lines // max(1, len(readers))))
        self._lanes = [_Lane(*each, self._waiting, n) for n, each in enumerate(zip(readers, keys, strict=True))]
        self._inputs = np.empty(lines, np.int64)
        self._chunk_bytes = max(1, memory_bytes // 4)
        self._out = bytearray(self._chunk_bytes)
        self._held_bytes = self._used_bytes = 0

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
            for source, offset, first_line, *_ in positions:
                readers.append(LineReader(source, offset=offset, first_line=first_line, hashing=hashing))
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
        self._used_bytes = 0
        for lane in self._lanes:
            lane.used_bytes >>= 1  # what is long past counts less and less
            self._used_bytes += lane.used_bytes
            if lane.is_used_up and not lane.ended:
                self._refill(lane)
        first_lines = [lane.next_line for lane in self._lanes]
        size, lines = self._fill()
        if not lines:
            for lane in self._lanes:
                lane.ended = False
            return None
        paths = [lane.reader.source.name for lane in self._lanes]
        return MergedChunk(self._out, size, self._inputs[:lines].copy(), paths, first_lines)

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

    def _fill(self) -> tuple[int, int]:
        """Fill the output with lines in order: its bytes and lines."""
        if len(self._out) > self._chunk_bytes:  # a long line's
            self._out = bytearray(self._chunk_bytes)
        size = lines = 0
        while True:
            used_up, size, lines = _order(*self._waiting, self._inputs, size, lines, len(self._out))
            if used_up >= 0:
                lane = self._lanes[used_up]
                lane.hand_over(self._out)
                if not lane.ended:
                    self._refill(lane)
            elif lines or not size:
                break
            else:  # a line of `size` bytes, too long for the output
                self._out, size = bytearray(size), 0
        for lane in self._lanes:
            lane.hand_over(self._out)
        return size, lines

    def _refill(self, lane: "_Lane") -> None:
        """Give `lane` as large a part of the memory as it has of what was given out lately."""
        self._held_bytes -= lane.held_bytes
        small = min(_SMALL_CHUNK_BYTES, self._memory_bytes // len(self._lanes))
        part = lane.used_bytes / self._used_bytes if self._used_bytes else 1 / len(self._lanes)
        free = self._memory_bytes - self._held_bytes
        lane.refill(max(small, min(int(self._memory_bytes * part), free)), self._accept_tail)
        self._held_bytes += lane.held_bytes


class _Waiting(NamedTuple):
    """The next lines of each input, as the kernel needs them: rows are inputs, columns lines."""

    keys: NDArray[np.int64]
    sizes: NDArray[np.int64]
    """Bytes, the newline included."""
    places: NDArray[np.int64]
    """Where in the output a line goes, once it has its turn."""
    heads: NDArray[np.int64]
    """(inputs,) the next line to have its turn; those before it had theirs."""
    stops: NDArray[np.int64]
    """(inputs,) how many lines there are."""
    heap: NDArray[np.int64]
    """(inputs,) the kernel's own."""

    @classmethod
    def of(cls, inputs: int, lines: int) -> "_Waiting":
        shape = inputs, lines
        tables = (np.zeros(shape, np.int64) for _ in range(3))
        return cls(*tables, *(np.zeros(inputs, np.int64) for _ in range(3)))


class _Lane:
    """One input of a merge: its reader, the reader's chunk, and the part of its lines that is in `_Waiting`."""

    def __init__(self, reader: LineReader, key: int, waiting: _Waiting, row: int) -> None:
        self.reader = reader
        self.ended = False
        """At its end, as far as this pass of the merge goes."""
        self.used_bytes = 0
        """Given out lately."""
        self._waiting = waiting
        self._row = row
        self._first = self._handed_over = 0
        """Lines of the chunk before those in `_Waiting`, and lines that were copied to the output."""
        self._keys = np.empty(0, np.int64)
        self._bounds = np.zeros(1, np.int64)
        self._data = np.empty(0, np.uint8)
        self._chunk: Chunk | None = None
        self._last_key = self._given_key = key
        self._hash = reader.lend_hash()

    @property
    def is_used_up(self) -> bool:
        """Whether no line waits."""
        return bool(self._waiting.heads[self._row] == self._waiting.stops[self._row])

    @property
    def held_bytes(self) -> int:
        """Size of the chunk in hand."""
        return self._chunk.size if self._chunk is not None else 0

    @property
    def next_line(self) -> int:
        """Number, in its file, of the next line to be given out."""
        line = self.reader.next_line
        return line if self._chunk is None else min(line, self._chunk.first_line + self._handed_over)

    def refill(self, chunk_bytes: int, accept_tail: Callable[[bytes], bool]) -> None:
        """Let more lines wait: of the chunk, else of the next one; at the end of the file the tail, where accepted."""
        if self._handed_over == len(self._keys):
            self.reader.chunk_bytes = chunk_bytes
            self._chunk = self._next_chunk(accept_tail)
            self._take_lines(self._chunk)
        self._first = first = self._handed_over
        stop = min(first + self._waiting.keys.shape[1], len(self._keys))
        self._waiting.keys[self._row, : stop - first] = self._keys[first:stop]
        self._waiting.sizes[self._row, : stop - first] = np.diff(self._bounds[first : stop + 1])
        self._waiting.heads[self._row] = 0
        self._waiting.stops[self._row] = stop - first

    def hand_over(self, out: bytearray) -> None:
        """Copy the lines that had their turn to their places in the output."""
        done = self._first + int(self._waiting.heads[self._row])
        if done == self._handed_over:
            return
        start = self._offset()
        places = self._waiting.places[self._row, self._handed_over - self._first : done - self._first]
        _copy_lines(self._data, self._bounds, self._handed_over, places, np.frombuffer(out, np.uint8))
        begin = int(self._bounds[self._handed_over])
        self._handed_over = done
        self._given_key = int(self._keys[done - 1])
        size = self._offset() - start
        self.used_bytes += size
        if self._hash is not None:
            self._hash.update(self._data.data[begin : begin + size])

    def position(self) -> Position:
        """Up to where this input has been given out."""
        digest = self._hash.hexdigest() if self._hash is not None else ""
        return Position(self.reader.source, self._offset(), self.next_line, self._given_key, digest)

    def _offset(self) -> int:
        """The reader's offset bounds it: the newline added to a tail is no content."""
        offset = self.reader.offset
        return offset if self._chunk is None else min(offset, self._chunk.offset + int(self._bounds[self._handed_over]))

    def _next_chunk(self, accept_tail: Callable[[bytes], bool]) -> Chunk | None:
        chunk = self.reader.read()
        if chunk is None:
            self.ended = True
            tail = self.reader.tail
            return self.reader.take_tail() if tail and accept_tail(tail) else None
        return chunk

    def _take_lines(self, chunk: Chunk | None) -> None:
        self._handed_over = 0
        if chunk is None:
            self._keys, self._bounds = np.empty(0, np.int64), np.zeros(1, np.int64)
            return
        self._data = np.frombuffer(chunk.data, np.uint8)
        self._bounds, times = line_times(self._data, chunk.size, chunk.lines)
        times[0] = max(times[0], self._last_key)
        self._keys = np.maximum.accumulate(times)
        self._last_key = int(self._keys[-1])


def _line_numbers(inputs: NDArray[np.int64], first_lines: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of each line in its file: the lines of one input follow each other."""
    by_input = np.argsort(inputs, kind="stable")
    counts = np.bincount(inputs, minlength=len(first_lines))
    numbers = np.empty_like(inputs)
    numbers[by_input] = np.arange(len(inputs)) - np.repeat(np.cumsum(counts) - counts - first_lines, counts)
    return numbers


@kernel
def _order(
    keys: Any, sizes: Any, places: Any, heads: Any, stops: Any, heap: Any, inputs: Any, size: int, lines: int, room: int
) -> tuple[int, int, int]:
    """Give lines their turn, and their places in an output that holds `lines` lines of `size` bytes already.

    Returns the input whose waiting lines are used up, or -1 when no line waits or the next one finds no room, and the
    new `size` and `lines`. For a line longer than an empty output `size` is what it needs and `lines` is 0.
    """
    waiting = 0
    for row in range(heads.size):
        if heads[row] < stops[row]:
            heap[waiting] = row
            waiting += 1
    for node in range(waiting // 2 - 1, -1, -1):
        _sift_down(heap, waiting, node, keys, heads)
    while waiting > 0 and lines < inputs.size:
        row = heap[0]
        head = heads[row]
        more = sizes[row, head]
        if size + more > room:
            return -1, (size if lines > 0 else more), lines
        places[row, head] = size
        inputs[lines] = row
        size += more
        lines += 1
        heads[row] = head + 1
        if head + 1 == stops[row]:
            return row, size, lines
        _sift_down(heap, waiting, 0, keys, heads)
    return -1, size, lines


@kernel
def _sift_down(heap: Any, count: int, node: int, keys: Any, heads: Any) -> None:
    """Restore the heap of inputs, the one whose next line comes first on top, below a node that has changed."""
    row = heap[node]
    key = keys[row, heads[row]]
    while 2 * node + 1 < count:
        child = 2 * node + 1
        lesser = heap[child]
        lesser_key = keys[lesser, heads[lesser]]
        if child + 1 < count:
            other = heap[child + 1]
            other_key = keys[other, heads[other]]
            if other_key < lesser_key or (other_key == lesser_key and other < lesser):
                child, lesser, lesser_key = child + 1, other, other_key
        if key < lesser_key or (key == lesser_key and row < lesser):
            break
        heap[node] = lesser
        node = child
    heap[node] = row


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
