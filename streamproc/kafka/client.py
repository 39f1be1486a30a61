"""Clients of Kafka: their properties, and Kafka's errors as errors of ours."""

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar, cast

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

from streamproc.config import KafkaConfig
from streamproc.errors import StreamprocError, UsageError
from streamproc.kafka.credentials import WatchedConsumer, WatchedProducer, secrets, watch
from streamproc.kafka.tls import speaks_tls, why_not_trusted

T = TypeVar("T")
Made = TypeVar("Made", AdminClient, WatchedConsumer, WatchedProducer)

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

ANSWER_SECONDS = 0.5
"""How long the first answer is waited for before it is looked what connections have met; then twice as long."""
MOST_FAULTS = 16

_logger = logging.getLogger("streamproc.kafka")
_admin_logger = _logger.getChild("admin")
_admin_logger.addFilter(lambda line: not line.getMessage().startswith("FAIL"))
"""Without the lines on each failed connection: they are told when they are the end."""

_HINTS = {
    KafkaError._TRANSPORT: "is Kafka running there? check kafka.bootstrap_servers",
    KafkaError._ALL_BROKERS_DOWN: "is Kafka running there? check kafka.bootstrap_servers",
    KafkaError._TIMED_OUT: "is Kafka running there? check kafka.bootstrap_servers and what stands between",
    KafkaError._RESOLVE: "check the host names in kafka.bootstrap_servers",
    KafkaError._AUTHENTICATION: "check kafka.properties: sasl.mechanism, sasl.username, sasl.password",
    KafkaError.SASL_AUTHENTICATION_FAILED: "check kafka.properties: sasl.mechanism, sasl.username, sasl.password",
    KafkaError._SSL: "check kafka.properties: security.protocol, ssl.ca.location, ssl.certificate.location",
    KafkaError._INVALID_ARG: "check kafka.properties",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topics: streamproc topics apply",
    KafkaError._UNKNOWN_TOPIC: "create the topics: streamproc topics apply",
    KafkaError._UNKNOWN_PARTITION: "create the topics: streamproc topics apply",
    KafkaError.INVALID_REPLICATION_FACTOR: "give --replication N, as many as there are brokers at most",
    KafkaError.INVALID_CONFIG: "correct it in the topic's file",
    KafkaError.POLICY_VIOLATION: "ask who administers the brokers: they have a rule for topics",
}

_LACKING = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ("Read", "topic"),
    KafkaError.GROUP_AUTHORIZATION_FAILED: ("Read", "group"),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: ("Write", "transactional id"),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: ("Create", "cluster"),
}
"""Errors of rights that this user lacks: the right unless another is told, and what it is on."""

_PLAIN_OR_NOT = re.compile(r"security\.protocol|a PLAINTEXT broker listener")
"""Within the text of an error where one side speaks TLS and the other does not."""

_ALERT = re.compile(r"\balert\b")
"""Within the text of an error where a broker has refused this side's certificate, or that there is none."""

_UNTRUSTED = "certificate could not be verified"
"""Within the text of an error about a broker's certificate."""

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
    where : the broker, topic, partition, group or transactional id.
    right : what Kafka's rules must allow for it, where that is not what mostly lacks.
    """

    def __init__(self, error: KafkaError, what: str, where: str = "", right: str = "") -> None:
        said = error.str() or error.name()
        super().__init__(f"{what}: {said}", where=where, hint=_hint(error, where, right))
        self.error = error
        self.args = (error, what, where, right)


def _hint(error: KafkaError, where: str, right: str) -> str:
    """What to do about an error."""
    if error.code() in _LACKING:
        mostly, kind = _LACKING[error.code()]
        named = f" {re.split(r'[/[]', where)[0]}" if where and kind != "cluster" else ""
        return f"grant this user {right or mostly} on the {kind}{named}: see docs/security.md"
    if _PLAIN_OR_NOT.search(error.str()):
        return "check kafka.properties: security.protocol must be that of the brokers' port"
    if _ALERT.search(error.str()):
        return "the brokers ask for a certificate: check kafka.properties: ssl.certificate.location, ssl.key.location"
    return _HINTS.get(error.code(), "")


@contextmanager
def told(what: str, where: str = "", right: str = "") -> Iterator[None]:
    """Within this, an error of Kafka's is raised as a `BrokerError` that says what was tried."""
    try:
        yield
    except KafkaException as error:
        raise BrokerError(error.args[0], what, where, right) from error


def lacks_right(error: KafkaError) -> bool:
    """Whether an error says that this user may not do what was tried, so that trying again is of no use."""
    return error.code() in _LACKING


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
    """Properties of a client: `own`, what the user adds, and what the user may not change.

    `UsageError` for a file of a secret that cannot be read.
    """
    ours = {"client.id": "streamproc", "reconnect.backoff.ms": 500}
    return ours | dict(own) | kafka.properties | secrets(kafka) | {"bootstrap.servers": kafka.bootstrap_servers}


def _made(kind: type[Made], what: str, kafka: KafkaConfig, own: Mapping[str, Any], fixed: Mapping[str, Any]) -> Made:
    """A client. `BrokerError`, `UsageError` for properties that librdkafka does not take."""
    given = properties(kafka, own) | dict(fixed)
    with told(what, kafka.bootstrap_servers):
        try:
            client = kind(given, logger=_admin_logger if kind is AdminClient else _logger)
        except (TypeError, ValueError) as error:
            hint = "see which of them is no property of librdkafka's"
            raise UsageError(f"{what}: {error}", where="kafka.properties", hint=hint) from error
    watch(client, kafka)
    return client


def admin(kafka: KafkaConfig) -> AdminClient:
    """An admin client whose first answer shows that a broker is there. `BrokerError` when none answers."""
    faults: deque[KafkaError] = deque(maxlen=MOST_FAULTS)
    client = _made(AdminClient, "cannot reach Kafka", kafka, {}, {"error_cb": faults.append})
    with told("cannot reach Kafka", kafka.bootstrap_servers):
        try:
            _await_answer(client, faults, kafka)
        except KafkaException as error:
            raise _explained(error.args[0], kafka) from error
    return client


def _explained(error: KafkaError, kafka: KafkaConfig) -> KafkaException:
    """The error, with what is wrong with a certificate where it is about one."""
    why = ""
    if _UNTRUSTED in error.str():
        why = why_not_trusted(kafka.bootstrap_servers, properties(kafka, {}))
    return KafkaException(KafkaError(error.code(), f"{why}: {error.str()}") if why else error)


def _await_answer(client: AdminClient, faults: deque[KafkaError], kafka: KafkaConfig) -> None:
    """Wait for a broker's answer, no longer than what the connections meet leaves hope for one."""
    deadline = time.monotonic() + REACH_SECONDS
    patience = ANSWER_SECONDS
    protocol = kafka.properties.get("security.protocol", "plaintext")
    while True:
        left = deadline - time.monotonic()
        try:
            client.list_topics(timeout=max(0.0, min(patience, left)))
            return
        except KafkaException as error:
            client.poll(0)
            met = _hopeless(faults)
            plain = patience == 2 * ANSWER_SECONDS and protocol.lower().endswith("plaintext")
            if plain and speaks_tls(kafka.bootstrap_servers):
                met = KafkaError(KafkaError._SSL, f"the port speaks TLS, and security.protocol is {protocol}")
            if met or left <= patience or not passes(error.args[0]):
                raise KafkaException(met or [error.args[0], *faults][-1]) from error
        patience *= 2


def _hopeless(faults: Iterable[KafkaError]) -> KafkaError | None:
    """An error that waiting does not mend: of passwords and certificates; and of TLS or not, when it comes again."""
    plain = [fault for fault in faults if _PLAIN_OR_NOT.search(fault.str())]
    final = [
        fault
        for fault in faults
        if fault.code() in {KafkaError._AUTHENTICATION, KafkaError._SSL} or _ALERT.search(fault.str())
    ]
    return next(iter([*final, *plain[2:]]), None)


def consumer(kafka: KafkaConfig, own: Mapping[str, Any]) -> Consumer:
    """A consumer. Offsets are never committed by themselves and never reset by themselves."""
    fixed = {"enable.auto.commit": False, "enable.auto.offset.store": False, "auto.offset.reset": "error"}
    return _made(WatchedConsumer, "cannot make a consumer", kafka, own, fixed)


def producer(kafka: KafkaConfig, own: Mapping[str, Any]) -> Producer:
    """An idempotent producer that partitions as Java clients do."""
    fixed = {"enable.idempotence": True, "partitioner": "murmur2_random"}
    return _made(WatchedProducer, "cannot make a producer", kafka, own, fixed)


def consume(consumer: Consumer, most: int, timeout_s: float) -> list[Record]:
    """Records and errors that have come: returns when there are `most`, or when the time is up."""
    return cast(list[Record], consumer.consume(most, timeout=timeout_s))


def listed_offsets(
    client: AdminClient, asked: Mapping[TopicPartition, OffsetSpec], isolation: IsolationLevel, timeout_s: float
) -> dict[tuple[str, int], ListOffsetsResultInfo]:
    """Offsets of partitions by topic and number. After an error the cluster is asked for its leaders anew.

    An admin client goes on with the leaders' epochs that it knows, and brokers that have restarted refuse these.
    """
    client.poll(0)  # what its connections have to say would pile up
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
