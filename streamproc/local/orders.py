"""What a crew's parent tells its workers, what they tell it, and the memory in which it shows them lines."""

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamproc.config import Settings
from streamproc.engine import Rejected


class Hired(NamedTuple):
    """First of all: what a worker works with. Then come lists of state entries, and None after the last."""

    name: str
    settings: Settings
    staging: Path
    stem: str
    memory: int
    """File descriptor of the shared bytes."""


class Take(NamedTuple):
    """Work on the lines at this place in the shared bytes; answered by `Taken`."""

    start: int
    size: int


class Call(NamedTuple):
    """Call this method of the worker's pipeline; answered by `Answer`."""

    method: str
    arguments: tuple[Any, ...]


class Taken(NamedTuple):
    """The lines of a `Take` are done."""

    rejected: list[Rejected]


class Answer(NamedTuple):
    """What a `Call` returned."""

    value: Any


class Failed(NamedTuple):
    """The worker's last word."""

    error: Exception


class SharedBytes:
    """Memory of several processes: a file without a name, which goes with the last of them.

    Parameters
    ----------
    descriptor : the file, where another process has made it; that one alone writes.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._access = mmap.ACCESS_READ if descriptor is not None else mmap.ACCESS_WRITE
        self.descriptor = _nameless_file() if descriptor is None else descriptor
        self._array = np.empty(0, np.uint8)

    def grow(self, size: int) -> None:
        """Make the file that long; parts asked for before stay as they are."""
        os.ftruncate(self.descriptor, size)

    def part(self, start: int, size: int) -> NDArray[np.uint8]:
        """The bytes [start, start + size), good as long as the caller keeps them."""
        if start + size > len(self._array):
            length = os.fstat(self.descriptor).st_size
            self._array = np.frombuffer(mmap.mmap(self.descriptor, length, access=self._access), np.uint8)
        return self._array[start : start + size]

    def close(self) -> None:
        """Let go of the file; parts that someone keeps stay."""
        os.close(self.descriptor)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("streamproc-lines")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
