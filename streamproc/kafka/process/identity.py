"""Who a member is: a name that outlives its process, and the folder that only one process at a time may use."""

import fcntl
import secrets
from pathlib import Path
from typing import IO

from streamproc.errors import StateError
from streamproc.parquet.files import cannot_write


class Home:
    """The member's folder, locked while this lives.

    Parameters
    ----------
    folder : made where it is missing.
    member_id : the member's name; None: the one kept in the folder, made at the first start.
    """

    def __init__(self, folder: Path, member_id: str | None) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] = (folder / "lock").open("wb")
            self._take()
            self.member_id = member_id or self._kept()
        except OSError as error:
            raise cannot_write(folder, error) from error

    def close(self) -> None:
        """Unlock."""
        self._lock.close()

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise StateError(
                "the state is in use by another process",
                where=str(self.folder),
                hint="end that process, or give this one a state folder of its own",
            ) from None

    def _kept(self) -> str:
        file = self.folder / "member-id"
        if not file.exists():
            beside = file.with_suffix(".tmp")
            beside.write_text(f"member-{secrets.token_hex(6)}", encoding="ascii")
            beside.replace(file)
        return file.read_text(encoding="ascii").strip()
