"""The sink's loop: consume, collect, commit what is due; partitions that come and go."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streamproc.config import Settings
from streamproc.crash import crash_point
from streamproc.errors import DataError, StreamprocError
from streamproc.kafka import client
from streamproc.kafka.client import BrokerError, Record, told
from streamproc.kafka.lag import Lags, Place
from streamproc.kafka.names import Names
from streamproc.kafka.protocol import GroupProtocol
from streamproc.kafka.sink.collect import Collector, RejectCollector, RowCollector
from streamproc.kafka.sink.output import Committing
from streamproc.kafka.sink.partition import Partition
from streamproc.kafka.sink.rows import RowReader
from streamproc.kafka.sink.segment import Source
from streamproc.kafka.topics import Topic
from streamproc.observe.metrics import histogram
from streamproc.observe.stop import StopRequest
from streamproc.schema import Stream

ROLES = ("hf", "bars", "dlq")
RECORDS_AT_ONCE = 2_000
QUEUED_KBYTES = 32_768
FETCHED_BYTES = 8_388_608
"""Compressed; what is fetched is unpacked at once, into some times as much memory."""

WAIT_SECONDS = 0.2
ANSWER_SECONDS = 30.0
SEEK_SECONDS = 10.0
END_SECONDS = 10.0
"""After a change of leader the log's end may be told too low for a moment."""

_logger = logging.getLogger(__name__)


class Sink:
    """A member of the sinks' group, from its start to its end.

    Parameters
    ----------
    topics : gives the topics by role as the brokers have them now; asked again at each assignment.
    """

    def __init__(
        self,
        settings: Settings,
        commits: Committing,
        topics: Callable[[], Mapping[str, Topic]],
        stop: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.commit_seconds = histogram("streamproc_sink_commit_seconds")
        self.turned_at = clock()
        """When the loop last came round."""
        self.lags = Lags(self._positions, clock)
        self._settings = settings
        self._names = Names(settings.kafka.prefix)
        self._roles = {f"{settings.kafka.prefix}.{role}": role for role in ROLES}
        streams: tuple[Stream, ...] = ("hf", "bars")
        self._readers = {stream: RowReader(stream, settings.state) for stream in streams}
        self._commits = commits
        self._topics = topics
        self._stop = stop
        self._clock = clock
        self.partitions: dict[Place, Partition] = {}
        """Those that are assigned."""
        self._fresh: set[Place] = set()
        """Assigned within the present call of `consume`."""
        self._failed: StreamprocError | None = None
        self._protocol = GroupProtocol(settings.sink.group_protocol)
        self._consumer = self._joined()

    def _properties(self) -> dict[str, Any]:
        sink = self._settings.sink
        named = {"client.id": sink.member_id} if sink.member_id else {}
        return {
            "group.id": self._names.sink_group,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": QUEUED_KBYTES,
            "fetch.max.bytes": FETCHED_BYTES,
            "fetch.queue.backoff.ms": 5,
            **named,
            **self._protocol.properties,
            **(self.lags.properties if self._settings.observe.port is not None else {}),
        }

    def _positions(self) -> dict[Place, int]:
        return {place: partition.next for place, partition in self.partitions.items()}

    def _joined(self) -> Consumer:
        """A consumer that joins the group."""
        consumer = client.consumer(self._settings.kafka, self._properties())
        with told("cannot join the group", self._names.sink_group):
            consumer.subscribe(
                [*self._roles], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        return consumer

    def run(self) -> None:
        """Work until stopped; commit what is held, and leave."""
        try:
            while not self._stop.requested:
                self._turn()
            for partition in self.partitions.values():
                self._commit(partition)
            self._hint(wait=True)
        finally:
            self.partitions.clear()  # closing revokes them: what is not committed by now is left to the next owner
            self._consumer.close()

    def _turn(self) -> None:
        """Take what has come, and commit what is due."""
        self._fresh.clear()
        self.turned_at = self._clock()
        messages = client.consume(self._consumer, RECORDS_AT_ONCE, WAIT_SECONDS)
        if self._failed:
            raise self._failed
        by_place, ends = self._sorted(messages)
        for place, records in by_place.items():
            self._add(place, records)
        for place, end in ends.items():
            if place in self.partitions and place not in self._fresh:
                self.partitions[place].reach(end)
        self._commit_due()
        self._hint()

    def _sorted(self, messages: Iterable[Record]) -> tuple[dict[Place, list[Record]], dict[Place, int]]:
        """Records by partition, and ends of the log that were met."""
        found: dict[Place, list[Record]] = defaultdict(list)
        ends: dict[Place, int] = {}
        for message in messages:
            error = message.error()
            place = message.topic(), message.partition()
            if error is None:
                found[place].append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends[place] = message.offset()
            else:
                self._meet(error, message)
        return found, ends

    def _add(self, place: Place, records: list[Record]) -> None:
        """Records of a partition, as far as it is owned and has not had them."""
        partition = self.partitions.get(place)
        if partition is None:
            return
        if place in self._fresh:  # they may be of an assignment before: read them again, from where it begins
            self._rewind(partition)
            return
        if records[0].offset() < partition.next:
            records = [record for record in records if record.offset() >= partition.next]
        if records:
            partition.add(records)
            self.counts["records"] += len(records)

    def _meet(self, error: KafkaError, message: Record) -> None:
        """An error among the records: one that passes is told, any other is the end."""
        partition = self.partitions.get((message.topic(), message.partition()))
        if error.code() == KafkaError._AUTO_OFFSET_RESET and partition is not None:
            self._check_log(partition)
            self._rewind(partition)
            return
        if self._protocol.falls_back(error):
            self._consumer.close()
            self._consumer = self._joined()
            return
        if client.passes(error):
            _logger.warning("Kafka: %s", error.str())
            return
        where = f"{message.topic()}[{message.partition()}]" if message.topic() else self._names.sink_group
        raise BrokerError(error, "cannot read", where)

    def _commit_due(self) -> None:
        sink = self._settings.sink
        for partition in self.partitions.values():
            if partition.is_due(sink):
                self._commit(partition)
        self._commit_largest()

    def _commit_largest(self) -> None:
        """When too much is in memory, commit the largest segments until half of it is free."""
        by_size = sorted(self.partitions.values(), key=lambda partition: partition.collected.bytes)
        room = 1.0
        while by_size and self._fill() > room:
            self._commit(by_size.pop())
            room = 0.5

    def _fill(self) -> float:
        """How much of the memory for rows is in use."""
        sink = self._settings.sink
        held = [partition.collected for partition in self.partitions.values()]
        return max(sum(one.rows for one in held) / sink.buffer_rows, sum(one.bytes for one in held) / sink.buffer_bytes)

    def _commit(self, partition: Partition) -> None:
        """Commit a segment, or go where another process has brought the chain."""
        rows = partition.collected.rows
        if not rows:
            return
        with self.commit_seconds.time():
            files = partition.commit()
        if files is None:
            _logger.warning("%s: another sink has committed from offset %d", partition.source, partition.start)
            partition.restart()
            self._rewind(partition)
            self.counts["lost_segments"] += 1
            return
        role = self._roles[partition.source.topic]
        self.counts[f"{role}_rows"] += rows
        self.counts["segments"] += 1
        self.counts["files"] += files

    def _hint(self, wait: bool = False) -> None:
        """Tell Kafka how far the files are. Nothing depends on it."""
        news = [partition for partition in self.partitions.values() if partition.done != partition.hinted]
        if not news:
            return
        offsets = [TopicPartition(one.source.topic, one.source.partition, one.done) for one in news]
        for partition in news:
            partition.hinted = partition.done
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _logger.info("the group's offsets were not taken: %s", error.args[0].str())
        crash_point("sink.after_hint")

    def _rewind(self, partition: Partition) -> None:
        """Fetch from where the partition stands."""
        source = partition.source
        deadline = self._clock() + SEEK_SECONDS
        while True:
            try:
                self._consumer.seek(TopicPartition(source.topic, source.partition, partition.next))
            except KafkaException as error:
                if self._clock() >= deadline:
                    raise BrokerError(error.args[0], "cannot seek", str(source)) from error
                time.sleep(0.01)
            else:
                return

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        try:
            topics = self._topics() if assigned else {}
            opened = [self._opened(topics, one.topic, one.partition) for one in assigned]
        except StreamprocError as error:
            self._failed = error  # raised once the call that runs this has returned
            opened = []
        for partition in opened:
            place = partition.source.topic, partition.source.partition
            self.partitions[place] = partition
            self._fresh.add(place)
            _logger.info("%s: from offset %d", partition.source, partition.next)
        consumer.incremental_assign(
            [TopicPartition(one.source.topic, one.source.partition, one.next) for one in opened]
        )

    def _opened(self, topics: Mapping[str, Topic], topic: str, number: int) -> Partition:
        """A partition, its commits recovered, and found to fit to the log."""
        role = self._roles[topic]
        source = Source(topic, topics[role].id, number)
        partition = Partition(
            source,
            f"{role}-{number:05d}",
            self._commits(role, source),
            self._collector(role),
            lambda: self._log(source)[0],
            self._clock,
        )
        self._check_log(partition)
        return partition

    def _collector(self, role: str) -> Collector:
        settings = self._settings
        for stream, reader in self._readers.items():
            if stream == role:
                return RowCollector(stream, settings.state, settings.sink, reader)
        return RejectCollector(self._names.raw)

    def _log(self, source: Source) -> tuple[int, int]:
        """First offset of the log, and its end."""
        place = TopicPartition(source.topic, source.partition)
        with told("cannot read the topic's offsets", str(source)):
            first, end = client.patiently(
                lambda: self._consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS), ANSWER_SECONDS
            )
        return int(first), int(end)

    def _check_log(self, partition: Partition) -> None:
        """The chain must end within the log: before it rows are lost, behind it they are not the chain's."""
        deadline = self._clock() + END_SECONDS
        first, end = self._log(partition.source)
        while partition.next > end and self._clock() < deadline:
            time.sleep(0.2)
            first, end = self._log(partition.source)
        if partition.next < first:
            raise DataError(
                f"the rows from offset {partition.next} on were deleted from the topic before a sink had read them: "
                f"it begins at {first}",
                where=str(partition.source),
                hint="process the lost part of the raw topic again with `streamproc replay`, into an output of its own",
            )
        if partition.next > end:
            raise DataError(
                f"the output has rows up to offset {partition.next}, but the topic ends at {end}",
                where=str(partition.source),
                hint="was the topic restored from an older copy? give the output that belongs to it, or an empty one",
            )

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        try:
            for partition in self._found(revoked):
                self._commit(partition)
            self._hint(wait=True)
        except StreamprocError as error:
            self._failed = error
        self._drop(revoked)
        consumer.incremental_unassign(revoked)

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        """Others own them by now, and read again what was not committed."""
        self._drop(lost)
        consumer.incremental_unassign(lost)

    def _found(self, partitions: Iterable[TopicPartition]) -> list[Partition]:
        places = [(one.topic, one.partition) for one in partitions]
        return [self.partitions[place] for place in places if place in self.partitions]

    def _drop(self, gone: Iterable[TopicPartition]) -> None:
        for one in gone:
            self.partitions.pop((one.topic, one.partition), None)
            self._fresh.discard((one.topic, one.partition))
