"""What a segment holds until it is written: rows as words, or dead letters as lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamproc.config import SinkConfig, StateConfig
from streamproc.engine import Rejected
from streamproc.errors import DataError
from streamproc.kafka.client import Record
from streamproc.kafka.sink.rows import RefusedError, RowReader, Symbols
from streamproc.local.rejects import RejectWriter, reject_line
from streamproc.parquet.partition import MS_PER_DAY
from streamproc.parquet.writer import PartitionedWriter
from streamproc.schema import COLUMNS_VERSION, SYMBOL_WORD, Stream, word


class Collector(Protocol):
    """Collects the records of one segment at a time, in memory."""

    rows: int
    bytes: int
    """Memory that they take."""

    @property
    def files(self) -> int:
        """How many files they would make."""

    def add(self, records: Sequence[Record]) -> None:
        """Take records in."""

    def write(self, folder: Path, stem: str) -> list[PurePosixPath]:
        """Write files below `folder`, not durably; their names below it, which are also those below the output."""

    def clear(self) -> None:
        """Begin the next segment."""


class RowCollector:
    """Collects rows of a stream."""

    def __init__(self, stream: Stream, config: StateConfig, sink: SinkConfig, reader: RowReader) -> None:
        self._stream = stream
        self._config = config
        self._sink = sink
        self._reader = reader
        self._timestamp_word = word(stream, "timestamp")
        self.clear()

    def clear(self) -> None:
        """Begin the next segment."""
        self.rows = 0
        self.bytes = 0
        self._symbols = Symbols()
        self._words: list[NDArray[np.int64]] = []
        self._partitions: set[tuple[str | int, int]] = set()

    @property
    def files(self) -> int:
        """How many files they would make."""
        return len(self._partitions)

    def add(self, records: Sequence[Record]) -> None:
        """Take rows in."""
        for record in records:
            _check_version(record)
        try:
            words = self._reader.read([record.value() or b"" for record in records], self._symbols)
        except RefusedError as error:
            raise _refused(records[error.place], f"no row of this configuration: {error.why}") from error
        self._words.append(words)
        self.rows += len(words)
        self.bytes += words.nbytes
        self._note_partitions(words)

    def write(self, folder: Path, stem: str) -> list[PurePosixPath]:
        """Write Parquet files, as `run` does."""
        roomy = self._sink.model_copy(update={"buffer_rows": self.rows + 1})  # so that a partition makes one file
        writer = PartitionedWriter(self._stream, self._config, roomy, folder, stem)
        for words in self._words:
            writer.add(words, self._symbols.keys)
        return [pending.final for pending in writer.finish(durable=False)]

    def _note_partitions(self, words: NDArray[np.int64]) -> None:
        days = words[:, self._timestamp_word] // MS_PER_DAY
        by_symbol = "symbol" in self._sink.partition_by
        for symbol, day in set(zip(words[:, SYMBOL_WORD].tolist(), days.tolist(), strict=True)):
            self._partitions.add((symbol if by_symbol else self._symbols.keys[symbol][0], day))


class RejectCollector:
    """Collects dead letters as the lines that `run` writes of rejects. `raw_topic` is where they came from."""

    def __init__(self, raw_topic: str) -> None:
        self._raw_topic = raw_topic
        self.clear()

    def clear(self) -> None:
        """Begin the next segment."""
        self.rows = 0
        self.bytes = 0
        self._lines: list[bytes] = []

    @property
    def files(self) -> int:
        """One, where there are any."""
        return min(1, self.rows)

    def add(self, records: Sequence[Record]) -> None:
        """Take dead letters in."""
        lines = [self._line(record) for record in records]
        self._lines += lines
        self.rows += len(lines)
        self.bytes += sum(map(len, lines))

    def write(self, folder: Path, stem: str) -> list[PurePosixPath]:
        """Write one NDJSON file."""
        writer = RejectWriter(folder, stem)
        try:
            writer.add(self._lines)
            return [pending.final for pending in writer.finish()]
        finally:
            writer.close()

    def _line(self, record: Record) -> bytes:
        told = _first_headers(record)
        try:
            reason, detail = told["reason"].decode(), told["detail"].decode()
            partition, offset, line = told["source"].decode().split(":")
        except (KeyError, ValueError) as error:
            raise _refused(record, "no dead letter: reason, detail or source is missing in its headers") from error
        rejected = Rejected(0, record.value() or b"", reason, detail)
        return reject_line(rejected, f"{self._raw_topic}/{partition}/{offset}:{line}")


def _first_headers(record: Record) -> Mapping[str, bytes]:
    """Ours come first; those that the rejected record had itself follow."""
    return dict(reversed(record.headers() or ()))


_SCHEMA = ("schema", b"%d" % COLUMNS_VERSION)


def _check_version(record: Record) -> None:
    if _SCHEMA in (record.headers() or ()):
        return
    found = _first_headers(record).get("schema", b"").decode(errors="replace")
    raise _refused(record, f"its columns are of version {found or 'unknown'}, this program knows {COLUMNS_VERSION}")


def _refused(record: Record, why: str) -> DataError:
    return DataError(
        why,
        where=f"{record.topic()}/{record.partition()}/{record.offset()}",
        hint="run the sink with the version and the configuration of the members that wrote the topic",
    )
