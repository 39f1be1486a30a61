"""Topics and plans as a person reads them, and as a program does."""

from collections.abc import Mapping, Sequence
from typing import Any

from streamproc.kafka.topics.plan import CREATE, Change
from streamproc.kafka.topics.rules import Topic


def topics_table(topics: Mapping[str, Topic]) -> str:
    """A line a topic: what its file asks for."""
    heads = ("TOPIC", "PARTITIONS", "REPLICAS", "CLEANUP", "KEPT", "LARGEST BATCH")
    return _table([heads, *map(_topic_cells, topics.values())])


def _topic_cells(topic: Topic) -> tuple[str, ...]:
    policy = topic.config["cleanup.policy"]
    largest = f"{topic.max_message_bytes:,} bytes"
    return topic.name, str(topic.partitions), str(topic.replicas), policy, _kept(topic.config), largest


def _kept(config: Mapping[str, str]) -> str:
    if config["cleanup.policy"] == "compact":
        return "last of each key"
    limits = {"ms": config.get("retention.ms", "-1"), "bytes a partition": config.get("retention.bytes", "-1")}
    return ", ".join(f"{int(limit):,} {unit}" for unit, limit in limits.items() if limit != "-1") or "unlimited"


def topics_object(topics: Mapping[str, Topic]) -> list[dict[str, Any]]:
    """The topics as JSON values."""
    return [
        {"topic": topic.name, "partitions": topic.partitions, "replicas": topic.replicas, "config": dict(topic.config)}
        for topic in topics.values()
    ]


def changes_table(changes: Sequence[Change]) -> str:
    """A line a change."""
    if not changes:
        return "nothing to do: the topics are as their files ask"
    rows = [(change.topic, change.what, change.now or "", change.wanted, _note(change)) for change in changes]
    return _table([("TOPIC", "CHANGE", "NOW", "WANTED", ""), *rows])


def _note(change: Change) -> str:
    if change.refused:
        return "refused"
    return "lowers" if change.lowers else ""


def changes_object(changes: Sequence[Change]) -> dict[str, Any]:
    """The changes and how many there are of each kind, as a JSON value."""
    return {
        **_counts(changes),
        "changes": [
            {
                "topic": change.topic,
                "change": change.what,
                "now": change.now,
                "wanted": change.wanted,
                "lowers": change.lowers,
                "refused": change.refused or None,
            }
            for change in changes
        ],
    }


def _counts(changes: Sequence[Change]) -> dict[str, int]:
    refused = sum(bool(change.refused) for change in changes)
    created = sum(change.what == CREATE for change in changes)
    return {"created": created, "altered": len(changes) - created - refused, "refused": refused}


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
