"""Object stores: opened by their address, and what they refuse told in words that hold no secret."""

import errno
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import ObjectStore, from_url

from streamproc.config.secrets import hidden, masked
from streamproc.errors import DataError, UsageError

SCHEMES = ("s3://", "gs://", "az://")
FILE_SCHEME = "file://"

FAULTS = (exceptions.BaseError, OSError, ValueError)
"""What calls of obstore raise."""
TAKEN = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
"""What a conditional create raises where the object is there."""
REFUSALS = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, FileNotFoundError)
"""What no further try would mend."""

RETRY: Any = {
    "max_retries": 12,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=8), "base": 2},
}
CLIENT_OPTIONS = frozenset(
    (
        *("allow_http", "allow_invalid_certificates", "root_certificate", "default_headers", "user_agent"),
        *("connect_timeout", "read_timeout", "timeout", "pool_idle_timeout", "pool_max_idle_per_host"),
        *("http1_only", "http2_only", "proxy_url", "proxy_ca_certificate", "proxy_excludes", "randomize_addresses"),
    )
)
"""Options of the HTTP client, which obstore takes apart from those of the store."""

_DECORATION = re.compile(r"(?:\x1b\[\d+m|↳|\s)+")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_STATUS = re.compile(r"status(?: code)?:? (\d{3}(?: [A-Z][A-Za-z ]*[a-z])?)")
_METADATA_SERVICE = "169.254.169.254"
_UNREACHED = re.compile(r"error sending request|timed? ?out|connection", re.IGNORECASE)
_HINTS = {
    "NoSuchBucket": "create the bucket, or correct its name",
    "no credentials": "give them in the environment, or as sink.storage",
    "no answer": "see that the store can be reached from here, and start again",
}
_REFUSED = re.compile(r"[Dd]enied|Forbidden|AccessKey|Signature|Token|Auth|User|Account|40[13]")


@dataclass(frozen=True)
class ObjectPath:
    """A place in a store, with as much of a `Path` as readers need."""

    store: ObjectStore = field(compare=False, repr=False)
    address: str
    """Of the store."""
    options: Mapping[str, str] = field(compare=False, repr=False)
    key: str = ""
    """Below the address, with `/`."""

    @property
    def name(self) -> str:
        """The last part."""
        return str(self).rpartition("/")[2]

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.store, self.address, self.options, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{self.address}/{self.key}" if self.key else self.address

    def keys(self) -> list[str]:
        """All that lies below, relative to here."""
        start = len(self.key) + 1 if self.key else 0
        try:
            listed = obstore.list(self.store, f"{self.key}/" if self.key else None)
            return [each["path"][start:] for found in listed for each in found]
        except FAULTS as error:
            raise store_error(error, str(self)) from None


class ObjectFile(io.RawIOBase):
    """An object as a file to read from, a request a read; FileNotFoundError where there is none."""

    def __init__(self, path: ObjectPath) -> None:
        super().__init__()
        self._path = path
        self._at = 0
        try:
            self._size: int = obstore.head(path.store, path.key)["size"]
        except FAULTS as error:
            self._raise(error)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end only."""
        start, end = self._at, self._size if size < 0 else min(self._size, self._at + size)
        if start >= end:
            return b""
        self._at = end
        try:
            return bytes(obstore.get_range(self._path.store, self._path.key, start=start, end=end))
        except FAULTS as error:
            self._raise(error)

    def _raise(self, error: BaseException) -> NoReturn:
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path)) from None
        raise store_error(error, str(self._path)) from None


TablePath = Path | ObjectPath


def source(path: TablePath) -> Any:
    """A file as pyarrow takes it."""
    return ObjectFile(path) if isinstance(path, ObjectPath) else path


def table_path(place: str | Path, options: Mapping[str, str]) -> TablePath:
    """The folder, or the place in a store, that a text names."""
    address = str(place)
    if address.startswith(FILE_SCHEME):
        return local_folder(address)
    if is_address(address):
        return ObjectPath(open_store(address, options), address.rstrip("/"), options)
    return Path(place)


def local_folder(address: str) -> Path:
    """The folder that an address such as `file:///PATH` names."""
    parts = urlsplit(address)
    if parts.netloc not in {"", "localhost"} or not parts.path:
        raise UsageError(
            "not the address of a local folder", where=address, hint="write file:///PATH, or give the path alone"
        )
    return Path(unquote(parts.path))


def is_address(text: str) -> bool:
    """Whether a text names a place by its scheme, and is no path."""
    return "://" in text


def open_store(address: str, options: Mapping[str, str]) -> ObjectStore:
    """The store at an address such as `s3://BUCKET/PREFIX`; credentials come from options and the environment.

    Raises `UsageError` for an address or options that it cannot be opened with.
    """
    if not address.startswith(SCHEMES):
        raise UsageError(
            "no kind of place that is known",
            where=masked("", address),
            hint=f"give a folder, or an address that begins with {', '.join(SCHEMES)} or {FILE_SCHEME}",
        )
    client: Any = {name: text for name, text in options.items() if name in CLIENT_OPTIONS}
    config: Any = {name: text for name, text in options.items() if name not in CLIENT_OPTIONS}
    try:
        return from_url(address, config=config, client_options=client or None, retry_config=RETRY)
    except FAULTS as error:
        raise UsageError(
            f"the object store cannot be opened: {_first_sentence(error)}",
            where=masked("", address),
            hint="correct --output, or the options under sink.storage",
        ) from None


def store_error(error: BaseException, where: str) -> DataError:
    """The error of a call that an object store has refused, or not answered.

    Nothing but its kind is told: texts of stores hold addresses with signatures.
    """
    reason = _reason(error)
    refused = "see that the credentials are right, and allow to read, write, list and delete there"
    hint = _HINTS.get(reason) or (refused if _REFUSED.search(reason) else "start again; rows that are read stay safe")
    return DataError(f"the object store says: {reason}", where=masked("", where), hint=hint)


def _reason(error: BaseException) -> str:
    text = _DECORATION.sub(" ", str(error))
    if _METADATA_SERVICE in text:
        return "no credentials"
    for pattern in (_CODE, _STATUS):
        if found := pattern.search(text):
            return found[1]
    if isinstance(error, REFUSALS):
        return "not found" if isinstance(error, FileNotFoundError) else "access denied"
    return "no answer" if _UNREACHED.search(text) else type(error).__name__


def _first_sentence(error: BaseException) -> str:
    return hidden(masked("", str(error).split("\n", 1)[0])).rstrip(".")
