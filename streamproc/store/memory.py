"""A store in memory, for tests and for programs that want none on disk."""

from collections.abc import Iterable, Iterator


class MemoryStore:
    """The in-memory twin of `RocksStore`."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None when there is none."""
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All entries whose keys begin with `prefix`, in the order of their keys."""
        return iter([(key, self.entries[key]) for key in sorted(self.entries) if key.startswith(prefix)])

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """Make all changes."""
        for key in deletes:
            self.entries.pop(key, None)
        self.entries.update(puts)

    def close(self) -> None:
        """Nothing is held."""
