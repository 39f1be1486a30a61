"""Lines that no record can hold: each in a file of its own, in the form of a run's rejects."""

import os
from pathlib import Path

from streamproc.engine import Rejected
from streamproc.local.rejects import reject_line
from streamproc.parquet.files import cannot_write, fsync

REASON = "too_long"


class RejectFolder:
    """Where these files lie.

    Parameters
    ----------
    path : the folder, made when the first one comes.
    publisher_id : what their names begin with.
    longest_bytes : most bytes of a line that a record can hold.
    """

    def __init__(self, path: Path, publisher_id: str, longest_bytes: int) -> None:
        self.path = path
        self._publisher_id = publisher_id
        self._longest_bytes = longest_bytes

    def add(self, raw: bytes, origin: str, input_name: str, offset: int) -> Path:
        """Keep a line, durably; the file it is in.

        Its name follows from the line's place in the input, so that a line that is kept again is there once.
        """
        detail = f"{len(raw):,} bytes are more than the topic's records can hold, {self._longest_bytes:,}"
        line = reject_line(Rejected(0, raw, REASON, detail), origin)
        file = self.path / f"{self._publisher_id}-{input_name}-{offset}.ndjson"
        staged = self.path / f".{file.name}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            staged.write_bytes(line)
            fsync(staged)
            os.replace(staged, file)
        except OSError as error:
            raise cannot_write(file, error) from error
        fsync(self.path)
        return file
