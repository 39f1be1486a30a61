"""The progress topic: what a publisher reads of it at its start, and what it writes.

All records of a publisher are in the one partition that its id belongs to. Their keys are its id, a slash, and the name
of a file; the key without one is its mark.
"""

from collections.abc import Iterator
from typing import NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamproc.config import KafkaConfig
from streamproc.kafka import client
from streamproc.kafka.client import told
from streamproc.kafka.partitioner import partition_of
from streamproc.kafka.publish.progress import FileProgress
from streamproc.kafka.topics import Topic

OWN = {
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 10,  # the end is told at the next empty answer
}
POLL_S = 0.5
ANSWER_S = 10.0


class Mark(NamedTuple):
    """The last transaction of a publisher's id."""

    instance: str
    """The process it was of."""
    number: int
    """Counted from 0 in that process."""


class Journal:
    """A publisher's part of the progress topic.

    Parameters
    ----------
    kafka : the settings' section.
    admin : a client of the cluster.
    topic : the progress topic.
    publisher_id : whose part.
    """

    def __init__(self, kafka: KafkaConfig, admin: AdminClient, topic: Topic, publisher_id: str) -> None:
        self._kafka = kafka
        self._admin = admin
        self._prefix = f"{publisher_id}/".encode()
        self.place = TopicPartition(topic.name, partition_of(publisher_id.encode(), topic.partitions))
        """The partition."""

    def key(self, file: str = "") -> bytes:
        """Key of a file's progress, or of the mark."""
        return self._prefix + file.encode()

    def read(self) -> tuple[Mark | None, list[FileProgress]]:
        """The mark, None where there is none, and the progress of all files, the latest last. Committed records only.

        It waits for the end of transactions of others that began before. `BrokerError` where it cannot be read.
        """
        values: dict[bytes, bytes] = {}
        for key, value in self._records():
            values.pop(key, None)
            if value is not None:
                values[key] = value
        mark = values.pop(self.key(), None)
        files = [FileProgress.loads(value) for value in values.values()]
        return None if mark is None else Mark(**orjson.loads(mark)), files

    def _records(self) -> Iterator[tuple[bytes, bytes | None]]:
        where = f"{self.place.topic}/{self.place.partition}"
        with told("cannot read the progress", where):
            first, end = self._offset(OffsetSpec.earliest()), self._offset(OffsetSpec.latest())
            consumer = client.consumer(self._kafka, OWN | {"group.id": self._kafka.prefix})
            try:
                consumer.assign([TopicPartition(self.place.topic, self.place.partition, first)])
                yield from self._up_to(consumer, first, end)
            finally:
                consumer.close()

    def _offset(self, spec: OffsetSpec) -> int:
        answers = self._admin.list_offsets({self.place: spec}, request_timeout=ANSWER_S)
        return int(answers[self.place].result().offset)

    def _up_to(self, consumer: Consumer, position: int, end: int) -> Iterator[tuple[bytes, bytes | None]]:
        while position < end:
            for record in client.consume(consumer, 1, POLL_S):
                error = record.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                position = record.offset() + (error is None)
                key = record.key()
                if error is None and key is not None and key.startswith(self._prefix):
                    yield key, record.value()
