"""A store in RocksDB."""

import functools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from streamproc.errors import StateError

_CACHE_BYTES = 64 << 20
_ALL_WRITE_BUFFERS_BYTES = 256 << 20
_WRITE_BUFFER_BYTES = 16 << 20
_MAX_WAL_BYTES = 128 << 20
_FILE_NAME = re.compile(r"[\w./-]*(?:\d+\.(?:sst|log)|MANIFEST-\d+|CURRENT|OPTIONS-\d+)")


class RocksStore:
    """Entries in a RocksDB folder, held by one process at a time.

    Every block and log record is checked against its checksum when it is read. `StateError` names the folder, and the
    file where RocksDB tells it, when one is damaged, missing or held by another process. All stores of a process share
    one block cache and one budget of write buffers.

    Parameters
    ----------
    path : the folder, made where it is missing.
    durable : a write outlives a power cut once it returns. Else a process that is killed takes the last ones with it,
        each whole; `close` keeps them.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        with self._told():
            path.mkdir(parents=True, exist_ok=True)
            self._db = Rdict(str(path), _options())
        self._writing = WriteOptions()
        self._writing.sync = durable
        setattr(self._writing, "disable_wal", not durable)  # noqa: B010  its stub has it for a method

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None when there is none."""
        with self._told():
            value: bytes | None = self._db.get(key)
        return value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All entries whose keys begin with `prefix`, in the order of their keys."""
        with self._told():
            entries = self._db.iter()
            entries.seek(prefix)
            while entries.valid():
                key: bytes = entries.key()
                if not key.startswith(prefix):
                    return
                yield key, entries.value()
                entries.next()
            entries.status()  # raises where a damaged block, and not the end, is why there is no more

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """Make all changes or none."""
        batch = WriteBatch(raw_mode=True)
        for key in deletes:
            batch.delete(key)
        for key, value in puts:
            batch.put(key, value)
        with self._told():
            self._db.write(batch, self._writing)

    def close(self) -> None:
        """Let go of the folder."""
        with suppress(Exception):  # after a full disk it fails once more; what was durably written is
            self._db.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(
                f"cannot use the state: {error}",
                where=str(self._path),
                hint="make room there, or choose a folder that can be written to",
            ) from error
        except Exception as error:  # rocksdict raises bare exceptions with RocksDB's message
            raise self._fault(str(error)) from error

    def _fault(self, message: str) -> StateError:
        if "lock" in message.lower() and "LOCK" in message:
            return StateError(
                "the state is in use by another process",
                where=str(self._path),
                hint="end that process, or give this one a state folder of its own",
            )
        named = _FILE_NAME.search(message)
        where = str(self._path / Path(named.group()).name) if named else str(self._path)
        return StateError(
            f"the state cannot be read or written: {message}",
            where=where,
            hint="restore the folder from a copy, or begin anew: `run` with --fresh and an empty output; "
            "`process` without the folder, from its changelog",
        )


@functools.cache
def _shared() -> tuple[Cache, WriteBufferManager]:
    """Memory of all stores of the process, however many partitions it owns."""
    return Cache(_CACHE_BYTES), WriteBufferManager(_ALL_WRITE_BUFFERS_BYTES, False)


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_paranoid_checks(True)
    # Only an unfinished last record is passed over, as a kill leaves it; what is lost beyond that shows in the commit
    # number.
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_total_wal_size(_MAX_WAL_BYTES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    cache, write_buffers = _shared()
    tables = BlockBasedOptions()
    tables.set_block_cache(cache)
    options.set_block_based_table_factory(tables)
    options.set_write_buffer_manager(write_buffers)
    return options
