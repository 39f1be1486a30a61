"""Every error a user can meet. Each says what was found, where, and what to do about it.

The command line prints these three parts and ends with ``exit_code``; a program that uses the library catches
``StreamprocError``.
"""

from collections.abc import Sequence
from typing import NamedTuple


class StreamprocError(Exception):
    """Something a user can do something about.

    Parameters
    ----------
    message : what was found, one sentence.
    where : the place of it, such as ``data/btc.ndjson:17`` or ``state.horizons[2]``; empty when the message says it.
    hint : what to do about it, one sentence; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(StreamprocError):
    """The command or the call asks for something that cannot be: nothing was done."""

    exit_code = 2


class DataError(StreamprocError):
    """An input or output that cannot be read or written. (Bad records are no error: they are kept as rejects.)"""


class StateError(StreamprocError):
    """A stored state that is damaged, locked, of another configuration, or of another output."""


class Fault(NamedTuple):
    """One fault of the configuration."""

    where: str
    """``config.yaml:12``, ``--set state.horizons=...`` or the name of the environment variable."""
    key: str
    """Dotted key, such as ``state.horizons[2]``; empty when the fault is of the whole file."""
    message: str

    def __str__(self) -> str:
        key = "" if self.where.endswith(self.key) else self.key
        return ": ".join(part for part in (self.where, key, self.message) if part)


class ConfigError(UsageError):
    """A configuration with faults: all of them at once, in the order of their places."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        noun = "fault" if len(faults) == 1 else "faults"
        lines = [f"the configuration has {len(faults)} {noun}", *(f"  {fault}" for fault in faults)]
        super().__init__("\n".join(lines), hint="see `streamproc config show` and docs/configuration.md for the keys")
        self.args = (faults,)
        self.faults = tuple(faults)
