"""Bars of idle symbols: closed after true idleness, once; never for idleness that was only waiting."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

from streamproc.config import KafkaConfig, Settings, StateConfig
from streamproc.kafka.process import program, quiet
from streamproc.kafka.process.member import Member
from streamproc.kafka.process.quiet import LOOK_SECONDS, QuietWatch
from streamproc.local.idle import IdleClock
from streamproc.local.run import process_files
from streamproc.simulate import Market
from tests.kafka.against_run import PATIENCE_SECONDS, lines_of, run_on
from tests.kafka.brokers import running_broker
from tests.kafka.groups import (
    committed,
    dead_letters,
    eventually,
    fill_raw,
    rows_of,
    rows_of_run,
    running_member,
    with_process,
)
from tests.kafka.topics import make_topics

PARTITIONS = 2
HOUR = 3_600.0


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=4, seconds=12, levels=3, rate_hz=6, seed=41))


class Silent:
    """Of a partition what `QuietWatch` knows: it has one symbol, and nothing comes."""

    def __init__(self) -> None:
        self.reached = 0
        self.idle_ms = 0
        self._clock = IdleClock()

    def pass_time(self, now_ms: int, caught_up: bool) -> Iterator[Any]:
        self.idle_ms = int(self._clock.pass_time(now_ms, caught_up, np.zeros(0, np.intp), 1)[0])
        return iter(())


class World:
    """A watch with a clock and a broker that do as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.end = 0
        self.answer: Callable[[], None] = lambda: None
        self.partition = Silent()
        self.watch = QuietWatch(None, "raw", lambda: self.now, commit_interval=0.25)  # type: ignore[arg-type]
        monkeypatch.setattr(QuietWatch, "_asked", self._asked)

    def _asked(self, numbers: Any) -> dict[int, int]:
        self.answer()
        return dict.fromkeys(numbers, self.end)

    def turns(self, seconds: float) -> int:
        """Work for some time; how much of it has counted as idle, ms."""
        before, until = self.partition.idle_ms, self.now + seconds
        while self.now < until:
            self.now += 0.25
            self.watch.pass_time({0: self.partition})  # type: ignore[dict-item]
        return self.partition.idle_ms - before


LEAST_MS = 1_000 * LOOK_SECONDS + 500
"""What is not counted yet of the last stretch."""


def test_time_counts_while_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    assert 30_000 - 2 * LEAST_MS <= world.turns(30) <= 30_000


def test_time_behind_the_end_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.turns(5)
    world.end = 7
    assert world.turns(600) <= LEAST_MS
    world.partition.reached = 7
    assert world.turns(10) <= 10_000


def test_time_in_which_the_process_was_stopped_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.turns(5)
    world.now += HOUR
    assert world.turns(10) <= 10_000 + LEAST_MS


@pytest.mark.parametrize("answer_seconds", [0.0, 4.9])
def test_time_in_which_no_broker_answers_does_not_count(answer_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses at once, or lets one wait."""
    world = World(monkeypatch)
    world.turns(5)

    def refuse() -> None:
        world.now += answer_seconds
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    world.answer = refuse
    assert world.turns(600) <= LEAST_MS
    world.answer = lambda: None
    assert world.turns(10) <= 10_000


def test_an_answer_that_took_long_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that was stopped for a while, and then answers as if nothing had been."""
    world = World(monkeypatch)
    world.turns(5)

    def late() -> None:
        world.now += 100.0
        world.answer = lambda: None

    world.answer = late
    assert world.turns(110) <= 10_000 + LEAST_MS


def idling(settings: Settings, folder: Path, close_s: float) -> Settings:
    """A member's settings with one length of bars, and a time after which idle ones close."""
    state = StateConfig(bar_durations=(1.0,), bar_grace=0.1, bar_idle_close=close_s)
    return with_process(settings.model_copy(update={"state": state}), folder, commit_interval=0.05)


def bars(settings: Settings, reason: str) -> Counter[bytes]:
    rows = rows_of(settings, "bars").items()
    return Counter({row: count for row, count in rows if orjson.loads(row)["bar_reason"] == reason})


@pytest.mark.usefixtures("often")
def test_bars_close_after_true_idleness_once(settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
    """What `run` makes at the end of input, the idle close has made; and a restart knows of it."""
    mine = idling(settings, tmp_path / "state", 0.2)
    make_topics(settings, PARTITIONS)
    count = fill_raw(settings, lines)
    config = mine.model_copy(update={"state": mine.state.model_copy(update={"bar_idle_close": None})})
    timed = rows_of_run(run_on(lines, config, tmp_path / "run"), "bars")
    flushed = tmp_path / "flushed"
    process_files([str(tmp_path / "run" / "lines.ndjson")], flushed, settings=config, flush=True)
    left_open = rows_of_run(flushed, "bars") - timed
    wanted = Counter({row.replace(b'"flush"', b'"idle"'): count for row, count in left_open.items()})
    assert wanted
    with running_member(mine):
        eventually(lambda: bars(settings, "idle") == wanted, seconds=PATIENCE_SECONDS)
    again = fill_raw(settings, lines[-5:])  # late ones, for what is closed
    with running_member(mine):
        eventually(lambda: committed(settings) == count + again, seconds=PATIENCE_SECONDS)
    assert bars(settings, "time") == timed and bars(settings, "idle") == wanted


OFTEN_SECONDS = 0.05


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members look often."""
    monkeypatch.setattr(quiet, "LOOK_SECONDS", OFTEN_SECONDS)


class Clock:
    """The real one, but for leaps."""

    def __init__(self) -> None:
        self.leapt = 0.0
        self.calls = 0

    def __call__(self) -> float:
        self.calls += 1
        return time.monotonic() + self.leapt

    def go_on(self) -> None:
        """Wait until the member has worked for a while, and looked several times."""
        before, until = self.calls, time.monotonic() + 10 * OFTEN_SECONDS
        eventually(lambda: self.calls >= before + 50 and time.monotonic() >= until, seconds=PATIENCE_SECONDS)


@pytest.fixture
def clock(often: None, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(program, "Member", partial(Member, clock=clock))
    return clock


def test_a_pause_of_hours_closes_nothing(settings: Settings, lines: list[bytes], clock: Clock, tmp_path: Path) -> None:
    """The member alone is stopped, then everything is; then it is started anew. Records come afterwards."""
    mine = idling(settings, tmp_path / "state", HOUR)
    make_topics(settings, PARTITIONS)
    parts = [lines[start : start + len(lines) // 4] for start in range(0, len(lines), len(lines) // 4)]
    filled = fill_raw(settings, parts[0])
    with running_member(mine):
        eventually(lambda: committed(settings) == filled, seconds=PATIENCE_SECONDS)
        clock.leapt += 10 * HOUR
        filled += fill_raw(settings, parts[1])
        eventually(lambda: committed(settings) == filled, seconds=PATIENCE_SECONDS)
        clock.go_on()
        clock.leapt += 10 * HOUR
        clock.go_on()
        filled += fill_raw(settings, parts[2])
        eventually(lambda: committed(settings) == filled, seconds=PATIENCE_SECONDS)
    clock.leapt += 10 * HOUR
    for part in parts[3:]:
        filled += fill_raw(settings, part)
    with running_member(mine):
        eventually(lambda: committed(settings) == filled, seconds=PATIENCE_SECONDS)
    assert rows_of(settings, "bars") == rows_of_run(run_on(lines, mine, tmp_path / "run"), "bars")


def test_an_outage_of_hours_closes_nothing(
    lines: list[bytes], clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quiet, "ANSWER_SECONDS", 0.2)
    with running_broker(tmp_path / "broker") as broker:
        kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers)
        mine = idling(Settings(kafka=kafka), tmp_path / "state", HOUR)
        make_topics(mine, PARTITIONS)
        half = len(lines) // 2
        filled = fill_raw(mine, lines[:half])
        with running_member(mine):
            eventually(lambda: committed(mine) == filled, seconds=PATIENCE_SECONDS)
            broker.pause()
            for _ in range(3):
                clock.leapt += HOUR
                clock.go_on()
            broker.go_on()
            clock.go_on()
            filled += fill_raw(mine, lines[half:])
            eventually(lambda: committed(mine) == filled, seconds=PATIENCE_SECONDS)
        assert rows_of(mine, "bars") == rows_of_run(run_on(lines, mine, tmp_path / "run"), "bars")
        assert not dead_letters(mine)
