"""Whatever dies whenever, each line is there once: crashes at every step, kills at random, brokers that go away."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamproc.config import KafkaConfig, Settings
from streamproc.errors import StreamprocError
from streamproc.kafka.names import Names
from streamproc.kafka.publish import producer as producer_module
from streamproc.kafka.publish import publisher as publisher_module
from streamproc.kafka.publish import transactions as transactions_module
from streamproc.kafka.publish.producer import TransactionalProducer
from tests.broker import Broker
from tests.children import begin, exit_code
from tests.kafka.brokers import running_broker
from tests.kafka.groups import eventually
from tests.kafka.publishing import (
    Background,
    append,
    assert_published,
    background,
    lines_of,
    market,
    publish,
    publish_as_command,
    published,
    records,
    steady,
    with_publish,
    write,
)
from tests.kafka.topics import make_topics

CRASHED = 137

POINTS = (
    "publish.fenced",
    "publish.announced",
    "publish.begun:3",
    "publish.produced:4",
    "publish.rejected",
    "publish.progressed:4",
    "publish.flushed:4",
    "publish.committed:3",
)
"""Every step of the work; those of a commit in the middle of it."""


@pytest.fixture
def kafka(settings: Settings, tmp_path: Path) -> Settings:
    """Settings whose topics are there, under which a file takes many transactions."""
    make_topics(settings)
    return many_commits(settings, tmp_path)


def many_commits(settings: Settings, folder: Path) -> Settings:
    local = settings.local.model_copy(update={"chunk_bytes": 1 << 14})
    changed = settings.model_copy(update={"local": local})
    return with_publish(changed, rejects=str(folder / "rejects"), commit_interval=1e-6)


class TestCrashes:
    @pytest.mark.parametrize("point", POINTS)
    def test_a_publisher_that_dies_at_any_step_skips_and_repeats_nothing(
        self, kafka: Settings, tmp_path: Path, point: str
    ) -> None:
        lines, path, long = lines_of(market(40, faults=True)), tmp_path / "a.ndjson", b"x" * 4_200_000
        write(path, [*lines, long])
        assert exit_code(publish_as_command, kafka, [str(path)], False, crash_at=point) == CRASHED
        assert exit_code(publish_as_command, kafka, [str(path)], False) == 0
        assert_published(kafka, lines)
        assert len(list((tmp_path / "rejects").glob("*.ndjson"))) == 1

    def test_a_reader_of_uncommitted_records_does_see_lines_twice(self, kafka: Settings, tmp_path: Path) -> None:
        lines, path = lines_of(market(20)), tmp_path / "a.ndjson"
        write(path, lines)
        assert exit_code(publish_as_command, kafka, [str(path)], False, crash_at="publish.flushed:4") == CRASHED
        publish(kafka, path)
        seen = [line for record in records(kafka, "read_uncommitted") for line in record.lines]
        assert len(seen) > len(lines)
        assert set(seen) == set(lines)
        assert_published(kafka, lines)

    @pytest.mark.parametrize("point", ["publish.committed:3", "publish.flushed:4"])
    def test_a_file_is_rotated_while_the_publisher_is_dead(self, kafka: Settings, tmp_path: Path, point: str) -> None:
        lines, path = lines_of(market(40)), tmp_path / "a.ndjson"
        write(path, lines[:600])
        assert exit_code(publish_as_command, kafka, [str(path)], False, crash_at=point) == CRASHED
        append(path, lines[600:700])
        path.rename(tmp_path / "a.ndjson.1")
        write(path, lines[700:])
        assert exit_code(publish_as_command, kafka, [str(path)], False) == 0
        assert_published(kafka, lines)

    def test_kills_at_random_while_files_grow_and_are_rotated(self, kafka: Settings, tmp_path: Path) -> None:
        rng = Random(5)
        lines, folder = lines_of(market(100, symbols=6)), tmp_path / "in"
        folder.mkdir()
        done = threading.Event()

        def record() -> None:
            path, left = folder / "live.ndjson", list(lines)
            for number in range(12):
                for _ in range(10):
                    append(path, left[: len(lines) // 120])
                    del left[: len(lines) // 120]
                    time.sleep(0.02)
                path.rename(folder / f"{number:02d}.ndjson")
            append(path, left)
            done.set()

        recorder = threading.Thread(target=record)
        recorder.start()
        kills = 0
        while not done.is_set():
            process = begin(publish_as_command, kafka, [str(folder)], True)
            time.sleep(rng.uniform(0.4, 1.2))
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            kills += 1
        recorder.join()
        assert kills >= 3
        process = begin(publish_as_command, kafka, [str(folder)], True)
        eventually(lambda: len(published(kafka)) >= len(lines))
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(30)
        assert process.exitcode == 0
        assert_published(kafka, lines)

    def test_sigterm_ends_it_after_a_commit(self, kafka: Settings, tmp_path: Path) -> None:
        lines, path = lines_of(market(10)), tmp_path / "a.ndjson"
        write(path, lines)
        slow = with_publish(kafka, commit_interval=60.0)
        process = begin(publish_as_command, slow, [str(path)], True)
        seen: Callable[[], int] = lambda: len(records(kafka, "read_uncommitted"))  # noqa: E731
        eventually(lambda: seen() > 0)
        assert records(kafka) == []
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(30)
        assert process.exitcode == 0
        assert_published(kafka, lines)


class TestWhatBrokersAnswer:
    """Each answer is given once, in the middle of the work; the records of that transaction must be there once."""

    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[int]]]:
        def arm(method: str, error: int, *, after: bool, number: int = 4) -> list[int]:
            """Let a call fail, before or after it has done its work; the calls so far."""
            original: Any = getattr(TransactionalProducer, method)
            calls: list[int] = []

            def call(self: TransactionalProducer, *arguments: Any) -> None:
                calls.append(len(calls))
                if len(calls) != number or after:
                    original(self, *arguments)
                if len(calls) == number:
                    raise KafkaException(KafkaError(error))

            monkeypatch.setattr(TransactionalProducer, method, call)
            return calls

        monkeypatch.setattr(transactions_module, "PAUSES_S", (0.01,))
        yield arm

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("method", ["begin", "produce", "produce_to", "flush", "commit"])
    def test_an_error_at_any_step(
        self, kafka: Settings, tmp_path: Path, failing: Callable[..., list[int]], method: str, after: bool
    ) -> None:
        lines, path = lines_of(market(40)), tmp_path / "a.ndjson"
        write(path, lines)
        calls = failing(method, KafkaError._TIMED_OUT, after=after)
        assert publish(kafka, path)["lines"] == len(lines)
        assert len(calls) > 4
        assert_published(kafka, lines)

    def test_one_that_is_hopeless_ends_it_and_a_restart_goes_on(
        self, kafka: Settings, tmp_path: Path, failing: Callable[..., list[int]]
    ) -> None:
        lines, path = lines_of(market(40)), tmp_path / "a.ndjson"
        write(path, lines)
        failing("flush", KafkaError.TOPIC_AUTHORIZATION_FAILED, after=True)
        with pytest.raises(StreamprocError, match="cannot publish") as told:
            publish(kafka, path)
        raw = Names(kafka.kafka.prefix).raw
        assert told.value.hint == f"grant this user Write on the topic {raw}: see docs/security.md"
        publish(kafka, path)
        assert_published(kafka, lines)

    def test_a_transaction_that_brokers_refuse_again_and_again_ends_it(
        self, kafka: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.ndjson"
        write(path, lines_of(market(5)))
        monkeypatch.setattr(transactions_module, "PAUSES_S", (0.0,))
        monkeypatch.setattr(transactions_module, "TRIES", 3)
        produced = []

        def refuse(*arguments: Any) -> None:
            produced.append(arguments)
            raise KafkaException(KafkaError(KafkaError.INVALID_TXN_STATE))

        monkeypatch.setattr(TransactionalProducer, "produce", refuse)
        with pytest.raises(StreamprocError, match="cannot publish"):
            publish(kafka, path)
        assert len(produced) == 1 + 3

    def test_a_transaction_that_was_open_too_long_is_done_again(
        self, kafka: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transactions_module, "TIMEOUT_S", 1.0)
        lines, path = lines_of(market(10)), tmp_path / "a.ndjson"
        write(path, lines[:50])
        with background(with_publish(kafka, commit_interval=4.0), path, follow=True) as publisher:
            eventually(lambda: len(records(kafka, "read_uncommitted")) > 0)
            time.sleep(2.5)
            append(path, lines[50:])
            eventually(lambda: len(published(kafka)) == len(lines), 40)
            publisher.end()
        assert any("trying again" in said for said in publisher.progress.said)
        assert_published(kafka, lines)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this module's own, to be mistreated."""
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


Outage = Callable[[Broker], None]


def killed_and_started_again(broker: Broker) -> None:
    broker.kill()
    time.sleep(0.5)
    broker.start()


def silent_for_longer_than_a_transaction_may_last(broker: Broker) -> None:
    broker.pause()
    time.sleep(transactions_module.TIMEOUT_S + 3)
    broker.go_on()


class TestBrokersThatGoAway:
    @pytest.fixture
    def own(self, broker: Broker, tmp_path: Path) -> Settings:
        prefix = f"t{time.monotonic_ns()}"
        settings = Settings(kafka=KafkaConfig(bootstrap_servers=broker.bootstrap_servers, prefix=prefix))
        make_topics(settings)
        return many_commits(settings, tmp_path)

    @pytest.fixture
    def recording(
        self, own: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[tuple[Background, Path, list[bytes]]]:
        """A publisher that follows a file to which lines are being written, the first of them published."""
        monkeypatch.setattr(transactions_module, "TIMEOUT_S", 3.0)
        lines, path = lines_of(market(25)), tmp_path / "a.ndjson"
        stop = threading.Event()
        write(path, lines[:100])

        def record() -> None:
            for k in range(100, len(lines), 10):
                append(path, lines[k : k + 10])
                stop.wait(0.05)

        recorder = threading.Thread(target=record)
        with background(own, path, follow=True) as publisher:
            eventually(lambda: len(published(own)) >= 100)
            recorder.start()
            yield publisher, path, lines
            stop.set()
            recorder.join()

    @pytest.mark.parametrize("outage", [killed_and_started_again, silent_for_longer_than_a_transaction_may_last])
    def test_each_line_is_there_once_after(
        self, own: Settings, broker: Broker, recording: tuple[Background, Path, list[bytes]], outage: Outage
    ) -> None:
        publisher, _, lines = recording
        outage(broker)
        eventually(lambda: len(published(own)) >= len(lines), 90)
        publisher.end()
        assert_published(own, lines)

    def test_the_end_is_not_waited_for_longer_than_the_grace(
        self,
        own: Settings,
        broker: Broker,
        monkeypatch: pytest.MonkeyPatch,
        recording: tuple[Background, Path, list[bytes]],
    ) -> None:
        publisher, path, lines = recording
        monkeypatch.setattr(transactions_module, "GRACE_S", 0.5)
        broker.pause()
        try:
            time.sleep(0.5)
            with pytest.raises(StreamprocError, match="Kafka does not answer") as told:
                publisher.end(40)
        finally:
            broker.go_on()
        assert "run the same command again" in told.value.hint
        eventually(lambda: path.read_bytes().count(b"\n") == len(lines))
        publish(own, path)
        assert_published(own, lines)

    def test_no_more_is_read_than_the_queue_holds(
        self, own: Settings, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(producer_module, "QUEUE_KBYTES", 1024)
        monkeypatch.setattr(publisher_module, "COMMIT_BYTES", 1 << 30)
        line = b'{"exchange":"x","symbol":"A","pad":"%s"}' % (b"p" * 10_000)
        path = tmp_path / "a.ndjson"
        settings = with_publish(own, commit_interval=1000.0)
        write(path, [line])
        with background(settings, path, follow=True) as publisher:
            eventually(lambda: len(records(own, "read_uncommitted")) > 0)
            broker.pause()
            try:
                append(path, [line] * 5000)
                assert steady(lambda: publisher.progress.bytes) < 20 << 20
            finally:
                broker.go_on()
            eventually(lambda: publisher.progress.bytes == path.stat().st_size, 60)
            publisher.end(60)
        assert_published(own, [line] * 5001)
