"""`process` on books that come at their own pace: how late its rows are, and how much its changelog grows.

Latency: from the moment when the producer sees a book acknowledged to the moment when a read_committed consumer has the
row that it caused, told by the row's `source` header: 5,000 books a second, a commit each 100 ms. Producer and consumer
are one process, so one clock; the first seconds, in which the member starts, do not count.

Changelog: 1,000 books a second, a commit each second, so a commit holds what a second of wall time and of event time
brings, about ten books a symbol. Bytes are those of keys and values before compression: all of the changelog's records
over all of the raw topic's values. No segment of it is full by then, so compaction has taken nothing away; the count of
its records against its offsets, of which each commit takes one for its marker, shows that.
"""

import json
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from benchmarks.bench_process import check_output
from benchmarks.children import child, member_command, until
from benchmarks.kafka import PARTITIONS, Topics, broker, ends, reading, records
from benchmarks.measure import SCRATCH, tell
from benchmarks.raw_topic import Filled, books, market, produce_paced
from streamproc.kafka import client
from streamproc.kafka.process.changelog import POSITION_KEY

FOLDER = SCRATCH / "members-live"
SETTLING_SECONDS = 5.0
LATENCY_SYMBOLS, CHANGELOG_SYMBOLS = 500, 100

Origin = tuple[int, int]
"""Partition and offset of a raw record."""


class Arrivals:
    """When rows came to a read_committed consumer, by the record that caused them."""

    def __init__(self, topics: Topics) -> None:
        self.at: dict[Origin, float] = {}
        self._consumer = Consumer(reading(topics.settings))
        self._consumer.assign([TopicPartition(topics.names.hf, number, 0) for number in range(PARTITIONS)])
        self._ended = threading.Event()
        self._failed: list[KafkaError] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def close(self) -> None:
        """Read no more. Raises what has gone wrong."""
        self._ended.set()
        self._thread.join()
        self._consumer.close()
        if self._failed:
            raise KafkaException(self._failed[0])

    def _read(self) -> None:
        while not self._ended.is_set():
            for message in client.consume(self._consumer, 1, 0.1):  # as soon as it is there
                now = time.monotonic()
                error = message.error()
                if error is None:
                    partition, offset, _ = dict(message.headers() or ())["source"].split(b":")
                    self.at[int(partition), int(offset)] = now
                elif error.code() != KafkaError._PARTITION_EOF:
                    self._failed.append(error)
                    return


@contextmanager
def arrivals(topics: Topics) -> Iterator[Arrivals]:
    """Rows that come within the block."""
    reader = Arrivals(topics)
    try:
        yield reader
    finally:
        reader.close()


def latencies_ms(servers: str, seconds: float) -> list[float]:
    """Of each row but those of the first seconds."""
    topics = Topics(servers)
    acknowledged: dict[Origin, float] = {}
    paced = list(books(market(LATENCY_SYMBOLS, seconds + SETTLING_SECONDS)))

    def note(message: Message, at: float) -> None:
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        acknowledged[partition, offset] = at

    shutil.rmtree(FOLDER, ignore_errors=True)
    with child(member_command(topics, FOLDER / "member-1", commit_interval=0.1)) as member, arrivals(topics) as rows:
        until(lambda: len(member.running()) == PARTITIONS, member.check)
        filled = produce_paced(topics, paced, note)
        until(lambda: len(rows.at) == filled.rows, member.check)
        member.stop()
    topics.delete()
    counted_from = min(acknowledged.values()) + SETTLING_SECONDS
    began = {origin: acknowledged[origin] for origin in rows.at}
    return [1000 * (at - began[origin]) for origin, at in rows.at.items() if began[origin] >= counted_from]


def changelog_bytes(servers: str, seconds: float) -> tuple[int, Filled]:
    """Bytes of the changelog after so many seconds, and what was read for it."""
    topics = Topics(servers)
    shutil.rmtree(FOLDER, ignore_errors=True)
    with child(member_command(topics, FOLDER / "member-1", commit_interval=1)) as member:
        until(lambda: len(member.running()) == PARTITIONS, member.check)
        filled = produce_paced(topics, list(books(market(CHANGELOG_SYMBOLS, seconds))), lambda _message, _at: None)
        with topics.offsets_of(topics.names.process_group) as committed:
            until(lambda: sum(committed()) == filled.records, member.check)
        summary = json.loads(member.stop())
    assert summary["records"] == filled.records, summary
    check_output(topics, filled)
    size = count = commits = 0
    for record in records(topics.settings, topics.names.state):
        key = record.key() or b""
        size += len(key) + len(record.value() or b"")
        count += 1
        commits += key == POSITION_KEY
    assert count + commits == sum(ends(topics.settings, topics.names.state)), "compaction was there before"
    topics.delete()
    return size, filled


def main(latency_seconds: float, changelog_seconds: float) -> None:
    """Measure one after the other on one broker."""
    with broker() as servers:
        late = sorted(latencies_ms(servers, latency_seconds))
        size, filled = changelog_bytes(servers, changelog_seconds)
    shutil.rmtree(FOLDER, ignore_errors=True)
    p99 = statistics.quantiles(late, n=100)[98]
    detail = f"{len(late):,} rows, the latest {late[-1]:.0f} ms"
    tell("process: produce acknowledged -> row, 5,000 books/s: p50 in ms", statistics.median(late), "<= 150", detail)
    tell("process: the same, p99 in ms", p99, "<= 400")
    ratio, detail = size / filled.value_bytes, f"{size / 1e6:.1f} MB of {filled.value_bytes / 1e6:.1f} MB"
    tell("process: changelog / raw bytes, 10 books/s a symbol, 1 s commits", ratio, "<= 0.5", detail)


if __name__ == "__main__":
    main(*((15, 20) if "--quick" in sys.argv else (60, 60)))
