"""The twin against values worked out by hand, against itself, and the random input that will drive the engine."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings

from tests.known_values import CASES, Case, faults_of
from tests.strategies import KINDS, configs, random_config, random_stream, streams
from tests.twin import Settings, Twin, bar_columns, compare_rows, compare_streams, hf_columns

Row = dict[str, Any]

repeatable = settings(deadline=None, max_examples=80, derandomize=True, database=None)


def run(config: dict[str, Any], lines: list[bytes]) -> Twin:
    """A twin that has taken the lines and been flushed."""
    twin = Twin(config)
    for line in lines:
        twin.feed(line)
    twin.flush()
    return twin


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_known_values(case: Case) -> None:
    assert faults_of(case, Twin(case.config)) == []


def test_names_of_cases_are_unique() -> None:
    assert [name for name, times in Counter(case.name for case in CASES).items() if times > 1] == []


def test_cases_look_at_every_column() -> None:
    def general(name: str) -> str:
        """Without levels, bands and horizons: bid_price_L3 -> bid_price_L, tfi_0.5s -> tfi_s."""
        return "".join(letter for letter in name if not letter.isdigit() and letter != ".")

    expected_hf = {general(name) for case in CASES for row in case.expect_hf or () for name in row}
    expected_bars = {name for case in CASES for row in case.expect_bars or () for name in row}
    assert {general(name) for name in hf_columns(Settings())} - expected_hf == set()
    assert set(bar_columns()) - expected_bars == set()


def test_a_wrong_value_is_a_fault() -> None:
    case = next(case for case in CASES if case.name.startswith("best quotes"))
    row: Row = {**(case.expect_hf or [])[0], "spread": 2.1}
    wrong = Case(case.name, case.config, case.lines, expect_hf=[row], expect_counts={"books": 2})
    assert [fault.split(":")[0] for fault in faults_of(wrong, Twin(wrong.config))] == ["hf[0] spread", "counts"]


@repeatable
@given(config=configs(), lines=streams())
def test_counts_add_up_and_rows_are_whole(config: dict[str, Any], lines: list[bytes]) -> None:
    twin = run(config, lines)
    counts = twin.counts
    parts = counts["books"] + counts["trades"] + counts["duplicates"] + sum(counts["rejected"].values())
    assert counts["records"] == parts == sum(bool(line.strip()) for line in lines)
    assert counts["open_bars"] == 0
    columns = {"hf": set(hf_columns(twin.settings)), "bars": set(bar_columns())}
    for stream, rows in (("hf", twin.hf), ("bars", twin.bars)):
        for row in rows:
            assert set(row) - {"_scale"} == columns[stream]
            assert not [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]


@repeatable
@given(config=configs(), lines=streams())
def test_bars_hold_all_that_was_not_late(config: dict[str, Any], lines: list[bytes]) -> None:
    twin = run(config, lines)
    durations = len(config["bar_durations"])
    counts, bars = twin.counts, twin.bars
    in_bars = sum(bar["count"] + bar["trade_count"] for bar in bars)
    valid_books = counts["books"] - counts["invalid_books"]
    accepted_trades = sum(len(history.fills) for history in twin._histories.values())
    missing = durations * (valid_books + accepted_trades) - in_bars
    assert 0 <= missing <= counts["late_events"]  # late events may be invalid books too
    assert sum(bar["late_events"] for bar in bars) <= counts["late_events"]
    keys = [(bar["exchange"], bar["symbol"], bar["duration"], bar["timestamp"]) for bar in bars]
    assert len(set(keys)) == len(keys)


@repeatable
@given(config=configs(), lines=streams(max_size=40))
def test_symbols_do_not_touch_each_other(config: dict[str, Any], lines: list[bytes]) -> None:
    together = run(config, lines)
    apart = [run(config, [line for line in lines if name in line]) for name in (b"binance", b"kraken", b"kx")]
    hf = [row for twin in apart for row in twin.hf]
    bars = [row for twin in apart for row in twin.bars]
    assert compare_streams(together.hf, hf) == []
    assert compare_streams(together.bars, bars) == []


def test_random_streams_repeat_and_bring_every_fault() -> None:
    assert random_stream(7, 300) == random_stream(7, 300)
    assert random_stream(7, 300) != random_stream(8, 300)
    seen: Counter[str] = Counter()
    for seed in range(4):
        twin = run(random_config(seed), random_stream(seed, 1000))
        counts = twin.counts
        seen.update({name: value for name, value in counts.items() if isinstance(value, int)})
        seen.update(counts["rejected"])
        seen.update(f"flags {row['book_flags']}" for row in twin.hf)
        seen.update(f"gap {row['ofi'] is None and row['gap_ms'] is not None}" for row in twin.hf)
        seen.update(row["spread_regime"] for row in twin.hf)
        seen.update("no book" for bar in twin.bars if bar["count"] == 0)
        seen.update("told late" for bar in twin.bars if bar["late_events"])
    wanted = [
        "duplicates",
        "invalid_books",
        "late_events",
        "duplicate_trades",
        "bad_trades",
        "tight",
        "wide",
        "gap True",
    ]
    wanted += ["malformed", "ignored_type", "no_timestamp", "future", "late", "no book", "told late"]
    wanted += ["flags 0", "flags 8", "flags 16", "flags 24"]
    assert [name for name in wanted if not seen[name]] == []


@repeatable
@given(lines=streams(min_size=1))
def test_no_line_of_a_stream_holds_a_newline(lines: list[bytes]) -> None:
    assert not [line for line in lines if b"\n" in line]


def test_kinds_begin_with_the_plainest() -> None:
    assert KINDS[0] == "book"


# compare_rows: what it lets pass and what not


SCALE = {"ofi_1s": 1000.0, "spread": 100.0, "tfi_1s": 1.0}


@pytest.mark.parametrize(
    ("column", "actual", "expected"),
    [
        ("best_bid", 100.0 * (1 + 5e-10), 100.0),
        ("ofi_1s", 5e-10, 0.0),  # 1e-12 of the terms' 1000
        ("spread", 1e-11, 0.0),
        ("log_return_1s", 9e-16, 0.0),
        ("realized_vol_1s", 1e-3, 1e-3 * (1 + 5e-10)),
        ("realized_var_1s", 1e-6, 1e-6 * (1 + 5e-9)),
        ("realized_variance", 1e-6, 1e-6 * (1 + 5e-9)),
        ("tfi_1s", 1e-13, 0.0),
        ("nonce", None, None),
        ("count", 3, 3),
        ("symbol", "a", "a"),
    ],
)
def test_near_enough(column: str, actual: Any, expected: Any) -> None:
    assert compare_rows({column: actual}, {column: expected, "_scale": {}}, SCALE) == []


@pytest.mark.parametrize(
    ("column", "actual", "expected"),
    [
        ("best_bid", 100.0 * (1 + 5e-9), 100.0),
        ("ofi_1s", 5e-9, 0.0),
        ("ofi_5s", 1e-30, 0.0),
        ("spread", 1e-9, 0.0),
        ("log_return_1s", 2e-15, 0.0),
        ("realized_var_1s", 1e-6, 1e-6 * (1 + 5e-8)),
        ("best_bid", math.nan, 100.0),
        ("best_bid", None, 100.0),
        ("best_bid", 0.0, None),
        ("best_bid", 100, 100.0),
        ("count", 3.0, 3),
        ("count", True, 1),
        ("warm_1s", 1, True),
        ("symbol", "a", "b"),
    ],
)
def test_not_near_enough(column: str, actual: Any, expected: Any) -> None:
    assert len(compare_rows({column: actual}, {column: expected}, SCALE)) == 1


def test_columns_too_few_and_too_many() -> None:
    assert compare_rows({"a": 1, "b": 2}, {"a": 1, "c": 3}, {}) == ["c: missing", "b: not a column"]


def test_a_lost_or_changed_row_is_seen() -> None:
    rows = run(random_config(1), random_stream(1, 200)).hf
    assert compare_streams(rows, rows) == []
    for i, row in enumerate(rows):
        changed = [*rows[:i], {**row, "best_bid": row["best_bid"] * 1.001}, *rows[i + 1 :]]
        assert len(compare_streams(changed, rows)) == 1
        lost = compare_streams(rows[:i] + rows[i + 1 :], rows)
        assert lost[0].startswith(f"{len(rows) - 1} rows, expected {len(rows)}")
