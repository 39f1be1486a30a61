"""What would have to be done for the brokers to have the topics that the files ask for."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from confluent_kafka.admin import AdminClient

from streamproc.errors import StreamprocError
from streamproc.kafka.topics.cluster import holds_records, read_topics
from streamproc.kafka.topics.rules import KEYED, Topic

CREATE = "create"
PARTITIONS = "partitions"
REPLICAS = "replicas"

LESS_IS_LOST = frozenset(
    {"delete.retention.ms", "max.message.bytes", "min.insync.replicas", "retention.bytes", "retention.ms"}
)
"""Settings of which less means that something is deleted, refused or less safe."""

Holds = Callable[[Topic], bool]


class Change(NamedTuple):
    """One difference between a topic and its file."""

    role: str
    topic: str
    what: str
    """`create`, `partitions`, `replicas`, or the name of a setting."""
    now: str | None
    wanted: str
    lowers: bool = False
    """Whether it takes away: records that are kept, sizes that are taken, safety."""
    refused: str = ""
    """Why it is not done, and what to do instead; empty where it is."""


def plan(client: AdminClient, wanted: Mapping[str, Topic]) -> list[Change]:
    """All differences between the topics of the files and those that are there, none where there are none.

    Raises
    ------
    StreamprocError : where settings may not be read. Its kind `BrokerError` : where brokers do not answer or permit.
    """
    found = read_topics(client, {role: topic.name for role, topic in wanted.items()})
    for topic in found.values():
        if not topic.config:
            raise StreamprocError(
                "the settings of the topic may not be read", where=topic.name, hint="grant this user DescribeConfigs"
            )
    return list(changes(wanted, found, lambda topic: holds_records(client, topic)))


def changes(wanted: Mapping[str, Topic], found: Mapping[str, Topic], holds: Holds) -> Iterator[Change]:
    """The differences; `holds` tells whether a topic holds records."""
    for role, topic in wanted.items():
        there = found.get(role)
        if there is None:
            size = f"{_many(topic.partitions, 'partition')}, {_many(topic.replicas, 'replica')}"
            yield Change(role, topic.name, CREATE, None, size)
            continue
        if there.partitions != topic.partitions:
            more = topic.partitions > there.partitions
            yield _partitions(role, topic, there, _in_the_way(role, found, holds) if more else None)
        if there.replicas != topic.replicas:
            yield _replicas(role, topic, there)
        for setting, value in topic.config.items():
            now = there.config.get(setting)
            if now is None or not _same(now, value):
                lowers = setting in LESS_IS_LOST and now is not None and _limit(value) < _limit(now)
                yield Change(role, topic.name, setting, now, value, lowers)


def _partitions(role: str, topic: Topic, there: Topic, in_the_way: Topic | None) -> Change:
    refused = ""
    if topic.partitions < there.partitions:
        refused = f"Kafka never takes partitions away: set spec.partitions to {there.partitions} in its file"
    elif in_the_way is not None:
        moved = f"{in_the_way.name} holds records, and their keys would move to other partitions"
        refused = f"{moved}: make new topics under another kafka.prefix and publish the input again"
    return Change(role, topic.name, PARTITIONS, str(there.partitions), str(topic.partitions), refused=refused)


def _in_the_way(role: str, found: Mapping[str, Topic], holds: Holds) -> Topic | None:
    """The topic whose records forbid that this one gets more partitions; raw and state stand and fall together."""
    bound = ("raw", "state") if role in {"raw", "state"} else (role,)
    topics = (found[name] for name in bound if name in KEYED and name in found)
    return next(filter(holds, topics), None)


def _replicas(role: str, topic: Topic, there: Topic) -> Change:
    refused = f"Kafka moves replicas by kafka-reassign-partitions.sh alone; --replication {there.replicas} keeps them"
    return Change(role, topic.name, REPLICAS, str(there.replicas), str(topic.replicas), refused=refused)


def _same(one: str, other: str) -> bool:
    """Whether two texts mean the same to Kafka: 0.20 and 0.2, or a list in another order."""
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return sorted(one.lower().split(",")) == sorted(other.lower().split(","))


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _limit(text: str) -> float:
    number = float(text)
    return math.inf if number < 0 else number
