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


class Meter:
    """Counts what is done. Rates begin with the first advance: what lay before it, such as compiling, is none."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self.bytes = self.records = 0
        self.started_s = self.clock()
        self._first: tuple[int, int, float] | None = None

    def advance(self, bytes: int, records: int) -> None:
        """So much more is done by now."""
        self.bytes += bytes
        self.records += records
        self._first = self._first or (self.bytes, self.records, self.clock())

    @property
    def seconds(self) -> float:
        return self.clock() - self.started_s

    def rates(self) -> tuple[float, float]:
        """Bytes and records a second; 0 while unknown."""
        if self._first is None:
            return 0.0, 0.0
        first_bytes, first_records, first_s = self._first
        seconds = self.clock() - first_s
        if seconds <= 0:
            return 0.0, 0.0
        return (self.bytes - first_bytes) / seconds, (self.records - first_records) / seconds


class LogProgress(QuietProgress):
    """A log line every ``interval_s`` seconds, looked at whenever the work advances."""

    def __init__(self, clock: Clock = time.monotonic, interval_s: float = 5.0) -> None:
        self.meter = Meter(clock)
        self.interval_s = interval_s
        self.start(None)

    def start(self, total_bytes: int | None) -> None:
        """Begin to count."""
        self.total_bytes = total_bytes
        self.meter.start()
        self.said_s = 0.0

    def advance(self, bytes: int, records: int) -> None:
        """Count, and say how far it is when that was last said long enough ago."""
        self.meter.advance(bytes, records)
        seconds = self.meter.seconds
        if seconds - self.said_s >= self.interval_s:
            self.said_s = seconds
            log(logging.INFO, "progress", self._figures(seconds))

    def note(self, message: str, **fields: Any) -> None:
        """Log it."""
        log(logging.INFO, message, fields)

    def _figures(self, seconds: float) -> dict[str, Any]:
        done = self.meter.bytes
        figures: dict[str, Any] = {"bytes": done, "records": self.meter.records, "seconds": round(seconds, 3)}
        bytes_per_s, records_per_s = self.meter.rates()
        if records_per_s:
            figures |= {"records_per_s": round(records_per_s), "mb_per_s": round(bytes_per_s / MEGA, 1)}
        if self.total_bytes:
            figures["percent"] = round(100 * done / self.total_bytes, 1)
            if bytes_per_s:
                figures["eta_s"] = round(max(0, self.total_bytes - done) / bytes_per_s)
        return figures


class BarProgress(QuietProgress):
    """A moving bar with bytes, rates and the time left, which gives way to the summary when the work ends."""

    def __init__(self, console: "Console", clock: Clock = time.monotonic) -> None:
        from rich import progress as rich_progress

        self.meter = Meter(clock)
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

    def start(self, total_bytes: int | None) -> None:
        """Show the bar."""
        self.meter.start()
        self.task = self.bar.add_task("", total=total_bytes, rate="")
        self.bar.start()

    def advance(self, bytes: int, records: int) -> None:
        """Move the bar."""
        if self.task is None:
            return
        self.meter.advance(bytes, records)
        _, records_per_s = self.meter.rates()
        rate = f"{records_per_s:,.0f} records/s" if records_per_s else ""
        self.bar.update(self.task, advance=bytes, rate=rate)

    def note(self, message: str, **fields: Any) -> None:
        """Print it above the bar."""
        log(logging.INFO, message, fields)

    def finish(self) -> None:
        """Take the bar away."""
        self.bar.stop()
