"""Where a sink's files and commit records are kept: the few operations that the protocol rests on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """An output. Names are relative to it, with `/`; whatever returns is durable.

    A file has one name below the folder where it waits and below the output. What cannot be done raises `DataError`.
    """

    def draft(self, folder: str) -> Path:
        """A local folder in which to write the files that are to wait in the pending `folder`."""

    def put(self, folder: str, files: Sequence[str]) -> None:
        """Make files of a draft wait in the pending `folder`."""

    def publish(self, folder: str, files: Sequence[str]) -> None:
        """Put files that wait in a folder where readers look; then the folder goes.

        One that does not wait any more was published before, by whomever.
        """

    def place(self, folder: str, files: Sequence[str]) -> None:
        """Put files of a draft where they belong without having them wait."""

    def create(self, name: str, content: bytes) -> bool:
        """Make a small file, whole, that is not there yet; False where another one is, whoever made it."""

    def replace(self, name: str, content: bytes) -> None:
        """Make a small file, whole, in the place of whatever is there."""

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None where there is none."""

    def names(self, folder: str) -> list[str]:
        """What a folder holds; nothing where there is none."""

    def delete(self, folder: str) -> None:
        """Delete a pending folder with its draft and all that they hold, as far as they are there and that can be."""
