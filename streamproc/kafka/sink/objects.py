"""An output in an object store: a conditional put makes what must not be there yet, a copy in the store publishes."""

import errno
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.store import ObjectStore

from streamproc.crash import crash_point
from streamproc.errors import UsageError
from streamproc.kafka.sink.scratch import Scratch
from streamproc.parquet.files import cannot_write
from streamproc.parquet.objects import FAULTS, REFUSALS, TAKEN, store_error

REQUESTS_AT_ONCE = 16
PART_BYTES = 16 * 2**20
"""A file goes in one request up to this size."""
TRY_SECONDS = 60.0
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds between the tries of a call."""

RIVALS = 4

T = TypeVar("T")
_logger = logging.getLogger(__name__)


class ObjectStorage:
    """A bucket, or what lies in it under a prefix. Its store must honour `If-None-Match: *`.

    Parameters
    ----------
    address : of the store, for what is told.
    """

    def __init__(self, store: ObjectStore, address: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._address = address.rstrip("/")
        self._sleep = sleep
        self._scratch = Scratch()
        self._requests = ThreadPoolExecutor(REQUESTS_AT_ONCE, "sink-store")

    def check(self) -> None:
        """Have some race to create one object; `UsageError` where more than one succeeds."""
        name = f"_commits/_probe-{secrets.token_hex(8)}"

        def create(rival: int) -> bool:
            try:
                obstore.put(self._store, name, b"%d" % rival, mode="create")
            except TAKEN:
                return False
            return True

        try:
            created = sum(self._requests.map(create, range(RIVALS)))
            obstore.delete(self._store, [name])
        except FAULTS as error:
            raise store_error(error, self._address) from None
        if created > 1:
            raise UsageError(
                "the object store lets several create the same object, so that rows could be written twice",
                where=self._address,
                hint="choose a store that honours If-None-Match: *",
            )

    def draft(self, folder: str) -> Path:
        """A folder on the local disk."""
        return self._scratch.make(folder)

    def put(self, folder: str, files: Sequence[str]) -> None:
        """Upload to the pending folder. An upload that breaks leaves nothing that could be seen."""
        self._upload(folder, files, f"{folder}/")

    def place(self, folder: str, files: Sequence[str]) -> None:
        """Upload to where the files belong."""
        self._upload(folder, files, "")

    def publish(self, folder: str, files: Sequence[str]) -> None:
        """Copy within the store, then delete what has waited."""
        waiting = [f"{folder}/{name}" for name in files]
        for _ in self._requests.map(self._copy, waiting, files):
            crash_point("sink.after_copy")
        try:
            obstore.delete(self._store, waiting)
        except FileNotFoundError:
            pass  # another process has published them too
        except FAULTS as error:
            self._stays(folder, error)

    def create(self, name: str, content: bytes) -> bool:
        """Put it if nothing is there. Where no answer comes, or that it is there, its content tells who was first."""

        def create() -> bool:
            try:
                obstore.put(self._store, name, content, mode="create")
            except REFUSALS:
                raise
            except FAULTS:
                found = self.read(name)
                if found is None:
                    raise
                return found == content
            return True

        return self._tried(create, name)

    def replace(self, name: str, content: bytes) -> None:
        """Put it, whatever is there."""
        self._tried(lambda: obstore.put(self._store, name, content), name)

    def read(self, name: str) -> bytes | None:
        """The object's content."""
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None
        except FAULTS as error:
            raise store_error(error, self._where(name)) from None

    def names(self, folder: str) -> list[str]:
        """Names under a folder, as if there were folders, sorted."""
        try:
            found = obstore.list_with_delimiter(self._store, folder)
        except FAULTS as error:
            raise store_error(error, self._where(folder)) from None
        paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def delete(self, folder: str) -> None:
        """Delete what is under a folder; another process may be doing the same."""
        self._scratch.drop(folder)
        try:
            for found in obstore.list(self._store, f"{folder}/"):
                obstore.delete(self._store, [each["path"] for each in found])
        except FAULTS as error:
            self._stays(folder, error)

    def _upload(self, folder: str, files: Sequence[str], to: str) -> None:
        draft = self._scratch.path(folder)

        def upload(name: str) -> None:
            if not (draft / name).is_file():
                raise cannot_write(draft / name, FileNotFoundError(errno.ENOENT, ""))
            self._tried(lambda: obstore.put(self._store, to + name, draft / name, chunk_size=PART_BYTES), to + name)

        for _ in self._requests.map(upload, files):
            crash_point("sink.after_upload")
        self._scratch.drop(folder)

    def _copy(self, waiting: str, name: str) -> None:
        def copy() -> None:
            with suppress(FileNotFoundError):  # it does not wait any more
                obstore.copy(self._store, waiting, name)

        self._tried(copy, name)

    def _tried(self, call: Callable[[], T], name: str) -> T:
        """What a call gives that may be made again: stores refuse for a moment, too, and obstore leaves it at that."""
        deadline, pauses = time.monotonic() + TRY_SECONDS, iter(PAUSES)
        while True:
            try:
                return call()
            except REFUSALS as error:
                raise store_error(error, self._where(name)) from None
            except FAULTS as error:
                pause = next(pauses, None)
                if pause is None or time.monotonic() > deadline:
                    raise store_error(error, self._where(name)) from None
                self._sleep(pause)

    def _stays(self, folder: str, error: Exception) -> None:
        """A folder that could not be deleted now is met again at a later start."""
        _logger.info("%s stays for a while: %s", self._where(folder), store_error(error, "").message)

    def _where(self, name: str) -> str:
        return f"{self._address}/{name}"
