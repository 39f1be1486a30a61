"""The local commit: rows, state and input position become durable together or not at all.

1. Writers have finished their files under `OUTPUT/_pending/<state id>/`.
2. One synced batch to the store: state, positions, commit number, the list of those files. This is the commit.
3. The files move to their final names.
4. The output's mark gets the commit number; the list is cleared with the next batch.

At start the list is moved again (moving twice is the same as once) and everything else in the pending folder is
deleted.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import orjson

from streamproc.config import Settings, StateConfig
from streamproc.crash import crash_point
from streamproc.errors import StateError, UsageError
from streamproc.parquet.files import cannot_write, fsync
from streamproc.parquet.writer import Pending, publish
from streamproc.state.snapshot import FORMAT, Changes
from streamproc.store import Store

META_KEY = b"meta"
PENDING_KEY = b"pending"
FILE_PREFIX = b"file/"
SYMBOL_PREFIX = b"symbol/"
STREAMS = ("hf", "bars", "rejects")


class Meta(NamedTuple):
    """What a store is of."""

    state_id: str
    commit: int
    format: int
    config: str
    hash: str
    partition_by: list[str]

    def dumps(self) -> bytes:
        """As bytes."""
        return orjson.dumps(self._asdict())


class Staging:
    """The folder under the output where a run's files wait, locked while the run lives."""

    def __init__(self, output: Path, name: str) -> None:
        self.path = output / "_pending" / name
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] = (self.path / "_lock").open("wb")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if not _locked(self._lock):
            self._lock.close()
            raise StateError("another process is writing here", where=str(self.path), hint="end that process first")

    def clear(self, keep: Iterable[Path] = ()) -> None:
        """Delete everything but the lock and what is to keep."""
        kept = {*keep, self.path / "_lock"}
        for folder, _, names in os.walk(self.path, topdown=False):
            for name in names:
                if Path(folder, name) not in kept:
                    Path(folder, name).unlink()
            if Path(folder) != self.path and not os.listdir(folder):
                os.rmdir(folder)

    def close(self) -> None:
        """Unlock."""
        self._lock.close()

    def remove(self) -> None:
        """Delete the folder, and the one above when it is the last."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()
        if not os.listdir(self.path.parent):
            self.path.parent.rmdir()


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def has_rows(output: Path) -> bool:
    """Whether an output holds anything a reader would see."""
    return any(next((output / stream).rglob("*.*"), None) is not None for stream in STREAMS)


class Journal:
    """The commits of one state into one output."""

    def __init__(self, store: Store, output: Path, settings: Settings) -> None:
        config, partition_by = settings.state, list(settings.sink.partition_by)
        self._store = store
        self._output = output
        stored = store.get(META_KEY)
        if stored is None:
            self.meta = Meta(secrets.token_hex(6), 0, FORMAT, config.canonical(), config.hash, partition_by)
            self._claim()
        else:
            self.meta = Meta(**orjson.loads(stored))
            self._check(config, partition_by)
        self.staging = Staging(output, self.meta.state_id)
        self._all_published = False
        self._recover()

    @property
    def stem(self) -> str:
        """Start of the names of the next commit's files."""
        return f"{self.meta.state_id}-{self.meta.commit + 1:010d}"

    def symbols(self) -> Iterable[tuple[bytes, bytes]]:
        """All stored state of symbols, as `Engine.restore` takes it."""
        start = len(SYMBOL_PREFIX)
        return ((key[start:], value) for key, value in self._store.scan(SYMBOL_PREFIX))

    def files(self) -> Iterable[bytes]:
        """All stored records of input files."""
        return (value for _, value in self._store.scan(FILE_PREFIX))

    def commit(self, pending: list[Pending], changes: Iterable[Changes], files: Iterable[tuple[str, bytes]]) -> None:
        """Make a commit of finished files, changed state and changed input positions (by path)."""
        crash_point("commit.after_files")
        self.meta = self.meta._replace(commit=self.meta.commit + 1)
        names = [(str(file.staged.relative_to(self.staging.path)), str(file.final), file.rows) for file in pending]
        puts = [(META_KEY, self.meta.dumps()), (PENDING_KEY, orjson.dumps(names))]
        puts += [(FILE_PREFIX + os.fsencode(path), value) for path, value in files]
        deletes: list[bytes] = []
        for change in changes:
            puts += [(SYMBOL_PREFIX + key, value) for key, value in change.puts]
            deletes += [SYMBOL_PREFIX + key for key in change.deletes]
        self._all_published = False
        self._store.write(puts, deletes)
        crash_point("commit.after_batch")
        publish(pending, self._output)
        crash_point("commit.after_publish")
        self._mark()
        self._all_published = True
        crash_point("commit.after_mark")

    def close(self) -> None:
        """Let go of the staging folder.

        Files of a commit that could not be published stay, for the next start to publish.
        """
        if self._all_published:
            self._forget_pending()
            self.staging.clear()
        self.staging.close()

    def _forget_pending(self) -> None:
        # Durably, before the staging folders go: with them goes the sign that a missing file was moved.
        self._store.write([(PENDING_KEY, b"[]")], [])

    @property
    def _mark_path(self) -> Path:
        return self._output / f"_state-{self.meta.state_id}.json"

    def _mark(self) -> None:
        beside = self._mark_path.with_suffix(".tmp")
        try:
            beside.write_bytes(orjson.dumps({"state_id": self.meta.state_id, "commit": self.meta.commit}))
            os.replace(beside, self._mark_path)
        except OSError as error:
            raise cannot_write(self._mark_path, error) from error

    def _claim(self) -> None:
        """Make a new state's mark on an output that holds nothing yet."""
        if has_rows(self._output) or any(self._output.glob("_state-*.json")):
            raise UsageError(
                "the output already holds rows, and this state is new",
                where=str(self._output),
                hint="give the state that belongs to it, choose an empty output, or replace what is there "
                "with --overwrite",
            )
        self._output.mkdir(parents=True, exist_ok=True)
        self._mark()
        fsync(self._output)
        self._store.write([(META_KEY, self.meta.dumps())], [])

    def _check(self, config: StateConfig, partition_by: list[str]) -> None:
        if self.meta.format != FORMAT:
            raise StateError(
                f"the state has format {self.meta.format}, this version writes format {FORMAT}",
                hint="use the version that wrote it, or start afresh: --fresh with an empty output",
            )
        if self.meta.hash != config.hash:
            raise StateError(
                "the state was written under another configuration\n"
                f"  state:   {self.meta.config}\n  current: {config.canonical()}",
                hint="give the configuration it was written under, or start afresh: --fresh with an empty output",
            )
        if self.meta.partition_by != partition_by:
            raise StateError(
                f"the output's folders were made by sink.partition_by {self.meta.partition_by}, not {partition_by}",
                hint="give the partitioning it was begun with, or start afresh: --fresh with an empty output",
            )
        if not self._mark_path.exists():
            raise StateError(
                f"the state {self.meta.state_id} belongs to another output: the mark {self._mark_path.name} is "
                "not here",
                where=str(self._output),
                hint="give the output it belongs to, or another state",
            )
        marked = orjson.loads(self._mark_path.read_bytes())["commit"]
        if marked > self.meta.commit:
            raise StateError(
                f"the state has lost commits: it stands at {self.meta.commit}, its output at {marked}",
                hint="its files were cut short or an old copy was restored: restore the newest copy, or start afresh: "
                "--fresh with an empty output",
            )

    def _recover(self) -> None:
        listed = orjson.loads(self._store.get(PENDING_KEY) or b"[]")
        pending = [Pending(self.staging.path / staged, PurePosixPath(final), rows) for staged, final, rows in listed]
        publish(pending, self._output)
        self._mark()
        self._all_published = True
        self._forget_pending()
        self.staging.clear()
