"""Settings from their four places: flag beats environment beats file beats default."""

import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from streamproc.config import document
from streamproc.config.secrets import masked, remember
from streamproc.config.settings import Settings
from streamproc.errors import ConfigError, Fault

DEFAULT_FILE = Path("config.yaml")
DEFAULT_ORIGIN = "default"
ENVIRONMENT_PREFIX = "STREAMPROC_"
OTHER_VARIABLES = ("STREAMPROC_CACHE_DIR", "STREAMPROC_CRASH_AT")
OTHER_PREFIXES = ("STREAMPROC_TEST_", "STREAMPROC_BENCH_")
"""Variables that are no settings: of the program, of its tests and benchmarks."""

SECTIONS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
)


class Loaded(NamedTuple):
    """The settings, and for each dotted key where its value came from."""

    settings: Settings
    origins: dict[str, str]


class Given(NamedTuple):
    """A value somebody gave to one key; ``where`` tells the place of it or of one of its list items."""

    value: Any
    where: Callable[[document.Path], str]


def load_settings(
    config_file: Path | None = None, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Settings:
    """Settings as the command line finds them. See ``load``."""
    return load(config_file, overrides, environ).settings


def load(
    config_file: Path | None = None, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Loaded:
    """Settings and where each came from.

    Parameters
    ----------
    config_file : YAML file; None: ``./config.yaml`` if there.
    overrides : ``key=value`` as after ``--set``: a dotted key and a YAML value.
    environ : environment variables; None: the process's own.

    Raises
    ------
    ConfigError : with every fault at once.
    """
    reading = _Reading()
    reading.file(config_file)
    reading.environment(os.environ if environ is None else environ)
    reading.flags(overrides)
    settings = reading.validated()
    if settings is None or reading.faults:
        raise ConfigError(sorted(reading.faults, key=_file_line))
    keys = dict(_present_keys(settings))
    for path in keys:
        _remember(path, settings)
    return Loaded(settings, {key: reading.origin(path) for path, key in keys.items()})


def _remember(path: document.Path, settings: Settings) -> None:
    value: Any = settings
    for part in path:
        value = value[part] if isinstance(value, dict) else getattr(value, str(part))
    if isinstance(value, str):
        remember(dotted(path), value)


def dotted(path: document.Path) -> str:
    """``("state", "horizons", 2)`` as ``state.horizons[2]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


class _Reading:
    """Collects values place by place, later ones replacing earlier ones, and all faults."""

    def __init__(self) -> None:
        self.given: dict[document.Path, Given] = {}
        self.faults: list[Fault] = []

    def file(self, config_file: Path | None) -> None:
        if config_file is None and not DEFAULT_FILE.exists():
            return
        path = DEFAULT_FILE if config_file is None else config_file
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            self.faults.append(Fault(str(path), "", f"cannot be read: {error.strerror}"))
            return
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            self.faults.append(Fault(f"{path}:{line}", "", "is not UTF-8"))
            return
        read = document.parse(text)

        def where(at: document.Path) -> str:
            while at not in read.lines:
                at = at[:-1]
            return f"{path}:{read.lines[at]}"

        self.faults += [Fault(f"{path}:{flaw.line}", dotted(flaw.path), flaw.message) for flaw in read.flaws]
        self._take((), read.values, where)

    def environment(self, environ: Mapping[str, str]) -> None:
        for name in sorted(environ):
            if not name.startswith(ENVIRONMENT_PREFIX) or _is_other_variable(name):
                continue
            section, *rest = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            if rest and _is_map((section, rest[0])) and len(rest) > 1:
                inner = ".".join(rest[1:])
                rest = [rest[0], inner.replace("_", ".") if section == "kafka" else inner]  # as its clients name things
            self._take_text((section, *rest), environ[name], name)

    def flags(self, overrides: Sequence[str]) -> None:
        for override in overrides:
            key, equals, text = override.partition("=")
            where = f"--set {key}"
            if not equals or not key:
                self.faults.append(Fault(where, "", "must be key=value, such as state.max_levels=20"))
                continue
            parts = key.strip().split(".")
            if _is_map(tuple(parts[:2])) and len(parts) > 2:
                parts = [*parts[:2], ".".join(parts[2:])]
            self._take_text(tuple(parts), text, where)

    def validated(self) -> Settings | None:
        """The settings, or None after adding what is wrong with the values to the faults."""
        values: dict[str, Any] = {}
        for (*outer, last), given in self.given.items():
            inner = values
            for key in outer:
                inner = inner.setdefault(str(key), {})
            inner[str(last)] = given.value
        try:
            return Settings.model_validate(values)
        except ValidationError as error:
            self.faults += map(self._fault, error.errors(include_url=False))
            return None

    def origin(self, path: document.Path) -> str:
        """Where the value of a key, or of a place within it, came from."""
        for length in range(len(path), 0, -1):
            if given := self.given.get(path[:length]):
                return given.where(path)
        return DEFAULT_ORIGIN

    def _take_text(self, path: tuple[str, ...], text: str, where: str) -> None:
        if _is_text(path):
            self._take(path, text, lambda _: where)
            return
        if _kind(path) and not text.strip():
            self.faults.append(Fault(where, dotted(path), "is empty; write null where null is meant"))
            return
        read = document.parse(text)
        self.faults += [Fault(where, dotted((*path, *flaw.path)), flaw.message) for flaw in read.flaws]
        if not read.flaws:
            self._take(path, read.values, lambda _: where)

    def _take(self, path: document.Path, value: Any, where: Callable[[document.Path], str]) -> None:
        kind = _kind(path)
        if kind == "value":
            self.given[path] = Given(value, where)
        elif kind is None:
            self.faults.append(Fault(where(path), dotted(path), f"unknown key{_suggestion(dotted(path))}"))
        elif isinstance(value, dict):
            for key, inner in value.items():
                self._take((*path, key), inner, where)
        elif value is not None:
            self.faults.append(Fault(where(path), dotted(path), "must hold keys and values"))

    def _fault(self, error: ErrorDetails) -> Fault:
        path = error["loc"]
        where = self.origin(path)
        cause = error.get("ctx", {}).get("cause")
        if where == DEFAULT_ORIGIN and cause:
            where = self.origin((*path[:-1], cause))
        found = masked(dotted(path), _shown(error["input"]))
        return Fault(where, dotted(path), f"{_expected(error)}, found {found}")


def _kind(path: document.Path) -> Literal["keys", "value"] | None:
    """Whether a path leads to something that holds keys, to a value, or nowhere."""
    match path:
        case ():
            return "keys"
        case (str(section),):
            return "keys" if section in SECTIONS else None
        case (str(section), str(key)) if section in SECTIONS and key in SECTIONS[section].model_fields:
            return "keys" if _is_map((section, key)) else "value"
        case (str(section), str(key), str()):
            return "value" if _is_map((section, key)) else None
    return None


def _annotation(path: tuple[str, ...]) -> Any:
    match path:
        case (section, key) if section in SECTIONS and key in SECTIONS[section].model_fields:
            return SECTIONS[section].model_fields[key].annotation
    return None


def _is_map(path: tuple[str, ...]) -> bool:
    return get_origin(_annotation(path)) is dict


def _is_text(path: tuple[str, ...]) -> bool:
    """Whether a flag's or variable's text is the value itself, so that a password `0123` needs no quotes."""
    annotation = _annotation(path)
    return annotation is str or get_origin(annotation) is Literal or (len(path) == 3 and _is_map(path[:2]))


def _is_other_variable(name: str) -> bool:
    return name in OTHER_VARIABLES or name.startswith(OTHER_PREFIXES)


def _suggestion(key: str) -> str:
    names = {name: name for name in SECTIONS}
    for section, model in SECTIONS.items():
        names |= {f"{section}.{field}": f"{section}.{field}" for field in model.model_fields}
    last_words = {name.rpartition(".")[2]: name for name in names}
    for word, known in ((key, names), (key.rpartition(".")[2], last_words)):
        if close := difflib.get_close_matches(word, known, n=1, cutoff=0.7):
            return f"; did you mean `{known[close[0]]}`?"
    return ""


def _file_line(fault: Fault) -> tuple[bool, int]:
    """Sorts the file's faults by their lines, before those of environment and flags."""
    line = fault.where.rpartition(":")[2]
    return (False, int(line)) if line.isdecimal() else (True, 0)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _expected(error: ErrorDetails) -> str:
    known = {
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "int_type": "must be a whole number",
        "tuple_type": "must be a list",
        "string_type": "must be text",
        "string_too_short": "must not be empty",
    }
    return known.get(error["type"], error["msg"].replace("Input should be", "must be"))


def _present_keys(settings: Settings) -> Iterator[tuple[document.Path, str]]:
    """The path and dotted key of every value; an empty map counts as one value."""
    for section, model in settings:
        for key, value in model:
            paths = [(section, key, name) for name in value] if isinstance(value, dict) and value else [(section, key)]
            yield from ((path, dotted(path)) for path in paths)
