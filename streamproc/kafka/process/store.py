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

    What RocksDB cannot open is made anew: `renewed` says why, "" where it was not.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self._folder = folder
        self._where = where
        self.renewed = ""
        try:
            self._open()
        except StateError as error:
            self._make_anew(str(error))

    def _open(self) -> None:
        self._db = RocksStore(self._folder, durable=False)
        try:
            self._load()
        except BaseException:
            self._db.close()
            raise

    def _load(self) -> None:
        applied = self._db.get(_CHANGELOG_KEY)
        self.changelog_offset, self.changelog_ms = (0, 0) if applied is None else map(int, applied.split())
        """Of the next record of the changelog, and the time of the last."""
        position = self._db.get(POSITION_KEY)
        self.position = None if position is None else Position.loads(position, self._where)

    def renew(self, reason: str) -> None:
        """Hold nothing from here on, for a reason."""
        self._db.close()
        self._make_anew(reason)

    def _make_anew(self, reason: str) -> None:
        self.renewed = reason
        shutil.rmtree(self._folder, ignore_errors=True)
        self._open()

    def write(self, changes: Iterable[Change], changelog_offset: int, changelog_ms: int) -> None:
        """Apply changes in the changelog's order, the position among them, all or none.

        The changelog mends what a crash takes, so there is no log beside it.
        """
        newest = dict(changes)
        puts = [(key, value) for key, value in newest.items() if value is not None]
        deletes = [key for key, value in newest.items() if value is None]
        puts.append((_CHANGELOG_KEY, b"%d %d" % (changelog_offset, changelog_ms)))
        self._db.write(puts, deletes)
        self.changelog_offset, self.changelog_ms = changelog_offset, changelog_ms
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
