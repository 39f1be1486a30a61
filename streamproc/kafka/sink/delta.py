"""Delta Lake tables as outputs: a segment's files and the offset behind it enter the table's log together.

The log is the only truth. It keeps, as a transaction of an application, the next offset of each topic-partition. A
commit is made for the very version of the log in which that offset was looked up, so of several processes one wins;
delta-rs itself would take the same transaction twice. Files that no commit names are seen by no reader, and are
`VACUUM`'s.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction

from streamproc.config import SinkConfig, StateConfig
from streamproc.crash import crash_point
from streamproc.errors import DataError, UsageError
from streamproc.kafka.sink.segment import Attempt, Source
from streamproc.kafka.sink.storage import Storage
from streamproc.parquet.delta import FAULTS, LOG, delta_options
from streamproc.parquet.files import fsync
from streamproc.parquet.footer import read_footer
from streamproc.parquet.objects import is_address, store_error
from streamproc.parquet.partition import values_of
from streamproc.schema import Stream, arrow_schema

TRIES = 10
"""Of a commit while the log stands still: then it is the store that refuses."""
ONCE = 0
"""Retries of delta-rs: it would commit behind a version that nobody has looked at."""

_logger = logging.getLogger(__name__)


class Table:
    """The table of one stream, as this process sees it.

    Parameters
    ----------
    output : a folder, or an address in an object store.
    """

    def __init__(self, output: str, stream: Stream, config: StateConfig, sink: SinkConfig) -> None:
        self.stream: Stream = stream
        self.folder = f"{output.rstrip('/')}/{stream}"
        self._options = delta_options(sink.storage) if is_address(output) else None
        self._partition_by = [*sink.partition_by]
        self._schema = _schema(stream, config, sink)
        self._table = self._opened()

    @property
    def version(self) -> int:
        """Of the log, as seen last."""
        return self._table.version()

    def offset(self, application: str) -> int | None:
        """What the log, as seen last, says of an application; None where it says nothing."""
        return self._table.transaction_version(application)

    def reload(self) -> None:
        """See what others have committed."""
        try:
            self._table.update_incremental()
        except FAULTS as error:
            raise store_error(error, self.folder) from None

    def append(self, files: Sequence[AddAction], application: str, offset: int) -> None:
        """Commit files and an offset for the version behind that which was seen last.

        Raises one of `FAULTS`: someone else has made that version, or it is unknown who has.
        """
        self._table.create_write_transaction(
            [*files],
            "append",
            self._schema,
            self._partition_by,
            commit_properties=CommitProperties(
                max_commit_retries=ONCE, app_transactions=[Transaction(application, offset)]
            ),
        )
        if self._options is None:
            self._sync(self.version + 1)

    def _sync(self, version: int) -> None:
        log = Path(self.folder, LOG)
        fsync(log / f"{version:020d}.json")
        fsync(log)

    def _opened(self) -> DeltaTable:
        error: Exception = TableNotFoundError()
        for _ in range(TRIES):
            try:
                return self._checked(DeltaTable(self.folder, storage_options=self._options))
            except TableNotFoundError:
                pass
            except FAULTS as fault:
                raise store_error(fault, self.folder) from None
            try:
                DeltaTable.create(
                    self.folder, self._schema, partition_by=self._partition_by, storage_options=self._options
                )
            except FAULTS as fault:
                error = fault  # another sink may have made it
        raise store_error(error, self.folder) from None

    def _checked(self, table: DeltaTable) -> DeltaTable:
        found, wanted = _columns(table.schema()), _columns(DeltaSchema.from_arrow(self._schema))
        if found != wanted:
            example = sorted(name for name in found.keys() | wanted if found.get(name) != wanted.get(name))[0]
            raise UsageError(
                f"the table has other columns than this configuration makes, such as {example}",
                where=self.folder,
                hint="run the sink with the configuration that the table was made with, or choose another output",
            )
        return table


class DeltaCommits:
    """Commits of one topic-partition to the log of a table."""

    def __init__(
        self, storage: Storage, source: Source, table: Table, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._storage = storage
        self._source = source
        self._table = table
        self._sleep = sleep
        self._application = f"streamproc.sink/{source.folder}"
        self._pending = f"_pending/{source.folder}"
        self._first = 0
        self._files: list[AddAction] = []

    def recover(self, first_offset: Callable[[], int]) -> int:
        """The offset that the log tells; drafts of segments before it go."""
        self._table.reload()
        if self._table.offset(self._application) is None:
            self._first = first_offset()
            if self._first:
                _logger.warning(
                    "%s: what was before offset %d was deleted before a sink read it", self._source, self._first
                )
        self._clear(self._at)
        return self._at

    def is_taken(self, start: int) -> bool:
        """Whether the log has gone beyond an offset."""
        self._table.reload()
        return self._at > start

    def draft(self, attempt: Attempt) -> Path:
        """A local folder in which to write the attempt's files."""
        return self._storage.draft(self._folder(attempt))

    def put(self, attempt: Attempt, files: Sequence[str]) -> None:
        """Put the files into the table's folder, where no reader looks before the log names them."""
        draft = self._storage.draft(self._folder(attempt))
        self._files = [_action(draft / name, PurePosixPath(name).relative_to(self._table.stream)) for name in files]
        self._storage.place(self._folder(attempt), files)

    def commit(self, attempt: Attempt, rows: int, files: Sequence[str]) -> bool:
        """Commit the files with the offset behind them; False where another process has committed from this offset.

        The log as seen last may be old: then the commit meets another one, and what that says is looked up.
        """
        tries, seen = 0, -1
        while self._at == attempt.start:
            tries, seen = (tries + 1 if seen == self._table.version else 1), self._table.version
            try:
                self._table.append(self._files, self._application, attempt.next)
            except FAULTS as error:
                if tries >= TRIES:
                    raise self._refused(error) from None
                self._sleep(random.uniform(0, 0.02 * 2**tries))
            else:
                crash_point("sink.after_record")
            self._table.reload()
        return bool(tries) and self._at == attempt.next  # by whomever: these rows are in the table, once

    def drop(self, attempt: Attempt) -> None:
        """Delete the draft. What lies in the table's folder is left: a commit without an answer may name it."""
        self._storage.delete(self._folder(attempt))

    @property
    def _at(self) -> int:
        """The next offset, as seen last."""
        offset = self._table.offset(self._application)
        return self._first if offset is None else offset

    def _folder(self, attempt: Attempt) -> str:
        return f"{self._pending}/{attempt.folder}"

    def _clear(self, end: int) -> None:
        for name in self._storage.names(self._pending):
            start, _, attempt = name.partition("-")
            if attempt and int(start) < end:
                self._storage.delete(f"{self._pending}/{name}")

    def _refused(self, error: Exception) -> DataError:
        if isinstance(error, CommitFailedError):
            return DataError(
                "the table's log takes no commit, though no other is seen in it",
                where=self._table.folder,
                hint="start again; see that the log under _delta_log is whole",
            )
        return store_error(error, self._table.folder)


def _schema(stream: Stream, config: StateConfig, sink: SinkConfig) -> pa.Schema:
    """Columns of the table: those of the rows, and the folders' `date`."""
    rows = arrow_schema(stream, config)
    return pa.schema([*rows, pa.field("date", pa.date32(), nullable=False)])


def _columns(schema: DeltaSchema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema.fields}


def _action(path: Path, name: PurePosixPath) -> AddAction:
    footer = read_footer(path)
    status = path.stat()
    values: dict[str, Any] = values_of(name.parent)
    first, last = ({"timestamp": _moment(at)} for at in (footer.first_ms, footer.last_ms))
    stats = {"numRecords": footer.rows, "minValues": first, "maxValues": last, "nullCount": {"timestamp": 0}}
    return AddAction(
        path=str(name),
        size=status.st_size,
        partition_values=values,
        modification_time=int(status.st_mtime * 1000),
        data_change=True,
        stats=orjson.dumps(stats).decode(),
    )


def _moment(at_ms: int) -> str:
    seconds, ms = divmod(at_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}Z"
