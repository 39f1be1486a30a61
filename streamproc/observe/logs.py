"""Log lines on stderr, as text for people or as JSON for machines. Fields travel in ``extra={"fields": {...}}``."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from streamproc.config.secrets import hidden

if TYPE_CHECKING:
    from rich.console import Console

Format = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]

LOGGER = logging.getLogger("streamproc")


def log(level: int, message: str, fields: dict[str, Any]) -> None:
    """Log a message with its fields."""
    LOGGER.log(level, message, extra={"fields": fields})


def configure(log_format: Format, level: Level, console: "Console") -> None:
    """Send the program's log lines to stderr.

    ``console`` is stderr as rich sees it: text goes through it, so that a line appears above a moving progress bar.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr) if log_format == "json" else _ConsoleHandler(console)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False


def writes_json() -> bool:
    """Whether stderr carries JSON lines by now, so that whatever else is said there should be one too."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in LOGGER.handlers)


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": time, "level": record.levelname.lower(), "message": record.getMessage(), **_fields(record)}
        told = {name: hidden(value) if isinstance(value, str) else value for name, value in line.items()}
        return hidden(json.dumps(told, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """Time of day (UTC), level unless it is info, message, then the fields as ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [f"{datetime.fromtimestamp(record.created, UTC):%H:%M:%S}"]
        if record.levelno != logging.INFO:
            parts.append(f"{record.levelname.lower()}:")
        parts.append(record.getMessage())
        parts += [f"{key}={value}" for key, value in _fields(record).items()]
        return hidden(" ".join(parts))


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: "Console") -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields
