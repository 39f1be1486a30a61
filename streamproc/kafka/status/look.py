"""One look at the group, its topics and its states."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamproc.config import Settings
from streamproc.kafka import client, group, lookup, rights
from streamproc.kafka.client import Record, told
from streamproc.kafka.group import Group
from streamproc.kafka.names import Names
from streamproc.kafka.process.changelog import POSITION_KEY, Position
from streamproc.kafka.topics import ROLES, Topic
from streamproc.kafka.topics.check import TopicsError
from streamproc.kafka.topics.cluster import read_topics

NEEDED = ("raw", "state")
SINK_ROLES = ("hf", "bars", "dlq")
STALL_SECONDS = 10.0
"""A partition with unread records whose last commit is older may be stalled."""

COUNTED_AT_ONCE = 50_000
"""More dead letters than that are not counted one by one: what their offsets span is told."""

NARROW = 8
"""Offsets looked at first for the last record of the raw topic, whose records may be large."""


class PartitionStatus(NamedTuple):
    """A partition of the raw topic, and its state."""

    partition: int
    member: str | None
    """Who has it; None: nobody."""
    committed: int | None
    """Offset of the next record to be processed; None: nothing was."""
    end: int
    lag_records: int
    """Offsets from there to the end, 0 where no committed record lies between."""
    lag_seconds: float
    """From the timestamp of the first unread record to that of the last one."""
    generation: int | None
    changelog_end: int
    changelog_records: int
    """Offsets that a member without the state reads to restore it."""
    last_commit_ms: int | None
    """By the clock of the member that made it."""
    stalled: bool
    """Records are unread, and over two looks nothing was committed."""


class SinkStatus(NamedTuple):
    """The group of the sinks."""

    group: Group
    lag_records: dict[str, int]
    """By topic, as far as Kafka is told; the files may be ahead of that."""


class Status(NamedTuple):
    """All of it."""

    time_ms: int
    group: Group
    partitions: tuple[PartitionStatus, ...]
    dead_letters: int | None
    """None: there is no such topic."""
    dead_letters_exact: bool
    hung: tuple[str, ...]
    """Partitions of any topic in which a transaction is open, and was at the look before at the same place."""
    sink: SinkStatus | None
    """None: there is no such group."""
    unsettled: bool
    """A second look may find partitions stalled or transactions hung."""

    @property
    def last_commit_ms(self) -> int | None:
        """The newest of the partitions'."""
        return max((one.last_commit_ms for one in self.partitions if one.last_commit_ms is not None), default=None)


class _Ends(NamedTuple):
    """First offset, last stable offset and end of a topic's partitions."""

    low: dict[int, int]
    stable: dict[int, int]
    end: dict[int, int]

    def bounds(self) -> dict[int, tuple[int, int]]:
        return {number: (low, self.end[number]) for number, low in self.low.items()}


class Looker:
    """Looks, and remembers the look before.

    Raises `TopicsError` where the topics raw or state are missing, `BrokerError` for what Kafka refuses.

    Parameters
    ----------
    now_s : s since 1970.
    """

    def __init__(self, settings: Settings, now_s: Callable[[], float] = time.time) -> None:
        self._kafka = settings.kafka
        self._names = Names(settings.kafka.prefix)
        self._now_s = now_s
        self._admin: AdminClient = client.admin(settings.kafka)
        rights.check_rights(self._admin, settings.kafka, rights.STATUS)
        own = {"group.id": self._names.process_group, **lookup.READER}
        self._reader = client.consumer(settings.kafka, own)
        self._stood: dict[int, int | None] = {}
        self._open: dict[str, int] = {}
        self._dead: dict[int, tuple[int, int, int]] = {}
        """Of each partition of dead letters: its first offset, up to where they are counted, and how many there are."""

    def close(self) -> None:
        """Let go of the connections."""
        self._reader.close()

    def look(self) -> Status:
        """How it all is now."""
        topics = self._topics()
        now_ms = round(self._now_s() * 1000)
        found = group.describe(self._admin, self._names.process_group)
        ends = {role: self._ends(topic) for role, topic in topics.items()}
        partitions = self._partitions(found, ends, now_ms)
        dead_letters, exact = self._dead_letters(ends.get("dlq"))
        open_, self._open = self._open, self._transactions(topics, ends)
        hung = tuple(sorted(place for place, stable in self._open.items() if open_.get(place) == stable))
        late = any(_is_late(one, now_ms) for one in partitions)
        return Status(
            now_ms,
            found,
            partitions,
            dead_letters,
            exact,
            hung,
            self._sink(topics, ends),
            late or bool(self._open),
        )

    def _topics(self) -> dict[str, Topic]:
        found = read_topics(self._admin, {role: f"{self._kafka.prefix}.{role}" for role in ROLES})
        missing = [f"  {self._kafka.prefix}.{role} does not exist" for role in NEEDED if role not in found]
        if missing:
            raise TopicsError(
                missing, self._kafka.bootstrap_servers, "`streamproc topics apply` creates what is missing"
            )
        return found

    def _ends(self, topic: Topic) -> _Ends:
        numbers = range(topic.partitions)
        ask, name = group.offsets, topic.name
        return _Ends(
            ask(self._admin, name, numbers, OffsetSpec.earliest()),
            ask(self._admin, name, numbers, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED),
            ask(self._admin, name, numbers, OffsetSpec.latest()),
        )

    def _partitions(self, found: Group, ends: Mapping[str, _Ends], now_ms: int) -> tuple[PartitionStatus, ...]:
        names, raw, state = self._names, ends["raw"], ends["state"]
        committed = group.committed(self._kafka, names.process_group, names.raw, raw.end, stable=False)
        with told("cannot read the changelog", names.state):
            positions = lookup.last_records(self._reader, names.state, state.bounds(), POSITION_KEY)
        unread = {number: (committed[number] or 0, end) for number, end in raw.end.items()}
        unread = {number: (max(start, raw.low[number]), end) for number, (start, end) in unread.items() if start < end}
        with told("cannot read the topic", names.raw):
            first = lookup.first_records(
                self._reader, names.raw, {number: start for number, (start, _) in unread.items()}
            )
            last = lookup.last_records(
                self._reader, names.raw, {number: unread[number] for number in first}, width=NARROW
            )
        owners = {number: member.name for member in found.members for topic, number in member.partitions}
        stood, self._stood = self._stood, committed
        listed = []
        for number, end in raw.end.items():
            one = PartitionStatus(
                partition=number,
                member=owners.get(number),
                committed=committed[number],
                end=end,
                lag_records=end - unread[number][0] if number in first else 0,
                lag_seconds=_seconds_between(first.get(number), last.get(number)),
                generation=_generation(positions.get(number), names.state),
                changelog_end=state.end[number],
                changelog_records=state.end[number] - state.low[number],
                last_commit_ms=positions[number].timestamp()[1] if number in positions else None,
                stalled=False,
            )
            unmoved = number in stood and stood[number] == one.committed
            listed.append(one._replace(stalled=unmoved and _is_late(one, now_ms)))
        return tuple(listed)

    def _dead_letters(self, ends: _Ends | None) -> tuple[int | None, bool]:
        """How many there are, and whether they were counted."""
        if ends is None:
            return None, True
        for number, low in ends.low.items():
            if number not in self._dead or self._dead[number][0] != low:
                self._dead[number] = low, low, 0
        pending = {number: at for number, (_, at, _) in self._dead.items() if at < ends.stable[number]}
        if sum(ends.stable[number] - at for number, at in pending.items()) > COUNTED_AT_ONCE:
            return sum(ends.stable[number] - low for number, low in ends.low.items()), False
        counts = dict.fromkeys(pending, 0)
        with told("cannot read the topic", self._names.dlq):
            scan = lookup.Scan(self._reader, self._names.dlq, pending)
            for record in scan:
                if record.offset() >= ends.stable[record.partition()]:
                    scan.leave(record.partition())
                else:
                    counts[record.partition()] += 1
        for number, count in counts.items():
            low, _, before = self._dead[number]
            self._dead[number] = low, ends.stable[number], before + count
        return sum(count for _, _, count in self._dead.values()), True

    def _transactions(self, topics: Mapping[str, Topic], ends: Mapping[str, _Ends]) -> dict[str, int]:
        """Where transactions are open: the last stable offset of each partition that has one."""
        return {
            f"{topic.name}[{number}]": stable
            for role, topic in topics.items()
            for number, stable in ends[role].stable.items()
            if stable < ends[role].end[number]
        }

    def _sink(self, topics: Mapping[str, Topic], ends: Mapping[str, _Ends]) -> SinkStatus | None:
        found = group.describe(self._admin, self._names.sink_group)
        if found.state == "dead":
            return None
        lags = {}
        for role in SINK_ROLES:
            if role in topics:
                low, end = ends[role].low, ends[role].end
                done = group.committed(self._kafka, found.name, topics[role].name, end, stable=False)
                lags[topics[role].name] = sum(end[number] - max(done[number] or 0, low[number]) for number in end)
        return SinkStatus(found, lags)


def _is_late(one: PartitionStatus, now_ms: int) -> bool:
    """Whether records wait, and no commit has come for long."""
    if not one.lag_records:
        return False
    return one.last_commit_ms is None or now_ms - one.last_commit_ms > STALL_SECONDS * 1000


def _seconds_between(first: Record | None, last: Record | None) -> float:
    if first is None or last is None:
        return 0.0
    return max(0, last.timestamp()[1] - first.timestamp()[1]) / 1000


def _generation(record: Record | None, topic: str) -> int | None:
    if record is None:
        return None
    return Position.loads(record.value() or b"", f"{topic}[{record.partition()}]").generation
