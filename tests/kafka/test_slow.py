"""What is slow makes others wait: memory stays as it is, lag grows, nothing is dropped."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from streamproc.config import KafkaConfig, Settings
from streamproc.kafka.process import member as process_member
from streamproc.kafka.process import transaction
from streamproc.kafka.sink import collect
from streamproc.kafka.sink import member as sink_member
from streamproc.simulate import Market
from tests.broker import Broker
from tests.children import begin
from tests.kafka.against_run import PATIENCE_SECONDS, assert_topics_as_run, lines_of
from tests.kafka.brokers import running_broker
from tests.kafka.conftest import STATE
from tests.kafka.groups import be_member, committed, eventually, fill_raw, with_process
from tests.kafka.sinks import be_sink, hints_reach_the_end, outgoing, produce, with_sink
from tests.kafka.topics import make_topics
from tests.outputs import assert_same

QUEUED_KBYTES = 2_048
GROWTH_BYTES = 24 << 20
"""Half of what comes: with no bound all of it would be fetched at once."""


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """50 MB of rows."""
    return lines_of(Market(symbols=20, seconds=1_000, levels=5, rate_hz=1, trade_rate_hz=0, seed=23))


def be_slow_sink(settings: Settings, output: Path) -> None:
    """Be a sink whose disk is slow."""
    sink_member.QUEUED_KBYTES = QUEUED_KBYTES
    write = collect.RowCollector.write

    def write_slowly(collector: collect.RowCollector, folder: Path, stem: str) -> object:
        time.sleep(0.2)
        return write(collector, folder, stem)

    collect.RowCollector.write = write_slowly  # type: ignore[assignment,method-assign]
    be_sink(settings, output)


def be_small_member(settings: Settings) -> None:
    """Be a member with little room for what is on its way."""
    process_member.QUEUED_KBYTES = transaction.QUEUE_KBYTES = QUEUED_KBYTES
    be_member(settings)


def end(child: BaseProcess) -> None:
    """End it as a service manager does."""
    child.terminate()
    child.join(PATIENCE_SECONDS)
    assert child.exitcode == 0


class Memory:
    """The most that a process takes, as seen now and then."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.now = self.most = self._process.memory_info().rss

    def look(self) -> None:
        self.now = self._process.memory_info().rss
        self.most = max(self.most, self.now)

    def until(self, condition: Callable[[], bool]) -> None:
        """Look until something holds."""

        def holds() -> bool:
            self.look()
            return condition()

        eventually(holds, seconds=PATIENCE_SECONDS)


def test_a_slow_sink_fetches_no_more_than_it_has_room_for(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    make_topics(settings)
    mine = with_sink(settings, segment_rows=1_000, idle=0.5)
    rows = [*outgoing(settings, lines)]
    few = len(rows) // 20
    produce(settings, rows[:few])
    child = begin(be_slow_sink, mine, tmp_path / "out")
    eventually(lambda: hints_reach_the_end(settings), seconds=PATIENCE_SECONDS)
    memory = Memory(child.pid or 0)
    before = memory.now
    produce(settings, rows[few:])
    assert not hints_reach_the_end(settings)
    memory.until(lambda: hints_reach_the_end(settings))
    end(child)
    assert memory.most - before < GROWTH_BYTES
    assert_same(tmp_path / "out", run_output)


@contextmanager
def slowed(broker: Broker) -> Iterator[None]:
    """A broker that stands still for nine tenths of the time."""
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            broker.pause()
            time.sleep(0.18)
            broker.go_on()
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_slow_broker_makes_a_member_wait_not_grow(tmp_path: Path, lines: list[bytes], run_output: Path) -> None:
    with running_broker(tmp_path / "broker") as broker:
        settings = Settings(kafka=KafkaConfig(bootstrap_servers=broker.bootstrap_servers), state=STATE)
        settings = with_process(settings, tmp_path / "state", commit_interval=0.1)
        make_topics(settings)
        few = len(lines) // 20
        fill_raw(settings, lines[:few])
        child = begin(be_small_member, settings)
        eventually(lambda: committed(settings) == few, seconds=PATIENCE_SECONDS)
        memory = Memory(child.pid or 0)
        before = memory.now
        with slowed(broker):
            fill_raw(settings, lines[few:])
            assert committed(settings) < len(lines)
            memory.until(lambda: committed(settings) == len(lines))
        end(child)
        assert memory.most - before < GROWTH_BYTES
        assert_topics_as_run(settings, run_output)
