"""status: what it tells of members, lag, dead letters, transactions that hang and partitions that stand still."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streamproc.config import KafkaConfig, Settings
from streamproc.errors import StreamprocError
from streamproc.kafka import client
from streamproc.kafka.group import describe
from streamproc.kafka.names import Names
from streamproc.kafka.status import Looker, Status, as_object, as_tables, status, watch
from streamproc.kafka.topics.check import TopicsError
from streamproc.observe.stop import StopRequest
from streamproc.simulate import Market
from tests.broker import free_ports
from tests.kafka.against_run import lines_of
from tests.kafka.groups import collected_at, committed, dead_letters, eventually, fill_raw, running_member, with_process
from tests.kafka.topics import make_topics


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=8, seconds=8, levels=3, rate_hz=6, seed=8))


def printed(found: Status | StreamprocError) -> str:
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as captured:
        console.print(as_tables(found))
    return captured.get()


def no_sleep(_seconds: float) -> None:
    time.sleep(0.01)


def test_before_there_is_a_group(settings: Settings) -> None:
    make_topics(settings, partitions=2)
    found = as_object(status(settings))
    assert (found["state"], found["members"], found["sink"]) == ("none", [], None)
    assert (found["lag_records"], found["last_commit"], found["dead_letters"]) == (0, None, 0)
    assert [one["committed"] for one in found["partitions"]] == [None, None]
    assert "there is no such group yet" in printed(status(settings))


def test_topics_that_are_missing_are_named(settings: Settings) -> None:
    with pytest.raises(TopicsError) as missing:
        status(settings)
    names = Names(settings.kafka.prefix)
    assert missing.value.faults == (f"  {names.raw} does not exist", f"  {names.state} does not exist")


def test_a_member_its_partitions_and_what_it_has_done(settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
    settings = with_process(settings, tmp_path, member_id="alpha")
    names = make_topics(settings, partitions=2)
    fill_raw(settings, [*lines, b"no json", b"{}", b"[]"], timestamps=False)
    with running_member(settings):
        eventually(lambda: committed(settings) == len(lines) + 3)
        before_ms = time.time() * 1000
        found = status(settings)
        [member] = found.group.members
        assert (found.group.state, member.name, member.client_id) == ("stable", "alpha", "streamproc")
        assert member.partitions == ((names.raw, 0), (names.raw, 1))
        for one in found.partitions:
            assert (one.member, one.lag_records, one.lag_seconds, one.stalled) == ("alpha", 0, 0.0, False)
            assert (one.committed, one.generation) == (one.end, 0)
            assert one.changelog_records == one.changelog_end > 0
            assert before_ms - 60_000 < (one.last_commit_ms or 0) <= before_ms
        assert sum(one.end for one in found.partitions) == len(lines) + 3
        assert (found.dead_letters, found.dead_letters_exact) == (3, True)
        assert sum(dead_letters(settings).values()) == 3
    table = printed(found)
    assert "1 member" in table and "alpha" in table and "dead letters: 3" in table
    assert json.loads(json.dumps(as_object(found)))["members"][0]["partitions"] == [
        f"{names.raw}[0]",
        f"{names.raw}[1]",
    ]


def test_lag_in_records_and_seconds_and_a_partition_that_stands_still(settings: Settings, lines: list[bytes]) -> None:
    make_topics(settings, partitions=1)
    fill_raw(settings, lines, timestamps=True)
    with closing(Looker(settings)) as looker:
        first, second = looker.look().partitions[0], looker.look().partitions[0]
    assert first.lag_records == len(lines)
    assert first.lag_seconds == (collected_at(lines[-1]) - collected_at(lines[0])) / 1000
    assert (first.stalled, second.stalled) == (False, True)  # one look cannot know
    assert "stalled" in printed(status(settings, sleep=no_sleep))


def test_a_transaction_that_hangs_is_named_and_ends_of_transactions_are_no_lag(settings: Settings) -> None:
    names = make_topics(settings, partitions=1)
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "transactional.id": names.raw})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(names.raw, b"void", partition=0)
    producer.flush(10)
    found = status(settings, sleep=no_sleep)
    assert found.hung == (f"{names.raw}[0]",)
    assert "holds readers of" in printed(found)
    producer.abort_transaction(30)
    found = status(settings, sleep=no_sleep)
    assert found.hung == ()
    assert (found.partitions[0].end, found.partitions[0].lag_records) == (2, 0)


def test_looking_again_counts_what_has_come_and_survives_an_outage(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_topics(settings, partitions=1)
    stop = StopRequest()
    looks = watch(settings, stop, sleep=lambda _: None)
    monkeypatch.setattr("streamproc.kafka.status.repeat.SETTLE_SECONDS", 0.01)

    def seen() -> Any:
        return as_object(next(looks))

    assert seen()["dead_letters"] == 0
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for expected in (2, 4):
        for _ in range(2):
            producer.produce(names.dlq, b"bad", partition=0)
        producer.flush(10)
        assert seen()["dead_letters"] == expected

    def away(*_: Any) -> None:
        raise StreamprocError("the broker is away")

    with monkeypatch.context() as outage:
        outage.setattr("streamproc.kafka.group.describe", away)
        assert seen() == {"error": "the broker is away"}
    assert seen()["dead_letters"] == 4
    stop.request()
    assert list(looks) == []


def test_many_dead_letters_are_told_by_their_offsets(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    names = make_topics(settings, partitions=1)
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for _ in range(6):
        producer.produce(names.dlq, b"bad", partition=0)
    producer.flush(10)
    monkeypatch.setattr("streamproc.kafka.status.look.COUNTED_AT_ONCE", 5)
    found = status(settings)
    assert (found.dead_letters, found.dead_letters_exact) == (6, False)
    assert "at most 6" in printed(found)


def test_the_group_of_the_sinks(settings: Settings) -> None:
    names = make_topics(settings, partitions=1)
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for _ in range(3):
        producer.produce(names.hf, b"{}", partition=0)
    producer.flush(10)
    sink = client.consumer(settings.kafka, {"group.id": names.sink_group, "group.protocol": "consumer"})
    try:
        sink.subscribe([names.hf, names.bars])
        joined: Callable[[], bool] = lambda: sink.poll(0.1) is None and bool(describe(admin, names.sink_group).members)  # noqa: E731
        admin = client.admin(settings.kafka)
        eventually(joined, seconds=20)
        found = status(settings, sleep=no_sleep)
    finally:
        sink.close()
    assert found.sink is not None
    assert found.sink.lag_records == {names.hf: 3, names.bars: 0, names.dlq: 0}
    assert len(found.sink.group.members) == 1
    assert f"{names.hf} 3" in printed(found)


def command(settings: Settings, *flags: str) -> list[str]:
    kafka = settings.kafka
    own = {"kafka.bootstrap_servers": kafka.bootstrap_servers, "kafka.prefix": kafka.prefix}
    sets = [part for key, value in own.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "streamproc", "status", *flags, *sets]


def test_the_command_looks_until_it_is_stopped(settings: Settings) -> None:
    make_topics(settings, partitions=1)
    with subprocess.Popen(command(settings, "--watch", "--json"), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        for _ in range(2):
            assert json.loads(watching.stdout.readline())["group"] == Names(settings.kafka.prefix).process_group
        os.kill(watching.pid, signal.SIGINT)
        assert watching.wait(20) == 0
    once = subprocess.run(command(settings), capture_output=True, text=True, check=True)
    assert "PARTITION" in once.stdout


def test_nobody_answers() -> None:
    settings = Settings(kafka=KafkaConfig(bootstrap_servers=f"127.0.0.1:{free_ports(1)[0]}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamproc.kafka.client.REACH_SECONDS", 1.0)
        with pytest.raises(client.BrokerError, match="cannot reach Kafka"):
            status(settings)
