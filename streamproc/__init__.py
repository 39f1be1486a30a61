"""Order-book streams in; engineered features and bars out.

The names below are loaded when they are first used, so that ``import streamproc`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamproc.config import Settings, StateConfig, load_settings
    from streamproc.local.run import process_files
    from streamproc.parquet.reader import read
    from streamproc.processor import Processor

__version__ = "0.1.0"
__all__ = ["Processor", "Settings", "StateConfig", "__version__", "load_settings", "process_files", "read"]

_HOMES = {
    "Processor": "streamproc.processor",
    "Settings": "streamproc.config",
    "StateConfig": "streamproc.config",
    "load_settings": "streamproc.config",
    "process_files": "streamproc.local.run",
    "read": "streamproc.parquet.reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'streamproc' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
