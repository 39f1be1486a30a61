"""What the benchmarks with Kafka share: a broker; topics that are made anew for each run, and what they hold."""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec

from benchmarks.measure import SCRATCH
from streamproc.config import KafkaConfig, Settings
from streamproc.kafka import client
from streamproc.kafka.group import offsets
from streamproc.kafka.names import Names
from streamproc.kafka.topics import apply
from tests.kafka.brokers import running_broker
from tests.kafka.groups import scan_topic, transactions_end
from tests.kafka.topics import wanted_topics

PARTITIONS = 12
SESSION_SECONDS = 6
"""Of members of a group: after so long the broker gives one up."""

_BROKER = {
    "group.initial.rebalance.delay.ms": "0",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": str(1000 * SESSION_SECONDS),
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.heartbeat.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",  # the disk of one run is free before the next
}
_OUTPUTS = ("hf", "bars", "dlq", "state")
_SETTLE_SECONDS = 60.0


@contextmanager
def broker() -> Iterator[str]:
    """Address of the broker that `STREAMPROC_BENCH_BOOTSTRAP` names, else of one of our own."""
    given = os.environ.get("STREAMPROC_BENCH_BOOTSTRAP")
    if given:
        yield given
        return
    SCRATCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="broker-", dir=SCRATCH))
    try:
        with running_broker(folder, _BROKER) as own:
            yield own.bootstrap_servers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Topics:
    """The topics of one prefix: the raw one is filled once, the others are made anew for each run."""

    def __init__(self, servers: str) -> None:
        self.settings = Settings(kafka=KafkaConfig(bootstrap_servers=servers, prefix=f"bench{uuid.uuid4().hex[:6]}"))
        self.names = Names(self.settings.kafka.prefix)
        self.admin = client.admin(self.settings.kafka)
        apply(self.admin, wanted_topics(self.settings, PARTITIONS))

    def reset(self) -> None:
        """Forget what members have done: their group, their output and their changelog."""
        self._forget_group()
        self._delete([getattr(self.names, role) for role in _OUTPUTS])
        apply(self.admin, wanted_topics(self.settings, PARTITIONS))

    def make(self, topic: str) -> str:
        """A topic beside these, its name under the same prefix."""
        name = f"{self.names.prefix}.{topic}"
        kept = {"retention.ms": "-1"}  # records bear event times, which are long past
        [made] = self.admin.create_topics([NewTopic(name, PARTITIONS, 1, config=kept)]).values()
        made.result(_SETTLE_SECONDS)
        return name

    def delete(self, prefix: str = "") -> None:
        """Delete all topics of this prefix, or those that begin with another."""
        prefix = prefix or f"{self.names.prefix}."
        self._delete([name for name in self.admin.list_topics(timeout=30).topics if name.startswith(prefix)])

    @contextmanager
    def offsets_of(self, group: str) -> Iterator[Callable[[], list[int]]]:
        """What tells the offsets of the raw topic's partitions that a group has committed, 0 where it has none.

        A consumer that never joins asks: an admin client that meets a coordinator on the move ends the process.
        """
        own = {"group.id": group, "isolation.level": "read_uncommitted"}  # the other would wait for open transactions
        consumer = Consumer(reading(self.settings, own))
        asked = [TopicPartition(self.names.raw, number) for number in range(PARTITIONS)]

        def committed() -> list[int]:
            answers = client.patiently(lambda: consumer.committed(asked, timeout=_SETTLE_SECONDS), _SETTLE_SECONDS)
            return [max(0, answer.offset) for answer in answers]

        try:
            yield committed
        finally:
            consumer.close()

    def _forget_group(self) -> None:
        """A static member is of the group until its session ends, though it has left."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            [answer] = self.admin.delete_consumer_groups([self.names.process_group]).values()
            try:
                answer.result(30)
            except KafkaException as error:
                fault = error.args[0]
                if fault.code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return
                waits = fault.code() == KafkaError.NON_EMPTY_GROUP or client.passes(fault)
                if not waits or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(0.2)

    def _delete(self, names: list[str]) -> None:
        if names:
            for answer in self.admin.delete_topics(names).values():
                answer.result(30)
        while not self.admin.list_topics(timeout=30).topics.keys().isdisjoint(names):
            time.sleep(0.1)


def ends(settings: Settings, topic: str) -> list[int]:
    """Offset behind the last record of each partition."""
    found = offsets(client.admin(settings.kafka), topic, range(PARTITIONS), OffsetSpec.latest())
    return [found[number] for number in range(PARTITIONS)]


def records(settings: Settings, topic: str) -> Iterator[client.Record]:
    """All records of a topic; transactions that are about to end are waited for."""
    assert transactions_end(settings, topic, _SETTLE_SECONDS), f"{topic}: a transaction does not end"
    return scan_topic(settings, topic)


def reading(settings: Settings, properties: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Properties of a consumer of committed records that belongs to no group."""
    return {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "group.id": f"{settings.kafka.prefix}.reader",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "fetch.queue.backoff.ms": 5,
        **(properties or {}),
    }
