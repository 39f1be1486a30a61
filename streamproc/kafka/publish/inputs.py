"""What `--input` of a publisher means, now and later: files may appear and be renamed."""

import glob
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase

from streamproc.errors import UsageError
from streamproc.local.inputs import Source, expand

STDIN = "-"


class Inputs:
    """The inputs as they were given.

    Parameters
    ----------
    texts : files, directories, globs, and `-`.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.has_stdin = STDIN in texts

    def sources(self) -> list[Source]:
        """All that are there; `UsageError` for what is not."""
        return expand(self._texts)

    def sources_so_far(self) -> tuple[list[Source], list[UsageError]]:
        """The files that are there by now, and what is said of those that are not. Others may follow."""
        found: dict[str, Source] = {}
        missing: list[UsageError] = []
        for text in self._texts:
            if text == STDIN:
                continue
            try:
                found |= {source.real_path: source for source in expand([text])}
            except UsageError as error:
                if os.path.exists(text) and not os.path.isdir(text):
                    raise
                missing.append(error)
        return list(found.values()), missing

    def covers(self, path: str) -> bool:
        """Whether a file of that real path belongs to the inputs."""
        return any(_covers(text, path) for text in self._texts if text != STDIN)


def _covers(text: str, path: str) -> bool:
    real = os.path.realpath(text)
    if os.path.isdir(real):
        return path.startswith(real + os.sep)
    return path == real or (glob.has_magic(text) and not os.path.exists(text) and fnmatchcase(path, real))
