"""How far the work has come: a bar on a terminal, log lines elsewhere, nothing with ``--quiet``."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from streamproc.observe.logs import log

if TYPE_CHECKING:
    from rich.console import Console

Clock = Callable[[], float]
"""Seconds from any fixed moment on, never going back."""

MEGA = 1e6


class Progress(Protocol):
    """What the work tells of itself. ``start`` comes first and ``finish`` last; notes may come at any time."""

    def start(self, total_bytes: int | None) -> None:
        """Begin; None: how much there is to do is not known."""

    def advance(self, bytes: int, records: int) -> None:
        """So many more bytes of input and records in them are done."""

    def note(self, message: str, **fields: Any) -> None:
        """Say something worth knowing."""

    def warn(self, message: str, **fields: Any) -> None:
        """Say something that asks for attention, though the work goes on."""

    def finish(self) -> None:
        """The work has ended, however it did."""


class QuietProgress:
    """Says nothing but warnings. Also the one to give when the library is used in a program of one's own."""

    def start(self, total_bytes: int | None) -> None:
        """Say nothing."""

    def advance(self, bytes: int, records: int) -> None:
        """Say nothing."""

    def note(self, message: str, **fields: Any) -> None:
        """Say nothing."""

    def warn(self, message: str, **fields: Any) -> None:
        """Log a warning."""
        log(logging.WARNING, message, fields)

    def finish(self) -> None:
        """Say nothing."""


class LogProgress(QuietProgress):
    """A log line every ``interval_s`` seconds, looked at whenever the work advances."""

    def __init__(self, clock: Clock = time.monotonic, interval_s: float = 5.0) -> None:
        self.clock = clock
        self.interval_s = interval_s
        self.start(None)

    def start(self, total_bytes: int | None) -> None:
        """Begin to count."""
        self.total_bytes = total_bytes
        self.bytes = 0
        self.records = 0
        self.started_s = self.said_s = self.clock()

    def advance(self, bytes: int, records: int) -> None:
        """Count, and say how far it is when that was last said long enough ago."""
        self.bytes += bytes
        self.records += records
        now_s = self.clock()
        if now_s - self.said_s >= self.interval_s:
            self.said_s = now_s
            log(logging.INFO, "progress", self._figures(now_s - self.started_s))

    def note(self, message: str, **fields: Any) -> None:
        """Log it."""
        log(logging.INFO, message, fields)

    def _figures(self, seconds: float) -> dict[str, Any]:
        figures: dict[str, Any] = {
            "bytes": self.bytes,
            "records": self.records,
            "seconds": round(seconds, 3),
            "records_per_s": round(self.records / seconds),
            "mb_per_s": round(self.bytes / MEGA / seconds, 1),
        }
        if self.total_bytes and self.bytes:
            figures["percent"] = round(100 * self.bytes / self.total_bytes, 1)
            figures["eta_s"] = round(seconds * max(0, self.total_bytes - self.bytes) / self.bytes)
        return figures


class BarProgress(QuietProgress):
    """A moving bar with bytes, rates and the time left, which gives way to the summary when the work ends."""

    def __init__(self, console: "Console", clock: Clock = time.monotonic) -> None:
        from rich import progress as rich_progress

        self.clock = clock
        self.bar = rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
            rich_progress.TextColumn("{task.fields[rate]}"),
            rich_progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            get_time=clock,
        )
        self.task: rich_progress.TaskID | None = None
        self.records = 0
        self.started_s = clock()

    def start(self, total_bytes: int | None) -> None:
        """Show the bar."""
        self.started_s = self.clock()
        self.task = self.bar.add_task("", total=total_bytes, rate="")
        self.bar.start()

    def advance(self, bytes: int, records: int) -> None:
        """Move the bar."""
        if self.task is None:
            return
        self.records += records
        seconds = max(1e-3, self.clock() - self.started_s)
        self.bar.update(self.task, advance=bytes, rate=f"{self.records / seconds:,.0f} records/s")

    def note(self, message: str, **fields: Any) -> None:
        """Print it above the bar."""
        log(logging.INFO, message, fields)

    def finish(self) -> None:
        """Take the bar away."""
        self.bar.stop()
