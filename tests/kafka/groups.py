"""What tests of the member share: raw topics filled, members run, output topics read."""

import base64
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streamproc import read
from streamproc.config import KafkaConfig, Settings
from streamproc.kafka import client
from streamproc.kafka.client import Record, patiently
from streamproc.kafka.group import offsets
from streamproc.kafka.lookup import READER, Scan
from streamproc.kafka.names import Names
from streamproc.kafka.partitioner import record_key
from streamproc.kafka.process import member, process
from streamproc.kafka.process.partition import Outgoing
from streamproc.kafka.process.transaction import Transaction
from streamproc.observe.stop import StopRequest


def collected_at(line: bytes) -> int:
    """Receive time of a line that has one."""
    return int(orjson.loads(line)["collected_at"])


def fill_raw(
    settings: Settings, lines: Iterable[bytes], *, timestamps: bool = False, by: Producer | None = None
) -> int:
    """Lines into the raw topic, each a record under its symbol's key, null where there is none; how many.

    `timestamps`: the records have those of the lines' `collected_at`. `by`: a producer that is there already.
    """
    given = by or client.producer(settings.kafka, {})
    count = 0
    for line in lines:
        timestamp = collected_at(line) if timestamps else 0
        given.produce(Names(settings.kafka.prefix).raw, line, key_of(line), timestamp=timestamp)
        count += 1
        given.poll(0)
    assert not given.flush(30)
    return count


def key_of(line: bytes) -> bytes | None:
    """The key of a line that says what it is of."""
    try:
        message = orjson.loads(line)
        return record_key(message["exchange"], message["symbol"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def with_process(settings: Settings, folder: Path, **process_settings: Any) -> Settings:
    """The settings of a member with a folder of its own."""
    changed = settings.process.model_copy(update={"state": str(folder)} | process_settings)
    return settings.model_copy(update={"process": changed})


def be_member(settings: Settings) -> None:
    """Be a member until SIGTERM: the work of a process of its own."""
    with StopRequest() as stop:
        process(settings, stop)


class SlowCommit(Transaction):
    """A transaction that stays open for a while after all was produced, so that many a kill meets it."""

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        time.sleep(0.2)
        super().commit(offsets, group)


def be_slow_member(settings: Settings) -> None:
    """Be a member whose commits are slow."""
    member.Transaction = SlowCommit  # type: ignore[attr-defined]
    be_member(settings)


def be_slow_member_without_transactions(settings: Settings) -> None:
    """The same member, but its rows are in no transaction: what a test is held against."""

    class Unsafe(SlowCommit):
        def __init__(self, kafka: KafkaConfig, transactional_id: str, largest_bytes: int) -> None:
            super().__init__(kafka, transactional_id, largest_bytes)
            self._plain = client.producer(kafka, {})

        def produce(self, outgoing: Iterable[Outgoing]) -> Counter[str]:
            counts: Counter[str] = Counter()
            for record in outgoing:
                self._plain.produce(record.topic, record.value, record.key, timestamp=record.timestamp)
                counts[record.topic] += 1
            self._plain.flush()
            return counts

    member.Transaction = Unsafe  # type: ignore[attr-defined]
    be_member(settings)


@dataclass
class RunningMember:
    """A member in a thread of its own."""

    thread: threading.Thread
    failed: list[BaseException]

    def fails(self) -> BaseException:
        """The error that it ends with."""
        self.thread.join(60)
        assert self.failed, "it has not failed"
        return self.failed.pop()


@contextmanager
def running_member(settings: Settings) -> Iterator[RunningMember]:
    """A member in a thread, ended cleanly."""
    stop = StopRequest()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            process(settings, stop)
        except BaseException as error:
            failed.append(error)

    running = RunningMember(threading.Thread(target=work), failed)
    running.thread.start()
    try:
        yield running
    finally:
        stop.request()
        running.thread.join(60)
        assert not running.thread.is_alive()
        if failed:
            raise failed[0]


def transactions_end(settings: Settings, topic: str, seconds: float = 60) -> bool:
    """Wait until all transactions of now have ended and their markers have come; whether they have.

    A transaction is committed, and its offsets are there, before its markers are.
    """
    admin, deadline = client.admin(settings.kafka), time.monotonic() + seconds
    numbers = [*admin.list_topics(topic, timeout=10).topics[topic].partitions]
    ends = offsets(admin, topic, numbers, OffsetSpec.latest())
    while time.monotonic() < deadline:
        stable = offsets(admin, topic, numbers, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        if all(stable[number] >= ends[number] for number in numbers):
            return True
        time.sleep(0.05)
    return False


def scan_topic(settings: Settings, topic: str, isolation: str = "read_committed") -> Iterator[Record]:
    """All records of a topic as far as they are seen now, those of a partition in their order."""
    consumer = client.consumer(settings.kafka, {"group.id": "reader", **READER, "isolation.level": isolation})
    try:
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        yield from Scan(consumer, topic, dict.fromkeys(numbers, 0))
    finally:
        consumer.close()


def read_topic(settings: Settings, topic: str) -> list[Record]:
    """All committed records of a topic up to its end, by partition in their order."""
    assert transactions_end(settings, topic), f"{topic}: a transaction does not end"
    return sorted(scan_topic(settings, topic), key=lambda record: (record.partition(), record.offset()))


def committed(settings: Settings) -> int:
    """Sum of the group's offsets over the raw topic's partitions."""
    names = Names(settings.kafka.prefix)
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": names.process_group})
    try:
        partitions = consumer.list_topics(names.raw, timeout=10).topics[names.raw].partitions
        asked = [TopicPartition(names.raw, number) for number in partitions]
        answers = patiently(lambda: consumer.committed(asked, timeout=10), seconds=30)
        return sum(max(0, answer.offset) for answer in answers)
    finally:
        consumer.close()


def rows_of(settings: Settings, stream: str, generation: int | None = None) -> Counter[bytes]:
    """Rows of a stream's topic, all or of one generation, as canonical JSON without it."""
    records = read_topic(settings, getattr(Names(settings.kafka.prefix), stream))
    told = (canonical(record.value() or b"") for record in records)
    return Counter(row for of, row in told if generation in (None, of))


def canonical(value: bytes) -> tuple[int, bytes]:
    """A row's generation, and the row without it."""
    row = orjson.loads(value)
    return row.pop("generation"), orjson.dumps(row, option=orjson.OPT_SORT_KEYS)


def rows_of_run(output: Path, stream: str) -> Counter[bytes]:
    """The same of what `run` has written."""
    found: Counter[bytes] = Counter()
    for row in read(output / stream).to_pylist():
        row.pop("generation")
        plain = {
            name: int(value.timestamp() * 1000 + 0.5) if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        found[orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)] += 1
    return found


def rejects_of_run(output: Path) -> Counter[tuple[str, bytes]]:
    """Reason and bytes of what `run` rejected."""
    found: Counter[tuple[str, bytes]] = Counter()
    for file in (output / "rejects").glob("*.ndjson"):
        for line in file.read_bytes().splitlines():
            told = orjson.loads(line)
            raw = told["raw"].encode() if "raw" in told else base64.b64decode(told["raw_base64"])
            found[told["reason"], raw] += 1
    return found


def dead_letters(settings: Settings) -> Counter[tuple[str, bytes]]:
    """The same of the dead-letter topic."""
    return Counter(
        (dict(record.headers() or ())["reason"].decode(), record.value() or b"")
        for record in read_topic(settings, Names(settings.kafka.prefix).dlq)
    )


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)
