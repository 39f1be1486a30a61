"""Making the topics what the files ask for."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

from streamproc.errors import StreamprocError
from streamproc.kafka.client import told
from streamproc.kafka.topics.plan import CREATE, PARTITIONS, Change, plan
from streamproc.kafka.topics.rules import Topic

ROUNDS = 150
PAUSE_SECONDS = 0.1
"""The brokers hear of a change a moment after it is made: it is waited for so many times."""

_logger = logging.getLogger("streamproc.kafka")


class RefusedError(StreamprocError):
    """Changes that cannot be made, or would do harm: each with why, and what to do instead. Nothing was done."""

    def __init__(self, refused: Sequence[Change]) -> None:
        lines = (
            f"  {change.topic}: {change.what} {change.now} -> {change.wanted}: {change.refused}" for change in refused
        )
        super().__init__("\n".join(("these changes are not made, so nothing is:", *lines)))
        self.args = (refused,)


def apply(
    client: AdminClient, wanted: Mapping[str, Topic], sleep: Callable[[float], None] = time.sleep
) -> list[Change]:
    """Create what is missing, alter what differs, and wait until the brokers show it. What was done is returned.

    Doing it again does nothing, and several may do it at the same time. Nothing is ever deleted.

    Raises
    ------
    RefusedError : with all changes that are not made; then none is.
    BrokerError : where the brokers do not answer, permit or accept.
    """
    done: list[Change] = []
    for _ in range(ROUNDS):
        changes = plan(client, wanted)
        if not changes:
            return done
        refuse(changes)
        for change in changes:
            if change not in done:
                done.append(change)
                _tell(change)
        _order(client, wanted, changes, validate_only=False)
        sleep(PAUSE_SECONDS)
    raise StreamprocError(
        "the topics still differ from their files, although the brokers accepted the changes",
        where=changes[0].topic,
        hint="see `streamproc topics plan`; perhaps somebody else is changing them",
    )


def rehearse(client: AdminClient, wanted: Mapping[str, Topic], changes: Sequence[Change]) -> None:
    """Let the brokers judge the changes of a plan, without making them. Raises as `apply` would."""
    refuse(changes)
    _order(client, wanted, changes, validate_only=True)


def refuse(changes: Sequence[Change]) -> None:
    """Raise `RefusedError` where any of the changes is not to be made."""
    if refused := [change for change in changes if change.refused]:
        raise RefusedError(refused)


def _tell(change: Change) -> None:
    if change.lowers:
        _logger.warning("%s: %s is lowered from %s to %s", change.topic, change.what, change.now, change.wanted)


def _order(client: AdminClient, wanted: Mapping[str, Topic], changes: Sequence[Change], *, validate_only: bool) -> None:
    new = [_new_topic(wanted[change.role]) for change in changes if change.what == CREATE]
    more = [NewPartitions(change.topic, int(change.wanted)) for change in changes if change.what == PARTITIONS]
    altered = list(_altered(changes))
    if new:
        answers = client.create_topics(new, validate_only=validate_only)
        _await(answers, "cannot create the topic", "Create", KafkaError.TOPIC_ALREADY_EXISTS)
    if more:
        answers = client.create_partitions(more, validate_only=validate_only)
        _await(answers, "cannot add partitions to the topic", "Alter", KafkaError.INVALID_PARTITIONS)
    if altered:
        by_resource = client.incremental_alter_configs(altered, validate_only=validate_only)
        answers = {resource.name: answer for resource, answer in by_resource.items()}
        _await(answers, "cannot alter the settings of the topic", "AlterConfigs")


def _await(answers: Mapping[str, "Future[Any]"], what: str, right: str, raced: int | None = None) -> None:
    """Wait for all answers. The error `raced` means that another was quicker: the next plan shows what is left."""
    for name, answer in answers.items():
        with told(what, name, right):
            try:
                answer.result()
            except KafkaException as error:
                if error.args[0].code() != raced:
                    raise


def _new_topic(topic: Topic) -> NewTopic:
    return NewTopic(topic.name, topic.partitions, topic.replicas, config=dict(topic.config))


def _altered(changes: Sequence[Change]) -> Iterator[ConfigResource]:
    settings = [change for change in changes if change.what not in {CREATE, PARTITIONS}]
    for name in dict.fromkeys(change.topic for change in settings):
        entries = [
            ConfigEntry(change.what, change.wanted, incremental_operation=AlterConfigOpType.SET)
            for change in settings
            if change.topic == name
        ]
        yield ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
