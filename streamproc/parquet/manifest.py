"""What a compaction replaces: the manifests and locks under `_compact/` of a table's folder.

A manifest says that one output stands for its inputs. It exists from before the output is put in place until after
the last input is deleted, so whoever lists the files can tell at every step which of the two count.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from streamproc.errors import DataError
from streamproc.parquet.files import cannot_write, fsync

FOLDER = "_compact"
_SWAP_LOCK = "swap.lock"
_RUN_LOCK = "run.lock"


@dataclass(frozen=True)
class Manifest:
    """Paths are relative to the table's folder, with `/`."""

    inputs: tuple[str, ...]
    output: str | None
    """None when nothing of the inputs remains: a newer generation has replaced all their rows."""

    @property
    def id(self) -> str:
        """The same for the same inputs."""
        return hashlib.blake2b("\n".join(self.inputs).encode(), digest_size=8).hexdigest()

    def path(self, table: Path) -> Path:
        return table / FOLDER / f"{self.id}.json"

    def staged(self, table: Path) -> Path:
        """Where the output waits for the swap; no `.parquet`, so that no reader's glob takes it for data."""
        return table / FOLDER / f"{self.id}.pending"

    def commit(self, table: Path) -> None:
        """Write the manifest durably: from here on the compaction will be finished, by whomever."""
        path = self.path(table)
        draft = path.with_suffix(".draft")
        try:
            draft.write_text(json.dumps(asdict(self), indent=1))
            fsync(draft)
            draft.rename(path)
        except OSError as error:
            raise cannot_write(path, error) from error
        fsync(path.parent)


def read_manifests(table: Path) -> list[Manifest]:
    """The manifests of compactions that are under way or were cut short."""
    return [_read(path) for path in sorted((table / FOLDER).glob("*.json"))]


def _read(path: Path) -> Manifest:
    try:
        fields = json.loads(path.read_text())
        return Manifest(tuple(fields["inputs"]), fields["output"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "a damaged record of a compaction", where=str(path), hint="restore the folder from a backup"
        ) from error


def _lock(path: Path, mode: int) -> int:
    """An open descriptor that holds the lock until it is closed."""
    flags = os.O_RDWR | os.O_CREAT if mode & fcntl.LOCK_EX else os.O_RDONLY
    descriptor = os.open(path, flags, 0o644)
    try:
        fcntl.flock(descriptor, mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def compacting(table: Path) -> Iterator[None]:
    """Be the only compaction of a table; DataError when there is another."""
    folder = table / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        (folder / _SWAP_LOCK).touch()
        lock = _lock(folder / _RUN_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(
            "another compaction is at work here", where=str(table), hint="wait for its end, then start again"
        ) from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    with _closing(lock):
        yield


@contextlib.contextmanager
def swapping(table: Path) -> Iterator[None]:
    """Change files while nobody lists them."""
    with _closing(_lock(table / FOLDER / _SWAP_LOCK, fcntl.LOCK_EX)):
        yield


@contextlib.contextmanager
def listing(table: Path) -> Iterator[None]:
    """Keep compactions from swapping files; nothing is kept off where none has ever begun (`ever_compacted`)."""
    try:
        lock = _lock(table / FOLDER / _SWAP_LOCK, fcntl.LOCK_SH)
    except FileNotFoundError:
        yield
        return
    with _closing(lock):
        yield


def ever_compacted(table: Path) -> bool:
    """Whether a compaction has ever begun in this table."""
    return (table / FOLDER / _SWAP_LOCK).exists()
