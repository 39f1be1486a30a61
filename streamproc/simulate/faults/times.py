"""Times and nonces: absent, in other forms, nonsense, too late, too early, repeated."""

from typing import Any

from streamproc.simulate.faults.fault import (
    BOOK_ACCEPTED,
    DUPLICATE,
    Fault,
    Ordinary,
    Outcome,
    book_fault,
    both,
    data,
    encode,
    envelope,
    no_data,
    no_envelope,
    verbatim,
)
from streamproc.simulate.market import MAX_TIME_MS
from streamproc.simulate.stream import BOOK

MAX_AHEAD_MS = 60_000
"""How far a book may lie after its arrival by default; what lies further is rejected as `future`."""

_NO_TIMESTAMP, _LATE, _FUTURE = (Outcome(rejected=reason) for reason in ("no_timestamp", "late", "future"))

_NO_TIMES: dict[str, Any] = {
    "null": None,
    "zero": 0,
    "negative": -1_723_161_600_000,
    "year_2100": MAX_TIME_MS,
    "nanoseconds": 1_723_161_600_000_000_000,
    "fraction_of_a_ms": 0.5,
    "beyond_64_bits": 10**24,
    "word": "yesterday",
    "iso_date": "2024-08-09T00:00:00.000Z",
    "empty_string": "",
    "string_out_of_range": "-1",
    "boolean": True,
}
"""What counts as no time at all."""

_NO_NONCES: dict[str, Any] = {
    "null": None,
    "fraction": 0.5,
    "word": "first",
    "boolean": True,
    "beyond_int64": 2**63,
    "string_beyond_int64": str(2**63),
}
"""What counts as no nonce, so that a second book of the same time is no duplicate."""


def _timed(name: str, outcome: Outcome, time_of: Any, **options: Any) -> Fault:
    """A book whose timestamp depends on the line before it."""

    def build(line: Ordinary) -> bytes:
        record = line.fresh_book()
        record["data"]["timestamp"] = time_of(line)
        return encode(record)

    return Fault(name, BOOK, outcome, build, **options)


def _arriving(name: str, arrival_of: Any) -> Fault:
    """A book whose `collected_at` depends on the line before it."""

    def build(line: Ordinary) -> bytes:
        record = line.fresh_book()
        record["collected_at"] = arrival_of(line)
        return encode(record)

    return Fault(name, BOOK, BOOK_ACCEPTED, build)


def _same(name: str, outcome: Outcome, change: Any, **options: Any) -> Fault:
    """The same book again, with its own nonce, changed by `change(record, line)`."""

    def build(line: Ordinary) -> bytes:
        record = line.copy()
        change(record, line)
        return encode(record)

    return Fault(name, BOOK, outcome, build, **{"nonce": True} | options)


def _exponent(line: Ordinary) -> str:
    """The time as whole and thousandths of seconds, times a thousand."""
    return verbatim(f"{line.time_ms // 1000}.{line.time_ms % 1000:03}e3")


def _larger_sizes(record: Any, _line: Ordinary) -> None:
    record["data"]["bids"] = [[price, 2 * size] for price, size in record["data"]["bids"]]


def _crossing(record: Any, _line: Ordinary) -> None:
    record["data"]["bids"], record["data"]["asks"] = record["data"]["asks"], record["data"]["bids"]


def _set_data(key: str, value_of: Any) -> Any:
    return lambda record, line: record["data"].update({key: value_of(line)})


TIME_FAULTS = (
    *(book_fault(f"timestamp_{form}", data(timestamp=value), at_arrival=True) for form, value in _NO_TIMES.items()),
    book_fault("timestamp_absent", no_data("timestamp"), at_arrival=True),
    _timed("timestamp_string", BOOK_ACCEPTED, lambda line: str(line.time_ms)),
    _timed("timestamp_float", BOOK_ACCEPTED, lambda line: line.time_ms + 0.75),
    _timed("timestamp_float_string", BOOK_ACCEPTED, lambda line: f"{line.time_ms}.9"),
    _timed("timestamp_exponent", BOOK_ACCEPTED, _exponent),
    *(book_fault(f"collected_at_{form}", envelope(collected_at=value)) for form, value in _NO_TIMES.items()),
    book_fault("collected_at_absent", no_envelope("collected_at")),
    _arriving("collected_at_string", lambda line: str(line.arrival_ms)),
    _arriving("collected_at_float", lambda line: line.arrival_ms + 0.25),
    _arriving("collected_at_float_string", lambda line: f"{line.arrival_ms}.5"),
    book_fault("no_time_at_all", both(no_data("timestamp"), no_envelope("collected_at")), _NO_TIMESTAMP),
    book_fault("no_time_null", both(data(timestamp=None), envelope(collected_at=None)), _NO_TIMESTAMP),
    book_fault("no_time_words", both(data(timestamp="yesterday"), envelope(collected_at="today")), _NO_TIMESTAMP),
    book_fault("no_time_out_of_range", both(data(timestamp=0), envelope(collected_at=MAX_TIME_MS)), _NO_TIMESTAMP),
    _timed("late_by_1_ms", _LATE, lambda line: line.time_ms - 1),
    _timed("late_by_1_h", _LATE, lambda line: line.time_ms - 3_600_000),
    _timed("late_float_string", _LATE, lambda line: f"{line.time_ms - 1}.9"),
    _same("late_same_nonce", _LATE, _set_data("timestamp", lambda line: line.time_ms - 1)),
    _timed("future_by_1_ms", _FUTURE, lambda line: line.arrival_ms + MAX_AHEAD_MS + 1),
    _timed("future_by_1_d", _FUTURE, lambda line: line.arrival_ms + 86_400_000),
    _timed("future_last_moment", _FUTURE, lambda _line: MAX_TIME_MS - 0.25),
)

NONCE_FAULTS = (
    Fault("duplicate_exact", BOOK, DUPLICATE, lambda line: line.text, nonce=True),
    Fault("repeated_without_nonce", BOOK, BOOK_ACCEPTED, lambda line: line.text, nonce=False),
    _same("duplicate_other_levels", DUPLICATE, _larger_sizes),
    _same("duplicate_crossed", DUPLICATE, _crossing),
    _same("duplicate_nonce_string", DUPLICATE, _set_data("nonce", lambda line: str(line.nonce))),
    _same("duplicate_timestamp_string", DUPLICATE, _set_data("timestamp", lambda line: str(line.time_ms))),
    _same("duplicate_timestamp_float", DUPLICATE, _set_data("timestamp", lambda line: line.time_ms + 0.5)),
    _same("same_nonce_later", BOOK_ACCEPTED, _set_data("timestamp", lambda line: line.arrival_ms), at_arrival=True),
    _same("same_time_next_nonce", BOOK_ACCEPTED, _set_data("nonce", lambda line: line.nonce + 1)),
    _same("nonce_float", BOOK_ACCEPTED, _set_data("nonce", lambda line: float(line.nonce))),
    _same("nonce_float_string", BOOK_ACCEPTED, _set_data("nonce", lambda line: f"{line.nonce}.0")),
    *(book_fault(f"nonce_{form}", data(nonce=value)) for form, value in _NO_NONCES.items()),
    book_fault("nonce_absent", no_data("nonce")),
)
