"""Progress and log lines: what is said, when, and where."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from streamproc.observe import logs
from streamproc.observe.progress import BarProgress, LogProgress, Progress, QuietProgress


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Lines(logging.Handler):
    """Collects what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, dict[str, Any]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.levelname, record.getMessage(), vars(record)["fields"]))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handlers, level = logs.LOGGER.handlers, logs.LOGGER.level
    collected = Lines()
    logs.LOGGER.handlers = [collected]
    logs.LOGGER.setLevel("DEBUG")
    yield collected
    logs.LOGGER.handlers = handlers
    logs.LOGGER.setLevel(level)


def record(level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("streamproc", level, "", 0, "read %s", ("a.gz",), None)
    made.created = 1_723_161_600.25
    vars(made)["fields"] = fields
    return made


def test_a_json_line_holds_time_level_message_and_fields() -> None:
    line = logs.JsonFormatter().format(record(logging.WARNING, rows=3, symbol="BTC/\u20ac"))
    assert json.loads(line) == {
        "time": "2024-08-09T00:00:00.250Z",
        "level": "warning",
        "message": "read a.gz",
        "rows": 3,
        "symbol": "BTC/\u20ac",
    }


def test_a_text_line() -> None:
    assert logs.TextFormatter().format(record(rows=3)) == "00:00:00 read a.gz rows=3"
    assert logs.TextFormatter().format(record(logging.ERROR)) == "00:00:00 error: read a.gz"


def test_levels_and_formats_as_configured(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    for log_format, said in (("json", '"message": "heard"'), ("text", "warning: heard")):
        logs.configure("json" if log_format == "json" else "text", "warning", Console(stderr=True))
        assert logs.writes_json() == (log_format == "json")
        logs.log(logging.INFO, "unheard", {})
        logs.log(logging.WARNING, "heard", {})
        err = capsys.readouterr().err
        assert said in err
        assert "unheard" not in err
    assert lines.seen == []


def test_progress_is_logged_every_few_seconds(lines: Lines) -> None:
    clock = Clock()
    progress = LogProgress(clock, interval_s=5.0)
    progress.start(total_bytes=100_000_000)
    clock.now_s += 4.9
    progress.advance(1_000_000, 1000)
    assert lines.seen == []
    clock.now_s += 10
    progress.advance(20_000_000, 3000)
    clock.now_s += 1
    progress.advance(1, 1)
    figures = {
        "bytes": 21_000_000,
        "records": 4000,
        "seconds": 14.9,
        "records_per_s": 300,
        "mb_per_s": 2.0,
        "percent": 21.0,
        "eta_s": 40,
    }
    assert lines.seen == [("INFO", "progress", figures)]


def test_what_came_before_the_first_piece_of_work_spoils_no_rate(lines: Lines) -> None:
    clock = Clock()
    progress = LogProgress(clock, interval_s=1.0)
    progress.start(total_bytes=100)
    clock.now_s += 30  # compiling
    progress.advance(10, 1)
    clock.now_s += 2
    progress.advance(20, 2)
    assert lines.seen[0][2] == {"bytes": 10, "records": 1, "seconds": 30.0, "percent": 10.0}
    assert (lines.seen[1][2]["records_per_s"], lines.seen[1][2]["eta_s"]) == (1, 7)


def test_progress_without_an_end_in_sight_tells_no_eta(lines: Lines) -> None:
    clock = Clock()
    progress = LogProgress(clock, interval_s=1.0)
    progress.start(None)
    for _ in range(2):
        clock.now_s += 2
        progress.advance(10, 1)
    assert lines.seen[1][2]["records"] == 2
    assert not {"percent", "eta_s"} & set(lines.seen[1][2])


@pytest.mark.parametrize("progress", [LogProgress(), BarProgress(Console(file=io.StringIO()))])
def test_notes_and_warnings_are_logged(progress: Progress, lines: Lines) -> None:
    progress.note("compiling", kernels=3)
    progress.warn("cut short", file="a.gz")
    assert lines.seen == [("INFO", "compiling", {"kernels": 3}), ("WARNING", "cut short", {"file": "a.gz"})]


def test_quiet_progress_only_warns(lines: Lines) -> None:
    progress = QuietProgress()
    progress.start(10)
    progress.advance(10, 1)
    progress.note("compiling")
    progress.warn("cut short")
    progress.finish()
    assert lines.seen == [("WARNING", "cut short", {})]


def test_the_bar_shows_bytes_rate_and_time_left_and_goes_away() -> None:
    clock = Clock()
    terminal = Console(file=io.StringIO(), force_terminal=True, width=150)
    progress = BarProgress(terminal, clock)
    progress.start(100_000_000)
    for _ in range(2):
        clock.now_s += 5
        progress.advance(25_000_000, 2500)
    progress.bar.refresh()
    assert isinstance(terminal.file, io.StringIO)
    shown = terminal.file.getvalue()
    for part in ("50%", "50.0/100.0 MB", "5.0 MB/s", "500 records/s", "0:00:10"):
        assert part in shown
    progress.finish()
    assert not progress.bar.live.is_started


def test_a_log_line_appears_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=150)
    handler = logs.LOGGER.handlers
    logs.configure("text", "info", terminal)
    progress = BarProgress(terminal, Clock())
    progress.start(10)
    progress.note("compiling", kernels=3)
    progress.finish()
    logs.LOGGER.handlers = handler
    assert isinstance(terminal.file, io.StringIO)
    assert "compiling kernels=3" in terminal.file.getvalue()
    assert capsys.readouterr().err == ""
