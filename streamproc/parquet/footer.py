"""What a file's footer says: rows, configuration, and the ranges of time and generation."""

import os
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from streamproc.errors import DataError
from streamproc.parquet.objects import TablePath, source
from streamproc.schema import COLUMNS_VERSION


class Footer(NamedTuple):
    """Of the files of one table that have rows."""

    rows: int
    config: str
    """The configuration in its canonical form."""
    first_ms: int
    last_ms: int
    generations: tuple[int, int]
    """Smallest and largest."""


def unreadable(path: TablePath, error: Exception) -> DataError:
    """The error of a file that cannot be read, or that is no whole Parquet file."""
    if isinstance(error, OSError) and error.errno:
        return DataError(
            f"cannot read: {os.strerror(error.errno)}", where=str(path), hint="see that it is there and may be read"
        )
    return DataError(
        f"a damaged Parquet file ({str(error).splitlines()[0]})",
        where=str(path),
        hint="restore it from a backup, or move it away and make its rows anew from the input",
    )


def read_footer(path: TablePath) -> Footer:
    """Footer of a file; FileNotFoundError when it is gone.

    Raises
    ------
    DataError : it is damaged, not this program's, or of another version of the columns.
    """
    try:
        metadata = pq.read_metadata(source(path))
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error
    texts = metadata.metadata or {}
    version = texts.get(b"streamproc.columns")
    if version is None:
        raise _foreign(path)
    if version != str(COLUMNS_VERSION).encode():
        raise DataError(
            f"its columns are of version {version.decode()}, this program knows version {COLUMNS_VERSION}",
            where=str(path),
            hint="read it with the version of streamproc that wrote it, or make its rows anew from the input",
        )
    times, generations = (_range(path, metadata, name) for name in ("timestamp", "generation"))
    return Footer(metadata.num_rows, texts[b"streamproc.config"].decode(), *times, generations)


def _range(path: TablePath, metadata: Any, name: str) -> tuple[int, int]:
    """Smallest and largest value of an integer or time column."""
    column = metadata.schema.names.index(name)
    statistics = [metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups)]
    if not statistics or any(each is None for each in statistics):
        raise _foreign(path)
    return min(each.min_raw for each in statistics), max(each.max_raw for each in statistics)


def _foreign(path: TablePath) -> DataError:
    return DataError("not a file that streamproc wrote", where=str(path), hint="move it out of the table's folder")
