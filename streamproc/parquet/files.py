"""One Parquet file, written in one go: encodings, row groups, and what is said when the disk refuses."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.parquet as pq

from streamproc.errors import DataError

_BUFFER_BYTES = 1 << 17


def cannot_write(path: Path, error: OSError) -> DataError:
    """The error of a file or folder that could not be written, with the system's reason."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return DataError(
        f"cannot write: {reason}",
        where=str(path),
        hint="make room there, or choose a place that can be written to, and start again",
    )


def fsync(path: Path) -> None:
    """Make a file's content, or the names in a directory, durable."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise cannot_write(path, error) from error


def fsync_folders(names: Iterable[PurePath], below: Path) -> None:
    """Make the names of files durable, and those of their folders up to `below`."""
    parents = {parent for name in names for parent in name.parents}
    for parent in sorted(parents, reverse=True):
        fsync(below / parent)


def fsync_files(names: Collection[PurePath], below: Path) -> None:
    """Make files durable, with their names and those of their folders up to `below`."""
    for name in names:
        fsync(below / name)
    fsync_folders(names, below)


def write_file(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], compression_level: int) -> None:
    """Write a Parquet file, each batch a row group; make its folder where it is missing; leave no half file behind.

    Numbers are stored plain under zstd: of the encodings that is the quickest and, for prices and sizes, the
    smallest. Strings are dictionary-encoded. All columns have statistics, all pages a checksum. Making the file durable
    is up to the caller.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with pa.output_stream(str(path), compression=None, buffer_size=_BUFFER_BYTES) as sink:
                _write(sink, schema, batches, compression_level)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error


def _write(sink: pa.NativeFile, schema: pa.Schema, batches: Iterable[pa.RecordBatch], compression_level: int) -> None:
    writer = pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=compression_level,
        use_dictionary=[field.name for field in schema if pa.types.is_string(field.type)],
        write_page_checksum=True,  # zstd frames have none, so that a flipped bit could be read as another number
        store_schema=False,  # it follows from the Parquet types; Arrow's own copy of it would add 10 kB to each file
    )
    try:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]), row_group_size=max(1, batch.num_rows))
        writer.writer.add_key_value_metadata(schema.metadata)
        writer.close()
    finally:
        writer.is_open = False  # or its finaliser would try once more to write what could not be written
