"""`watch`: follow a folder, take in files as they appear and grow, commit often, survive a kill anywhere."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import watchfiles

from streamproc.config import Settings
from streamproc.crash import crash_point
from streamproc.engine.kernels import process
from streamproc.errors import DataError, UsageError
from streamproc.jit import is_compiled
from streamproc.local.inputs import Identity, Source, find_inputs, identity
from streamproc.local.session import Session, open_session
from streamproc.local.sources import LineReader, tail_is_complete_json_object
from streamproc.observe.progress import Progress
from streamproc.observe.stop import StopRequest
from streamproc.parquet.files import cannot_write

MAX_OPEN = 64
"""Files held open to go on with; others are opened again when they change."""

LOOK_INTERVAL_S = 1.0
"""The folder is looked through at least so often, whether the system told of a change or not."""


class Seen(NamedTuple):
    """A file as it was when last read."""

    identity: Identity
    complete: bool
    since_s: float
    """When it was first seen like that (monotonic)."""


class Watcher:
    """Takes in what lies in a folder, pass by pass."""

    def __init__(
        self,
        directory: Path,
        session: Session,
        settings: Settings,
        progress: Progress,
        stop: StopRequest,
        clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._session = session
        self._settings = settings
        self._progress = progress
        self._stop = stop
        self._clock = clock
        self._seen: dict[str, Seen] = {}
        self._readers: dict[str, LineReader] = {}
        self._committed_s = clock()
        self._warned: set[str] = set()

    def look(self) -> None:
        """One pass over all files: read what is new; let idle time pass where nothing was."""
        found = find_inputs(str(self._directory))
        self._forget({source.real_path for source in found})
        took = False
        for source in found:
            if self._stop.requested:
                break
            took |= self._take(source)
        self._session.work.crew.close_idle(round(self._clock() * 1000), caught_up=not took and not self._stop.requested)
        self.commit_when_due()

    def commit_when_due(self) -> None:
        """Commit when the last one is long enough ago."""
        if self._clock() - self._committed_s >= self._settings.local.commit_interval:
            self.commit()

    def commit(self) -> None:
        """Make all that was taken durable."""
        self._session.commit([])
        self._committed_s = self._clock()

    def settled(self) -> list[Source]:
        """Files that are taken in, committed and have not changed for long enough."""
        until_s = self._clock() - self._settings.local.settle
        return [
            source
            for source in find_inputs(str(self._directory))
            if (seen := self._seen.get(source.real_path)) is not None
            and seen.complete
            and seen.since_s <= until_s
            and _identity(source) == seen.identity
        ]

    def close(self) -> None:
        """Close all files."""
        for reader in self._readers.values():
            reader.close()

    def _take(self, source: Source) -> bool:
        """Read what is new in a file; whether there was anything."""
        path, now = source.real_path, _identity(source)
        seen = self._seen.get(path)
        if now is None or (seen is not None and seen.identity == now):
            return False
        try:
            reader = self._reader(source, path, seen, now)
            if reader is None:
                self._seen[path] = Seen(now, True, self._clock())
                return False
            complete = self._read(reader)
        except DataError as error:
            self._skip(path, now, error)
            return False
        self._session.ledger.advance(reader.position, now, complete)
        self._seen[path] = Seen(now, complete, self._clock())
        return True

    def _reader(self, source: Source, path: str, seen: Seen | None, now: Identity) -> LineReader | None:
        """A reader that stands where the file was left, None when it is taken in."""
        reader = self._readers.pop(path, None)
        if (
            reader is not None
            and seen is not None
            and (seen.identity.inode != now.inode or now.size < seen.identity.size)
        ):
            reader.close()
            reader = None
        if reader is None:
            position = self._session.ledger.position(source)
            if position is None:
                return None
            reader = LineReader(
                source,
                offset=position.offset,
                first_line=position.first_line,
                chunk_bytes=self._settings.local.chunk_bytes,
                hashing=True,
            )
        self._readers[path] = reader
        if len(self._readers) > MAX_OPEN:
            self._readers.pop(next(iter(self._readers))).close()
        return reader

    def _read(self, reader: LineReader) -> bool:
        """All complete lines to the present end; whether nothing is left."""
        while (chunk := reader.read()) is not None:
            self._session.work.take(chunk)
            self._progress.advance(chunk.size, chunk.lines)
            if self._clock() - self._committed_s >= self._settings.local.commit_interval:
                self._session.ledger.advance(reader.position, identity(reader.source.path), False)
                self.commit()
            if self._stop.requested:
                return False
        if reader.tail and tail_is_complete_json_object(reader.tail) and (tail := reader.take_tail()) is not None:
            self._session.work.take(tail)
        self._warn_once(reader.warning)
        return not reader.tail and not reader.warning

    def _warn_once(self, warning: str) -> None:
        if warning and warning not in self._warned:
            self._warned.add(warning)
            self._progress.warn(warning)

    def _skip(self, path: str, now: Identity, error: DataError) -> None:
        """Go on without a file that cannot be read, until it changes."""
        self._seen[path] = Seen(now, False, self._clock())
        reader = self._readers.pop(path, None)
        if reader is not None:
            reader.close()
        self._progress.warn(str(error), hint=error.hint)

    def _forget(self, present: set[str]) -> None:
        """Let go of files that are gone."""
        for path in self._seen.keys() - present:
            del self._seen[path]
            reader = self._readers.pop(path, None)
            if reader is not None:
                reader.close()


def watch_directory(
    directory: Path,
    output: Path,
    settings: Settings,
    *,
    state: Path,
    after: str,
    fresh: bool,
    progress: Progress,
    stop: StopRequest,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Follow a folder until asked to stop; the summary of what was done.

    Raises `UsageError` for folders that cannot be used, `StateError` for a state that cannot, `DataError` when the
    output cannot be written.
    """
    if not directory.is_dir():
        raise UsageError("there is no such folder", where=str(directory), hint="give the folder in which files appear")
    finish_file = _after(after, directory)
    if not is_compiled(process):
        progress.note("compiling kernels for this machine: takes up to half a minute, once")
    started = clock()
    with open_session(state, output, settings, workers=1, overwrite=False, fresh=fresh) as session:
        watcher = Watcher(directory, session, settings, progress, stop, clock)
        progress.start(None)
        try:
            for _ in _wake_ups(directory, settings, stop):
                watcher.look()
                if finish_file is not None and (settled := watcher.settled()):
                    watcher.commit()
                    for source in settled:
                        crash_point("watch.before_after")
                        finish_file(source)
                if stop.requested:
                    break
            watcher.commit()
        finally:
            watcher.close()
        return session.work.summary(clock() - started)


def _wake_ups(directory: Path, settings: Settings, stop: StopRequest) -> Any:
    """Now, then at each change in the folder, and from time to time without any."""
    yield None
    wait_s = min(LOOK_INTERVAL_S, settings.local.commit_interval)
    yield from watchfiles.watch(
        directory,
        stop_event=stop,
        yield_on_timeout=True,
        rust_timeout=max(1, round(wait_s * 1000)),
        debounce=50,
        step=20,
        raise_interrupt=False,
        watch_filter=None,
        ignore_permission_denied=True,
    )


def _identity(source: Source) -> Identity | None:
    try:
        return identity(source.path)
    except DataError:
        return None  # gone since the folder was looked through


def _after(after: str, directory: Path) -> Callable[[Source], None] | None:
    if after == "keep":
        return None
    if after == "delete":
        return lambda source: os.unlink(source.path)
    target = Path(after.removeprefix("move:")).resolve()
    if target.is_relative_to(directory.resolve()):
        raise UsageError(
            "files would move within the watched folder", where=str(target), hint="choose a folder outside of it"
        )

    def move(source: Source) -> None:
        wanted = target / os.path.relpath(source.path, directory)
        place = wanted
        number = 0
        while place.exists():
            number += 1
            place = wanted.with_name(f"{wanted.name}.{number}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source.path, place)
        except OSError as error:
            raise cannot_write(place, error) from error

    return move
