"""An output on a file system: `link` makes what must not be there yet, `rename` publishes."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from streamproc.crash import crash_point
from streamproc.parquet.files import cannot_write, fsync, fsync_files

MOST_SETTLED = 100_000


class LocalStorage:
    """A folder. Its file system must have hard links."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._settled: set[PurePosixPath] = set()
        """Folders whose own names are durable."""

    def draft(self, folder: str) -> Path:
        """The pending folder itself: what is written there needs not be moved."""
        path = self._output / folder
        self._make(path)
        return path

    def put(self, folder: str, files: Sequence[str]) -> None:
        """Make the files durable where they are, with their folders."""
        fsync_files([PurePosixPath(name) for name in files], self._output / folder)
        self._settle([folder])

    def publish(self, folder: str, files: Sequence[str]) -> None:
        """Rename each, then make the names durable."""
        self._settle([name for name in files if self._moved(f"{folder}/{name}", name)])
        self.delete(folder)

    def place(self, folder: str, files: Sequence[str]) -> None:
        """Make them durable, then rename each."""
        self.put(folder, files)
        for name in files:
            if not self._moved(f"{folder}/{name}", name):
                raise cannot_write(self._output / name, FileNotFoundError(errno.ENOENT, ""))
        self._settle(files)
        self.delete(folder)

    def create(self, name: str, content: bytes) -> bool:
        """Write it beside, then link it: of several that try, one succeeds, and nobody sees half of it."""
        path = self._output / name
        beside = self._beside(path, content)
        crash_point("sink.after_draft")
        try:
            os.link(beside, path)
        except FileExistsError:
            return False
        except OSError as error:
            raise cannot_write(path, error) from error
        finally:
            beside.unlink(missing_ok=True)
        crash_point("sink.after_link")
        fsync(path.parent)
        return True

    def replace(self, name: str, content: bytes) -> None:
        """Write it beside, then rename it."""
        path = self._output / name
        beside = self._beside(path, content)
        try:
            os.replace(beside, path)
        except OSError as error:
            raise cannot_write(path, error) from error
        fsync(path.parent)

    def read(self, name: str) -> bytes | None:
        """The file's content."""
        try:
            return (self._output / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted."""
        try:
            return sorted(os.listdir(self._output / folder))
        except FileNotFoundError:
            return []

    def delete(self, folder: str) -> None:
        """Delete; another process may be doing the same."""
        shutil.rmtree(self._output / folder, ignore_errors=True)

    def _moved(self, waiting: str, name: str) -> bool:
        final, pending = self._output / name, self._output / waiting
        if not pending.exists():
            return False
        self._make(final.parent)
        try:
            os.replace(pending, final)
        except FileNotFoundError:  # another process has moved it meanwhile
            return False
        except OSError as error:
            raise cannot_write(final, error) from error
        crash_point("sink.after_rename")
        return True

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def _beside(self, path: Path, content: bytes) -> Path:
        """A durable file of a name that nobody else has, in the same folder."""
        beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        if not path.parent.is_dir():
            self._make(path.parent)
            self._settle([path.relative_to(self._output).as_posix()])
        try:
            beside.write_bytes(content)
            fsync(beside)
        except BaseException as error:
            beside.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise cannot_write(path, error) from error
            raise
        return beside

    def _settle(self, names: Iterable[str]) -> None:
        """Make new names durable, and those of their folders up to the output, as far as they are not known to be."""
        paths = [PurePosixPath(name) for name in names]
        fresh = {parent for path in paths for parent in path.parents} - self._settled
        changed = {path.parent for path in paths} | {folder.parent for folder in fresh}
        for folder in sorted(changed, reverse=True):
            fsync(self._output / folder)
        if len(self._settled) > MOST_SETTLED:
            self._settled.clear()
        self._settled |= fresh
