"""A partition's state on disk: a copy of what its changelog holds, with how far that was read."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from streamproc.errors import StateError
from streamproc.kafka.process.changelog import POSITION_KEY, STATE, Change, Position, generation_of, state_prefix
from streamproc.store import RocksStore

_CHANGELOG_KEY = b"changelog"


class PartitionStore:
    """State, position and changelog offset of one partition, always of one commit.

    Parameters
    ----------
    folder : of this partition alone; made where it is missing.
    where : how errors name the changelog's partition.

    Raises `StateError` where RocksDB cannot read it.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self._where = where
        self._db = RocksStore(folder)
        try:
            self._load()
        except BaseException:
            self._db.close()
            raise

    def _load(self) -> None:
        applied = self._db.get(_CHANGELOG_KEY)
        self.changelog_offset = 0 if applied is None else int(applied)
        """Of the next record of the changelog."""
        position = self._db.get(POSITION_KEY)
        self.position = None if position is None else Position.loads(position, self._where)

    def write(self, changes: Iterable[Change], changelog_offset: int) -> None:
        """Apply changes in the changelog's order, the position among them, all or none.

        The changelog mends what a power cut takes, so nothing is synced.
        """
        newest = dict(changes)
        puts = [(key, value) for key, value in newest.items() if value is not None]
        deletes = [key for key, value in newest.items() if value is None]
        puts.append((_CHANGELOG_KEY, b"%d" % changelog_offset))
        self._db.write(puts, deletes, durable=False)
        self.changelog_offset = changelog_offset
        if newest.get(POSITION_KEY):
            self.position = Position.loads(newest[POSITION_KEY] or b"", self._where)

    def symbols(self, generation: int) -> Iterator[tuple[bytes, bytes]]:
        """A generation's state, as `Engine.restore` takes it."""
        prefix = state_prefix(generation)
        return ((key[len(prefix) :], value) for key, value in self._db.scan(prefix))

    def outdated(self, generation: int) -> Iterator[bytes]:
        """Keys of the state of other generations."""
        return (key for key, _ in self._db.scan(STATE) if generation_of(key) != generation)

    def close(self) -> None:
        """Let go of the folder."""
        self._db.close()

    @classmethod
    def anew(cls, folder: Path, where: str) -> "PartitionStore":
        """An empty store in place of what is in the folder."""
        shutil.rmtree(folder, ignore_errors=True)
        return cls(folder, where)


def opened(folder: Path, where: str) -> tuple[PartitionStore, str]:
    """The store in a folder, made anew where it cannot be read; and why it was."""
    try:
        return PartitionStore(folder, where), ""
    except StateError as error:
        return PartitionStore.anew(folder, where), str(error)
