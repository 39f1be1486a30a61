"""The faults of a simulated stream: all there, each counted as the engine counts it, none harming other lines."""

import io
import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from streamproc.config import StateConfig
from streamproc.engine import Engine
from streamproc.simulate import Market, Simulation, generate, simulate
from streamproc.simulate.faults.fault import Fault, Ordinary, Outcome, encode, verbatim
from streamproc.simulate.faults.mixer import BYTE_ORDER_MARK_FAULT, FAULTS
from streamproc.simulate.listing import instruments
from streamproc.simulate.stream import chunks

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COUNTED = ("records", "books", "trades", "duplicates", "invalid_books", "duplicate_trades", "bad_trades")


@cache
def faulty() -> tuple[bytes, dict[str, Any]]:
    simulation = Simulation(Market(symbols=20, seconds=45, levels=5, seed=5, faults=True))
    return b"".join(simulation), simulation.summary()


@cache
def ordinary_lines() -> list[Ordinary]:
    market = Market(symbols=5, seconds=20, levels=6, seed=2)
    lines: list[Ordinary] = []
    for chunk in chunks(market, instruments(market.symbols)):
        start = 0
        for line in chunk.lines:
            numbers = [int(line[name]) for name in ("kind", "time_ms", "arrival_ms", "next_ms")]
            lines.append(Ordinary(chunk.data[start : line["end"] - 1], *numbers))
            start = line["end"]
    return lines


def counts_of(engine: Engine) -> Counter[str]:
    """What the engine has counted; a reason of rejection counts under its name."""
    counts = engine.counts
    return Counter({name: counts[name] for name in COUNTED}) + engine.reasons


def promised(outcome: Outcome) -> Counter[str]:
    counts = Counter({name: value for name, value in outcome._asdict().items() if isinstance(value, int)})
    if outcome.rejected:
        counts[outcome.rejected] = 1
    counts["records"] = outcome.books + outcome.trades + outcome.duplicates + (outcome.rejected != "")
    return +counts


class TestOneByOne:
    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
    def test_a_fault_counts_as_it_says_and_the_lines_after_it_as_ever(self, fault: Fault) -> None:
        lines = ordinary_lines()
        place = next(n for n, line in enumerate(lines) if n > 30 and fault.fits(line))
        engine = Engine(StateConfig())
        engine.feed(b"\n".join(line.text for line in lines[: place + 1]) + b"\n")
        before = counts_of(engine)
        engine.feed(fault.build(lines[place]) + b"\n")
        with_fault = counts_of(engine)
        assert with_fault - before == promised(fault.outcome)
        after = lines[place + 1 : place + 200]
        engine.feed(b"\n".join(line.text for line in after) + b"\n")
        assert counts_of(engine) - with_fault == Counter(
            {
                "records": len(after),
                "books": sum(line.kind == 0 for line in after),
                "trades": sum(line.kind for line in after),
            }
        )

    def test_names_are_unique(self) -> None:
        assert max(Counter(fault.name for fault in FAULTS).values()) == 1

    def test_every_reason_and_count_has_its_faults(self) -> None:
        totals = sum((promised(fault.outcome) for fault in FAULTS), Counter[str]())
        assert set(totals) == {*COUNTED, "malformed", "ignored_type", "no_timestamp", "late", "future"}

    def test_a_fault_is_one_line(self) -> None:
        for fault in FAULTS:
            line = next(line for line in ordinary_lines() if fault.fits(line))
            assert b"\n" not in fault.build(line)

    def test_a_verbatim_value_is_written_as_it_stands(self) -> None:
        record = {"a": verbatim('NaN,"b":"\\ud800"'), "c": verbatim('"\udcff\x01Ä"'), "d": 'plain "\\ud800"'}
        assert encode(record) == b'{"a":NaN,"b":"\\ud800","c":"\xff\x01\xc3\x84","d":"plain \\"\\\\ud800\\""}'


class TestMixed:
    def test_every_fault_occurs(self) -> None:
        _, summary = faulty()
        assert set(summary["faults"]) == {fault.name for fault in FAULTS} | {BYTE_ORDER_MARK_FAULT}

    def test_faults_are_a_few_per_cent_of_the_lines(self) -> None:
        _, summary = faulty()
        assert 0.02 < sum(summary["faults"].values()) / summary["lines"] < 0.10

    def test_the_engine_counts_what_the_summary_expects(self) -> None:
        data, summary = faulty()
        engine = Engine(StateConfig())
        engine.feed(data.removeprefix(BYTE_ORDER_MARK))
        assert data.startswith(BYTE_ORDER_MARK)
        counts = engine.counts
        found = {name: counts[name] for name in (*COUNTED, "symbols")} | {
            "rejected": dict(sorted(engine.reasons.items()))
        }
        assert found == summary["expected"]

    def test_counts_add_up(self) -> None:
        data, summary = faulty()
        expected = summary["expected"]
        taken = expected["books"] + expected["trades"] + expected["duplicates"]
        assert expected["records"] == taken + sum(expected["rejected"].values())
        blank = sum(number for name, number in summary["faults"].items() if name.startswith("blank_line"))
        assert summary["lines"] == data.count(b"\n") == expected["records"] + blank
        assert summary["bytes"] == len(data)
        assert (summary["books"], summary["trades"]) == (expected["books"], expected["trades"])
        assert summary["symbols"] == expected["symbols"] > 20

    def test_the_ordinary_lines_are_all_there_in_their_order(self) -> None:
        market = Market(symbols=20, seconds=10, levels=3, seed=5)
        faulty_lines = iter(b"".join(generate(Market(20, 10, 3, seed=5, faults=True))).split(b"\n"))
        next(faulty_lines)  # it carries the byte order mark
        clean = b"".join(generate(market)).splitlines()[1:]
        assert all(any(line == wanted for line in faulty_lines) for wanted in clean)

    @pytest.mark.parametrize(
        "market",
        [
            Market(symbols=1, seconds=150, levels=1, seed=3, faults=True),
            Market(symbols=2, seconds=100, levels=30, seed=4, faults=True, trade_rate_hz=0),
            Market(symbols=300, seconds=1, levels=2, seed=5, faults=True, start_ms=1_000_000_000_000),
        ],
        ids=["one_symbol", "no_trades", "many_symbols"],
    )
    def test_expectations_hold_in_other_markets(self, market: Market) -> None:
        simulation = Simulation(market)
        engine = Engine(StateConfig())
        for number, data in enumerate(simulation):
            engine.feed(data if number else data.removeprefix(BYTE_ORDER_MARK))
        expected = simulation.summary()["expected"]
        assert {name: engine.counts[name] for name in (*COUNTED, "symbols")} | {
            "rejected": dict(engine.reasons)
        } == expected
        assert sum(simulation.summary()["faults"].values()) > 100


class TestSummary:
    def test_a_clean_market_has_no_faults_and_says_so(self) -> None:
        out = io.BytesIO()
        ticks = iter((10.0, 12.5))
        summary = simulate(Market(symbols=3, seconds=5), out, clock=lambda: next(ticks))
        lines = out.getvalue().splitlines()
        books = sum(line.startswith(b'{"type":"orderbook"') for line in lines)
        assert summary["seconds"] == 2.5
        assert summary["faults"] == {}
        assert summary["expected"] == {
            "records": len(lines),
            "books": books,
            "trades": len(lines) - books,
            "duplicates": 0,
            "invalid_books": 0,
            "duplicate_trades": 0,
            "bad_trades": 0,
            "rejected": {},
            "symbols": 3,
        }
        assert (summary["lines"], summary["bytes"]) == (len(lines), len(out.getvalue()))

    def test_the_summary_is_json_and_the_bytes_are_those_of_generate(self) -> None:
        market = Market(symbols=3, seconds=5, faults=True)
        out = io.BytesIO()
        json.dumps(simulate(market, out))
        assert out.getvalue() == b"".join(generate(market))
