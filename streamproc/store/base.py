"""What a store is."""

from collections.abc import Iterable, Iterator
from typing import Protocol


class Store(Protocol):
    """An ordered map of bytes to bytes that changes in atomic steps."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None when there is none."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All entries whose keys begin with `prefix`, in the order of their keys."""

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        """Make all changes or none."""

    def close(self) -> None:
        """Let go of what is held."""
