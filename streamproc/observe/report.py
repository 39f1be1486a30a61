"""The end of a command, told to people on stderr: its summary, or what went wrong."""

import errno
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproc.config.secrets import hidden
from streamproc.errors import StreamprocError
from streamproc.observe.logs import log, writes_json
from streamproc.observe.progress import MEGA

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130
_HINTS = {
    errno.ENOSPC: "free some space on that file system and run the command again",
    errno.EDQUOT: "free some of the quota and run the command again",
    errno.EACCES: "check who may read and write it",
    errno.EPERM: "check who may read and write it",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "give a file, not a folder",
    errno.EROFS: "choose a place that can be written",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
}
_COUNTS = {
    "records": "records",
    "books": "  books",
    "trades": "  trades messages",
    "duplicates": "  duplicate books",
    "rejected": "  rejected",
    "invalid_books": "invalid books",
    "late_events": "late events",
    "duplicate_trades": "duplicate trades",
    "bad_trades": "bad trades",
    "symbols": "symbols",
    "hf_rows": "feature rows",
    "bar_rows": "bars",
    "open_bars": "bars still open",
}
_ALWAYS = ("records", "books", "trades", "duplicates", "rejected", "symbols", "hf_rows", "bar_rows")


def tell_error(error: BaseException, debug: bool) -> int:
    """Say on stderr what went wrong, where, and what to do; return the exit code. The traceback only with ``debug``."""
    if debug:
        print(hidden("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    if isinstance(error, KeyboardInterrupt):
        error, code = StreamprocError("interrupted"), INTERRUPTED
    else:
        error = _as_told(error)
        code = error.exit_code
    if writes_json():
        log(logging.ERROR, error.message, _present(where=error.where, hint=error.hint))
    else:
        lines = [f"error: {error}", *([f"hint: {error.hint}"] if error.hint else [])]
        print(hidden("\n".join(lines)), file=sys.stderr)
    return code


def _as_told(error: BaseException) -> StreamprocError:
    match error:
        case StreamprocError():
            return error
        case OSError(strerror=str(what)):
            where = "" if error.filename is None else str(error.filename)
            return StreamprocError(what, where=where, hint=_HINTS.get(error.errno or 0, ""))
        case MemoryError():
            return StreamprocError("the memory is used up", hint="use fewer workers or a smaller local.chunk_bytes")
    return StreamprocError(
        f"a fault of the program itself: {type(error).__name__}: {error}",
        hint="run the same command with --debug and report what it prints",
    )


def tell_summary(summary: Mapping[str, Any], output: Path | str | None, console: "Console", as_log: bool) -> None:
    """Say on stderr what was done: a table, or one log line where stderr carries log lines."""
    sums = sum_line(summary)
    if as_log:
        log(logging.INFO, sums or "done", {**summary, **_present(output=output and str(output))})
        return
    console.print(_table(summary))
    for line in filter(None, (sums, _rate_line(summary), f"output: {output}" if output else "")):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def sum_line(summary: Mapping[str, Any]) -> str:
    """``records = books + trades + duplicates + rejected`` with the numbers; empty when the summary has none."""
    if not _counts_records(summary):
        return ""
    parts = {name: summary[name] for name in ("records", "books", "trades", "duplicates")}
    parts["rejected"] = sum(summary["rejected"].values())
    records, *terms = (f"{count:,} {name}" for name, count in parts.items())
    return f"{records} = {' + '.join(terms)}"


def _counts_records(summary: Mapping[str, Any]) -> bool:
    """Whether it tells what became of each record."""
    return "books" in summary and "rejected" in summary


def _rate_line(summary: Mapping[str, Any]) -> str:
    seconds = summary.get("seconds")
    if not seconds or "records" not in summary:
        return ""
    counted = "lines" if "lines" in summary else "records"
    rates = [f"{summary[counted] / seconds:,.0f} {counted}/s"]
    if "bytes" in summary:
        rates.append(f"{summary['bytes'] / MEGA / seconds:,.1f} MB/s")
    return f"{seconds:,.1f} s: {', '.join(rates)}"


def _table(summary: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in _rows(summary) if _counts_records(summary) else _plain_rows(summary):
        table.add_row(name, value)
    return table


def _rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, name in _COUNTS.items():
        value = summary.get(key, 0)
        count = sum(value.values()) if isinstance(value, Mapping) else value
        if count or key in _ALWAYS:
            yield name, f"{count:,}"
        if isinstance(value, Mapping):
            yield from ((f"    {reason}", f"{number:,}") for reason, number in value.items() if number)


def _plain_rows(values: Mapping[str, Any], indent: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = indent + key.replace("_", " ")
        if isinstance(value, Mapping):
            yield name, ""
            yield from _plain_rows(value, indent + "  ")
        else:
            yield name, f"{value:,}" if isinstance(value, int | float) else str(value)


def _present(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value}
