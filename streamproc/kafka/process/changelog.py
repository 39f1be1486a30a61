"""What a partition's changelog holds: blocks of symbols' states under keys that begin with the generation, and the
partition's position."""

from collections.abc import Iterable
from typing import NamedTuple

import orjson

from streamproc.errors import StateError
from streamproc.state.snapshot import FORMAT

POSITION_KEY = b"position"
STATE = b"s"
"""What the keys of all state begin with; then comes the generation."""
_GENERATION_BYTES = 4

Change = tuple[bytes, bytes | None]
"""A key with its new value, None to delete it."""


def state_prefix(generation: int) -> bytes:
    """What the keys of a generation's state begin with."""
    return STATE + generation.to_bytes(_GENERATION_BYTES, "big")


def generation_of(key: bytes) -> int:
    """Generation of a key of state."""
    return int.from_bytes(key[1 : 1 + _GENERATION_BYTES], "big")


class Position(NamedTuple):
    """How far a partition has come: the last record of each commit."""

    offset: int
    """Of the next record of the raw topic."""
    generation: int
    raw_id: str
    """Topic ids: a topic made anew under the same name is another one."""
    state_id: str
    config: str
    """The configuration, as `StateConfig.canonical` has it."""
    format: int = FORMAT

    def dumps(self) -> bytes:
        """As the value of a record."""
        return orjson.dumps(self._asdict())

    def check(self) -> None:
        """Raise `TypeError` or `ValueError` for what no member has written."""
        numbers, texts = (self.offset, self.generation, self.format), (self.raw_id, self.state_id, self.config)
        if not all(type(number) is int for number in numbers) or not all(isinstance(text, str) for text in texts):
            raise TypeError("a field of another kind")
        if min(numbers) < 0 or self.generation >= 1 << (8 * _GENERATION_BYTES):
            raise ValueError("a number out of its range")

    @classmethod
    def loads(cls, value: bytes, where: str) -> "Position":
        """From a record's value. `StateError` where it is none."""
        try:
            position = cls(**orjson.loads(value))
            position.check()
            return position
        except (TypeError, ValueError) as error:
            raise StateError(
                f"the changelog holds a position that cannot be read: {value[:200]!r}",
                where=where,
                hint="was something else written to this topic? restore it, or replay from the raw topic",
            ) from error


def changes_of(puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes], generation: int) -> list[Change]:
    """The engine's changes as changes of a generation's state."""
    prefix = state_prefix(generation)
    return [*((prefix + key, value) for key, value in puts), *((prefix + key, None) for key in deletes)]
