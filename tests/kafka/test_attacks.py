"""Members and brokers that stop, die and come back: the rows stay those of `run`."""

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamproc.config import KafkaConfig, Settings
from streamproc.kafka import client
from streamproc.kafka.names import Names
from streamproc.kafka.process import transaction
from streamproc.kafka.process.transaction import AbortedError, Transaction
from streamproc.simulate import Market
from tests.broker import Broker
from tests.children import begin
from tests.kafka.against_run import lines_of, row_differences
from tests.kafka.brokers import running_broker
from tests.kafka.groups import (
    be_member,
    be_slow_member,
    be_slow_member_without_transactions,
    committed,
    eventually,
    fill_raw,
    read_topic,
    running_member,
    with_process,
)
from tests.kafka.topics import make_topics

PARTITIONS = 6


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=8, seconds=120, levels=5, rate_hz=8, seed=21))


@contextmanager
def members(work: Callable[[Settings], None], all_settings: list[Settings]) -> Iterator[list[ForkServerProcess]]:
    """Members in processes of their own, killed at the end."""
    processes = [begin(work, one) for one in all_settings]
    try:
        yield processes
    finally:
        for process in processes:
            if process.is_alive():
                os.kill(process.pid or 0, signal.SIGCONT)
                process.kill()
            process.join()


def feed_slowly(settings: Settings, lines: list[bytes], seconds: float) -> threading.Thread:
    """Lines into the raw topic over some time."""

    def work() -> None:
        pieces = 40
        size = -(-len(lines) // pieces)
        by = client.producer(settings.kafka, {})
        for start in range(0, len(lines), size):
            fill_raw(settings, lines[start : start + size], by=by)
            time.sleep(seconds / pieces)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def killed_at_random(
    settings: Settings, lines: list[bytes], folder: Path, work: Callable[[Settings], None], seed: int
) -> None:
    """Three members under load, one killed every second and started again; then they finish."""
    chance = random.Random(seed)
    all_settings = [
        with_process(settings, folder / str(number), commit_interval=0.05, commit_records=200, group_protocol="classic")
        for number in range(3)
    ]
    with members(work, all_settings) as processes:
        feeder = feed_slowly(settings, lines, 8)
        while feeder.is_alive():
            time.sleep(chance.uniform(0.5, 1.5))
            victim = chance.randrange(3)
            processes[victim].kill()
            processes[victim].join()
            processes[victim] = begin(work, all_settings[victim])
        eventually(lambda: committed(settings) >= len(lines), seconds=90)


def test_members_killed_at_random_under_load(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    make_topics(settings, PARTITIONS)
    killed_at_random(settings, lines, tmp_path, be_slow_member, seed=1)
    assert row_differences(settings, run_output) == []


def test_the_same_without_transactions_loses_or_doubles_rows(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    """The control: were this without differences, the test above would prove nothing."""
    make_topics(settings, PARTITIONS)
    killed_at_random(settings, lines, tmp_path, be_slow_member_without_transactions, seed=1)
    assert row_differences(settings, run_output)


def be_member_that_stops(settings: Settings, where: str) -> None:
    """Be a member that SIGSTOPs itself at a step of its work, once, when it has worked for a while."""
    step = getattr(Transaction, where)
    calls = itertools.count()

    def stopping(transaction: Transaction, *arguments: Any) -> Any:
        if next(calls) == 4:
            os.kill(os.getpid(), signal.SIGSTOP)
        return step(transaction, *arguments)

    setattr(Transaction, where, stopping)
    be_member(settings)


@pytest.mark.parametrize(("protocol", "where"), [("consumer", "begin"), ("consumer", "commit"), ("classic", "commit")])
def test_a_member_stopped_beyond_its_session_commits_nothing_more(
    protocol: str, where: str, settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    """Stopped with records that it has taken or has in flight, its partitions move, it wakes: all that is refused."""
    make_topics(settings, PARTITIONS)
    mine, other = (
        with_process(settings, tmp_path / name, commit_interval=0.3, commit_records=100, group_protocol=protocol)
        for name in "ab"
    )
    half = len(lines) // 2
    with members(partial(be_member_that_stops, where=where), [mine]) as [zombie]:
        feeder = feed_slowly(settings, lines[:half], 6)
        eventually(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_STOPPED)
        with running_member(other):
            feeder.join()
            eventually(lambda: committed(settings) == half, seconds=90)
            os.kill(zombie.pid or 0, signal.SIGCONT)
            filled = half + fill_raw(settings, lines[half:])
            eventually(lambda: committed(settings) == filled, seconds=90)
    assert row_differences(settings, run_output) == []


def test_records_of_a_key_keep_their_order(settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
    """Within each partition of hf, the rows of a symbol are in the order of their times."""
    make_topics(settings, PARTITIONS)
    with members(be_member, [with_process(settings, tmp_path / str(n), commit_interval=0.1) for n in range(2)]):
        feed_slowly(settings, lines, 3).join()
        eventually(lambda: committed(settings) == len(lines))
    times: Counter[bytes] = Counter()
    for message in read_topic(settings, Names(settings.kafka.prefix).hf):
        t = message.timestamp()[1]
        assert t >= times[message.key() or b""]
        times[message.key() or b""] = t


@pytest.mark.parametrize("step", ["begin", "produce"])
def test_a_transaction_aborted_before_all_that_came_was_fed(
    step: str, settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was consumed with it, of partitions that it did not touch too, comes again."""
    make_topics(settings, PARTITIONS)
    fill_raw(settings, lines)
    original = getattr(Transaction, step)
    calls = itertools.count()

    def fails_now_and_then(self: Transaction, *arguments: Any) -> Any:
        if next(calls) in {2, 8}:
            self.abort()
            raise AbortedError("as if refused")
        return original(self, *arguments)

    monkeypatch.setattr(Transaction, step, fails_now_and_then)
    with running_member(with_process(settings, tmp_path / "state", commit_records=1000)):
        eventually(lambda: committed(settings) == len(lines))
    assert row_differences(settings, run_output) == []


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "kafka") as broker:
        yield broker


def settings_of(broker: Broker, client_id: str) -> Settings:
    properties = {"client.id": client_id}
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, prefix="b", properties=properties)
    return Settings(kafka=kafka, state={"bar_idle_close": None})


def test_a_broker_too_slow_for_a_transaction_of_full_size(
    own_broker: Broker, lines: list[bytes], run_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transactions shrink until they get through."""
    settings, slow = settings_of(own_broker, "quick"), settings_of(own_broker, "slow")
    make_topics(settings, PARTITIONS)
    fill_raw(settings, lines)
    quota = ("--bootstrap-server", own_broker.bootstrap_servers, "--alter", "--entity-type", "clients")
    alter = partial(own_broker.tool, "kafka.admin.ConfigCommand", *quota, "--entity-name", "slow")
    alter("--add-config", "producer_byte_rate=500000")
    monkeypatch.setattr(transaction, "DELIVERY_SECONDS", 1.0)
    with running_member(with_process(slow, tmp_path / "state", commit_interval=5)):
        eventually(lambda: committed(settings) > 0, seconds=90)
        alter("--delete-config", "producer_byte_rate")
        eventually(lambda: committed(settings) == len(lines), seconds=90)
    assert row_differences(settings, run_output) == []


def test_a_broker_killed_and_started_again(
    own_broker: Broker, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    settings = settings_of(own_broker, "any")
    make_topics(settings, PARTITIONS)
    half = len(lines) // 2
    filled = fill_raw(settings, lines[:half])
    with running_member(with_process(settings, tmp_path / "state", commit_interval=0.05, commit_records=200)):
        for _ in range(2):
            before = committed(settings)
            eventually(lambda before=before: committed(settings) > before)  # type: ignore[misc]
            own_broker.kill()
            time.sleep(1)
            own_broker.start()
            filled += fill_raw(settings, lines[filled : filled + len(lines) // 4])
        filled += fill_raw(settings, lines[filled:])
        eventually(lambda: committed(settings) == filled, seconds=90)
    assert row_differences(settings, run_output) == []
