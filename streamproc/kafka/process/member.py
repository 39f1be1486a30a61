"""The member's loop: consume, feed, commit; partitions that come and go."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streamproc.config import Settings
from streamproc.crash import crash_point
from streamproc.errors import StateError, StreamprocError
from streamproc.kafka import client
from streamproc.kafka.client import BrokerError, Record, passes, told
from streamproc.kafka.lag import Lags, Place
from streamproc.kafka.names import Names
from streamproc.kafka.process.identity import Home
from streamproc.kafka.process.partition import Outgoing, Partition, nothing_measured
from streamproc.kafka.process.quiet import QuietWatch
from streamproc.kafka.process.takeover import Input, TakeOverThread
from streamproc.kafka.process.transaction import AbortedError, Transaction
from streamproc.kafka.protocol import GroupProtocol
from streamproc.observe.metrics import histogram
from streamproc.observe.stop import StopRequest

RECORDS_AT_ONCE = 500
SLICE_SECONDS = 0.02
"""How long fewer than these are waited for: what has come is worked on while the next commit draws near."""
PARTS_A_COMMIT = 4
"""While there is more to take, a commit waits until it takes no more than one of so many parts of the time."""
QUEUED_KBYTES = 65_536
SEEK_SECONDS = 10.0
REJOIN_SECONDS = 0.5
SESSION_SECONDS = 90.0
"""A member id that stays taken for longer than any session is another process's."""

_COUNTED = {"hf": "hf_rows", "bars": "bar_rows", "dlq": "rejected"}
"""What the records of each output topic are counted as."""

_ID_IS_TAKEN = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()
"""Within the text of a fatal error, whose code no longer tells it."""

_logger = logging.getLogger(__name__)


class Standing(NamedTuple):
    """How many partitions are assigned, being restored or refused, and those that run."""

    assigned: int
    running: list[Partition]
    restoring: int
    refused: int


class Member:
    """A member of the group, from its start to its end.

    Parameters
    ----------
    admin : of the cluster.
    input_ : the raw topic and its changelog.
    home : its name and folder.
    """

    def __init__(
        self,
        settings: Settings,
        admin: AdminClient,
        input_: Input,
        home: Home,
        stop: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = Names(settings.kafka.prefix)
        self._settings = settings.process
        self._stop = stop
        self._clock = clock
        names = ("records", *_COUNTED.values(), "commits", "aborted", "rebuilt")
        self.counts: Counter[str] = Counter(dict.fromkeys(names, 0))
        """What was committed, and partitions whose state had to be read from the changelog anew."""
        self.measured = nothing_measured()
        """The same in more detail, by metric."""
        self.commit_seconds = histogram("streamproc_commit_seconds")
        self.committed_at = 0.0
        """Of the last commit, Unix time."""
        self.turned_at = clock()
        """When the loop last came round."""
        self.lags = Lags(self._positions, clock)
        self._observed = settings.observe.port is not None
        self._uncommitted: Counter[str] = Counter()
        self._most = self._settings.commit_records
        """Records of a transaction."""
        self._owned: dict[int, int] = {}
        """Assigned partitions, by the number of the assignment they came in."""
        self._running: dict[int, Partition] = {}
        self._refused: dict[int, StateError] = {}
        """Partitions whose state cannot be gone on from; the others run."""
        self._touched: dict[int, Partition] = {}
        self._assignments = 0
        self._failed: StreamprocError | None = None
        """Raised once the call of `consume` has returned that met it: from its callbacks nothing can be raised."""
        self._quiet: QuietWatch | None = None
        if settings.state.bar_idle_close is not None:
            interval = settings.process.commit_interval
            self._quiet = QuietWatch(admin, self._names.raw, clock, interval)
        self._kafka = settings.kafka
        self._protocol = GroupProtocol(settings.process.group_protocol)
        self._member_id = home.member_id
        self._largest_bytes = input_.largest_bytes
        self._take_over = TakeOverThread(settings, admin, input_, home.folder)
        self._due = self._worth = 0.0
        """When the next commit is due, and when it is worth its time although there is more to take."""
        self._taken_until = clock() + SESSION_SECONDS

    def _joined(self) -> Consumer:
        """A consumer that joins the group."""
        consumer = client.consumer(self._kafka, self._consumer_properties())
        with told("cannot join the group", self._names.process_group):
            consumer.subscribe(
                [self._names.raw], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        return consumer

    def _consumer_properties(self) -> dict[str, Any]:
        return {
            "group.id": self._names.process_group,
            "group.instance.id": self._member_id,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": QUEUED_KBYTES,
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 100,  # a partition that begins to run waits for the fetch that is under way
            "enable.partition.eof": True,
            **self._protocol.properties,
            **(self.lags.properties if self._observed else {}),
        }

    @property
    def standing(self) -> Standing:
        """Which partitions are where."""
        restoring = self._owned.keys() - self._running.keys() - self._refused.keys()
        return Standing(len(self._owned), [*self._running.values()], len(restoring), len(self._refused))

    @property
    def restoring(self) -> dict[int, int]:
        """Offsets of the changelog that are still to be read, by partition."""
        return self._take_over.remaining

    def _positions(self) -> dict[Place, int]:
        return {(self._names.raw, number): one.reached for number, one in self._running.items()}

    def run(self) -> None:
        """Work until stopped; commit and leave."""
        self._consumer: Consumer = self._joined()  # first: it joins while the producer begins
        self._transaction = Transaction(
            self._kafka, self._names.transaction("process", self._member_id), self._largest_bytes
        )
        try:
            while not self._stop.requested:
                self._turn()
            with suppress(AbortedError):  # its input is taken again at the next start
                self._commit()
        finally:
            self._close()

    def _close(self) -> None:
        self._take_over.close()
        with suppress(BrokerError):  # what is open by now is void
            self._transaction.abort()
        self._touched.clear()
        self._consumer.close()
        for partition in self._running.values():
            partition.close()
        self._running.clear()

    def _turn(self) -> None:
        """Take what has come, unless the transaction is aborted on the way."""
        self.turned_at = self._clock()
        most = min(RECORDS_AT_ONCE, self._most - self._uncommitted["records"])
        messages = client.consume(self._consumer, most, SLICE_SECONDS)
        if self._failed:
            raise self._failed
        try:
            self._take(messages, more=len(messages) == most)
        except AbortedError as error:
            _logger.warning("a transaction was aborted, its input is taken again: %s", error)
            self._go_back()
            for partition in self._running.values():  # what else had come was perhaps not fed
                self._rewind(partition)

    def _take(self, messages: list[Record], more: bool) -> None:
        """Feed what has come, and commit when it is time."""
        by_partition = self._sorted(messages)
        self._adopt()  # after: records that came before a partition was taken over may leave a gap
        for number, records in by_partition.items():
            self._feed(self._running[number], records)
        for partition, outgoing in self._quiet.pass_time(self._running).items() if self._quiet else ():
            self._begin(partition)
            self._produce(outgoing)
        now = self._clock()
        if self._uncommitted["records"] >= self._most or now >= (max(self._due, self._worth) if more else self._due):
            self._due = max(self._due + self._settings.commit_interval, now)
            self._commit()
            seconds = self._clock() - now
            self.commit_seconds.observe(seconds)
            self._worth = now + PARTS_A_COMMIT * seconds

    def _sorted(self, messages: Iterable[Record]) -> dict[int, list[Record]]:
        """Records by partition, of those that run, and from where these stand."""
        found: dict[int, list[Record]] = defaultdict(list)
        for message in messages:
            error = message.error()
            partition = self._running.get(message.partition())
            if error is not None:
                self._meet(error, message, partition)
            elif partition is not None and message.offset() >= partition.offset:
                found[partition.number].append(message)
        return found

    def _meet(self, error: KafkaError, message: Record, partition: Partition | None) -> None:
        """An error among the records: one that passes is told, any other is the end."""
        if error.code() == KafkaError._PARTITION_EOF:
            if partition is not None:
                partition.reached = max(partition.reached, message.offset())
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET and partition is None:
            return  # asked for before the pause took effect
        if _ID_IS_TAKEN in error.str() and self._clock() < self._taken_until:
            _logger.warning("the group takes %s for alive until its session ends: joining again", self._member_id)
            time.sleep(REJOIN_SECONDS)
            self._join_again()
            return
        if self._protocol.falls_back(error):
            self._join_again()
            return
        if passes(error):
            _logger.warning("Kafka: %s", error.str())
            return
        where = f"{message.topic()}[{message.partition()}]" if message.topic() else self._names.raw
        raise BrokerError(error, "cannot read", where)

    def _join_again(self) -> None:
        self._consumer.close()
        self._consumer = self._joined()

    def _feed(self, partition: Partition, records: list[Record]) -> None:
        self._begin(partition)
        self._produce(partition.feed(records))
        self._uncommitted["records"] += len(records)

    def _begin(self, partition: Partition) -> None:
        """Have the partition in the open transaction."""
        if not self._transaction.open:
            self._transaction.begin()
        self._touched[partition.number] = partition

    def _produce(self, outgoing: Iterable[Outgoing]) -> None:
        for topic, count in self._transaction.produce(outgoing).items():
            self._uncommitted[_COUNTED[topic.removeprefix(f"{self._names.prefix}.")]] += count

    def _commit(self) -> None:
        """Commit what is open. `AbortedError` when that is refused."""
        if self._transaction.open:
            self._commit_touched()
        self._touched.clear()
        self._uncommitted.clear()

    def _commit_touched(self) -> None:
        written = []
        for number, partition in self._touched.items():
            changes = partition.changes()
            written.append((partition, changes, self._transaction.log(self._names.state, number, changes)))
        crash_point("process.after_produce")
        offsets = [TopicPartition(self._names.raw, number, one.offset) for number, one in self._touched.items()]
        # As the group is now: after a loss that this member has not been told of yet the commit is refused.
        self._transaction.commit(offsets, self._consumer.consumer_group_metadata())
        crash_point("process.after_commit")
        self.committed_at = time.time()
        for partition, changes, [last] in written:
            partition.store.write(changes, last + 1, round(self.committed_at * 1000))
            crash_point("process.after_store")
        self.counts.update(self._uncommitted)
        self.counts["commits"] += 1
        for partition in self._touched.values():
            self.measured.update(partition.measured())
        self._most = min(2 * self._most, self._settings.commit_records)

    def _go_back(self) -> None:
        """The engines of the transaction's partitions are ahead of Kafka: take these over again from where it is.

        The next transaction is half as large at most: what brokers are too slow for would never be through.
        """
        self.counts["aborted"] += 1
        if self._uncommitted["records"]:
            self._most = max(1, min(self._most, self._uncommitted["records"]) // 2)
        for number in self._touched:
            partition = self._running.pop(number, None)
            if partition:
                partition.close()
                self._consumer.pause([TopicPartition(self._names.raw, number)])
                self._take_over.ask(number, self._owned[number])
        self._touched.clear()
        self._uncommitted.clear()

    def _rewind(self, partition: Partition) -> None:
        """Fetch from where the partition stands."""
        partition.reached = partition.offset
        deadline = self._clock() + SEEK_SECONDS
        while True:
            try:
                self._consumer.seek(TopicPartition(self._names.raw, partition.number, partition.offset))
            except KafkaException as error:
                if self._clock() >= deadline:
                    raise BrokerError(error.args[0], "cannot seek", self._names.raw) from error
                time.sleep(0.01)
            else:
                return

    def _adopt(self) -> None:
        """Let partitions run that are ready and still ours."""
        while not self._take_over.taken.empty():
            number, assignment, partition, error = self._take_over.taken.get()
            if self._owned.get(number) != assignment:
                if partition:
                    partition.close()
                continue
            if partition is None:
                self._refuse(number, error or AssertionError("a partition or an error"))
                continue
            self._running[number] = partition
            self.counts["rebuilt"] += bool(partition.store.renewed)
            self._rewind(partition)
            self._consumer.resume([TopicPartition(self._names.raw, number)])
            _logger.info("partition %d runs from offset %d", number, partition.offset)

    def _refuse(self, number: int, error: Exception) -> None:
        """A partition that cannot run stays paused for someone to look at it; the end when none of them can."""
        if not isinstance(error, StateError):
            raise error
        self._refused[number] = error
        if self._refused.keys() >= self._owned.keys():
            raise error
        _logger.error("partition %d does not run: %s", number, error)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assignments += 1
        # Paused until its state says from where. From a number: librdkafka may answer its question for the start or the
        # end late, after the seek, and go there.
        consumer.incremental_assign([TopicPartition(one.topic, one.partition, 0) for one in partitions])
        consumer.pause(partitions)
        for one in partitions:
            self._owned[one.partition] = self._assignments
            self._take_over.ask(one.partition, self._assignments)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            self._commit()
        except AbortedError as error:
            _logger.warning("a transaction was aborted, its input is taken again: %s", error)
            self._go_back()
        except StreamprocError as error:
            self._failed = error
        self._drop(partitions)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Others own them by now: whatever was done since the last commit is theirs to do."""
        _logger.warning("partitions lost: %s", ", ".join(str(one.partition) for one in partitions))
        try:
            self._transaction.abort()
        except StreamprocError as error:
            self._failed = error
        self._drop(partitions)
        self._go_back()
        consumer.incremental_unassign(partitions)

    def _drop(self, partitions: Iterable[TopicPartition]) -> None:
        for one in partitions:
            self._owned.pop(one.partition, None)
            self._refused.pop(one.partition, None)
            partition = self._running.pop(one.partition, None)
            if partition:
                partition.close()
