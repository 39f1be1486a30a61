"""What tests of the sink's commits share: records of one partition, and the partition over commits of any kind."""

import time
from collections.abc import Callable

from streamproc.config import SinkConfig, StateConfig
from streamproc.kafka.client import Headers
from streamproc.kafka.process.rows import RowEncoder
from streamproc.kafka.sink.collect import RowCollector
from streamproc.kafka.sink.partition import Partition
from streamproc.kafka.sink.rows import RowReader
from streamproc.kafka.sink.segment import Commits, Source
from tests.parquet_rows import KEYS, random_words

CONFIG = StateConfig(max_levels=1, horizons=(1.0,), bands_bps=(5.0,), bar_durations=(1.0,))
SOURCE = Source("t.hf", "id", 3)
WORDS = random_words("hf", CONFIG, 120)


class Message:
    """A consumed record."""

    def __init__(self, offset: int, value: bytes, headers: Headers) -> None:
        self._offset, self._value, self._headers = offset, value, headers

    def topic(self) -> str:
        return SOURCE.topic

    def partition(self) -> int:
        return SOURCE.partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers | None:
        return self._headers

    def error(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 0


RECORDS = [
    Message(offset, value, [("schema", b"1"), ("source", b"0:0:0")])
    for offset, value in enumerate(RowEncoder("hf", CONFIG).encode(WORDS, KEYS))
]


class Clock:
    """A clock that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def partition_over(
    commits: Commits, sink: SinkConfig | None = None, clock: Callable[[], float] = time.monotonic
) -> Partition:
    """The partition, by a process that has just got it."""
    collector = RowCollector("hf", CONFIG, sink or SinkConfig(), RowReader("hf", CONFIG))
    return Partition(SOURCE, "hf-00003", commits, collector, lambda: 0, clock)


def commit_rest(partition: Partition, step: int = len(RECORDS)) -> None:
    """Read to the end, and commit in segments of so many rows."""
    for start in range(partition.next, len(RECORDS), step):
        partition.add(RECORDS[start : start + step])
        partition.commit()
