"""Which files an `--input` means: files, directories, globs and standard input, each file once."""

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from natsort import natsort_keygen, ns

from streamproc.errors import DataError, UsageError

SUFFIXES = tuple(f".{kind}{packing}" for kind in ("ndjson", "jsonl") for packing in ("", ".gz", ".zst"))
"""Names a directory is searched for. A file named on its own may be called anything."""

_natural_key = natsort_keygen(alg=ns.PATH)

_SPECIAL_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One input: a file by its path, or an open descriptor that is read once (standard input)."""

    path: str
    fd: int | None = None

    @property
    def name(self) -> str:
        """The path for messages and origins: always encodable, whatever bytes the file system holds."""
        return os.fsencode(self.path).decode(errors="replace")

    @property
    def real_path(self) -> str:
        """Absolute path without links, the same whatever folder a run is started from."""
        return self.path if self.fd is not None else os.path.realpath(self.path)


class Identity(NamedTuple):
    """What tells without reading that a file is as it was."""

    inode: int
    size: int
    """Bytes on disk."""
    mtime_ns: int


def identity(path: str) -> Identity:
    """Identity of the file at `path`; `DataError` when it is gone or out of reach."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"cannot be looked at: {error.strerror}", where=path) from error
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns)


def expand(inputs: Sequence[str], *, stdin_fd: int = 0) -> list[Source]:
    """The sources that `inputs` name, in the order given; those of a directory or glob in natural order of their names.

    A file that is reached twice (by another path, a link or a glob) is taken at its first place only.
    `UsageError` for what does not exist, matches nothing, holds no input, is no file, or may not be read.
    """
    if not inputs:
        raise UsageError("no input is given", hint="name files, directories or globs, or `-` for standard input")
    if list(inputs).count("-") > 1:
        raise UsageError("`-` (standard input) is given twice", hint="it can be read only once: name it once")
    found: list[_Found] = []
    for text in inputs:
        found += [_Found(Source("<stdin>", stdin_fd), (-1, -1))] if text == "-" else _resolve(text)
    return _each_once(found)


def find_inputs(directory: str) -> list[Source]:
    """All inputs below `directory` in natural order, perhaps none: names that end in one of `SUFFIXES`.

    Hidden names and those that begin with `_` are skipped, links are followed. What vanishes meanwhile is left out.
    """
    return _each_once(_search(directory))


class _Found(NamedTuple):
    source: Source
    file: tuple[int, int]
    """Device and inode."""


def _each_once(found: list[_Found]) -> list[Source]:
    first: dict[tuple[int, int], Source] = {}
    for source, file in found:
        first.setdefault(file, source)
    return list(first.values())


def _resolve(text: str) -> list[_Found]:
    try:
        status = os.stat(text)
    except (OSError, ValueError) as error:
        if glob.has_magic(text):
            return _match(text)
        raise _unreachable(text, error) from error
    if not stat.S_ISDIR(status.st_mode):
        return [_checked_file(text, status)]
    found = _search(text)
    if not found:
        raise UsageError(
            "the directory holds no input",
            where=text,
            hint=f"inputs end in {', '.join(SUFFIXES)}; a file with another name is taken when named itself",
        )
    return found


def _unreachable(path: str, error: OSError | ValueError) -> UsageError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if os.path.islink(path):
            return UsageError("is a link to a file that does not exist", where=path, hint="repair or remove the link")
        return UsageError("does not exist", where=path, hint="check the path; relative ones start at this folder")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return UsageError(f"cannot be reached: {reason}", where=path, hint="check the path and its permissions")


def _checked_file(path: str, status: os.stat_result) -> _Found:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise UsageError(
            f"is {_SPECIAL_KINDS.get(kind, 'a special file')}, not a file",
            where=path,
            hint="pipe it in and give `-` as the input",
        )
    if not os.access(path, os.R_OK):
        raise UsageError("may not be read: permission denied", where=path, hint="allow this user to read it")
    return _Found(Source(path), _file_key(status))


def _match(pattern: str) -> list[_Found]:
    """What a glob matches, as if each match had been named; `**` at the end means the directories alone."""
    found: list[_Found] = []
    only_directories = os.path.basename(pattern.rstrip("/")) == "**"
    for path in sorted(_visible_matches(pattern), key=_order):
        status = _status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            found += _search(path)
        elif status is not None and not only_directories:
            found.append(_checked_file(path, status))
    if not found:
        raise UsageError("the glob matches no input", where=pattern, hint="check it against what `ls` shows")
    return found


def _visible_matches(pattern: str) -> Iterator[str]:
    """Matches without names that begin with `_` below the first wildcard, unless the pattern itself spells such a name.

    (`glob` hides names that begin with a dot by the same rule.)
    """
    parts = pattern.split("/")
    first_wild = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    spelled = any(part.startswith("_") for part in parts[first_wild:])
    for path in glob.iglob(pattern, recursive=True):
        if spelled or not any(part.startswith("_") for part in path.split("/")[first_wild:]):
            yield path


def _search(directory: str) -> list[_Found]:
    found: list[_Found] = []
    seen: set[tuple[int, int]] = set()  # links may run in circles
    for folder, subfolders, names in os.walk(directory, onerror=_refuse_folder, followlinks=True):
        status = _status(folder)
        if status is None or _file_key(status) in seen:
            subfolders.clear()
            continue
        seen.add(_file_key(status))
        subfolders[:] = sorted((name for name in subfolders if not name.startswith((".", "_"))), key=_order)
        for name in names:
            path = os.path.join(folder, name)
            if name.lower().endswith(SUFFIXES) and not name.startswith((".", "_")):
                status = _status(path)
                if status is not None and not stat.S_ISDIR(status.st_mode):
                    found.append(_checked_file(path, status))
    return sorted(found, key=lambda entry: _order(entry.source.path))


def _status(path: str) -> os.stat_result | None:
    """None for what vanished since it was listed, and for links that lead nowhere or in a circle."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise _unreachable(path, error) from error


def _file_key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _refuse_folder(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise UsageError(
            f"the folder cannot be searched: {error.strerror}",
            where=str(error.filename),
            hint="allow this user to read it, or name the inputs one by one",
        ) from error


def _order(path: str) -> tuple[object, str]:
    return _natural_key(path), path
