"""`read`: a table of an output as rows, exact also beside a running or crashed `compact`."""

import contextlib
import datetime
import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from streamproc.errors import DataError, UsageError
from streamproc.parquet.footer import Footer, read_footer, unreadable
from streamproc.parquet.generations import KEY, Generations
from streamproc.parquet.listing import DataFile, list_files
from streamproc.parquet.manifest import listing
from streamproc.parquet.objects import ObjectPath, TablePath, source, table_path
from streamproc.parquet.partition import MS_PER_DAY
from streamproc.parquet.sorting import SORTED_BY, sort_rows

Time = datetime.datetime | str | int
"""A datetime (without a zone: UTC), its ISO 8601 text, or milliseconds since 1970."""
Names = str | Sequence[str]

_HASTY_TRIES = 3
_REQUESTS_AT_ONCE = 16
_LOCAL = fs.LocalFileSystem()
_EARLIEST_MS, _LATEST_MS = 0, MS_PER_DAY * 365 * 1000


class _Selection(NamedTuple):
    exchanges: frozenset[str] | None
    symbols: frozenset[str] | None
    start_ms: int
    end_ms: int

    def has_key_of(self, file: DataFile) -> bool:
        return (self.exchanges is None or file.exchange in self.exchanges) and (
            self.symbols is None or file.symbol is None or file.symbol in self.symbols
        )

    def has_time_of(self, footer: Footer) -> bool:
        return footer.first_ms < self.end_ms and self.start_ms <= footer.last_ms

    @property
    def filter(self) -> Any:
        """The rows, as far as the choice of files does not settle it."""
        times = pa.array([self.start_ms, self.end_ms]).cast(pa.timestamp("ms", tz="UTC"))
        condition = (ds.field("timestamp") >= times[0]) & (ds.field("timestamp") < times[1])
        return condition if self.symbols is None else condition & ds.field("symbol").isin(sorted(self.symbols))


class _Source(NamedTuple):
    """The files to scan and what is left to do with their rows."""

    dataset: Any
    schema: pa.Schema
    files: list[DataFile]
    generations: Generations
    overlapping: list[DataFile]
    """Files of which a newer generation supersedes some rows but not all."""


@overload
def read(
    directory: str | Path,
    *,
    exchange: Names | None = ...,
    symbol: Names | None = ...,
    start: Time | None = ...,
    end: Time | None = ...,
    columns: Sequence[str] | None = ...,
    as_dataset: Literal[False] = ...,
    storage: Mapping[str, str] | None = ...,
) -> pa.Table: ...


@overload
def read(
    directory: str | Path,
    *,
    exchange: Names | None = ...,
    symbol: Names | None = ...,
    start: Time | None = ...,
    end: Time | None = ...,
    as_dataset: Literal[True],
    storage: Mapping[str, str] | None = ...,
) -> ds.Dataset: ...


def read(
    directory: str | Path,
    *,
    exchange: Names | None = None,
    symbol: Names | None = None,
    start: Time | None = None,
    end: Time | None = None,
    columns: Sequence[str] | None = None,
    as_dataset: bool = False,
    storage: Mapping[str, str] | None = None,
) -> pa.Table | ds.Dataset:
    """Rows of a table of an output, such as ``OUTPUT/hf`` or ``s3://BUCKET/PREFIX/hf``, each once.

    Parameters
    ----------
    directory : the table's folder, or its address in an object store. A Delta table is read by its log.
    exchange, symbol : one name or several; all by default. Always text, also a symbol ``123``.
    start, end : start <= timestamp < end; each a datetime (without a zone: UTC), its ISO 8601 text, or milliseconds
        since 1970.
    columns : names of the columns wanted, in this order; all by default.
    as_dataset : give a dataset, for tables larger than memory: its rows are sorted within each file only, it is of the
        files that are there now (a later `compact` makes its scan fail, never give other rows), and where a replay has
        replaced part of a file it cannot be had before `compact` has run.
    storage : options of the object store, as ``sink.storage``; the environment's are known too.

    Returns
    -------
    A table sorted by exchange, symbol, timestamp and duration, equal ones in the order they arrived. Of rows that a
    replay has replaced only the newest generation's are there.

    Raises
    ------
    DataError : there is no table here; a file is damaged or of another version of the columns; the rows asked for were
        made under more than one configuration.
    UsageError : an argument cannot be understood.
    """
    table = table_path(directory, storage or {})
    selection = _Selection(_names(exchange), _names(symbol), _ms(start, _EARLIEST_MS), _ms(end, _LATEST_MS))
    if as_dataset:
        if columns is not None:
            raise UsageError("a dataset has all columns", hint="choose columns in its to_table() or to_batches()")
        load = functools.partial(_dataset, table, selection)
    else:
        load = functools.partial(_table, table, selection, columns)
    for _ in range(_HASTY_TRIES):
        try:
            return load()
        except FileNotFoundError:
            continue  # `compact` has swapped files since they were listed
    try:
        with contextlib.nullcontext() if isinstance(table, ObjectPath) else listing(table):
            return load()
    except FileNotFoundError as error:
        raise unreadable(Path(error.filename) if error.filename else table, error) from error


def _names(given: Names | None) -> frozenset[str] | None:
    return None if given is None else frozenset([given] if isinstance(given, str) else given)


def _ms(time: Time | None, default: int) -> int:
    """The first whole millisecond not before a time."""
    if time is None:
        return default
    if isinstance(time, int) and not isinstance(time, bool):
        return min(max(time, _EARLIEST_MS), _LATEST_MS)
    try:
        moment = datetime.datetime.fromisoformat(time) if isinstance(time, str) else time
        if not isinstance(moment, datetime.datetime):
            raise TypeError
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"not a time: {time!r}", hint='give a datetime, a text such as "2024-08-09T12:00:00Z", or ms since 1970'
        ) from error
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    since = zoned - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return -(-since // datetime.timedelta(milliseconds=1))


def _table(table: TablePath, selection: _Selection, columns: Sequence[str] | None) -> pa.Table:
    source = _source(table, selection)
    wanted = list(columns) if columns is not None else source.schema.names
    _require_known(wanted, source.schema)
    needed = {*wanted, *SORTED_BY}
    if source.overlapping:
        needed.update(KEY, ["generation"])
    rows = _scan(source, [name for name in source.schema.names if name in needed], selection)
    if source.overlapping:
        rows = rows.filter(pa.array(source.generations.kept_rows(rows)))
    target = pa.schema([source.schema.field(name) for name in wanted], metadata=source.schema.metadata)
    return sort_rows(rows).select(wanted).cast(target)


def _dataset(table: TablePath, selection: _Selection) -> ds.Dataset:
    source = _source(table, selection)
    if source.overlapping:
        raise DataError(
            "a replay has replaced part of the rows of this file, which a dataset cannot leave out",
            where=str(source.overlapping[0].path),
            hint=f"run `streamproc compact {table}` first, or read a table",
        )
    return source.dataset.filter(selection.filter)


def _source(table: TablePath, selection: _Selection) -> _Source:
    listed = list_files(table)
    if not listed:
        raise DataError("no files here", where=str(table), hint="nothing was written yet, or the folder is another's")
    footers = _footers([file for file in listed if selection.has_key_of(file)])
    generations = Generations(footers)
    files = [
        file
        for file, footer in footers.items()
        if selection.has_time_of(footer) and generations.kept_share(file) != "none"
    ]
    _require_one_configuration(table, {file: footers[file] for file in files})
    schema = _full_schema(files[0] if files else listed[0])
    overlapping = [file for file in files if generations.kept_share(file) == "some"]
    return _Source(_dataset_of(files, schema), schema, files, generations, overlapping)


def _footers(files: Sequence[DataFile]) -> dict[DataFile, Footer]:
    if not any(isinstance(file.path, ObjectPath) for file in files):
        return {file: read_footer(file.path) for file in files}
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        return dict(zip(files, pool.map(lambda file: read_footer(file.path), files), strict=True))


def _require_one_configuration(table: TablePath, footers: Mapping[DataFile, Footer]) -> None:
    examples = {footer.config: file.name for file, footer in footers.items()}
    if len(examples) < 2:
        return
    (config, name), (other_config, other_name) = list(examples.items())[:2]
    one, other = json.loads(config), json.loads(other_config)
    differing = [f"state.{key} is {one[key]} and {other.get(key)}" for key in one if one[key] != other.get(key)]
    raise DataError(
        f"these rows were made under {len(examples)} configurations, so that their numbers do not mean the same: "
        f"{'; '.join(differing)} (for example in {name} and {other_name})",
        where=str(table),
        hint="read them apart, by exchange, symbol, start or end",
    )


def _full_schema(file: DataFile) -> pa.Schema:
    """The schema of a file with `exchange` and `symbol` first."""
    read_footer(file.path)
    stored = pq.read_schema(source(file.path))
    key = [pa.field(name, pa.string(), nullable=False) for name in KEY[:2]]
    return pa.schema([*key, *(field for field in stored if field.name not in KEY[:2])], metadata=stored.metadata)


def _dataset_of(files: Sequence[DataFile], schema: pa.Schema) -> Any:
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=checked)
    fragments = [_fragment(form, file) for file in files]
    return ds.FileSystemDataset(fragments, schema, form, _LOCAL)


def _fragment(form: Any, file: DataFile) -> Any:
    if isinstance(file.path, ObjectPath):
        return form.make_fragment(source(file.path), partition_expression=_said_by_folders(file))
    return form.make_fragment(str(file.path), _LOCAL, _said_by_folders(file))


def _said_by_folders(file: DataFile) -> Any:
    said = ds.field("exchange") == file.exchange
    return said if file.symbol is None else said & (ds.field("symbol") == file.symbol)


def _require_known(wanted: Sequence[str], schema: pa.Schema) -> None:
    known = schema.names
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, 3) or known[:3]
            raise UsageError(f"no column {name!r}", hint=f"there is {', '.join(close)}, see docs/columns.md")


def _scan(source: _Source, columns: Sequence[str], selection: _Selection) -> pa.Table:
    try:
        return source.dataset.to_table(columns=list(columns), filter=selection.filter)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException):
        _blame(source.files, columns)
        raise


def _blame(files: Sequence[DataFile], columns: Sequence[str]) -> None:
    """Raise the error of the first file that cannot be read."""
    for file in files:
        try:
            with pq.ParquetFile(source(file.path), page_checksum_verification=True) as parquet:
                parquet.read([name for name in columns if name in parquet.schema_arrow.names])
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise unreadable(file.path, error) from error
