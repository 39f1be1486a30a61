"""A member's transactions: what is produced and committed together, and what to do when that fails."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException, Producer, TopicPartition

from streamproc.config import KafkaConfig
from streamproc.kafka import client
from streamproc.kafka.client import BrokerError
from streamproc.kafka.process.changelog import Change
from streamproc.kafka.process.partition import Outgoing

TRANSACTION_TIMEOUT_MS = 10_000
"""An orphaned transaction holds readers and successors back no longer."""

ANSWER_SECONDS = 30.0
QUEUE_KBYTES = 65_536


class AbortedError(Exception):
    """The transaction was aborted: what was produced in it is void."""


class Transaction:
    """The producer of a member, and its one transaction at a time.

    Parameters
    ----------
    largest_bytes : of a record that any of the topics takes.
    """

    def __init__(self, kafka: KafkaConfig, transactional_id: str, largest_bytes: int) -> None:
        own = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "queue.buffering.max.kbytes": QUEUE_KBYTES,
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": largest_bytes,
        }
        self._id = transactional_id
        self._producer: Producer = client.producer(kafka, own)
        self.open = False
        self._call("cannot begin transactions", self._producer.init_transactions, ANSWER_SECONDS)

    def begin(self) -> None:
        """Open it."""
        self._call("cannot begin a transaction", self._producer.begin_transaction)
        self.open = True

    def produce(self, outgoing: Iterable[Outgoing]) -> Counter[str]:
        """Produce records; how many for each topic."""
        counts: Counter[str] = Counter()
        for record in outgoing:
            self._produce(record.topic, record.value, record.key, timestamp=record.timestamp, headers=record.headers)
            counts[record.topic] += 1
        return counts

    def log(self, topic: str, partition: int, changes: Iterable[Change]) -> list[int]:
        """Produce a partition's changes; the last one's offset is in the list once the transaction is committed."""
        offsets: list[int] = []

        def delivered(_error: Any, message: Any) -> None:
            offsets.append(message.offset())

        *most, (last_key, last_value) = changes
        for key, value in most:
            self._produce(topic, value, key, partition=partition)
        self._produce(topic, last_value, last_key, partition=partition, on_delivery=delivered)
        return offsets

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit with the offsets. Records that could not be delivered fail it. `AbortedError` when it is aborted."""
        self._call("cannot commit", self._producer.send_offsets_to_transaction, offsets, group, ANSWER_SECONDS)
        self._call("cannot commit", self._producer.commit_transaction, ANSWER_SECONDS)
        self.open = False

    def abort(self) -> None:
        """Abort what is open."""
        if self.open:
            self.open = False
            self._call("cannot abort a transaction", self._producer.abort_transaction, ANSWER_SECONDS)

    def poll(self) -> None:
        """Let delivery reports come in."""
        self._producer.poll(0)

    def _produce(self, topic: str, value: bytes | None, key: bytes | None, **rest: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, **rest)
            except BufferError:  # the queue is full: a slow broker slows the member
                self._producer.poll(0.1)
            else:
                return

    def _call(self, what: str, method: Any, *arguments: Any) -> None:
        """Call until it succeeds or cannot. Calls that end transactions go on where they were when called again."""
        while True:
            try:
                method(*arguments)
            except KafkaException as error:
                fault = error.args[0]
                if fault.fatal():
                    raise BrokerError(fault, what, self._id) from error
                if fault.txn_requires_abort():
                    self.abort()
                    raise AbortedError(fault.str()) from error
                if not fault.retriable():
                    raise BrokerError(fault, what, self._id) from error
            else:
                return
