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
from streamproc.kafka.publish.progress import FileProgress, unreadable
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

    @classmethod
    def loads(cls, value: bytes, where: str = "") -> "Mark":
        """From a value of the progress topic. `DataError` where it is none."""
        try:
            mark = cls(**orjson.loads(value))
        except (TypeError, ValueError) as error:
            raise unreadable(value, where) from error
        if not isinstance(mark.instance, str) or type(mark.number) is not int:
            raise unreadable(value, where)
        return mark


class Journal:
    """A publisher's part of the progress topic.

    Parameters
    ----------
    kafka : the settings' section.
    topic : the progress topic.
    publisher_id : whose part.
    """

    def __init__(self, kafka: KafkaConfig, topic: Topic, publisher_id: str) -> None:
        self._kafka = kafka
        self._prefix = f"{publisher_id}/".encode()
        self.place = TopicPartition(topic.name, partition_of(publisher_id.encode(), topic.partitions))
        """The partition."""

    def key(self, file: str = "") -> bytes:
        """Key of a file's progress, or of the mark."""
        return self._prefix + file.encode()

    def read(self) -> tuple[Mark | None, list[FileProgress]]:
        """The mark, None where there is none, and the progress of all files, the latest last. Committed records only.

        It waits for the end of transactions that began before. `BrokerError` where it cannot be read.
        """
        values = self._values(whole=True)
        mark = values.pop(self.key(), None)
        return self._mark(mark), [FileProgress.loads(value, self.where) for value in values.values()]

    def mark_so_far(self) -> Mark | None:
        """The mark as it can be told without waiting for transactions that are open."""
        return self._mark(self._values(whole=False).get(self.key()))

    @property
    def where(self) -> str:
        """How errors name the partition."""
        return f"{self.place.topic}/{self.place.partition}"

    def _mark(self, value: bytes | None) -> Mark | None:
        return None if value is None else Mark.loads(value, self.where)

    def _values(self, *, whole: bool) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}
        for key, value in self._records(whole=whole):
            values.pop(key, None)
            if value is not None:
                values[key] = value
        return values

    def _records(self, *, whole: bool) -> Iterator[tuple[bytes, bytes | None]]:
        admin = client.admin(self._kafka)  # one that has seen former leaders is refused once they are back
        with told("cannot read the progress", self.where):
            first, end = (self._offset(admin, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
            consumer = client.consumer(self._kafka, OWN | {"group.id": self._kafka.prefix})
            try:
                consumer.assign([TopicPartition(self.place.topic, self.place.partition, first)])
                yield from self._up_to(consumer, first, end, whole=whole)
            finally:
                consumer.close()

    def _offset(self, admin: AdminClient, spec: OffsetSpec) -> int:
        answers = admin.list_offsets({self.place: spec}, request_timeout=ANSWER_S)
        return int(answers[self.place].result().offset)

    def _up_to(
        self, consumer: Consumer, position: int, end: int, *, whole: bool
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Records before `end`; without `whole` no further than to the first transaction that is open."""
        while position < end:
            for record in client.consume(consumer, 1, POLL_S):
                error = record.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None and not whole:
                    return
                position = record.offset() + (error is None)
                key = record.key()
                if error is None and key is not None and key.startswith(self._prefix):
                    yield key, record.value()
