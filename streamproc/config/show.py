"""The settings in force, as they may be shown."""

from typing import Any, NamedTuple

from pydantic import BaseModel

from streamproc.config.load import Loaded
from streamproc.config.secrets import masked


class Shown(NamedTuple):
    """One key with its value, secrets masked, and where the value came from."""

    key: str
    value: Any
    origin: str


def shown(loaded: Loaded) -> list[Shown]:
    """Every key in the order of the sections."""
    return [Shown(key, _visible(key, _value(loaded.settings, key)), origin) for key, origin in loaded.origins.items()]


def as_text(value: Any) -> str:
    """A value as YAML would have it, numbers in their shortest form: ``[1, 0.5]``, ``null``, ``json``."""
    match value:
        case None:
            return "null"
        case tuple() | list():
            return f"[{', '.join(map(as_text, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {as_text(inner)}' for key, inner in value.items())}}}"
        case float() if value.is_integer():
            return str(int(value))
    return str(value)


def _value(settings: BaseModel, key: str) -> Any:
    section, name, *rest = key.split(".", 2)
    value = getattr(getattr(settings, section), name)
    return value[rest[0]] if rest else value


def _visible(key: str, value: Any) -> Any:
    return masked(key, value) if isinstance(value, str) else value
