"""What tests of the sink share: topics of rows filled as members fill them, sinks run, outputs waited for."""

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from streamproc.config import Settings
from streamproc.engine import Engine
from streamproc.kafka.client import passes
from streamproc.kafka.names import Names
from streamproc.kafka.process.partition import Encoders, Outgoing
from streamproc.kafka.sink import sink
from streamproc.observe.stop import StopRequest


def with_sink(settings: Settings, **sink_settings: Any) -> Settings:
    """The settings with others of the sink's."""
    return settings.model_copy(update={"sink": settings.sink.model_copy(update=sink_settings)})


def outgoing(settings: Settings, lines: Sequence[bytes]) -> Iterator[Outgoing]:
    """Records that a member makes of lines."""
    names = Names(settings.kafka.prefix)
    engine, encoders = Engine(settings.state), Encoders(names, settings.state)
    batch = engine.feed(b"".join(line + b"\n" for line in lines))
    for stream, words in (("hf", batch.hf), ("bars", batch.bars)):
        sources = [b"0:%d:0" % line for line in words[:, 1].tolist()]
        yield from encoders.rows(stream, words, engine.symbols.keys, sources)  # type: ignore[arg-type]
    for rejected in batch.rejected:
        headers = [
            ("reason", rejected.reason.encode()),
            ("detail", rejected.detail.encode()),
            ("source", b"0:%d:0" % rejected.line),
            ("generation", b"0"),
            ("reason", b"one that the record had itself"),
        ]
        yield Outgoing(names.dlq, None, rejected.raw, 0, headers)


def produce(settings: Settings, records: Sequence[Outgoing], transactions: int = 0) -> None:
    """Records into their topics; within so many transactions, half of them aborted before, where there are any."""
    own = {"transactional.id": f"{settings.kafka.prefix}.test"} if transactions else {}
    producer = Producer(
        {"bootstrap.servers": settings.kafka.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 5} | own
    )
    if not transactions:
        _produce(producer, records)
        return
    producer.init_transactions(30)
    size = -(-len(records) // transactions)
    for start in range(0, len(records), size):
        for commit in (False, True):
            producer.begin_transaction()
            _produce(producer, records[start : start + size])
            (producer.commit_transaction if commit else producer.abort_transaction)(30)


def _produce(producer: Producer, records: Sequence[Outgoing]) -> None:
    for record in records:
        while True:
            try:
                producer.produce(
                    record.topic, record.value, record.key, timestamp=record.timestamp, headers=[*record.headers]
                )
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert not producer.flush(30)


def be_sink(settings: Settings, output: Path | str) -> None:
    """Be a sink until SIGTERM: the work of a process of its own."""
    with StopRequest() as stop:
        sink(settings, output, stop)


def in_another_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on sinks of this process have another group, so that they get all partitions, and at once.

    Others that own them, or are thought to, are as if they had not noticed. What the group's offsets say means nothing.
    """
    group = f".sink-{uuid.uuid4().hex[:6]}"
    monkeypatch.setattr(Names, "sink_group", property(lambda names: names.prefix + group))


@contextmanager
def running_sink(settings: Settings, output: Path | str) -> Iterator[dict[str, Any]]:
    """A sink in a thread, ended cleanly; its thread, and its summary afterwards."""
    stop = StopRequest()
    failed: list[BaseException] = []
    summary: dict[str, Any] = {}

    def work() -> None:
        try:
            summary.update(sink(settings, output, stop))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    summary["thread"] = thread
    thread.start()
    try:
        yield summary
    finally:
        stop.request()
        thread.join(60)
        assert not thread.is_alive()
        if failed:
            raise failed[0]


def hints_reach_the_end(settings: Settings) -> bool:
    """Whether the group's offsets say that all is in files."""
    try:
        return _hints_reach_the_end(settings)
    except KafkaException as error:
        if passes(error.args[0]):
            return False
        raise


def _hints_reach_the_end(settings: Settings) -> bool:
    names = Names(settings.kafka.prefix)
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": names.sink_group})
    try:
        for topic in (names.hf, names.bars, names.dlq):
            numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            for answer in consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=10):
                _, end = consumer.get_watermark_offsets(TopicPartition(topic, answer.partition), timeout=10)
                if end and answer.offset != end:
                    return False
    finally:
        consumer.close()
    return True
