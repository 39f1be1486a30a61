"""The output of a run without state: staged as a whole, visible together at the end."""

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from streamproc.crash import crash_point
from streamproc.errors import UsageError
from streamproc.local.journal import STREAMS, Staging
from streamproc.parquet.files import cannot_write, fsync


class OneShot:
    """Rows of one run into an output of its own."""

    stem = "part"

    def __init__(self, output: Path, *, overwrite: bool) -> None:
        self._output = output
        if not overwrite:
            refuse_rows(output)
        remove_leftovers(output)
        self.staging = Staging(output, f"run-{secrets.token_hex(6)}")

    def publish(self) -> None:
        """Put the staged folders in the place of whatever is there."""
        old = self.staging.path / "_old"
        try:
            for name in (*STREAMS, *(mark.name for mark in self._output.glob("_state-*.json"))):
                if (self._output / name).exists():
                    old.mkdir(exist_ok=True)
                    os.replace(self._output / name, old / name)
            crash_point("run.before_publish")
            for name in STREAMS:
                if (self.staging.path / name).exists():
                    os.replace(self.staging.path / name, self._output / name)
                    crash_point("run.after_rename")
        except OSError as error:
            raise cannot_write(self._output, error) from error
        fsync(self._output)

    def close(self) -> None:
        """Delete what is not published."""
        self.staging.remove()


def refuse_rows(output: Path) -> None:
    """`UsageError` when an output holds anything but this program's own scratch."""
    if output.exists() and not output.is_dir():
        raise UsageError("the output is no folder", where=str(output), hint="choose another name for it")
    if output.is_dir() and any(name != "_pending" and not name.startswith(".") for name in os.listdir(output)):
        raise UsageError(
            "the output folder is not empty",
            where=str(output),
            hint="choose an empty one, replace what is there with --overwrite, or go on where a run ended with --state",
        )


def remove_leftovers(output: Path) -> None:
    """Delete the scratch of runs that died; refuse while one lives."""
    for folder in _scratch(output):
        staging = Staging(output, folder.name)
        staging.remove()


def remove_rows(output: Path) -> None:
    """Delete all rows, rejects and marks of an output, for a new state to begin in it."""
    remove_leftovers(output)
    for name in STREAMS:
        shutil.rmtree(output / name, ignore_errors=True)
    for mark in output.glob("_state-*.json"):
        mark.unlink()


def _scratch(output: Path) -> Iterable[Path]:
    pending = output / "_pending"
    return list(pending.iterdir()) if pending.is_dir() else []
