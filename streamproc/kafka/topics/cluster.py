"""What the brokers have: topics, their settings, and whether they hold records."""

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource, OffsetSpec

from streamproc.kafka.client import told
from streamproc.kafka.topics.rules import Topic

LEADERLESS = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
FILE_SAFE = str.maketrans("+/", "-_")
"""Kafka's own tools write a topic's id, which is base64, this way; librdkafka does not."""
LEADER_ATTEMPTS = 50
LEADER_PAUSE_SECONDS = 0.2


def read_topics(client: AdminClient, names: Mapping[str, str]) -> dict[str, Topic]:
    """The topics that are there, by role. One whose settings may not be read has an empty `config`.

    Parameters
    ----------
    client : of the cluster.
    names : names of topics by role.
    """
    described = _describe(client, names)
    settings = _settings(client, [topic.name for topic in described.values()])
    return {role: _topic(topic, settings[topic.name]) for role, topic in described.items()}


def holds_records(client: AdminClient, topic: Topic) -> bool:
    """Whether any partition holds a record now."""
    partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
    first, end = (_offsets(client, partitions, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
    return first != end


def _describe(client: AdminClient, names: Mapping[str, str]) -> dict[str, Any]:
    if not names:
        return {}
    answers = client.describe_topics(TopicCollection([*names.values()]))
    described = {}
    for role, name in names.items():
        with told("cannot look at the topic", name, "Describe"):
            try:
                described[role] = answers[name].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
    return described


def _settings(client: AdminClient, names: list[str]) -> dict[str, dict[str, Any]]:
    """Entries of each topic's settings; empty where they may not be read."""
    if not names:
        return {}
    answers = client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name) for name in names])
    found = {}
    for resource, answer in answers.items():
        with told("cannot read the settings of the topic", resource.name, "DescribeConfigs"):
            try:
                found[resource.name] = answer.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise
                found[resource.name] = {}
    return found


def _topic(described: Any, entries: dict[str, Any]) -> Topic:
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return Topic(
        name=described.name,
        partitions=len(described.partitions),
        replicas=min(len(partition.replicas) for partition in described.partitions),
        config={name: entry.value for name, entry in entries.items() if entry.value is not None},
        inherited=frozenset(name for name, entry in entries.items() if entry.source != own),
        id=str(described.topic_id).translate(FILE_SAFE),
    )


def _offsets(client: AdminClient, partitions: list[TopicPartition], spec: OffsetSpec) -> list[int]:
    """Offsets of all partitions. A partition made just now, or on the move, has its leader a moment later."""
    attempts_left = LEADER_ATTEMPTS
    with told("cannot read the offsets of the topic", partitions[0].topic, "Describe"):
        while True:
            answers = client.list_offsets(dict.fromkeys(partitions, spec))
            try:
                return [answers[partition].result().offset for partition in partitions]
            except KafkaException as error:
                attempts_left -= 1
                if error.args[0].code() not in LEADERLESS or not attempts_left:
                    raise
            time.sleep(LEADER_PAUSE_SECONDS)
