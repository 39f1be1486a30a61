"""Standard input as pieces: a thread waits for its lines, so that commits need not."""

import threading
from collections.abc import Callable, Iterator
from queue import Empty, Queue

from streamproc.kafka.publish.pieces import Piece, pieces_of
from streamproc.local.inputs import Source
from streamproc.local.sources import Chunk, LineReader
from streamproc.observe.progress import Progress

READ_BYTES = 1 << 20
QUEUED_CHUNKS = 8
WAIT_S = 0.02
"""How long the line that is to come is waited for before others get their turn."""


class _End:
    """The end of the input, and what is to be said of it."""

    def __init__(self, warning: str = "", error: Exception | None = None) -> None:
        self.warning = warning
        self.error = error


class StdinReader:
    """Reads standard input beside the publisher, a few megabytes ahead.

    Parameters
    ----------
    source : of the descriptor.
    chunk_bytes : lines that come within `delay_s` are taken together, up to so many bytes.
    clock : s, monotonic.
    """

    def __init__(self, source: Source, chunk_bytes: int, delay_s: float, clock: Callable[[], float]) -> None:
        self._source = source
        self._chunk_bytes = chunk_bytes
        self._delay_s = delay_s
        self._clock = clock
        self._queue: Queue[Chunk | _End] = Queue(QUEUED_CHUNKS)

    def pieces(self, progress: Progress) -> Iterator[Piece | None]:
        """All lines to the end of the input, an unterminated last one too; None while none has come."""
        threading.Thread(target=self._read, name="stdin", daemon=True).start()
        while True:
            chunks, end = self._gathered()
            if chunks:
                for piece in pieces_of(_joined(chunks)):
                    yield piece
                    progress.advance(len(piece.data), piece.lines)
            elif end is None:
                yield None
            if end is not None and end.error is not None:
                raise end.error
            if end is not None:
                if end.warning:
                    progress.warn(end.warning)
                return

    def _gathered(self) -> tuple[list[Chunk], _End | None]:
        """What has come, or comes soon after."""
        chunks: list[Chunk] = []
        size, wait_s, until_s = 0, WAIT_S, 0.0
        while size < self._chunk_bytes and wait_s > 0:
            try:
                item = self._queue.get(timeout=wait_s)
            except Empty:
                break
            if isinstance(item, _End):
                return chunks, item
            until_s = until_s or self._clock() + self._delay_s
            chunks.append(item)
            size += item.size
            wait_s = until_s - self._clock()
        return chunks, None

    def _read(self) -> None:
        try:
            with LineReader(self._source, chunk_bytes=min(self._chunk_bytes, READ_BYTES)) as reader:
                while (chunk := reader.read() or reader.take_tail()) is not None:
                    self._queue.put(_copied(chunk))
                self._queue.put(_End(reader.warning))
        except Exception as error:
            self._queue.put(_End(error=error))


def _copied(chunk: Chunk) -> Chunk:
    data = chunk.data[: chunk.size]
    return Chunk(data, chunk.size, chunk.lines, chunk.path, chunk.first_line, chunk.offset)


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    data = bytearray().join(chunk.data for chunk in chunks)
    first = chunks[0]
    return Chunk(data, len(data), sum(chunk.lines for chunk in chunks), first.path, first.first_line, first.offset)
