"""The engine against the twin, which computes every column from its definition: rows, counts, rejects, open bars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.config import StateConfig
from streamproc.engine import Engine
from streamproc.schema import LINE_WORD, Stream
from tests.engine_rows import EngineRows, Words, chunk, rows_of
from tests.known_values import CASES, Case, faults_of
from tests.strategies import (
    book_line,
    configs,
    long_stream,
    random_config,
    random_stream,
    streams,
    trades_line,
)
from tests.twin import Twin, compare_streams

T = 1_700_000_000_000
END_OF_TIME = 4_102_444_800_000


def disagreements(
    config: dict[str, Any], lines: Sequence[bytes], flushes: Sequence[int] = (), cuts: int = 1
) -> list[str]:
    """Where engine and twin differ. All bars are flushed before the lines at `flushes`, and at the end."""
    twin, engine = Twin(config), EngineRows(config)
    faults: list[str] = []
    for start, stop in pairwise([0, *sorted(flushes), len(lines)]):
        for first in range(start, stop, max(1, (stop - start) // cuts)):
            part = lines[first : min(stop, first + max(1, (stop - start) // cuts))]
            engine.feed_lines(part)
            for line in part:
                twin.feed(line)
            if engine.counts != twin.counts:
                faults.append(f"counts at {stop}: {engine.counts}, expected {twin.counts}")
        engine.flush()
        twin.flush()
    expected = [(reason, raw.removesuffix(b"\r")) for reason, raw in twin.rejects]
    if engine.rejects != expected:
        faults.append(f"rejects: {engine.rejects}, expected {expected}")
    faults += compare_streams(engine.hf, twin.hf) + compare_streams(engine.bars, twin.bars)
    return faults if engine.counts == twin.counts else [f"{engine.counts}, expected {twin.counts}", *faults]


# The same as the definitions say


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_known_values(case: Case) -> None:
    assert faults_of(case, EngineRows(case.config)) == []


@settings(max_examples=120)
@given(config=configs(), lines=streams(), flushes=st.lists(st.integers(0, 60), max_size=2))
def test_random_streams(config: dict[str, Any], lines: list[bytes], flushes: list[int]) -> None:
    assert disagreements(config, lines, [place for place in flushes if place <= len(lines)], cuts=3) == []


@pytest.mark.parametrize("seed", range(12))
def test_streams_with_all_faults(seed: int) -> None:
    assert disagreements(random_config(seed), random_stream(seed, 400), [133, 134, 300], cuts=4) == []


@pytest.mark.parametrize(
    "steps_ms", [(10,), (1, 2, 300), (10,) * 900 + (6000,), (0, 0, 0, 1)], ids=["even", "uneven", "gaps", "crowded"]
)
def test_windows_of_many_pages(steps_ms: tuple[int, ...]) -> None:
    """The longest window holds some thousand books and trades."""
    config = {"horizons": [0.5, 5, 60], "hf_emit_interval": 2, "gap_reset": 5, "regime_window": 40}
    assert disagreements(config, long_stream(4, 6000, steps_ms=steps_ms), [5000]) == []


def test_windows_of_dense_and_sparse_symbols() -> None:
    """One symbol's windows hold runs of pages, the others' pages come and go beside them in the same pool."""
    config = {"horizons": [1, 20], "hf_emit_interval": 5, "bar_durations": [10], "gap_reset": 30}
    lines = long_stream(5, 24_000, symbols=4, steps_ms=(5,), first_share=0.6, trade_share=0.4)
    assert disagreements(config, lines) == []


def test_rows_that_are_far_between() -> None:
    """Hours of books, gaps among them, from one reading of a window to the next."""
    config = {"horizons": [1, 40], "hf_emit_interval": 100, "gap_reset": 3, "regime_window": 60, "bar_durations": [500]}
    lines = long_stream(8, 5000, symbols=2, steps_ms=(200,) * 400 + (4000, 90_000))
    assert disagreements(config, lines) == []


@pytest.mark.parametrize("start", [1, END_OF_TIME - 3000])
def test_the_ends_of_time(start: int) -> None:
    years = 4_102_444_800
    spans = {"horizons": [0.001, 1, years], "bar_durations": [1, years], "gap_reset": years, "regime_window": years}
    for emit in (0, years):
        lines = [book_line("s", start + ms, 100 + ms % 7, 1, 200, 2) for ms in (0, 1, 999, 1000, 2998)]
        lines += [trades_line("s", start + ms, [(ms, start + ms, "buy", 5, 1)]) for ms in (0, 2, 2999)]
        lines += [book_line("s", start + 2999, 100, 1, 200, 2), book_line("s", END_OF_TIME - 1, 101, 1, 200, 2)]
        assert disagreements({**spans, "hf_emit_interval": emit, "max_ahead": years}, lines, [4]) == []


def test_trades_of_one_message_that_close_many_bars() -> None:
    """More bars at once than the buffers have room for."""
    trades = [(i, T + 700 * i, "sell", 100 + i, 1) for i in range(3000)]
    lines = [trades_line("s", T + 700 * 3000, trades), book_line("s", T, 1, 1, 2, 1)]
    config = {"bar_durations": [0.5, 1, 2], "bar_grace": 0.5, "horizons": [1]}
    assert disagreements(config, lines) == []


def test_messages_longer_than_the_scratch() -> None:
    levels = [[1000 - i / 8, 1 + i % 3] for i in range(5000)]
    data = f'{{"bids":{levels},"asks":[[1001,1]],"timestamp":{T}}}'
    book = f'{{"type":"orderbook","exchange":"x","symbol":"s","data":{data},"collected_at":{T}}}'.encode()
    lines = [book, book_line("s", T + 1, 1, 1, 2, 1), trades_line("s", T, [(i, T, "buy", 1, 1) for i in range(5000)])]
    lines += [book.replace(str(T).encode(), str(T + 2).encode()), *lines[1:]]
    assert disagreements({"hf_emit_interval": 0}, lines) == []


# Where a row or a reject comes from


@pytest.mark.parametrize("seed", [3, 5])
def test_rows_and_rejects_tell_their_line(seed: int) -> None:
    config, lines = random_config(seed), random_stream(seed, 500)
    engine, twin = Engine(StateConfig(**config)), Twin(config)
    batch = engine.feed(chunk(lines))
    by_stream: list[tuple[Stream, Words]] = [("hf", batch.hf), ("bars", batch.bars)]
    expected: dict[Stream, list[Any]] = {"hf": [], "bars": []}
    for i, line in enumerate(lines):
        twin.feed(line)
        for known, rows in ((expected["hf"], twin.hf), (expected["bars"], twin.bars)):
            new = rows[len(known) :]
            known += [(i, row["symbol"], row["timestamp"], row.get("duration")) for row in new]
    for stream, words in by_stream:
        rows = rows_of(stream, engine.config, words, engine.symbols.keys)
        caused = zip(words[:, LINE_WORD].tolist(), rows, strict=True)
        actual = [(line, row["symbol"], row["timestamp"], row.get("duration")) for line, row in caused]
        assert sorted(actual) == sorted(expected[stream])
    for rejected in batch.rejected:
        assert rejected.raw == lines[rejected.line].removesuffix(b"\r")
        assert rejected.detail
    assert [rejected.line for rejected in batch.rejected] == sorted({rejected.line for rejected in batch.rejected})


def test_bars_of_a_flush_have_no_line() -> None:
    engine = Engine(StateConfig())
    engine.feed(chunk([b"", book_line("s", T, 1, 1, 2, 1)]))
    assert engine.flush().bars[:, LINE_WORD].tolist() == [-1] * 4


# What is fed


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer(kind: Any) -> None:
    data = chunk([book_line("s", T, 1, 1, 2, 1)])
    assert len(Engine(StateConfig()).feed(kind(data)).hf) == 1


def test_a_part_of_a_buffer() -> None:
    lines = [book_line("s", T + i, 1, 1, 2, 1) for i in range(3)]
    engine = Engine(StateConfig(hf_emit_interval=0))
    assert len(engine.feed(chunk(lines), len(lines[0]) + len(lines[1]) + 2).hf) == 2
    assert len(engine.feed(chunk(lines[2:])).hf) == 1


def test_nothing() -> None:
    engine = Engine(StateConfig())
    for data in (b"", b"\n", b"\n \t\r\n\n"):
        batch = engine.feed(data)
        assert (len(batch.hf), len(batch.bars), batch.rejected) == (0, 0, [])
    assert len(engine.flush().bars) == 0
    assert engine.counts["records"] == 0


def test_data_without_a_last_newline_is_refused() -> None:
    engine = Engine(StateConfig())
    with pytest.raises(ValueError, match="newline"):
        engine.feed(book_line("s", T, 1, 1, 2, 1))
    with pytest.raises(ValueError, match="newline"):
        engine.feed(b"{}\n{}\n", 4)
    assert engine.counts["records"] == 0


def test_the_least_int64_is_no_nonce() -> None:
    """It stands for null in a row's words, so it is null here, and no duplicate: the one nonce that is not told."""
    line = book_line("s", T, 1, 1, 2, 1).replace(b'"timestamp"', b'"nonce":-9223372036854775808,"timestamp"')
    engine = EngineRows({"hf_emit_interval": 0})
    engine.feed_lines([line, line])
    assert [row["nonce"] for row in engine.hf] == [None, None]


# Many symbols, many rows


def test_twelve_thousand_symbols_in_one_call() -> None:
    names = [f"s{i}" for i in range(12_000)]
    lines = [book_line(name, T, 1 + i, 1, 2 + i, 1) for i, name in enumerate(names)]
    lines += [book_line(name, T + 1, 3 + i, 1, 4 + i, 1) for i, name in reversed([*enumerate(names)])]
    engine = EngineRows({"hf_emit_interval": 0, "max_levels": 1, "horizons": [1], "bar_durations": [1]})
    engine.feed_lines(lines)
    assert engine.counts["symbols"] == len(names)
    rows = engine.hf
    assert [row["symbol"] for row in rows] == [*names, *reversed(names)]
    assert [row["best_bid"] for row in rows[:12_000]] == [1.0 + i for i in range(12_000)]
    assert [row["gap_ms"] for row in rows] == [None] * 12_000 + [1] * 12_000
    engine.flush()
    assert sorted(row["symbol"] for row in engine.bars) == sorted(names)
    assert {row["count"] for row in engine.bars} == {2}


def test_names_are_told_apart() -> None:
    names = [("a", "bc"), ("ab", "c"), ("abc", "c"), ("a", "b"), ("A", "bc"), ("a" * 66, "b"), ("a" * 67, "b")]
    names += [("é", "ü"), ("é" * 2, "ü"), ("a", "b\\u00e9"), ("a", "b\\\\")]
    lines = [
        book_line(symbol, T + ms, 1 + i, 1, 50, 1).replace(b'"x"', f'"{exchange}"'.encode())
        for ms in (0, 1)
        for i, (exchange, symbol) in enumerate(names)
    ]
    engine = EngineRows({"hf_emit_interval": 0})
    engine.feed_lines(lines)
    plain = [*names[:-2], ("a", "bé"), ("a", "b\\")]
    assert [(row["exchange"], row["symbol"]) for row in engine.hf] == plain * 2
    assert [row["best_bid"] for row in engine.hf] == [1.0 + i for i in range(len(names))] * 2


def test_more_rows_than_the_buffers_hold() -> None:
    lines = [book_line("s", T + 2000 * i, 1 + i, 1, 20_000, 1) for i in range(10_000)]
    engine = EngineRows({"hf_emit_interval": 0, "max_levels": 1, "horizons": [1], "bar_durations": [1, 2]})
    engine.feed_lines([*lines, *lines[:3000]])
    assert [row["best_bid"] for row in engine.hf] == [1.0 + i for i in range(10_000)]
    engine.flush()
    for duration in (1.0, 2.0):
        mids = [row["open"] for row in engine.bars if row["duration"] == duration]
        assert mids == [(20_001.0 + i) / 2 for i in range(10_000)]
    assert engine.counts["rejected"] == {"late": 3000}
    assert [rejected.line for rejected in engine.rejected] == [*range(10_000, 13_000)]


# Trades that wait for books


def test_trades_wait_however_many_they_are() -> None:
    config = {"horizons": [1, 60], "hf_emit_interval": 0}
    for spread_ms in (0, 40_000):  # all at one time, and over most of the window
        engine, n = EngineRows(config), 140_000
        trades = [(i, T + i * spread_ms // n, "buy", 1, 1) for i in range(n)]
        engine.feed_lines(trades_line("s", T + 50_000, trades[first : first + 4000]) for first in range(0, n, 4000))
        engine.feed_lines([book_line("s", T + 40_000, 1, 1, 2, 1)])
        assert engine.hf[0]["trade_vol_60s"] == n


def test_trades_without_books_take_no_more_than_their_window() -> None:
    engine = EngineRows({"horizons": [1], "regime_window": 1, "bar_durations": [1]})
    for first in range(0, 400_000, 4000):
        trades = [("", T + i, "buy", 1, 1) for i in range(first, first + 4000)]
        engine.feed_lines([trades_line("s", T + first, trades)])
    # Pages double when none is left: at least half of them were in use, and no more than the rest.
    assert 65_536 <= 32 * len(engine.engine.arrays.trades.links) < 200_000
    engine.feed_lines([book_line("s", T + 400_000, 1, 1, 2, 1)])
    assert engine.hf[0]["trade_vol_1s"] == 999.0


def test_trades_of_an_absurd_time_are_bounded() -> None:
    """A trade far in the future keeps all later ones of its symbol waiting; the oldest go when there are a million."""
    engine = EngineRows({"horizons": [1]})
    message = trades_line("s", 0, [("", END_OF_TIME - 1, "buy", 1, 1)] * 4000)
    for _ in range(300):
        engine.feed_lines([message])
    assert 32 * len(engine.engine.arrays.trades.links) < 2_500_000
    engine.feed_lines([book_line("s", END_OF_TIME - 1, 1, 1, 2, 1)])
    assert 1_048_000 < engine.hf[0]["trade_vol_1s"] <= 1_048_576 + 32


# Bars of idle symbols


def idle(engine: EngineRows, *idle_ms: int) -> list[dict[str, Any]]:
    before = len(engine.bars)
    engine.keep(engine.engine.close_idle(np.array(idle_ms, np.int64)))
    return engine.bars[before:]


IDLE = {"bar_durations": [1, 5], "bar_grace": 0.5, "bar_idle_close": 10, "hf_emit_interval": 0}
BAR = T - T % 5000


def test_an_idle_symbols_bar_closes_when_its_end_grace_and_idle_time_have_passed() -> None:
    engine = EngineRows(IDLE)
    engine.feed_lines([book_line("a", BAR + 900, 1, 1, 2, 1), book_line("b", BAR + 900, 1, 1, 2, 1)])
    assert idle(engine, 10_599, 0) == []
    (bar,) = idle(engine, 10_600, 10_599)
    assert [bar[name] for name in ("symbol", "duration", "bar_reason", "count")] == ["a", 1.0, "idle", 1]
    assert idle(engine, 10_600, 0) == []
    # The close moved stream time to the bar's end and grace: 3,500 ms before the end of the bar of 5 s.
    assert idle(engine, 13_999, 0) == []
    (bar,) = idle(engine, 14_000, 0)
    assert (bar["symbol"], bar["duration"]) == ("a", 5.0)
    assert idle(engine, 10**12, 0) == []
    assert {bar["symbol"] for bar in idle(engine, 0, 10**12)} == {"b"}


def test_what_comes_for_an_idle_bar_later_is_late() -> None:
    engine = EngineRows(IDLE)
    engine.feed_lines([book_line("a", BAR + 900, 1, 1, 2, 1)])
    idle(engine, 10_600)
    engine.feed_lines([book_line("a", BAR + 950, 1, 1, 2, 1), book_line("a", BAR + 1100, 1, 1, 2, 1)])
    assert engine.counts["late_events"] == 1
    engine.flush()
    told = {(bar["timestamp"] - BAR, bar["duration"]): (bar["count"], bar["late_events"]) for bar in engine.bars}
    assert told == {(0, 1.0): (1, 0), (1000, 1.0): (1, 1), (0, 5.0): (3, 0)}


def test_no_bar_is_idle_when_never() -> None:
    engine = EngineRows({**IDLE, "bar_idle_close": None})
    engine.feed_lines([book_line("a", BAR, 1, 1, 2, 1)])
    assert idle(engine, 10**12) == []


def test_symbols_that_had_a_record() -> None:
    engine = Engine(StateConfig())
    engine.feed(chunk([book_line(name, T, 1, 1, 2, 1) for name in "abc"]))
    assert engine.arrived().tolist() == [0, 1, 2]
    assert engine.arrived().tolist() == []
    engine.feed(chunk([book_line("b", T + 1, 1, 1, 2, 1), book_line("c", T - 1, 1, 1, 2, 1).replace(b'"c"', b'""')]))
    engine.flush()
    assert engine.arrived().tolist() == [1]


# Numbers at the edges of double

EXTREMES = [5e-324, 1e-310, 2.3e-308, 1e-300, 1e-160, 1e-8, 1, 3, 100, 101, 1e15, 1e150, 1e300, 8.9e307, 1e308, 1.7e308]


def hostile_lines(seed: int) -> list[bytes]:
    """Books and trades of extreme prices and sizes, some of them near each other, some a price twice."""
    rng, t, lines = Random(seed), T, []
    choices = EXTREMES if rng.random() < 0.6 else EXTREMES[5:11]
    for _ in range(rng.choice([3, 10, 30])):
        t += rng.choice([0, 1, 100, 500, 1000, 3000])
        if rng.random() < 0.3:
            trades = [
                ("", t, rng.choice(["buy", "sell", "?"]), rng.choice(EXTREMES), rng.choice(EXTREMES))
                for _ in range(rng.choice([1, 2, 5]))
            ]
            lines.append(trades_line("s", t, trades))
            continue
        levels = rng.choice([2, 3, 6, 12])
        prices = sorted(rng.choice(choices) * rng.choice([1, 1, 0.9999, 0.99999]) for _ in range(levels))
        split = rng.randrange(1, len(prices))
        bids, asks = ([[p, rng.choice(EXTREMES)] for p in side] for side in (prices[:split][::-1], prices[split:]))
        data = f'{{"bids":{bids},"asks":{asks},"timestamp":{t}}}'
        lines.append(f'{{"type":"orderbook","exchange":"x","symbol":"s","data":{data},"collected_at":{t}}}'.encode())
    return lines


@pytest.mark.parametrize("block", range(4))
def test_extreme_numbers(block: int) -> None:
    """What is beyond double is null, on both sides alike; no infinity, no 0 for what is unknown."""
    config = {"hf_emit_interval": 0, "max_levels": 3, "horizons": [1, 5], "bar_durations": [1, 2]}
    for seed in range(40 * block, 40 * block + 40):
        assert disagreements(config, hostile_lines(seed)) == [], seed
