"""Which partitions are caught up: the one thing that lets idle time pass."""

import logging
from collections.abc import Callable, Collection

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streamproc.kafka.client import listed_offsets
from streamproc.kafka.process.partition import Outgoing, Partition

LOOK_SECONDS = 1.0
UNWATCHED_SECONDS = 5.0
"""Of two looks that lie further apart than this and the time of a commit, something held up the second."""
ANSWER_SECONDS = 5.0

_logger = logging.getLogger(__name__)


class QuietWatch:
    """Asks for the ends of the partitions now and then; a partition that has come that far was caught up at that time.

    Ends are those that uncommitted records have too: behind a transaction that hangs nobody is caught up. A broker that
    does not answer stops the time, and so does whatever else keeps from looking, such as a process that is stopped:
    what is silent then may only be waiting.

    Parameters
    ----------
    commit_interval : how long it may take, in seconds, from one call of `pass_time` to the next.
    """

    def __init__(self, admin: AdminClient, topic: str, clock: Callable[[], float], commit_interval: float) -> None:
        self._admin = admin
        self._topic = topic
        self._clock = clock
        self._longest_ms = round((UNWATCHED_SECONDS + 2 * commit_interval) * 1000)
        self._next_look = 0.0
        self._ends: dict[int, tuple[int, int]] = {}
        self._caught_up_ms: dict[int, int] = {}
        """When each partition was last seen to be caught up."""

    def pass_time(self, running: dict[int, Partition]) -> dict[Partition, list[Outgoing]]:
        """Let idle time pass where it may; what comes of the bars that it closes."""
        closed = {}
        for number, (end, then_ms) in list(self._ends.items()):
            partition = running.get(number)
            if partition is None or partition.reached >= end:
                del self._ends[number]
            if partition is not None and partition.reached >= end:
                if then_ms - self._caught_up_ms.get(number, then_ms) > self._longest_ms:
                    list(partition.pass_time(then_ms, caught_up=False))
                self._caught_up_ms[number] = then_ms
                closed[partition] = list(partition.pass_time(then_ms, caught_up=True))
        if self._clock() >= self._next_look:
            self._next_look = self._clock() + LOOK_SECONDS
            self._look(running)
        return {partition: outgoing for partition, outgoing in closed.items() if outgoing}

    def _look(self, running: dict[int, Partition]) -> None:
        wanted = running.keys() - self._ends.keys()
        now_ms = round(self._clock() * 1000)
        try:
            self._ends |= {number: (end, now_ms) for number, end in self._asked(wanted).items()}
        except KafkaException as error:
            _logger.warning("the ends of the partitions are not known, idle time stands still: %r", error)
            for partition in running.values():
                list(partition.pass_time(now_ms, caught_up=False))

    def _asked(self, numbers: Collection[int]) -> dict[int, int]:
        if not numbers:
            return {}
        asked = {TopicPartition(self._topic, number): OffsetSpec.latest() for number in numbers}
        answers = listed_offsets(self._admin, asked, IsolationLevel.READ_UNCOMMITTED, ANSWER_SECONDS)
        return {number: answer.offset for (_, number), answer in answers.items()}
