"""Records of a topic looked up by place, by key and by time, as whoever reads committed records sees them.

Kafka finds by time also the markers at which transactions end, and these bear the broker's clock: among records of
last year the very first marker is "later" than all of them. So what Kafka answers is where to begin to look.
"""

import time
from collections.abc import Collection, Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streamproc.kafka import client
from streamproc.kafka.client import Record

ANSWER_SECONDS = 30.0
AT_ONCE = 10_000
WAIT_SECONDS = 0.05
WINDOW = 1_000
"""Offsets looked at first when going backwards."""

READER = {
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 10,  # each look-up waits for the fetch of the one before
}
"""Properties that a consumer must have to be used here."""


class Scan:
    """Committed records of some partitions, each from an offset to the end that it has when that is reached."""

    def __init__(self, consumer: Consumer, topic: str, starts: Mapping[int, int]) -> None:
        self._consumer = consumer
        self._topic = topic
        self._starts = starts
        self._open = set(starts)

    def __iter__(self) -> Iterator[Record]:
        starts = [TopicPartition(self._topic, number, start) for number, start in self._starts.items()]
        self._consumer.list_topics(self._topic, timeout=ANSWER_SECONDS)  # else the leader is known half a second later
        self._consumer.assign(starts)
        try:
            yield from self._records()
        finally:
            self._consumer.unassign()

    def leave(self, number: int) -> None:
        """Take no more of a partition."""
        self._open.discard(number)
        self._consumer.incremental_unassign([TopicPartition(self._topic, number)])

    def _records(self) -> Iterator[Record]:
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._open:
            messages = client.consume(self._consumer, AT_ONCE, WAIT_SECONDS)
            if messages:
                deadline = time.monotonic() + ANSWER_SECONDS
            elif time.monotonic() >= deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            for message in messages:
                error = message.error()
                if error is not None:
                    self._meet(error, message.partition())
                elif message.partition() in self._open:
                    yield message

    def _meet(self, error: KafkaError, number: int) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._open.discard(number)
        elif not error.retriable() and error.code() not in {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}:
            raise KafkaException(error)


def first_records(consumer: Consumer, topic: str, starts: Mapping[int, int]) -> dict[int, Record]:
    """The first record at or after an offset of each partition, where there is one."""
    found: dict[int, Record] = {}
    scan = Scan(consumer, topic, starts)
    for record in scan:
        found[record.partition()] = record
        scan.leave(record.partition())
    return found


def first_from_time(consumer: Consumer, topic: str, numbers: Collection[int], time_ms: int) -> dict[int, int]:
    """Offset of the first record of each partition whose timestamp is not before a time, where there is one."""
    found: dict[int, int] = {}
    scan = Scan(consumer, topic, _hints(consumer, topic, numbers, time_ms))
    for record in scan:
        if record.timestamp()[1] >= time_ms:
            found[record.partition()] = record.offset()
            scan.leave(record.partition())
    return found


def last_records(
    consumer: Consumer, topic: str, bounds: Mapping[int, tuple[int, int]], key: bytes | None = None, width: int = WINDOW
) -> dict[int, Record]:
    """The last record of each partition, where there is one; with `key`, the last of that key.

    Parameters
    ----------
    bounds : first offset and end of what is looked through, by partition.
    width : offsets looked at first; each time four times as many.
    """
    found: dict[int, Record] = {}
    starts = {number: end for number, (_, end) in bounds.items()}
    while open_ := [number for number in bounds if number not in found and starts[number] > bounds[number][0]]:
        starts |= {number: max(bounds[number][0], bounds[number][1] - width) for number in open_}
        for record in Scan(consumer, topic, {number: starts[number] for number in open_}):
            if key is None or record.key() == key:
                found[record.partition()] = record
        width *= 4
    return found


def lookback_start(consumer: Consumer, topic: str, number: int, target: int, low: int, lookback_ms: int) -> int:
    """Offset of the first record of the look-back before `target`; `target` where there is none.

    The look-back reaches from the timestamp of the record at `target`, or of the next there is, or else of the last
    before it, `lookback_ms` back. It is searched backwards, so that records far off which bear a wrong time do not
    reach it: it ends where of a whole window of records all are older.

    Parameters
    ----------
    consumer : with the properties of `READER`.
    target : offset of a new generation's first record.
    low : the partition's first offset.
    """
    at: int | None = None
    for record in first_records(consumer, topic, {number: target}).values():
        at = record.timestamp()[1] - lookback_ms
    if at is not None and (hint := _accepted_hint(consumer, topic, number, at, at + lookback_ms)) is not None:
        return min(hint, target)
    start, end, width = target, target, WINDOW
    while end > low:
        begin = max(low, end - width)
        times = [(record.offset(), record.timestamp()[1]) for record in between(consumer, topic, number, begin, end)]
        if times and at is None:
            at = times[-1][1] - lookback_ms
        within = [offset for offset, time_ms in times if at is not None and time_ms >= at]
        if times and not within:
            break
        start, end, width = min([start, *within]), begin, width * 4
    return start


def _accepted_hint(consumer: Consumer, topic: str, number: int, first_ms: int, last_ms: int) -> int | None:
    """What Kafka's answer for a time leads to, if that is a record of the span, and no marker or stray."""
    hints = _hints(consumer, topic, [number], first_ms)
    for record in first_records(consumer, topic, hints).values():
        if first_ms <= record.timestamp()[1] <= last_ms:
            return record.offset()
    return None


def between(consumer: Consumer, topic: str, number: int, start: int, end: int) -> Iterator[Record]:
    """Records of a partition from `start` on, before `end`."""
    scan = Scan(consumer, topic, {number: start})
    for record in scan:
        if record.offset() >= end:
            scan.leave(number)
        else:
            yield record


def _hints(consumer: Consumer, topic: str, numbers: Collection[int], time_ms: int) -> dict[int, int]:
    """Where Kafka finds a time first, markers counted; partitions without it are left out."""
    asked = [TopicPartition(topic, number, max(0, time_ms)) for number in numbers]
    answers = consumer.offsets_for_times(asked, timeout=ANSWER_SECONDS) if asked else []
    for answer in answers:
        if answer.error:
            raise KafkaException(answer.error)
    return {answer.partition: answer.offset for answer in answers if answer.offset >= 0}
