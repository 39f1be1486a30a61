"""Which rows a replay has replaced.

For each exchange, symbol and (bars) duration the newest generation wins from its first row on: a row is superseded
when a newer generation has a row at or before its timestamp. Dropping superseded rows changes nothing of this.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from streamproc.parquet.footer import Footer, unreadable
from streamproc.parquet.listing import DataFile
from streamproc.parquet.objects import source

KEY = ("exchange", "symbol", "duration")
"""What generations are told apart for; `duration` only where there is one."""
Key = tuple[str, str, float | None]
Share = Literal["all", "some", "none"]
_NEVER = np.iinfo(np.int64).max


class _Span(NamedTuple):
    """The rows of one key and generation in one file."""

    key: Key
    generation: int
    first_ms: int
    last_ms: int


class Generations:
    """The generations of some files, resolved.

    Parameters
    ----------
    footers : all files of the exchanges and symbols in question, whatever their dates.
    """

    def __init__(self, footers: Mapping[DataFile, Footer]) -> None:
        self._spans = {file: _spans(file) for file in _with_several_generations(footers)}
        firsts: dict[Key, dict[int, int]] = defaultdict(dict)
        for span in (span for spans in self._spans.values() for span in spans):
            found = firsts[span.key]
            found[span.generation] = min(span.first_ms, found.get(span.generation, _NEVER))
        self._cuts = {
            (key, generation): min((found[newer] for newer in found if newer > generation), default=_NEVER)
            for key, found in firsts.items()
            for generation in found
        }

    def kept_share(self, file: DataFile) -> Share:
        """How much of a file is not superseded."""
        spans = self._spans.get(file, [])
        cuts = [self._cuts[span.key, span.generation] for span in spans]
        if all(span.last_ms < cut for span, cut in zip(spans, cuts, strict=True)):
            return "all"
        if all(cut <= span.first_ms for span, cut in zip(spans, cuts, strict=True)):
            return "none"
        return "some"

    def kept_rows(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows are not superseded; `table` has `timestamp`, `generation` and the columns of `KEY`."""
        times = table["timestamp"].cast(pa.int64()).to_numpy()
        if not self._cuts or not len(times):
            return np.ones(len(times), np.bool_)
        names = [name for name in (*KEY, "generation") if name in table.column_names]
        codes = np.zeros(len(times), np.int64)
        for name in names:
            values, code = np.unique(_numbered(table[name]), return_inverse=True)
            codes = codes * len(values) + code
        _, examples, group = np.unique(codes, return_index=True, return_inverse=True)
        cuts = [self._cut_of(row) for row in table.select(names).take(pa.array(examples)).to_pylist()]
        kept: npt.NDArray[np.bool_] = times < np.array(cuts, np.int64)[group]
        return kept

    def _cut_of(self, row: dict[str, Any]) -> int:
        key = row["exchange"], row["symbol"], row.get("duration")
        return self._cuts.get((key, row["generation"]), _NEVER)


def _numbered(column: pa.ChunkedArray) -> Any:
    """Numbers that are equal where the values are."""
    if pa.types.is_string(column.type):
        return column.combine_chunks().dictionary_encode().indices.to_numpy()
    return column.to_numpy()


def _with_several_generations(footers: Mapping[DataFile, Footer]) -> Iterable[DataFile]:
    """Files whose key may have rows of more than one generation."""
    by_exchange: dict[str, list[DataFile]] = defaultdict(list)
    for file in footers:
        by_exchange[file.exchange].append(file)
    for files in by_exchange.values():
        apart = all(file.symbol is not None for file in files)
        by_key: dict[str | None, list[DataFile]] = defaultdict(list)
        for file in files:
            by_key[file.symbol if apart else None].append(file)
        for group in by_key.values():
            if len({generation for file in group for generation in footers[file].generations}) > 1:
                yield from group


def _spans(file: DataFile) -> list[_Span]:
    try:
        with pq.ParquetFile(source(file.path), page_checksum_verification=True) as parquet:
            grouping = [name for name in ("symbol", "duration", "generation") if name in parquet.schema_arrow.names]
            rows = parquet.read(["timestamp", *grouping])
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file.path, error) from error
    rows = rows.set_column(rows.column_names.index("timestamp"), "timestamp", rows["timestamp"].cast(pa.int64()))
    ranges = rows.group_by(grouping).aggregate([("timestamp", "min"), ("timestamp", "max")])
    return [
        _Span(
            (file.exchange, row.get("symbol", file.symbol), row.get("duration")),
            row["generation"],
            row["timestamp_min"],
            row["timestamp_max"],
        )
        for row in ranges.to_pylist()
    ]
