"""Reading a stretch of the raw topic again, or skipping one: the group's offsets are set, as a plan shows before.

The members do the rest: a partition whose offset is not where its state stands begins a new generation.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from streamproc.config import Settings
from streamproc.errors import StreamprocError, UsageError
from streamproc.kafka import client, group, lookup, rights
from streamproc.kafka.client import BrokerError, told
from streamproc.kafka.names import Names
from streamproc.kafka.process.changelog import POSITION_KEY, Position
from streamproc.kafka.topics import Topic, check_topics

Kind = Literal["datetime", "duration", "earliest", "latest", "offset", "shift"]
_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d{1,9})?)S)?)?",
    re.IGNORECASE,
)


class Target(NamedTuple):
    """Where to, for all partitions alike: `value` is ms (of time, of length), an offset or a number of offsets."""

    kind: Kind
    value: int = 0


class Move(NamedTuple):
    """What becomes of a partition."""

    partition: int
    start: int | None
    """The group's offset now; None: it has none."""
    to: int
    again: int
    """Offsets that are read again. Those of transactions' markers count, as in Kafka's own tools."""
    skipped: int
    """Offsets that are never read."""
    lookback: int | None
    """Of the first record that warms the new generation up; None where none begins."""
    generation: int | None
    """That of the state; None: there is no state yet."""
    new_generation: int
    note: str


class Plan(NamedTuple):
    """What a replay does, or has done."""

    group: group.Group
    moves: tuple[Move, ...]
    executed: bool


def target_of(
    *,
    to_datetime: str | None = None,
    by_duration: str | None = None,
    to_earliest: bool = False,
    to_latest: bool = False,
    to_offset: int | None = None,
    shift_by: int | None = None,
) -> Target:
    """The one target that is given. `UsageError` for none, several, or one that cannot be read."""
    given: list[Target] = []
    if to_datetime is not None:
        given.append(Target("datetime", _time_ms(to_datetime)))
    if by_duration is not None:
        given.append(Target("duration", _length_ms(by_duration)))
    if to_earliest:
        given.append(Target("earliest"))
    if to_latest:
        given.append(Target("latest"))
    if to_offset is not None:
        given.append(Target("offset", to_offset))
    if shift_by is not None:
        given.append(Target("shift", shift_by))
    if len(given) != 1:
        raise UsageError(
            f"a replay has one target, {len(given)} are given",
            hint="one of --to-datetime, --by-duration, --to-earliest, --to-latest, --to-offset, --shift-by",
        )
    return given[0]


def _time_ms(text: str) -> int:
    """Ms since 1970 of a date and time; UTC where it names no other zone, as in Kafka's tool."""
    try:
        if "T" not in text:
            raise ValueError("there is no T between date and time")
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no date and time: {error}", where="--to-datetime", hint="for example 2024-08-09T12:00:00.000"
        ) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _length_ms(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groupdict().values()):
        raise UsageError(
            f"{text!r} is no duration", where="--by-duration", hint="PnDTnHnMnS: PT15M is 15 minutes, P1DT6H 30 hours"
        )
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return round((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000)


def numbers_of(texts: Collection[str]) -> set[int]:
    """Partitions as a user names them: `3`, `0,2`. `UsageError` for what is no number."""
    parts = [part for text in texts for part in text.split(",")]
    wrong = [part for part in parts if not re.fullmatch(r"\d{1,9}", part)]
    if wrong:
        raise UsageError(
            f"{wrong[0]!r} is no partition", where="--partitions", hint="numbers from 0, such as 0 3 or 0,3"
        )
    return {int(part) for part in parts}


def replay(
    settings: Settings,
    target: Target,
    *,
    partitions: Collection[int] = (),
    execute: bool = False,
    now_s: Callable[[], float] = time.time,
) -> Plan:
    """Plan a replay of the raw topic, and with `execute` set the group's offsets accordingly.

    Parameters
    ----------
    partitions : numbers; none: all.
    now_s : the time that a duration is counted back from, s since 1970.

    Raises
    ------
    TopicsError, BrokerError : where topics are not as they must be, or Kafka refuses.
    UsageError : for partitions that are not there, or that have no offset to shift.
    StreamprocError : with `execute`, while the group has members.
    """
    admin = client.admin(settings.kafka)
    topics = check_topics(admin, settings.kafka, rights.REPLAY)
    planner = Planner(settings, admin, topics, now_s)
    numbers = planner.checked(partitions)
    found = group.describe(admin, planner.names.process_group)
    if execute and found.members:
        raise _still_active(admin, found)
    moves = planner.moves(target, numbers)
    if execute:
        _set(admin, found, planner.names.raw, moves)
    return Plan(found, moves, execute)


class Planner:
    """Finds out where partitions stand and what a target means for them."""

    def __init__(
        self, settings: Settings, admin: AdminClient, topics: Mapping[str, Topic], now_s: Callable[[], float]
    ) -> None:
        self.names = Names(settings.kafka.prefix)
        self._settings = settings
        self._admin = admin
        self._topics = topics
        self._now_s = now_s

    def checked(self, partitions: Collection[int]) -> list[int]:
        """The partitions that are meant. `UsageError` where there is no such."""
        there = range(self._topics["raw"].partitions)
        for number in partitions:
            if number not in there:
                raise UsageError(
                    f"there is no partition {number}", where=self.names.raw, hint=f"it has 0 to {there[-1]}"
                )
        return sorted(partitions or there)

    def moves(self, target: Target, numbers: list[int]) -> tuple[Move, ...]:
        """What becomes of each of the partitions."""
        names = self.names
        starts = group.committed(self._settings.kafka, names.process_group, names.raw, numbers, stable=True)
        ends = group.bounds(self._admin, names.raw, numbers)
        reader = client.consumer(self._settings.kafka, {"group.id": names.process_group, **lookup.READER})
        try:
            with told("cannot read the changelog", names.state):
                changelog = group.bounds(self._admin, names.state, numbers)
                found = lookup.last_records(reader, names.state, changelog, POSITION_KEY)
            positions = {
                number: Position.loads(record.value() or b"", f"{names.state}[{number}]")
                for number, record in found.items()
            }
            with told("cannot look for records", names.raw):
                wanted = self._wanted(target, starts, ends, reader)
                return tuple(
                    self._move(number, starts[number], wanted[number], ends[number], positions.get(number), reader)
                    for number in numbers
                )
        finally:
            reader.close()

    def _wanted(
        self,
        target: Target,
        starts: Mapping[int, int | None],
        bounds: Mapping[int, tuple[int, int]],
        reader: Any,
    ) -> dict[int, int]:
        """The offset that the target means for each partition; it may lie outside of the log."""
        if target.kind == "earliest":
            return {number: low for number, (low, _) in bounds.items()}
        if target.kind == "offset":
            return dict.fromkeys(bounds, target.value)
        if target.kind == "shift":
            return {number: self._shifted(number, start, target.value) for number, start in starts.items()}
        ends = {number: end for number, (_, end) in bounds.items()}
        if target.kind == "latest":
            return ends
        time_ms = target.value if target.kind == "datetime" else round(self._now_s() * 1000) - target.value
        return ends | lookup.first_from_time(reader, self.names.raw, bounds, time_ms)

    def _shifted(self, number: int, start: int | None, by: int) -> int:
        if start is None:
            raise UsageError(
                f"the group has no offset in partition {number} that could be shifted",
                where=self.names.process_group,
                hint="give another target, such as --to-offset",
            )
        return start + by

    def _move(
        self,
        number: int,
        start: int | None,
        wanted: int,
        bounds: tuple[int, int],
        position: Position | None,
        reader: Any,
    ) -> Move:
        low, end = bounds
        to = min(max(wanted, low), end)
        stands = start if start is not None else position.offset if position else low
        begins = position is not None and to != position.offset
        generation = position.generation if position else None
        lookback = None
        if begins:
            lookback = lookup.lookback_start(reader, self.names.raw, number, to, low, self._settings.lookback_ms)
        notes = [_clamped(wanted, to), *self._standing(start, to, position)]
        return Move(
            number,
            start,
            to,
            max(0, stands - to),
            max(0, to - stands),
            lookback,
            generation,
            (generation or 0) + begins,
            "; ".join(filter(None, notes)),
        )

    def _standing(self, start: int | None, to: int, position: Position | None) -> list[str]:
        """What is to be said of a partition where not simply a new generation begins."""
        if position is None:
            return ["there is no state yet: a first start from there"]
        if to != position.offset:
            return ["it is set there already"] if start == to else []
        said = ["it stands there already: nothing begins"]
        if position.config != self._settings.state.canonical() or position.raw_id != self._topics["raw"].id:
            said.append("its state is of another configuration or topic: only another offset begins a new one")
        return said


def _clamped(wanted: int, to: int) -> str:
    if wanted == to:
        return ""
    return f"{wanted} is before the topic's start" if wanted < to else f"{wanted} is behind the topic's end"


def _still_active(admin: AdminClient, found: group.Group) -> StreamprocError:
    named = ", ".join(member.name for member in found.members)
    seconds = group.session_seconds(admin, found.name)
    return StreamprocError(
        f"the group has active members, and nothing was changed: {named}",
        where=found.name,
        hint=f"end them and try again; one that has ended counts for up to {seconds:g} s more, until its session ends",
    )


def _set(admin: AdminClient, found: group.Group, topic: str, moves: Collection[Move]) -> None:
    """Set the group's offsets. Kafka refuses it as soon as the group has a member."""
    changed = [TopicPartition(topic, move.partition, move.to) for move in moves if move.to != move.start]
    if not changed:
        return
    with told("cannot set the group's offsets", found.name):
        futures = admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(found.name, changed)], request_timeout=group.ANSWER_SECONDS
        )
        answers = futures[found.name].result(group.ANSWER_SECONDS).topic_partitions
    for answer in answers:
        if answer.error and answer.error.code() == KafkaError.UNKNOWN_MEMBER_ID:
            raise _still_active(admin, group.describe(admin, found.name))
        if answer.error:
            raise BrokerError(answer.error, "cannot set the group's offsets", f"{topic}[{answer.partition}]")


def as_object(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON value."""
    return {
        "group": plan.group.name,
        "members": [member.name for member in plan.group.members],
        "executed": plan.executed,
        "partitions": [
            {
                "partition": move.partition,
                "from": move.start,
                "to": move.to,
                "records_again": move.again,
                "records_skipped": move.skipped,
                "lookback_from": move.lookback,
                "generation": move.generation,
                "new_generation": move.new_generation,
                "note": move.note,
            }
            for move in plan.moves
        ],
    }


def as_table(plan: Plan) -> Any:
    """The plan for `rich` to print: a line of what it is, and a table."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("PARTITION", "FROM", "TO", "AGAIN", "SKIPPED", "LOOK-BACK FROM", "GENERATION"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for move in plan.moves:
        numbers = (move.start, move.to, move.again, move.skipped, move.lookback)
        cells = ["-" if number is None else f"{number:,}" for number in numbers]
        table.add_row(str(move.partition), *cells, _generations(move), move.note)
    return Group(f"{plan.group.name}: {_headline(plan)}", table)


def _generations(move: Move) -> str:
    if move.generation is None or move.generation == move.new_generation:
        return str(move.new_generation)
    return f"{move.generation} -> {move.new_generation}"


def _headline(plan: Plan) -> str:
    if plan.executed:
        return "done, the members begin with it at their next start"
    if plan.group.members:
        return f"a dry run; --execute is refused while {len(plan.group.members)} members are active"
    return "a dry run, --execute does it"
