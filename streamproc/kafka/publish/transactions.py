"""Transactions of one publisher: each is tried until it is committed, or until there is no sense in it."""

import random
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import orjson
from confluent_kafka import KafkaError, KafkaException

from streamproc.config import KafkaConfig
from streamproc.crash import crash_point
from streamproc.errors import StreamprocError
from streamproc.kafka.client import BrokerError, told
from streamproc.kafka.publish.journal import Journal, Mark
from streamproc.kafka.publish.packer import Record
from streamproc.kafka.publish.producer import TransactionalProducer
from streamproc.kafka.publish.progress import FileProgress
from streamproc.observe.progress import Progress
from streamproc.observe.stop import StopRequest

TIMEOUT_S = 10.0
"""How long a transaction may be open, and hold readers back, when its publisher is gone."""

LONGEST_TIMEOUT_S = 300.0
"""What that grows to where brokers are too slow for less."""

GRACE_S = 10.0
"""How long brokers that do not answer are waited for once the end is asked for."""

PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Between one try and the next."""

YIELDS_S = (3.0, 6.0, 12.0, 24.0)
"""How long a publisher that is fenced waits, so that one that begins gets through and is seen: neither would, were both
to fence each other again and again. Longer each time, as one that begins may be slow."""

BEGIN_AGAIN_S = 0.5
"""How long one that is fenced while it begins waits at most, after its first failure; n times that after n. By chance,
as another one may begin at the same time."""

TRIES = 10
"""Of a transaction that brokers refuse although they answer."""

HOPELESS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError._INVALID_ARG,
    }
)
"""Errors that another try does not mend."""

SLOW = frozenset({KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT, KafkaError.REQUEST_TIMED_OUT})

AWAY = SLOW | {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._NOENT,  # no leader is known
}
"""Errors that end when the brokers are back; that is waited for."""

FENCED = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})
"""Another producer of the id has begun, or brokers have given up the transaction."""


class FencedError(StreamprocError):
    """Another publisher goes on with the progress of this one."""


class Transactions:
    """One transaction after another, all of one transactional id.

    Parameters
    ----------
    kafka : the settings' section.
    transactional_id : of the publisher.
    topic : where records go.
    max_message_bytes : the topic's setting of that name.
    journal : the publisher's part of the progress topic.
    progress : is told when brokers are waited for.
    stop : ends the waiting.
    clock, sleep : s, monotonic.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        transactional_id: str,
        topic: str,
        max_message_bytes: int,
        journal: Journal,
        progress: Progress,
        stop: StopRequest,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._where = transactional_id
        self._topic = topic
        self._journal = journal
        self._progress = progress
        self._stop = stop
        self._clock = clock
        self._sleep = sleep
        self._producer = TransactionalProducer(kafka, transactional_id, topic, max_message_bytes, self._bear)
        self._timeout_s = TIMEOUT_S
        self._mark = Mark(secrets.token_hex(8), 0)
        self._rightful = {self._mark.instance}
        """Whose mark may be found."""
        self._records: list[Record] = []
        """Of the open transaction."""
        self._is_open = self._has_begun = False
        self._failures = self._refusals = 0
        self._stopped_s: float | None = None

    def begin(self) -> list[FileProgress]:
        """Fence what an earlier publisher of this id has left behind; the progress of its files.

        `BrokerError` where the brokers do not permit, `FencedError` where another one begins at the same time.
        """
        with told("cannot begin to publish", self._where):
            self._producer.renew(self._timeout_s)
        crash_point("publish.fenced")
        while True:
            before, files = self._journal.read()
            self._rightful = {self._mark.instance, *([before.instance] if before else [])}
            try:
                self._do_all([])
                break
            except KafkaException as error:  # perhaps the earlier one has committed since: read anew
                self._settle(error.args[0])
        self._rightful = {self._mark.instance}
        self._has_begun = True
        self._failures = self._refusals = 0
        crash_point("publish.announced")
        return files

    def add(self, records: Sequence[Record]) -> None:
        """Produce records in the open transaction, or in a new one."""
        begins = not self._is_open
        if begins:
            self._open()
        self._records += records

        def produce() -> None:
            if begins:
                self._begin()
            self._producer.produce(records)

        self._persist(produce, self._begin_again)
        crash_point("publish.produced")

    def commit(self, files: Sequence[FileProgress]) -> None:
        """Commit the open transaction, or one of progress alone, with the progress of these files."""
        first = self._finish if self._is_open else self._do_all
        if not self._is_open:
            self._open()
        self._persist(lambda: first(files), lambda: self._do_all(files))
        self._records.clear()
        self._is_open = False
        crash_point("publish.committed")

    def abort(self) -> None:
        """Let go of what is not committed, so that it holds back no reader."""
        if self._is_open:
            with suppress(KafkaException):
                self._producer.abort()

    def _open(self) -> None:
        self._is_open = True
        self._mark = self._mark._replace(number=self._mark.number + 1)

    def _begin(self) -> None:
        self._producer.begin()
        crash_point("publish.begun")

    def _begin_again(self) -> None:
        self._begin()
        self._producer.produce(self._records)

    def _do_all(self, files: Sequence[FileProgress]) -> None:
        self._begin_again()
        self._finish(files)

    def _finish(self, files: Sequence[FileProgress]) -> None:
        progress = [(self._journal.key(file.file), file.dumps()) for file in files]
        mark = self._journal.key(), orjson.dumps(self._mark._asdict())
        self._producer.produce_to(self._journal.place, [*progress, mark])
        crash_point("publish.progressed")
        self._producer.flush()
        crash_point("publish.flushed")
        self._producer.commit()

    def _persist(self, first: Callable[[], None], again: Callable[[], None]) -> None:
        """Do `first`, and after each failure `again`, until it succeeds or turns out to be committed."""
        step = first
        while True:
            try:
                step()
            except KafkaException as error:
                if not self._settle(error.args[0]):
                    step = again
                    continue
            self._failures = self._refusals = 0
            return

    def _settle(self, error: KafkaError) -> bool:
        """End the transaction, whatever its state is; whether the brokers have committed it."""
        while True:
            self._judge(error)
            try:
                self._refuse_other(self._journal.mark_so_far())
                self._producer.renew(self._timeout_s)
                mark, _ = self._journal.read()
                self._refuse_other(mark)
                return mark == self._mark
            except KafkaException as failed:
                error = failed.args[0]
            except BrokerError as failed:
                error = failed.error

    def _refuse_other(self, mark: Mark | None) -> None:
        """Raise `FencedError` when a mark is of a publisher that has begun since."""
        if mark is not None and mark.instance not in self._rightful:
            raise FencedError(
                "another publisher of this name has begun, and goes on where this one has committed",
                where=self._where,
                hint="let one run; publishers that are to run at the same time need a --publisher-id each",
            )

    def _judge(self, error: KafkaError) -> None:
        """Wait before another try, or raise `BrokerError` where there is no sense in one."""
        self._failures += 1
        self._refusals += error.code() not in AWAY and not error.retriable()
        if error.code() in HOPELESS or self._refusals > TRIES:
            raise BrokerError(error, "cannot publish", self._topic, "Write")
        if error.code() in SLOW:
            self._timeout_s = min(2 * self._timeout_s, LONGEST_TIMEOUT_S)
        if self._failures == 1:
            self._progress.warn(f"Kafka: {error.str() or error.name()}: trying again until it goes through")
        self._bear()
        until = self._clock() + self._pause_s(error)
        self._sleep(PAUSES_S[0])
        while self._clock() < until and not self._stop.requested:
            self._sleep(PAUSES_S[0])

    def _pause_s(self, error: KafkaError) -> float:
        if error.code() in FENCED and not self._has_begun:
            return random.uniform(0, self._failures * BEGIN_AGAIN_S)
        pauses_s = YIELDS_S if error.code() in FENCED else PAUSES_S
        return pauses_s[min(self._failures, len(pauses_s)) - 1]

    def _bear(self) -> None:
        """While brokers are waited for: raise once the end is asked for and the grace is over."""
        if not self._stop.requested:
            return
        now = self._clock()
        self._stopped_s = self._stopped_s or now
        if now - self._stopped_s > GRACE_S:
            raise StreamprocError(
                "Kafka does not answer, so the lines since the last commit are not published",
                where=self._where,
                hint="run the same command again: it goes on behind the last commit",
            )
