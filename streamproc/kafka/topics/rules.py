"""What the settings of each topic must be, whether a file asks for them or a broker has them."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

ROLES = ("raw", "hf", "bars", "dlq", "state", "publish")
"""The topics by what they are for; their names are the prefix, a dot and this."""

COMPACTED = frozenset({"state", "publish"})
"""Changelogs: of each key only the last record counts."""

KEYED = frozenset(ROLES) - {"dlq"}
"""Topics in which the records of a key must stay in one partition."""

KAFKA_MESSAGE_BYTES = 1_048_588
"""Kafka's own default of `max.message.bytes`."""

KAFKA_DELETIONS_MS = 86_400_000
"""Kafka's own default of `delete.retention.ms`."""

UNLIMITED = str(2**63 - 1)

EVENT_TIME = "records bear event times, which may lie far from the broker's clock"
SAME_PARTITIONS = "the state of a partition of raw lies in the partition of that number"


class Topic(NamedTuple):
    """A topic as a file asks for it, or as the brokers have it."""

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]
    """Settings: those that a file gives, or all that are in force."""
    inherited: frozenset[str] = frozenset()
    """Names of those settings that are not the topic's own but the brokers' defaults."""
    id: str = ""
    """Kafka's identity of it, another one when a topic of the same name is made anew; empty for a file's."""

    @property
    def max_message_bytes(self) -> int:
        """Largest batch of records that it takes, in bytes."""
        return int(self.config.get("max.message.bytes", KAFKA_MESSAGE_BYTES))

    @property
    def deletions_ms(self) -> int:
        """How long a compacted topic holds a deletion at least, in ms."""
        return int(self.config.get("delete.retention.ms", KAFKA_DELETIONS_MS))


class Breach(NamedTuple):
    """A setting that is not what it must be."""

    role: str
    setting: str
    value: str | None
    wanted: str
    why: str


class _Rule(NamedTuple):
    setting: str
    wanted: str
    why: str


_EVERY = (
    _Rule("message.timestamp.type", "CreateTime", "a record's time is its producer's, not that of its arrival"),
    _Rule("message.timestamp.before.max.ms", UNLIMITED, EVENT_TIME),
    _Rule("message.timestamp.after.max.ms", UNLIMITED, EVENT_TIME),
)
_COMPACTED = _Rule("cleanup.policy", "compact", "the last record of a key must stay, however old, and no others")
_KEPT = _Rule("cleanup.policy", "delete", "compaction would drop all but the last record of a symbol")


def breaches(topics: Mapping[str, Topic]) -> Iterator[Breach]:
    """All that is wrong with the settings of these topics, by themselves and beside each other."""
    for role, topic in topics.items():
        for setting, wanted, why in (*_EVERY, _COMPACTED if role in COMPACTED else _KEPT):
            if topic.config.get(setting) != wanted:
                yield Breach(role, setting, topic.config.get(setting), wanted, why)
        if role not in COMPACTED:
            yield from _retention(role, topic)
        yield from _in_sync(role, topic)
    yield from _partitions(topics)
    yield from _message_bytes(topics)


def _retention(role: str, topic: Topic) -> Iterator[Breach]:
    """A limit in time is the user's own choice for a topic; a default of the brokers' is no choice."""
    retention = topic.config.get("retention.ms")
    if retention is None or (retention != "-1" and "retention.ms" in topic.inherited):
        why = "by event time, a back-fill would be deleted before it is read; give this topic a limit if you want one"
        yield Breach(role, "retention.ms", retention, "-1", why)


def _in_sync(role: str, topic: Topic) -> Iterator[Breach]:
    needed = whole_number(topic.config.get("min.insync.replicas"))
    if needed is not None and needed > topic.replicas:
        why = f"with {topic.replicas} replicas nothing could be written"
        yield Breach(role, "min.insync.replicas", str(needed), f"at most {topic.replicas}", why)


def _partitions(topics: Mapping[str, Topic]) -> Iterator[Breach]:
    raw, state = topics.get("raw"), topics.get("state")
    if raw and state and raw.partitions != state.partitions:
        wanted = f"{raw.partitions}, as {raw.name} has"
        yield Breach("state", "partitions", str(state.partitions), wanted, SAME_PARTITIONS)


def _message_bytes(topics: Mapping[str, Topic]) -> Iterator[Breach]:
    raw, dlq = topics.get("raw"), topics.get("dlq")
    if not raw or not dlq:
        return
    given, room = (topic.config.get("max.message.bytes") for topic in (raw, dlq))
    taken, larger = whole_number(given), whole_number(room)
    if taken is None:
        yield Breach("raw", "max.message.bytes", given, "a number of bytes", f"{dlq.name} must take more")
    elif larger is None or larger <= taken:
        why = f"a rejected record of {raw.name} comes with headers"
        yield Breach("dlq", "max.message.bytes", room, f"more than {taken}", why)


def whole_number(text: str | None) -> int | None:
    """The number, or None for what Kafka does not take as one."""
    return int(text) if text is not None and re.fullmatch(r"[-+]?[0-9]+", text) else None
