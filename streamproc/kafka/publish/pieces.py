"""What readers hand to the publisher: some whole lines with their times and their place."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamproc.kafka.publish.progress import Bookmark
from streamproc.local.collected_at import line_times
from streamproc.local.sources import Chunk

PIECE_LINES = 16_384
"""Most lines of a piece: bounds the memory that very short ones take."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of one input, good until the next one is asked for."""

    data: NDArray[np.uint8]
    """Their bytes, newlines included."""
    bounds: NDArray[np.int64]
    """Line i is data[bounds[i] - bounds[0] : bounds[i + 1] - bounds[0]]."""
    times: NDArray[np.int64]
    """`collected_at` of each line in ms, `NO_KEY` where it has none."""
    path: str
    first_line: int
    """Number of the first line in the file, from 1."""
    offset: int
    """Place of the first byte in the decompressed content."""
    added: int = 0
    """1 where the last newline is no content, but was added."""
    place: Bookmark | None = None
    """Of the file that they are of; None for standard input, which has no progress."""

    @property
    def lines(self) -> int:
        return len(self.times)

    @property
    def next_line(self) -> int:
        """Number of the line that comes after them; what follows an unterminated one belongs to it."""
        return self.first_line + self.lines - self.added

    @property
    def content(self) -> memoryview:
        """Their bytes as they lie in the file."""
        return self.data.data[: len(self.data) - self.added]

    def part(self, first: int, end: int) -> "Piece":
        """Lines [first, end) of it."""
        start, stop = int(self.bounds[first] - self.bounds[0]), int(self.bounds[end] - self.bounds[0])
        return replace(
            self,
            data=self.data[start:stop],
            bounds=self.bounds[first : end + 1],
            times=self.times[first:end],
            first_line=self.first_line + first,
            offset=self.offset + start,
            added=self.added if end == self.lines else 0,
        )


def pieces_of(chunk: Chunk, place: Bookmark | None = None, *, unterminated: bool = False) -> Iterator[Piece]:
    """The lines of a chunk; `unterminated`: its newline was added by the reader."""
    data = np.frombuffer(chunk.data, np.uint8)[: chunk.size]
    data.flags.writeable = False  # one array type, one compiled kernel
    bounds, times = line_times(data, chunk.size, chunk.lines)
    whole = Piece(data, bounds, times, chunk.path, chunk.first_line, chunk.offset, int(unterminated), place)
    for first in range(0, chunk.lines, PIECE_LINES):
        yield whole.part(first, min(first + PIECE_LINES, chunk.lines))
