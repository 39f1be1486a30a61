"""A look as a JSON value, and as tables for people."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from streamproc.errors import StreamprocError
from streamproc.kafka.group import Group
from streamproc.kafka.status.look import Status


def as_object(status: Status | StreamprocError) -> dict[str, Any]:
    """The look as a JSON value; times are ISO 8601, UTC. Of one that failed, its error."""
    if isinstance(status, StreamprocError):
        return {"error": str(status)}
    return {
        "time": _iso(status.time_ms),
        **_group_object(status.group),
        "lag_records": sum(one.lag_records for one in status.partitions),
        "lag_seconds": max((one.lag_seconds for one in status.partitions), default=0.0),
        "last_commit": _iso(status.last_commit_ms),
        "dead_letters": status.dead_letters,
        "dead_letters_exact": status.dead_letters_exact,
        "stalled": [one.partition for one in status.partitions if one.stalled],
        "hung_transactions": list(status.hung),
        "partitions": [
            {
                "partition": one.partition,
                "member": one.member,
                "committed": one.committed,
                "end": one.end,
                "lag_records": one.lag_records,
                "lag_seconds": one.lag_seconds,
                "generation": one.generation,
                "changelog_end": one.changelog_end,
                "changelog_records": one.changelog_records,
                "last_commit": _iso(one.last_commit_ms),
                "stalled": one.stalled,
            }
            for one in status.partitions
        ],
        "sink": status.sink and {**_group_object(status.sink.group), "lag_records": status.sink.lag_records},
    }


def _group_object(group: Group) -> dict[str, Any]:
    members = [
        {
            "name": member.name,
            "client_id": member.client_id,
            "host": member.host,
            "partitions": [f"{topic}[{number}]" for topic, number in member.partitions],
        }
        for member in group.members
    ]
    return {"group": group.name, "state": _state(group), "members": members}


def _state(group: Group) -> str:
    return "none" if group.state == "dead" else group.state


def as_tables(status: Status | StreamprocError) -> Any:
    """The look for `rich` to print. Of one that failed, its error."""
    from rich.console import Group as Shown
    from rich.text import Text

    if isinstance(status, StreamprocError):
        return Text(f"error: {status}")
    return Shown(*_shown(status))


def _shown(status: Status) -> Iterator[Any]:
    yield _headline(status.group)
    if status.group.members:
        yield _members_table(status.group)
    yield ""
    yield _partitions_table(status)
    yield ""
    yield f"dead letters: {_dead_letters(status)}; last commit: {_ago(status.time_ms, status.last_commit_ms)}"
    for place in status.hung:
        yield f"[yellow]an open transaction holds readers of {_plain(place)} back"
    if status.sink is not None:
        yield ""
        yield _headline(status.sink.group)
        if status.sink.group.members:
            yield _members_table(status.sink.group)
        yield "lag: " + ", ".join(f"{topic} {lag:,}" for topic, lag in status.sink.lag_records.items())


def _headline(group: Group) -> str:
    if group.state == "dead":
        return f"{group.name}: there is no such group yet"
    count = len(group.members)
    return f"{group.name}: {_state(group)}, {count} member{'' if count == 1 else 's'}"


def _plain(text: str) -> str:
    """A text whose brackets are no markup."""
    return text.replace("[", r"\[")


def _members_table(group: Group) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("MEMBER", "CLIENT", "HOST"):
        table.add_column(name, no_wrap=True)
    table.add_column("PARTITIONS")
    for member in group.members:
        table.add_row(member.name, member.client_id, member.host, _places(member.partitions))
    return table


def _places(partitions: tuple[tuple[str, int], ...]) -> str:
    by_topic: dict[str, list[str]] = {}
    for topic, number in partitions:
        by_topic.setdefault(topic, []).append(str(number))
    return "; ".join(f"{topic} {' '.join(numbers)}" for topic, numbers in by_topic.items())


def _partitions_table(status: Status) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    names = ("PARTITION", "COMMITTED", "END", "LAG", "SECONDS", "GENERATION", "CHANGELOG", "LAST COMMIT")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("MEMBER", no_wrap=True)
    table.add_column("")
    for one in status.partitions:
        table.add_row(
            str(one.partition),
            _number(one.committed),
            _number(one.end),
            _number(one.lag_records),
            f"{one.lag_seconds:,.1f}",
            _number(one.generation),
            _number(one.changelog_records),
            _ago(status.time_ms, one.last_commit_ms),
            one.member or "-",
            "[red]stalled" if one.stalled else "",
        )
    return table


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _dead_letters(status: Status) -> str:
    return _number(status.dead_letters) if status.dead_letters_exact else f"at most {_number(status.dead_letters)}"


def _ago(now_ms: int, then_ms: int | None) -> str:
    if then_ms is None:
        return "never"
    seconds = max(0, now_ms - then_ms) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:,} {unit} ago"
    return f"{seconds} s ago"


def _iso(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
