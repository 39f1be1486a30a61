"""Rejected records as lines of NDJSON: reason, detail, origin, and the bytes as they came."""

import base64
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import orjson

from streamproc.engine import Rejected
from streamproc.parquet.files import cannot_write, fsync
from streamproc.parquet.writer import Pending


def reject_line(rejected: Rejected, origin: str) -> bytes:
    """One rejected record. `raw` is its text, `raw_base64` its bytes where they are no UTF-8."""
    told = {"reason": rejected.reason, "detail": rejected.detail, "origin": origin}
    try:
        told["raw"] = rejected.raw.decode()
    except UnicodeDecodeError:
        told["raw_base64"] = base64.b64encode(rejected.raw).decode()
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


class RejectWriter:
    """Collects the rejects of a commit in one file under `staging`, made when the first one comes."""

    def __init__(self, staging: Path, stem: str) -> None:
        self._staging = staging
        self.begin(stem)

    def begin(self, stem: str) -> None:
        """Begin the next commit, after `finish`."""
        self._final = PurePosixPath("rejects") / f"{stem}.ndjson"
        self._file: BinaryIO | None = None
        self._rows = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Write lines."""
        for line in lines:
            try:
                self._opened().write(line)
            except OSError as error:
                raise cannot_write(self._staging / self._final, error) from error
            self._rows += 1

    def finish(self) -> list[Pending]:
        """The file since `begin`, durable; none without rejects."""
        if self._file is None:
            return []
        staged = self._staging / self._final
        try:
            self._file.close()
        except OSError as error:
            raise cannot_write(staged, error) from error
        self._file = None
        fsync(staged)
        fsync(staged.parent)
        return [Pending(staged, self._final, self._rows)]

    def close(self) -> None:
        """Let go of an unfinished file."""
        if self._file is not None:
            with suppress(OSError):  # what is not yet written belongs to no commit
                self._file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            staged = self._staging / self._final
            staged.parent.mkdir(parents=True, exist_ok=True)
            self._file = staged.open("wb")
        return self._file
