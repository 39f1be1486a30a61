"""Room on the local disk for what is written before it is uploaded."""

import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path

from streamproc.parquet.files import cannot_write

PREFIX = "streamproc-sink-"
_LOCK = "_lock"


class Scratch:
    """A temporary folder. What others left in theirs when they were killed is deleted."""

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            _delete_if_left(left)
        try:
            self._root = Path(tempfile.mkdtemp(prefix=PREFIX))
            lock = os.open(self._root / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(self._root / f"{_LOCK}.new", self._root / _LOCK)  # nobody meets it before it is locked
        except OSError as error:
            raise cannot_write(Path(tempfile.gettempdir()), error) from error
        weakref.finalize(self, _end, self._root, lock)

    def path(self, folder: str) -> Path:
        """Where a folder is."""
        return self._root / folder

    def make(self, folder: str) -> Path:
        """Make a folder."""
        path = self.path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        return path

    def drop(self, folder: str) -> None:
        """Delete a folder, as far as it is there."""
        shutil.rmtree(self.path(folder), ignore_errors=True)


def _end(root: Path, lock: int) -> None:
    shutil.rmtree(root, ignore_errors=True)
    os.close(lock)


def _delete_if_left(folder: Path) -> None:
    """Delete a folder whose owner lives no more. One without a lock yet is being made, or empty."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass
    finally:
        os.close(lock)
