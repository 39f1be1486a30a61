"""A case worked out by hand, how any engine is run on it, and the lines that cases are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

START_MS = 1_699_999_980_000
"""A whole minute, so that every bar of a case begins at a whole number of its durations after it."""

Row = Mapping[str, Any]


class Engine(Protocol):
    """What a case is run on: the twin, or an adapter around the real engine.

    Rows are column -> value: None for null, times in ms, bool for bool.
    """

    @property
    def hf(self) -> Sequence[Row]: ...

    @property
    def bars(self) -> Sequence[Row]: ...

    @property
    def counts(self) -> Mapping[str, Any]: ...

    @property
    def rejects(self) -> Sequence[tuple[str, bytes]]: ...

    def feed(self, line: bytes) -> None: ...

    def flush(self) -> None: ...


@dataclass(frozen=True)
class Case:
    """Lines under a configuration, and what must come of them.

    `flush`: after `lines` all bars are flushed; then `later` is fed, and flushed too where there is any.
    `expect_hf`, `expect_bars`: for each row, in order of time (bars: and duration), some of its columns with their
    values; as many rows as there are must come; None: not looked at. `expect_counts`: some of the counts.
    `expect_rejects`: the rejected lines in order, with their reasons; None: not looked at.
    """

    name: str
    config: Mapping[str, Any]
    lines: Sequence[bytes]
    flush: bool = True
    later: Sequence[bytes] = ()
    expect_hf: Sequence[Row] | None = None
    expect_bars: Sequence[Row] | None = None
    expect_counts: Mapping[str, Any] = field(default_factory=dict)
    expect_rejects: Sequence[tuple[str, bytes]] | None = None


def faults_of(case: Case, engine: Engine) -> list[str]:
    """Runs a fresh engine on the case; what is not as it must be, one line each."""
    for line in case.lines:
        engine.feed(line)
    if case.flush:
        engine.flush()
    for line in case.later:
        engine.feed(line)
    if case.flush and case.later:
        engine.flush()
    faults = row_faults("hf", engine.hf, case.expect_hf) + row_faults("bars", engine.bars, case.expect_bars)
    faults += [
        f"counts: {name} is {engine.counts.get(name)!r}, expected {expected!r}"
        for name, expected in case.expect_counts.items()
        if engine.counts.get(name) != expected
    ]
    if case.expect_rejects is not None and list(engine.rejects) != list(case.expect_rejects):
        faults.append(f"rejects: {list(engine.rejects)!r}, expected {list(case.expect_rejects)!r}")
    return faults + sum_faults(engine)


def row_faults(stream: str, rows: Sequence[Row], expected: Sequence[Row] | None) -> list[str]:
    """What differs between the rows, sorted as files are, and the columns expected of them."""
    if expected is None:
        return []
    keys = ("exchange", "symbol", "timestamp", "duration")
    ordered = sorted(rows, key=lambda row: tuple(row.get(key, 0) for key in keys))
    faults = [] if len(rows) == len(expected) else [f"{stream}: {len(rows)} rows, expected {len(expected)}"]
    for i, (row, columns) in enumerate(zip(ordered, expected, strict=False)):
        faults += [
            f"{stream}[{i}] {name}: {row.get(name, 'no such column')!r}, expected {value!r}"
            for name, value in columns.items()
            if name not in row or not is_as_expected(row[name], value)
        ]
    return faults


def is_as_expected(actual: Any, expected: Any) -> bool:
    """Doubles to what working out by hand allows, all else exactly."""
    if isinstance(expected, float):
        return isinstance(actual, float) and math.isclose(actual, expected, rel_tol=1e-9, abs_tol=1e-13)
    return type(actual) is type(expected) and bool(actual == expected)


def sum_faults(engine: Engine) -> list[str]:
    """Section 1: records in = books + trades messages + duplicates + rejected, always."""
    counts = engine.counts
    rejected = sum(counts["rejected"].values())
    parts = counts["books"] + counts["trades"] + counts["duplicates"] + rejected
    faults = [] if counts["records"] == parts else [f"counts do not add up: {dict(counts)}"]
    if rejected != len(engine.rejects):
        faults.append(f"{len(engine.rejects)} rejects, counted {rejected}")
    return faults


# Lines. Times are ms after START_MS; a key set to ABSENT is left out.

ABSENT = object()
BID = ((100, 1),)
ASK = ((102, 1),)
SYMBOL = {"exchange": "binance", "symbol": "BTC/USDT"}


def at(ms: int) -> int:
    """The event time that many ms after the start of the case."""
    return START_MS + ms


def book(ms: int, bids: Any = BID, asks: Any = ASK, **changes: Any) -> bytes:
    """An order book; `nonce` and `timestamp` change its data, other names the record around it."""
    data = {"bids": bids, "asks": asks, "timestamp": at(ms), "nonce": changes.pop("nonce", None)}
    data["timestamp"] = changes.pop("timestamp", at(ms))
    return line({"type": "orderbook", **SYMBOL, "data": present(data), "collected_at": at(ms), **changes})


def trades(ms: int, *of_message: Mapping[str, Any], **changes: Any) -> bytes:
    """A message of trades collected at that time."""
    data = [present(one) for one in of_message]
    return line({"type": "trades", **SYMBOL, "data": data, "collected_at": at(ms), **changes})


def trade(ms: int, side: Any, price: Any, amount: Any, **changes: Any) -> dict[str, Any]:
    """One trade of a message; without an id unless it is given."""
    return {"timestamp": at(ms), "side": side, "price": price, "amount": amount, **changes}


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not ABSENT."""
    return {key: value for key, value in values.items() if value is not ABSENT}


def line(record: Mapping[str, Any]) -> bytes:
    """The record as it stands on a line."""
    return json.dumps(present(record)).encode()


def settings(**changes: Any) -> dict[str, Any]:
    """Every book gives a row; short windows and one bar duration, so that cases stay short."""
    plain = {"horizons": [1], "bar_durations": [1], "hf_emit_interval": 0, "max_levels": 3, "bar_idle_close": None}
    return {**plain, "gap_reset": 60, **changes}
