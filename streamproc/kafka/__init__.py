"""Between topics: the engine as members of a consumer group, what feeds them and what takes their rows."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamproc.kafka.subscribe import consume_rows

__all__ = ["consume_rows"]

_HOMES = {"consume_rows": "streamproc.kafka.subscribe"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'streamproc.kafka' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
