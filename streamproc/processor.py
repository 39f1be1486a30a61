"""Processor: the engine for notebooks and programs, lines in, tables out."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from streamproc.config import StateConfig
from streamproc.engine import Batch, Engine, Rejected
from streamproc.parquet.table import to_table

Lines = bytes | str | Iterable[bytes | str | Mapping[str, Any]]


class Rows(NamedTuple):
    """What came of a call: feature rows and bars as tables with the columns of docs/columns.md, and rejected lines."""

    hf: pa.Table
    bars: pa.Table
    rejected: list[Rejected]


class Processor:
    """Order books and trades into features and bars, in memory.

    >>> processor = Processor()
    >>> rows = processor.feed(open("books.ndjson", "rb"))
    >>> rows.hf.to_pandas()
    >>> processor.flush().bars

    The same lines give the same rows however they are cut into calls, and the same as `streamproc run`.
    """

    def __init__(self, config: StateConfig | None = None) -> None:
        self.config = config or StateConfig()
        self._engine = Engine(self.config)

    @property
    def counts(self) -> dict[str, Any]:
        """Records by outcome since the start."""
        return {**self._engine.counts, "rejected": dict(self._engine.reasons), "open_bars": self._engine.open_bars}

    def feed(self, lines: Lines) -> Rows:
        """Take records: NDJSON as one text, or any iterable of lines (texts or objects), such as an open file."""
        return self._rows(self._engine.feed(_joined(lines)))

    def flush(self) -> Rows:
        """Close all open bars."""
        return self._rows(self._engine.flush())

    def _rows(self, batch: Batch) -> Rows:
        keys = self._engine.symbols.keys
        return Rows(
            to_table("hf", self.config, batch.hf, keys), to_table("bars", self.config, batch.bars, keys), batch.rejected
        )


def _joined(lines: Lines) -> bytes:
    if isinstance(lines, bytes | str):
        lines = [lines]
    return b"".join(_line(line) for line in lines)


def _line(line: bytes | str | Mapping[str, Any]) -> bytes:
    raw = line.encode() if isinstance(line, str) else line if isinstance(line, bytes) else orjson.dumps(line)
    return raw if raw.endswith(b"\n") or not raw else raw + b"\n"
