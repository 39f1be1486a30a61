"""Taking partitions over, beside the ones that run: the changelog's tail into the store, the store into an engine."""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamproc.config import Settings
from streamproc.errors import StateError
from streamproc.kafka import client, group, lookup
from streamproc.kafka.client import Record, passes, told
from streamproc.kafka.names import Names
from streamproc.kafka.process.changelog import Change, Position
from streamproc.kafka.process.partition import Encoders, Partition
from streamproc.kafka.process.store import PartitionStore
from streamproc.state.snapshot import FORMAT

AT_ONCE = 10_000
"""Records of the changelog taken together."""

WAIT_SECONDS = 0.01
"""How long fewer than these are waited for."""

_logger = logging.getLogger(__name__)


class Input(NamedTuple):
    """The raw topic and its changelog as the brokers have them."""

    partitions: int
    raw_id: str
    state_id: str
    deletions_ms: int
    """How long the changelog holds a deletion at least."""
    largest_bytes: int
    """Of a record that any topic takes."""


class Taken(NamedTuple):
    """A partition that is ready, or why it is not."""

    number: int
    assignment: int
    """Which of the assignments of this member it was asked for in."""
    partition: Partition | None
    error: Exception | None


class TakeOver:
    """Reads what a partition's former owners have left. It has a consumer of its own and belongs to one thread."""

    def __init__(self, settings: Settings, admin: AdminClient, input_: Input, folder: Path) -> None:
        self._settings = settings
        self._names = Names(settings.kafka.prefix)
        self._input = input_
        self._folder = folder
        self._encoders = Encoders(self._names, settings.state)
        self._admin = admin
        self.remaining: dict[int, int] = {}
        """Offsets of the changelog that are still to be read, of partitions that are being restored."""
        own = {"group.id": self._names.process_group, **lookup.READER}
        self._consumer: Consumer = client.consumer(settings.kafka, own)

    def take(self, number: int) -> Partition:
        """The partition, up to date.

        The committed offset is asked for first: under read_committed the answer waits until no transaction of a former
        owner is open. Only then is the changelog's end final. In the other order a late commit would be lost.
        """
        committed = self._committed(number)
        end = self._end(number)
        store = self._store(number, end)
        try:
            self._read_tail(number, store, end)
            start = self._start(number, store.position, committed)
            partition = self._partition(number, store, start, end)
            if start != store.position and start.generation:
                self._warm_up(partition)
            return partition
        except BaseException:
            store.close()
            raise

    def _partition(self, number: int, store: PartitionStore, start: Position, end: int) -> Partition:
        """The partition with its state, made anew where damage shows only now that all of it is read."""
        own = (number, self._input.partitions, store, start, self._settings.state, self._encoders)
        try:
            return Partition(*own)
        except StateError as error:
            reason = str(error)  # and no more: the error's frames hold what keeps the store's files open
        self._renew(number, store, reason)
        self._read_tail(number, store, end)
        return Partition(*own)

    def close(self) -> None:
        """Let go of the consumer."""
        self._consumer.close()

    def _where(self, number: int) -> str:
        return f"{self._names.state}[{number}]"

    def _committed(self, number: int) -> int | None:
        return group.committed_as_seen(self._consumer, self._names.process_group, self._names.raw, [number])[number]

    def _end(self, number: int) -> int:
        return group.offsets(self._admin, self._names.state, [number], OffsetSpec.latest())[number]

    def _store(self, number: int, end: int) -> PartitionStore:
        """The partition's store, made anew where it does not belong to the changelog as it is."""
        folder = self._folder / f"{self._input.state_id}-{number}"
        store = PartitionStore(folder, self._where(number))
        if store.renewed:
            self._tell_renewed(number, store)
        if store.position is not None and store.position.state_id != self._input.state_id:
            self._renew(number, store, f"it belongs to another topic {self._names.state}")
        elif store.changelog_offset > end:
            self._renew(number, store, f"it is ahead of its changelog: {store.changelog_offset} against {end}")
        elif 0 < store.changelog_offset < end and time.time() * 1000 - store.changelog_ms > self._input.deletions_ms:
            self._renew(number, store, "it is so old that deletions may be gone from the changelog")
        return store

    def _renew(self, number: int, store: PartitionStore, reason: str) -> None:
        store.renew(reason)
        self._tell_renewed(number, store)

    def _tell_renewed(self, number: int, store: PartitionStore) -> None:
        _logger.warning("partition %d: its state is read from the changelog anew: %s", number, store.renewed)

    def _read_tail(self, number: int, store: PartitionStore, end: int) -> None:
        """Apply the changelog from where the store is up to `end`, committed records only."""
        at = store.changelog_offset
        if at >= end:
            return
        with told("cannot read the changelog", self._where(number)):
            low, _ = self._bounds(self._names.state, number)
            self._consumer.assign([TopicPartition(self._names.state, number, max(at, low))])
            try:
                while at < end:
                    self.remaining[number] = end - at
                    at = self._apply(store, client.consume(self._consumer, AT_ONCE, WAIT_SECONDS), at)
            finally:
                self.remaining.pop(number, None)
                self._consumer.unassign()

    def _apply(self, store: PartitionStore, messages: list[Record], at: int) -> int:
        """Apply records; the place after them. The end of a partition stands after its control records too."""
        changes: list[Change] = []
        time_ms = store.changelog_ms
        for message in messages:
            error = message.error()
            if error is None:
                changes.append((message.key() or b"", message.value()))
                at, time_ms = message.offset() + 1, message.timestamp()[1]
            elif error.code() == KafkaError._PARTITION_EOF:
                at = max(at, message.offset())
            elif not passes(error):
                raise KafkaException(error)
        if messages:
            store.write(changes, at, time_ms)
        return at

    def _start(self, number: int, position: Position | None, committed: int | None) -> Position:
        """Where the partition goes on: at its position, unless someone has set the group's offset elsewhere."""
        low, high = self._bounds(self._names.raw, number)
        config = self._settings.state.canonical()
        fresh = Position(low, 0, self._input.raw_id, self._input.state_id, config)
        if position is None:
            start = fresh if committed is None else self._without_state(number, fresh._replace(offset=committed))
        elif committed is None or committed == position.offset:
            self._check(position, config, number)
            start = position
            if position.state_id != self._input.state_id:
                start = fresh._replace(offset=position.offset, generation=position.generation + 1)
                self._tell_begun(number, "the changelog was made anew while members wrote to it", start)
        else:
            start = fresh._replace(offset=committed, generation=position.generation + 1)
            reason = f"the group's offset was set to {committed}, the state stands at {position.offset}"
            self._tell_begun(number, reason, start)
        if not low <= start.offset <= high:
            raise StateError(
                f"offset {start.offset} is to be read next, but the topic holds {low} to {high}: "
                "records were deleted before they were read, or the topic was made anew",
                where=f"{self._names.raw}[{number}]",
                hint="go on from what there is, as a new generation: streamproc replay --to-earliest --execute",
            )
        return start

    def _without_state(self, number: int, start: Position) -> Position:
        """Where a partition goes on that the group has an offset of, and the changelog nothing.

        Someone has set it before the first start, or the changelog is gone: then there are rows.
        """
        generation = 1 + max(self._generations_of_rows(number), default=-1)
        if generation:
            start = start._replace(generation=generation)
            self._tell_begun(number, "the changelog was deleted and made anew", start)
        return start

    def _generations_of_rows(self, number: int) -> Iterator[int]:
        """Those of the newest rows that were made of a partition."""
        for topic in (self._names.hf, self._names.bars):
            with told("cannot read the topic", topic):
                described = self._consumer.list_topics(topic, timeout=group.ANSWER_SECONDS)
                there = range(len(described.topics[topic].partitions))
                # With as many partitions the rows are in that of the same number.
                numbers = [number] if len(there) == self._input.partitions else there
                bounds = group.bounds(self._admin, topic, numbers)
                for record in lookup.last_records(self._consumer, topic, bounds).values():
                    yield orjson.loads(record.value() or b"")["generation"]

    def _tell_begun(self, number: int, reason: str, start: Position) -> None:
        _logger.warning("partition %d: %s: generation %d begins", number, reason, start.generation)

    def _check(self, position: Position, config: str, number: int) -> None:
        if position.format != FORMAT:
            raise StateError(
                f"the state has format {position.format}, this version writes format {FORMAT}",
                where=self._where(number),
                hint="use the version that wrote it, or begin a new generation: streamproc replay --shift-by -1",
            )
        if position.config != config:
            raise StateError(
                f"the state was written under another configuration\n  state:   {position.config}\n  current: {config}",
                where=self._where(number),
                hint="give the configuration it was written under, or begin a new generation under the other: "
                "streamproc replay",
            )
        if position.raw_id != self._input.raw_id:
            raise StateError(
                f"the state was made from another topic {self._names.raw}: that was deleted and made anew",
                where=self._where(number),
                hint="go on with the new one, as a new generation: streamproc replay --to-earliest --execute",
            )

    def _bounds(self, topic: str, number: int) -> tuple[int, int]:
        """First offset and end of a partition."""
        return group.bounds(self._admin, topic, [number])[number]

    def _warm_up(self, partition: Partition) -> None:
        """Feed a new generation the records of the look-back before its start."""
        number, start, raw = partition.number, partition.offset, self._names.raw
        low, _ = self._bounds(raw, number)
        with told("cannot read the look-back", f"{raw}[{number}]"):
            first = lookup.lookback_start(self._consumer, raw, number, start, low, self._settings.lookback_ms)
            records = lookup.between(self._consumer, raw, number, first, start) if first < start else iter(())
            while some := list(islice(records, AT_ONCE)):
                partition.warm_up(some)


class TakeOverThread:
    """Takes partitions over one after the other, while the member works.

    What was asked for again in the meantime, after a partition had gone and come back, is not handed over: of a
    partition's store only one can be open.
    """

    def __init__(self, settings: Settings, admin: AdminClient, input_: Input, folder: Path) -> None:
        self._take_over = TakeOver(settings, admin, input_, folder)
        self._wanted: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._newest: dict[int, int] = {}
        """Of each partition the assignment that it was last asked for in."""
        self._handing_over = threading.Lock()
        self.taken: queue.SimpleQueue[Taken] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="take-over", daemon=True)
        self._thread.start()

    @property
    def remaining(self) -> dict[int, int]:
        """Offsets of the changelog that are still to be read, of the partition that is being restored."""
        return dict(self._take_over.remaining)

    def ask(self, number: int, assignment: int) -> None:
        """Ask for a partition; it comes in `taken`."""
        with self._handing_over:
            self._newest[number] = assignment
            for taken in [self.taken.get() for _ in range(self.taken.qsize())]:
                self._hand_over(taken)
        self._wanted.put((number, assignment))

    def close(self) -> None:
        """Finish what was begun, and end."""
        with self._handing_over:
            self._newest.clear()
        self._wanted.put(None)
        self._thread.join()
        self._take_over.close()
        while not self.taken.empty():
            partition = self.taken.get().partition
            if partition:
                partition.close()

    def _hand_over(self, taken: Taken) -> None:
        if self._newest.get(taken.number) == taken.assignment:
            self.taken.put(taken)
        elif taken.partition:
            taken.partition.close()

    def _work(self) -> None:
        while wanted := self._wanted.get():
            number, assignment = wanted
            if self._newest.get(number) != assignment:
                continue
            try:
                taken = Taken(number, assignment, self._take_over.take(number), None)
            except Exception as error:
                taken = Taken(number, assignment, None, error)
            with self._handing_over:
                self._hand_over(taken)
