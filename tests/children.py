"""Work in processes of its own, with a crash point armed where a test wants it.

Forked from one that has the kernels loaded.
"""

import importlib
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

from streamproc import crash
from streamproc.config import Settings
from streamproc.engine import Engine

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def _warm() -> None:
    Engine(Settings().state).feed(b"{}\n")


_warm()


def _armed(crash_at: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ["STREAMPROC_CRASH_AT"] = crash_at
    importlib.reload(crash)
    work(*arguments)


def begin(work: Callable[..., Any], *arguments: Any, crash_at: str = "") -> ForkServerProcess:
    """Start `work` in a process of its own."""
    process = _context.Process(target=_armed, args=(crash_at, work, arguments), daemon=True)
    process.start()
    return process


def exit_code(work: Callable[..., Any], *arguments: Any, crash_at: str = "") -> int | None:
    """Do `work` in a process of its own; how it ended."""
    process = begin(work, *arguments, crash_at=crash_at)
    process.join(120)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode
