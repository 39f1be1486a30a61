"""Raw topics for benchmarks: simulated books under their keys, as fast as they go or at their own pace."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.kafka import Topics
from streamproc.kafka import client
from streamproc.simulate import Market, generate

FLUSH_SECONDS = 120.0
BEHIND_SECONDS = 1.0
WAKE_SECONDS = 0.002
"""The producer does not wake for each book: the cores are those of the member and the broker."""

ROW_MS = 1_000
"""`hf_emit_interval`: a row comes of a symbol's first book in each."""

_KEY = re.compile(rb'"exchange":"([^"]*)","symbol":"([^"]*)"')
_TIMES = re.compile(rb'"timestamp":(\d+).*"collected_at":(\d+)')


class Book(NamedTuple):
    """A line and what a record of it bears."""

    line: bytes
    key: bytes
    timestamp: int
    collected_at: int


class Filled(NamedTuple):
    """What was produced into a raw topic."""

    records: int
    books: int
    value_bytes: int
    """Of the values, not compressed."""
    rows: int
    """Feature rows that come of it: one a symbol and second with a book."""
    by_key: Counter[bytes]
    """Books of each symbol."""


def market(symbols: int, seconds: float) -> Market:
    """Books alone, 20 levels, 10 a second a symbol."""
    return Market(symbols=symbols, seconds=seconds, levels=20, rate_hz=10, trade_rate_hz=0)


def books(of: Market) -> Iterator[Book]:
    """The market's books in order of time."""
    for chunk in generate(of):
        for line in chunk.splitlines():
            yield as_book(line)


def as_book(line: bytes) -> Book:
    """A simulated line, whose fields are always in the same order."""
    names, times = _KEY.search(line), _TIMES.search(line)
    assert names and times
    return Book(line, b":".join(names.groups()), int(times[1]), int(times[2]))


class Filler:
    """Packs books and counts them."""

    def __init__(self, topics: Topics, lines_a_record: int) -> None:
        self._topic = topics.names.raw
        self._producer = raw_producer(topics, linger_ms=50)
        self._most = lines_a_record
        self._waiting: dict[bytes, list[Book]] = defaultdict(list)
        self._records = self._bytes = 0
        self._books: Counter[bytes] = Counter()
        self._seconds: set[tuple[bytes, int]] = set()

    def take(self, book: Book) -> None:
        """The next book."""
        self._books[book.key] += 1
        self._seconds.add((book.key, book.timestamp // ROW_MS))
        waiting = self._waiting[book.key]
        waiting.append(book)
        if len(waiting) == self._most:
            self._send(self._waiting.pop(book.key))

    def done(self) -> Filled:
        """When all is on the broker."""
        for waiting in self._waiting.values():
            self._send(waiting)
        assert not self._producer.flush(FLUSH_SECONDS)
        return Filled(self._records, self._books.total(), self._bytes, len(self._seconds), self._books)

    def _send(self, packed: list[Book]) -> None:
        value = b"\n".join(book.line for book in packed)
        self._records += 1
        self._bytes += len(value)
        produce(self._producer, self._topic, value, packed[0].key, timestamp=packed[0].collected_at)


def fill(topics: Topics, of: Market, lines_a_record: int = 1) -> Filled:
    """A market's books into the raw topic, so many lines of a key a record."""
    filler = Filler(topics, lines_a_record)
    for book in books(of):
        filler.take(book)
    return filler.done()


def raw_producer(topics: Topics, linger_ms: int) -> Producer:
    """What `publish` produces with, less its transactions."""
    own = {"compression.type": "lz4", "linger.ms": linger_ms, "queue.buffering.max.kbytes": 256 << 10}
    return client.producer(topics.settings.kafka, own)


def produce(producer: Producer, *record: Any, **rest: Any) -> None:
    """Produce a record as soon as the queue has room for it."""
    while True:
        try:
            producer.produce(*record, **rest)
        except BufferError:
            producer.poll(0.1)
        else:
            return


Acknowledged = Callable[[Message, float], None]
"""A record that the broker has, and when its acknowledgement was seen (monotonic clock)."""


def produce_paced(topics: Topics, paced: Sequence[Book], acknowledged: Acknowledged) -> Filled:
    """Books, each a record, each when it was collected after the first one.

    Raises where the producer falls behind by more than it could make up for.
    """
    producer = raw_producer(topics, linger_ms=5)

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        acknowledged(message, time.monotonic())

    offset_s = time.monotonic() - paced[0].collected_at / 1000
    for book in paced:
        while (wait_s := book.collected_at / 1000 + offset_s - time.monotonic()) > 0:
            producer.poll(max(wait_s, WAKE_SECONDS))  # ends at the next acknowledgement
        producer.produce(topics.names.raw, book.line, book.key, timestamp=book.collected_at, on_delivery=delivered)
        producer.poll(0)
    behind_s = time.monotonic() - offset_s - paced[-1].collected_at / 1000
    assert behind_s < BEHIND_SECONDS, f"the producer fell behind by {behind_s:.1f} s: nothing can be told"
    assert not producer.flush(FLUSH_SECONDS)
    return Filled(
        records=len(paced),
        books=len(paced),
        value_bytes=sum(len(book.line) for book in paced),
        rows=len({(book.key, book.timestamp // ROW_MS) for book in paced}),
        by_key=Counter(book.key for book in paced),
    )
