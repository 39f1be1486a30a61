"""Members come and go under load: no row is lost, doubled or out of order, and what does not move is not disturbed."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamproc.config import Settings
from streamproc.kafka.client import Record, admin
from streamproc.kafka.group import committed as offsets_of
from streamproc.kafka.group import describe
from streamproc.kafka.names import Names
from streamproc.kafka.partitioner import partition_of
from streamproc.kafka.process.partition import Partition
from streamproc.kafka.process.store import PartitionStore
from streamproc.kafka.process.takeover import TakeOver
from streamproc.simulate import Market
from tests.children import begin
from tests.kafka.against_run import PATIENCE_SECONDS, assert_topics_as_run, lines_of, process_up_to
from tests.kafka.groups import (
    be_member,
    committed,
    eventually,
    fill_raw,
    key_of,
    read_topic,
    running_member,
    with_process,
)
from tests.kafka.replaying import limit_sessions
from tests.kafka.topics import make_topics

PARTITIONS = 8
SESSION_MS = 2_000


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=16, seconds=40, levels=5, rate_hz=5, seed=51))


@pytest.fixture(params=["consumer", "classic"])
def quick(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Topics, and a group of each protocol that soon forgets members that have left."""
    make_topics(settings, PARTITIONS)
    protocol = request.param
    changed = settings.process.model_copy(update={"group_protocol": protocol, "commit_interval": 0.05})
    settings = settings.model_copy(update={"process": changed})
    if protocol == "classic":
        properties = {"session.timeout.ms": str(SESSION_MS), "heartbeat.interval.ms": str(SESSION_MS // 8)}
        return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"properties": properties})})
    limit_sessions(settings, SESSION_MS)
    return settings


def owned(settings: Settings) -> dict[str, set[int]]:
    """Partitions by member."""
    found = describe(admin(settings.kafka), Names(settings.kafka.prefix).process_group)
    return {one.name: {number for _, number in one.partitions} for one in found.members}


def shared_by(settings: Settings, count: int) -> bool:
    """Whether so many members have all partitions among them, each some."""
    parts = owned(settings).values()
    return len(parts) == count and all(parts) and sum(map(len, parts)) == PARTITIONS


class Load:
    """Lines that come all the time, until the last."""

    def __init__(self, settings: Settings, lines: list[bytes]) -> None:
        self._settings, self._lines = settings, lines
        self._may_end = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        """Half of it bit by bit while things happen, the rest when enough has happened."""
        half = len(self._lines) // 2
        size = -(-half // 12)
        for start in range(0, half, size):
            fill_raw(self._settings, self._lines[start : min(start + size, half)])
            self._may_end.wait(0.05)
        self._may_end.wait()
        fill_raw(self._settings, self._lines[half:])

    def end(self) -> None:
        self._may_end.set()
        self._thread.join()


def test_one_member_then_four_then_two(quick: Settings, lines: list[bytes], run_output: Path, tmp_path: Path) -> None:
    members = [with_process(quick, tmp_path / name, member_id=name) for name in "abcd"]
    load = Load(quick, lines)
    with ExitStack() as staying:
        with ExitStack() as leaving:
            leaving.enter_context(running_member(members[0]))
            eventually(lambda: committed(quick) > 0, seconds=PATIENCE_SECONDS)
            leaving.enter_context(running_member(members[1]))
            for one in members[2:]:
                staying.enter_context(running_member(one))
            eventually(lambda: shared_by(quick, 4), seconds=PATIENCE_SECONDS)
        load.end()
        eventually(lambda: shared_by(quick, 2), seconds=PATIENCE_SECONDS)
        eventually(lambda: committed(quick) == len(lines), seconds=PATIENCE_SECONDS)
    assert_topics_as_run(quick, run_output)
    for stream in ("hf", "bars"):
        last: dict[tuple[bytes | None, bytes], int] = {}
        for record in read_topic(quick, getattr(Names(quick.kafka.prefix), stream)):
            source = dict(record.headers() or ())["source"]
            place = int(source.split(b":")[1])
            assert place >= last.get((record.key(), source.split(b":")[0]), 0)
            last[record.key(), source.split(b":")[0]] = place


class Gate:
    """Holds up members that take partitions over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self._open.set()
        self.held: set[int] = set()
        real = TakeOver.take

        def take(take_over: TakeOver, number: int) -> Partition:
            if not self._open.is_set():
                self.held.add(number)
            self._open.wait()
            return real(take_over, number)

        monkeypatch.setattr(TakeOver, "take", take)

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open()


def test_partitions_that_do_not_move_go_on_while_others_are_restored(
    quick: Settings, lines: list[bytes], run_output: Path, gate: Gate, tmp_path: Path
) -> None:
    """When a member comes, and when it goes and those that stay take its partitions over themselves."""
    first, second = (with_process(quick, tmp_path / name, member_id=name) for name in ("first", "second"))
    thirds = [lines[: len(lines) // 3], lines[len(lines) // 3 : 2 * len(lines) // 3], lines[2 * len(lines) // 3 :]]
    filled = fill_raw(quick, thirds[0])
    with running_member(first):
        eventually(lambda: committed(quick) == filled, seconds=PATIENCE_SECONDS)
        try:
            gate.close()
            with running_member(second):
                eventually(lambda: shared_by(quick, 2) and bool(gate.held), seconds=PATIENCE_SECONDS)
                kept = owned(quick)["first"]
                filled += fill_raw(quick, thirds[1])
                eventually(lambda: has_done(quick, lines[:filled], kept), seconds=PATIENCE_SECONDS)
                assert not has_done(quick, lines[:filled], set(range(PARTITIONS)))
                gate.open()
                eventually(lambda: committed(quick) == filled, seconds=PATIENCE_SECONDS)
                gate.held.clear()
                gate.close()
            eventually(lambda: owned(quick) == {"first": set(range(PARTITIONS))}, seconds=PATIENCE_SECONDS)
            eventually(lambda: bool(gate.held), seconds=PATIENCE_SECONDS)
            filled += fill_raw(quick, thirds[2])
            eventually(lambda: has_done(quick, lines, kept), seconds=PATIENCE_SECONDS)
            assert not has_done(quick, lines, set(range(PARTITIONS)))
        finally:
            gate.open()
        eventually(lambda: committed(quick) == filled, seconds=PATIENCE_SECONDS)
    assert_topics_as_run(quick, run_output)


def has_done(settings: Settings, lines: list[bytes], numbers: set[int]) -> bool:
    """Whether the group has come to the ends of partitions that hold lines, each a record."""
    names = Names(settings.kafka.prefix)
    done = offsets_of(settings.kafka, names.process_group, names.raw, numbers, stable=True)
    homes = [partition_of(key_of(line) or b"", PARTITIONS) for line in lines]
    return all((done[number] or 0) == homes.count(number) for number in numbers)


def test_sigterm_under_load_leaves_nothing_to_restore_but_the_tail(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next owner is one that had the partitions before, then the same member again."""
    make_topics(settings, PARTITIONS)
    here, there = (
        with_process(settings, tmp_path / name, member_id="same", commit_interval=0.05, commit_records=50)
        for name in ("here", "there")
    )
    quarter = len(lines) // 4
    process_up_to(here, fill_raw(settings, lines[:quarter]))
    stood = changelog_offsets(tmp_path / "here")
    assert any(stood.values())

    child = begin(be_member, there)
    load = Load(settings, lines[quarter:])
    eventually(lambda: committed(settings) > quarter, seconds=PATIENCE_SECONDS)
    os.kill(child.pid or 0, signal.SIGTERM)
    child.join(PATIENCE_SECONDS)
    assert child.exitcode == 0
    load.end()

    restored: list[tuple[int, int]] = []
    real = TakeOver._apply

    def apply(take_over: TakeOver, store: PartitionStore, messages: list[Record], at: int) -> int:
        restored.extend((message.partition(), message.offset()) for message in messages if not message.error())
        return real(take_over, store, messages, at)

    monkeypatch.setattr(TakeOver, "_apply", apply)
    up_to = committed(settings)
    process_up_to(there, committed(settings))
    assert not restored and committed(settings) >= up_to
    process_up_to(here, len(lines))
    assert restored and all(offset >= stood[number] for number, offset in restored)
    assert_topics_as_run(settings, run_output)


def changelog_offsets(state: Path) -> dict[int, int]:
    """How far the stores of a member that has left have come, by partition."""
    found = {}
    for folder in state.glob("*-*"):
        if folder.is_dir():
            store = PartitionStore(folder, "state")
            found[int(folder.name.rpartition("-")[2])] = store.changelog_offset
            store.close()
    return found
