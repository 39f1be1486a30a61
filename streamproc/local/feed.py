"""The inputs of a run as one stream of chunks, and how far each has been given out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from streamproc.local.inputs import Identity, identity
from streamproc.local.merge import MergedChunk, MergedReader
from streamproc.local.sources import Chunk, LineReader, Position, tail_is_complete_json_object
from streamproc.observe.stop import InterruptedWaitError, StopRequest


class Given(NamedTuple):
    """How far an input has been given out."""

    position: Position
    before: Identity
    """What it was before it was read."""
    complete: bool
    """Whether nothing is left."""


class Feed:
    """Chunks of several inputs, one after the other or merged.

    Parameters
    ----------
    positions : where each input goes on.
    merge : interleave by `collected_at`.
    chunk_bytes : see `LineReader`.
    hashing : keep the hashes that positions carry.
    last : whether no growth can come, so that an unterminated last line is taken whatever it is.
    stop : ends the waiting for a pipe that is silent.
    """

    def __init__(
        self,
        positions: Sequence[Position],
        *,
        merge: bool,
        chunk_bytes: int,
        hashing: bool,
        last: bool,
        stop: StopRequest,
    ) -> None:
        self._positions = positions
        self._merge = merge
        self._chunk_bytes = chunk_bytes
        self._hashing = hashing
        self._stop = stop
        self._accept_tail: Callable[[bytes], bool] = (lambda tail: True) if last else tail_is_complete_json_object
        self._before = [_identity(position) for position in positions]
        self._current: tuple[LineReader, Identity | None] | None = None
        self._merged: MergedReader | None = None
        self._given: list[Given] = []
        self._done_disk_bytes = 0
        self.warnings: list[str] = []
        self.cut_short = False
        """Whether the stop came while waiting for a pipe."""

    @property
    def disk_bytes(self) -> int:
        """Bytes of the files read so far, packed as they are."""
        readers = self._merged.readers if self._merged else [self._current[0]] if self._current else []
        return self._done_disk_bytes + sum(reader.disk_bytes for reader in readers)

    def chunks(self) -> Iterator[Chunk | MergedChunk]:
        """All there is now. Each chunk must be done with before the next is asked for."""
        return self._merged_chunks() if self._merge else self._chunks()

    def given(self) -> list[Given]:
        """How far the inputs that were touched since the last call have been given out."""
        given, self._given = self._given, []
        if self._current:
            given += _given(self._current[0].position, self._current[1], complete=False)
        if self._merged:
            for position, before in zip(self._merged.positions(), self._before, strict=True):
                given += _given(position, before, complete=False)
        return given

    def _chunks(self) -> Iterator[Chunk]:
        for position, before in zip(self._positions, self._before, strict=True):
            try:
                yield from self._chunks_of(position, before)
            except InterruptedWaitError:
                self.cut_short = True
                return

    def _chunks_of(self, position: Position, before: Identity | None) -> Iterator[Chunk]:
        wait = self._stop.interrupting if position.source.fd is not None else nullcontext
        with wait():
            reader = LineReader(
                position.source,
                offset=position.offset,
                first_line=position.first_line,
                chunk_bytes=self._chunk_bytes,
                hashing=self._hashing,
            )
        with reader:
            self._current = (reader, before)
            while True:
                with wait():
                    chunk = reader.read()
                if chunk is None:
                    break
                yield chunk
            if reader.tail and self._accept_tail(reader.tail) and (tail := reader.take_tail()) is not None:
                yield tail
            self._current = None
            self._end(reader, reader.position, before)

    def _merged_chunks(self) -> Iterator[MergedChunk]:
        with MergedReader.open(self._positions, accept_tail=self._accept_tail, hashing=self._hashing) as merged:
            self._merged = merged
            while (chunk := merged.read()) is not None:
                yield chunk
            self._merged = None
            for reader, position, before in zip(merged.readers, merged.positions(), self._before, strict=True):
                self._end(reader, position, before)

    def _end(self, reader: LineReader, position: Position, before: Identity | None) -> None:
        self._done_disk_bytes += reader.disk_bytes
        if reader.warning:
            self.warnings.append(reader.warning)
        self._given += _given(position, before, complete=not reader.tail and not reader.warning)


def _identity(position: Position) -> Identity | None:
    return None if position.source.fd is not None else identity(position.source.path)


def _given(position: Position, before: Identity | None, *, complete: bool) -> list[Given]:
    return [] if before is None else [Given(position, before, complete)]
