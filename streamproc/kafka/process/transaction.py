"""A member's transactions: what is produced and committed together, and what to do when that fails."""

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn

from confluent_kafka import KafkaException, Producer, TopicPartition

from streamproc.config import KafkaConfig
from streamproc.kafka import client
from streamproc.kafka.client import BrokerError, lacks_right, patiently, told
from streamproc.kafka.process.changelog import Change
from streamproc.kafka.process.partition import Outgoing

TRANSACTION_TIMEOUT_MS = 10_000
"""An orphaned transaction holds readers and successors back no longer."""

DELIVERY_SECONDS = TRANSACTION_TIMEOUT_MS / 1000

ANSWER_SECONDS = 5.0
"""How long a call waits before it is made again."""
UNCERTAIN_SECONDS = 10.0
"""A call that has not ended by then is given up; the next producer with this id settles what it has begun."""
SETTLE_SECONDS = 120.0
MOST_RENEWALS, RENEWALS_SECONDS = 5, 60.0
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
        self._kafka, self._own, self._id = kafka, own, transactional_id
        self._renewed: deque[float] = deque(maxlen=MOST_RENEWALS)
        self.open = False
        self._producer = self._made()

    def _made(self) -> Producer:
        """A producer that has settled whatever the one before it with this id has left."""
        made = client.producer(self._kafka, self._own)
        with told("cannot begin transactions", self._id):
            patiently(lambda: made.init_transactions(ANSWER_SECONDS), SETTLE_SECONDS)
        self._broken = False
        return made

    def begin(self) -> None:
        """Open it, with a new producer where the last one is broken."""
        if self._broken:
            self._renewed.append(time.monotonic())
            self._producer = self._made()
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
        self._flush()
        self._call("cannot commit", self._producer.send_offsets_to_transaction, offsets, group, ANSWER_SECONDS)
        self._call("cannot commit", self._producer.commit_transaction)
        self.open = False

    def _flush(self) -> None:
        """Wait until all is delivered; not for ever, for after some outages a producer no longer finds its way."""
        try:
            waiting = self._producer.flush(DELIVERY_SECONDS)
        except KafkaException as error:
            self._give_up(error, "cannot deliver")
        if waiting:
            self._producer.purge()
            self._broken, self.open = True, False
            raise AbortedError("records could not be delivered in time")

    def abort(self) -> None:
        """Abort what is open."""
        if self.open:
            self.open = False
            with suppress(AbortedError):
                self._call("cannot abort a transaction", self._producer.abort_transaction)

    def _produce(self, topic: str, value: bytes | None, key: bytes | None, **rest: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, **rest)
            except BufferError:  # the queue is full: a slow broker slows the member
                self._producer.poll(0.1)
            except KafkaException as error:
                self._give_up(error, "cannot produce")
            else:
                return

    def _call(self, what: str, method: Callable[..., object], *arguments: Any) -> None:
        """Call until it succeeds or cannot. Calls that end transactions go on where they were when called again.

        In a thread, for after some outages librdkafka does not return, whatever its timeout. Then the producer is left
        behind, and the next one with its id settles what it has begun.
        """
        outcome: queue.SimpleQueue[KafkaException | None] = queue.SimpleQueue()
        threading.Thread(target=_persist, args=(method, arguments, outcome), name="transaction", daemon=True).start()
        try:
            error = outcome.get(timeout=UNCERTAIN_SECONDS)
        except queue.Empty:
            self._broken, self.open = True, False
            raise AbortedError("its end is uncertain: Kafka gives no answer") from None
        if error:
            self._give_up(error, what)

    def _give_up(self, error: KafkaException, what: str) -> NoReturn:
        """Abort, or let go of the producer, and raise `AbortedError`; `BrokerError` where no other would do better.

        A producer is broken when its transaction has timed out, as in an outage. That looks as if another had its id;
        so does another process that has it, and that is an error when it happens again and again.
        """
        fault = error.args[0]
        if lacks_right(fault):
            raise BrokerError(fault, what, self._id, "Write") from error
        if fault.fatal():
            self._broken, self.open = True, False
            if len(self._renewed) == MOST_RENEWALS and time.monotonic() - self._renewed[0] < RENEWALS_SECONDS:
                raise BrokerError(fault, what, self._id) from error
        elif fault.txn_requires_abort():
            self.abort()
        else:
            raise BrokerError(fault, what, self._id) from error
        raise AbortedError(fault.str()) from error


def _persist(
    method: Callable[..., object], arguments: Iterable[Any], outcome: "queue.SimpleQueue[KafkaException | None]"
) -> None:
    """Call for as long as the errors are such that another call may succeed, and tell the last one, or None."""
    deadline = time.monotonic() + UNCERTAIN_SECONDS
    while time.monotonic() < deadline:
        try:
            method(*arguments)
        except KafkaException as error:
            if not error.args[0].retriable():
                outcome.put(error)
                return
        else:
            outcome.put(None)
            return
