"""Crash points reached in processes of their own, forked from one that has its modules loaded already."""

import importlib
import multiprocessing
import os
from pathlib import Path

from streamproc import crash
from streamproc.config import Settings
from streamproc.parquet.compact import compact

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def _compact_armed(output: Path, settings: Settings, point: str) -> None:
    os.environ["STREAMPROC_CRASH_AT"] = point
    importlib.reload(crash)
    compact(output, settings)


def crash_compaction(output: Path, settings: Settings, point: str) -> int | None:
    """Exit code of a compaction with a crash point armed."""
    process = _context.Process(target=_compact_armed, args=(output, settings, point))
    process.start()
    process.join()
    return process.exitcode
