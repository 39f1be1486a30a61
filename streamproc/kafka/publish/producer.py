"""A producer of one transactional id, and its successors: none goes on after an error."""

from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streamproc.config import KafkaConfig
from streamproc.kafka import client
from streamproc.kafka.publish.packer import Record

QUEUE_KBYTES = 16 * 1024
QUEUE_RECORDS = 100_000
"""Records under way: what is more waits, and so does the reading."""

SLICE_S = 0.2
"""Longest wait without a look at what has happened meanwhile."""

BEGIN_S = 30.0
"""How long the brokers may take to end what an earlier producer has begun."""

ABORT_S = 2.0


class TransactionalProducer:
    """What brokers do at its bidding; each method raises `KafkaException` where they do not.

    After that only `renew` helps: it ends the open transaction, whatever its state, or waits until it is committed
    where that was under way.

    Parameters
    ----------
    kafka : the settings' section.
    transactional_id : all producers with it are one.
    topic : where records go.
    max_message_bytes : the topic's setting of that name.
    waiting : called again and again while brokers are waited for; may raise.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        transactional_id: str,
        topic: str,
        max_message_bytes: int,
        waiting: Callable[[], None],
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._waiting = waiting
        self._properties = {
            "transactional.id": transactional_id,
            "message.max.bytes": max_message_bytes,
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.kbytes": max(QUEUE_KBYTES, 2 * max_message_bytes // 1024),
            "queue.buffering.max.messages": QUEUE_RECORDS,
            "delivery.report.only.error": True,
            "on_delivery": self._note,
        }
        self._producer: Producer | None = None
        self._failure: KafkaError | None = None

    def renew(self, timeout_s: float) -> None:
        """Begin anew as another producer, and fence the one before.

        Parameters
        ----------
        timeout_s : a transaction that is open so long is aborted by the brokers.
        """
        if self._producer is not None:
            self._producer.purge()
            self._producer = None
        self._failure = None
        producer = client.producer(self._kafka, self._properties | {"transaction.timeout.ms": round(1000 * timeout_s)})
        producer.init_transactions(BEGIN_S)
        self._producer = producer

    def begin(self) -> None:
        """Begin a transaction."""
        self._ready.begin_transaction()

    def produce(self, records: Sequence[Record]) -> None:
        """Hand over records; waits where too many are under way."""
        producer = self._ready
        for key, value, timestamp in records:
            self._hand_over(partial(producer.produce, self._topic, value, key, timestamp=timestamp))
        producer.poll(0)
        self._raise_failure()

    def produce_to(self, place: TopicPartition, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Hand over keys and values for another topic's partition."""
        producer = self._ready
        for key, value in records:
            self._hand_over(partial(producer.produce, place.topic, value, key, place.partition))

    def flush(self) -> None:
        """Wait until all that was handed over is acknowledged."""
        while self._ready.flush(SLICE_S):
            self._raise_failure()
            self._waiting()
        self._raise_failure()

    def commit(self) -> None:
        """Commit the transaction. After an error it may be committed all the same."""
        self._ready.commit_transaction()

    def abort(self) -> None:
        """Abort the transaction."""
        self._ready.abort_transaction(ABORT_S)

    @property
    def _ready(self) -> Producer:
        if self._producer is None:
            raise KafkaException(KafkaError(KafkaError._STATE, "there is no producer"))
        return self._producer

    def _hand_over(self, produce: Callable[[], None]) -> None:
        while True:
            try:
                return produce()
            except BufferError:
                self._ready.poll(SLICE_S)
                self._raise_failure()
                self._waiting()

    def _note(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise KafkaException(self._failure)
