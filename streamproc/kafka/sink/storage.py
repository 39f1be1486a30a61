"""Where a sink's files and commit records are kept: the few operations that the protocol rests on."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Move(NamedTuple):
    """A file from where it waits to where readers look; both relative to the output, with `/`."""

    pending: str
    final: str


class Storage(Protocol):
    """An output. Names are relative to it, with `/`; whatever returns is durable."""

    def draft(self, folder: str) -> Path:
        """A local folder in which to write the files that are to wait in the pending `folder`."""

    def put(self, folder: str) -> None:
        """Make the files of a draft durable in the pending `folder`."""

    def create(self, name: str, content: bytes) -> bool:
        """Make a small file, whole, that is not there yet; False where it is, whoever made it."""

    def replace(self, name: str, content: bytes) -> None:
        """Make a small file, whole, in the place of whatever is there."""

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None where there is none."""

    def publish(self, moves: Sequence[Move]) -> None:
        """Move files. One that does not wait any more was moved before, by whomever."""

    def names(self, folder: str) -> list[str]:
        """What a folder holds; nothing where there is none."""

    def delete(self, folder: str) -> None:
        """Delete a folder with all that it holds, as far as it is there."""
