"""Clients of Kafka: their properties, and Kafka's errors as errors of ours."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar, cast

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

from streamproc.config import KafkaConfig
from streamproc.errors import StreamprocError

T = TypeVar("T")

Headers = list[tuple[str, bytes]]


class Record(Protocol):
    """A consumed message, as far as it is a record: confluent-kafka's `Message` without its `None`s."""

    def topic(self) -> str: ...

    def partition(self) -> int: ...

    def offset(self) -> int: ...

    def key(self) -> bytes | None: ...

    def value(self) -> bytes | None: ...

    def headers(self) -> Headers | None: ...

    def timestamp(self) -> tuple[int, int]: ...

    def error(self) -> KafkaError | None: ...


REACH_SECONDS = 15.0
"""How long a broker may take to answer at the start."""

_logger = logging.getLogger("streamproc.kafka")

_HINTS = {
    KafkaError._TRANSPORT: "is Kafka running there? check kafka.bootstrap_servers",
    KafkaError._ALL_BROKERS_DOWN: "is Kafka running there? check kafka.bootstrap_servers",
    KafkaError._TIMED_OUT: "is Kafka running there? check kafka.bootstrap_servers and what stands between",
    KafkaError._RESOLVE: "check the host names in kafka.bootstrap_servers",
    KafkaError._AUTHENTICATION: "check kafka.properties: sasl.mechanism, sasl.username, sasl.password",
    KafkaError.SASL_AUTHENTICATION_FAILED: "check kafka.properties: sasl.mechanism, sasl.username, sasl.password",
    KafkaError._SSL: "check kafka.properties: security.protocol, ssl.ca.location",
    KafkaError._INVALID_ARG: "check kafka.properties",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topics: streamproc topics apply",
    KafkaError._UNKNOWN_TOPIC: "create the topics: streamproc topics apply",
    KafkaError._UNKNOWN_PARTITION: "create the topics: streamproc topics apply",
    KafkaError.INVALID_REPLICATION_FACTOR: "give --replication N, as many as there are brokers at most",
    KafkaError.INVALID_CONFIG: "correct it in the topic's file",
    KafkaError.POLICY_VIOLATION: "ask who administers the brokers: they have a rule for topics",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant this user the topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "grant this user the consumer group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "grant this user the transactional id",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant this user what it needs on the cluster",
}


_PASSING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}
"""Errors that pass, though librdkafka does not mark them so everywhere."""


class BrokerError(StreamprocError):
    """What Kafka refuses or fails to do.

    Parameters
    ----------
    error : Kafka's own error, with its code.
    what : what was tried, as in "cannot read the topic".
    where : the broker, topic or partition.
    """

    def __init__(self, error: KafkaError, what: str, where: str = "") -> None:
        said = error.str() or error.name()
        super().__init__(f"{what}: {said}", where=where, hint=_HINTS.get(error.code(), ""))
        self.error = error
        self.args = (error, what, where)


@contextmanager
def told(what: str, where: str = "") -> Iterator[None]:
    """Within this, an error of Kafka's is raised as a `BrokerError` that says what was tried."""
    try:
        yield
    except KafkaException as error:
        raise BrokerError(error.args[0], what, where) from error


def passes(error: KafkaError) -> bool:
    """Whether an error is one of a broker that starts, hands over or cannot be reached just now."""
    return error.retriable() or error.code() in _PASSING


def patiently(call: Callable[[], T], seconds: float) -> T:
    """What a call gives, made again for some time where a broker is not ready for it: one that starts or hands over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except KafkaException as error:
            if not passes(error.args[0]) or time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def properties(kafka: KafkaConfig, own: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of a client: `own`, what the user adds, and what the user may not change."""
    ours = {"client.id": "streamproc", "reconnect.backoff.ms": 500}
    return ours | dict(own) | kafka.properties | {"bootstrap.servers": kafka.bootstrap_servers}


def admin(kafka: KafkaConfig) -> AdminClient:
    """An admin client whose first answer shows that a broker is there. `BrokerError` when none answers."""
    with told("cannot reach Kafka", kafka.bootstrap_servers):
        client = AdminClient(properties(kafka, {}), logger=_logger)
        client.list_topics(timeout=REACH_SECONDS)
    return client


def consumer(kafka: KafkaConfig, own: Mapping[str, Any]) -> Consumer:
    """A consumer. Offsets are never committed by themselves and never reset by themselves."""
    fixed = {"enable.auto.commit": False, "enable.auto.offset.store": False, "auto.offset.reset": "error"}
    with told("cannot make a consumer", kafka.bootstrap_servers):
        return Consumer(properties(kafka, own) | fixed, logger=_logger)


def producer(kafka: KafkaConfig, own: Mapping[str, Any]) -> Producer:
    """An idempotent producer that partitions as Java clients do."""
    fixed = {"enable.idempotence": True, "partitioner": "murmur2_random"}
    with told("cannot make a producer", kafka.bootstrap_servers):
        return Producer(properties(kafka, own) | fixed, logger=_logger)


def consume(consumer: Consumer, most: int, timeout_s: float) -> list[Record]:
    """Records and errors that have come: returns when there are `most`, or when the time is up."""
    return cast(list[Record], consumer.consume(most, timeout=timeout_s))


def listed_offsets(
    client: AdminClient, asked: Mapping[TopicPartition, OffsetSpec], isolation: IsolationLevel, timeout_s: float
) -> dict[tuple[str, int], ListOffsetsResultInfo]:
    """Offsets of partitions by topic and number. After an error the cluster is asked for its leaders anew.

    An admin client goes on with the leaders' epochs that it knows, and brokers that have restarted refuse these.
    """
    try:
        answers = client.list_offsets(dict(asked), isolation_level=isolation, request_timeout=timeout_s)
        return {(one.topic, one.partition): answer.result(timeout_s) for one, answer in answers.items()}
    except TimeoutError as error:  # which of the two timeouts ends first is a matter of chance
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
    except KafkaException as error:
        with suppress(KafkaException):
            client.list_topics(timeout=timeout_s)
        if error.args[0].code() == KafkaError._NOENT:  # a broker that starts knows of no leaders yet
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)) from error
        raise
