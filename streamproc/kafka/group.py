"""A consumer group as it looks from outside: its members, its offsets, and the ends of what it reads."""

from collections.abc import Collection
from typing import NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from streamproc.config import KafkaConfig
from streamproc.kafka import client
from streamproc.kafka.client import told

ANSWER_SECONDS = 30.0
DEFAULT_SESSION_MS = 45_000


class Member(NamedTuple):
    """A member of a group."""

    name: str
    """Its own, where it has one, else what the broker calls it."""
    client_id: str
    host: str
    partitions: tuple[tuple[str, int], ...]
    """Topic and number of those that are assigned to it."""


class Group(NamedTuple):
    """A group: `state` is `stable`, `empty`, `dead` (there is none) or a kind of rebalance."""

    name: str
    state: str
    members: tuple[Member, ...]


def describe(admin: AdminClient, name: str) -> Group:
    """A group and its members. Static members that have left count until their sessions end."""
    with told("cannot look at the group", name, "Describe"):
        answer = client.patiently(
            lambda: admin.describe_consumer_groups([name], request_timeout=ANSWER_SECONDS)[name].result(ANSWER_SECONDS),
            ANSWER_SECONDS,
        )
    members = [
        Member(
            one.group_instance_id or one.member_id,
            one.client_id,
            one.host.removeprefix("/"),
            tuple(sorted((part.topic, part.partition) for part in one.assignment.topic_partitions)),
        )
        for one in answer.members
    ]
    return Group(name, answer.state.name.lower(), tuple(sorted(members)))


def session_seconds(admin: AdminClient, name: str) -> float:
    """How long after its last sign of life a group counts a member; Kafka's default where it may not be read."""
    asked = ConfigResource(ResourceType.GROUP, name)
    try:
        [answer] = admin.describe_configs([asked], request_timeout=ANSWER_SECONDS).values()
        entry = answer.result(ANSWER_SECONDS).get("consumer.session.timeout.ms")
    except KafkaException:
        entry = None
    return (int(entry.value) if entry else DEFAULT_SESSION_MS) / 1000


def committed(
    kafka: KafkaConfig, group: str, topic: str, numbers: Collection[int], stable: bool
) -> dict[int, int | None]:
    """A group's offsets; None where there is none.

    With `stable`, offsets that an open transaction may still change are waited for. `BrokerError` when that takes long.
    Asked by a consumer that never joins: an admin client's question ends the process with a segmentation fault where
    another broker coordinates the group by now (librdkafka, issue 5040).
    """
    isolation = "read_committed" if stable else "read_uncommitted"
    consumer = client.consumer(kafka, {"group.id": group, "isolation.level": isolation})
    try:
        return committed_as_seen(consumer, group, topic, numbers)
    finally:
        consumer.close()


def committed_as_seen(consumer: Consumer, group: str, topic: str, numbers: Collection[int]) -> dict[int, int | None]:
    """The same, asked by a consumer that has the group's name, under its isolation level."""
    asked = [TopicPartition(topic, number) for number in numbers]
    with told("cannot read the group's offsets", group):
        answers = client.patiently(lambda: consumer.committed(asked, timeout=ANSWER_SECONDS), ANSWER_SECONDS)
        for answer in answers:
            if answer.error:
                raise KafkaException(answer.error)
    return {answer.partition: answer.offset if answer.offset >= 0 else None for answer in answers}


def offsets(
    admin: AdminClient,
    topic: str,
    numbers: Collection[int],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[int, int]:
    """Offsets of partitions as a spec says: of an end, under `READ_COMMITTED` the last stable one."""
    asked = {TopicPartition(topic, number): spec for number in numbers}
    if not asked:
        return {}
    with told("cannot read the offsets of the topic", topic, "Describe"):
        answers = client.patiently(
            lambda: client.listed_offsets(admin, asked, isolation, ANSWER_SECONDS), ANSWER_SECONDS
        )
    return {number: answer.offset for (_, number), answer in answers.items()}


def bounds(admin: AdminClient, topic: str, numbers: Collection[int]) -> dict[int, tuple[int, int]]:
    """First offset and end of partitions."""
    lows = offsets(admin, topic, numbers, OffsetSpec.earliest())
    ends = offsets(admin, topic, numbers, OffsetSpec.latest())
    return {number: (lows[number], ends[number]) for number in numbers}
