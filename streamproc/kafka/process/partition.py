"""One partition of the raw topic: its engine, its store, and how far it has come."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.engine import Batch, Engine, Rejected
from streamproc.kafka.client import Headers, Record
from streamproc.kafka.names import Names
from streamproc.kafka.partitioner import partition_of, record_key
from streamproc.kafka.process.changelog import POSITION_KEY, Change, Position, changes_of
from streamproc.kafka.process.rows import RowEncoder
from streamproc.kafka.process.store import PartitionStore
from streamproc.local.idle import IdleClock
from streamproc.schema import COLUMNS_VERSION, LINE_WORD, SYMBOL_WORD, Stream, word

Measured = Counter[tuple[str, tuple[str, ...]]]
"""Counts by a metric's name and labels."""

_COUNTED = ("books", "trades", "duplicates", "late_events")


def nothing_measured() -> Measured:
    """What is told before anything was taken: zeros, so that a first one is seen to come."""
    return Counter({(f"streamproc_{name}_total", ()): 0 for name in _COUNTED})


class Outgoing(NamedTuple):
    """A record to be produced."""

    topic: str
    key: bytes | None
    value: bytes
    timestamp: int
    """Ms; 0: now."""
    headers: Headers


class Origin(NamedTuple):
    """Where the lines of a batch come from."""

    messages: Sequence[Record]
    starts: NDArray[np.int64]
    """Number of the first line of each message."""

    def of_lines(self, lines: NDArray[np.int64]) -> Iterator[tuple[Record, int]]:
        """The message of each line, and the line's number in it."""
        places = np.searchsorted(self.starts, lines, side="right") - 1
        inner = lines - self.starts[places]
        return zip([self.messages[place] for place in places.tolist()], inner.tolist(), strict=True)


def _lines(messages: Sequence[Record]) -> tuple[bytes, Origin]:
    values = [message.value() or b"" for message in messages]
    lines = b"\n".join([*values, b""])
    if lines.count(b"\n") == len(values):
        return lines, Origin(messages, np.arange(len(values)))
    counts = np.array([value.count(b"\n") + 1 for value in values])
    return lines, Origin(messages, np.cumsum(counts) - counts)


class RecordKeys(dict[tuple[str, str], bytes]):
    """Keys of the records of each exchange and symbol."""

    def __missing__(self, key: tuple[str, str]) -> bytes:
        made = self[key] = record_key(*key)
        return made


class Encoders:
    """What turns the rows of all partitions into records."""

    def __init__(self, names: Names, config: StateConfig) -> None:
        self.names = names
        self._topics: dict[Stream, str] = {"hf": names.hf, "bars": names.bars}
        self._encoders = {stream: RowEncoder(stream, config) for stream in self._topics}
        self._times = {stream: word(stream, "timestamp") for stream in self._topics}
        self._keys = RecordKeys()
        self._schema = ("schema", b"%d" % COLUMNS_VERSION)

    def rows(
        self, stream: Stream, words: NDArray[np.int64], keys: Sequence[tuple[str, str]], sources: Sequence[bytes]
    ) -> Iterator[Outgoing]:
        """Records of rows, each with its source."""
        topic, known, schema = self._topics[stream], self._keys, self._schema
        times = words[:, self._times[stream]].tolist()
        symbols = words[:, SYMBOL_WORD].tolist()
        encoded = self._encoders[stream].encode(words, keys)
        for value, t, symbol, source in zip(encoded, times, symbols, sources, strict=True):
            yield Outgoing(topic, known[keys[symbol]], value, t, [schema, ("source", source)])


class Partition:
    """A partition that this member owns, its state complete up to `offset`.

    Parameters
    ----------
    number, partitions : which one of how many.
    store : its state, up to the changelog's end.
    start : the position from which it goes on; of a new generation, the first one.
    """

    def __init__(
        self, number: int, partitions: int, store: PartitionStore, start: Position, config: StateConfig, out: Encoders
    ) -> None:
        self.number = number
        self.store = store
        self.idle = IdleClock()
        self._partitions = partitions
        self._out = out
        self._position = start
        self.offset = start.offset
        """Of the next record."""
        self.reached = start.offset
        """The same, control records counted: what the partition's end is compared with."""
        self.engine = Engine(config, start.generation, self._misrouted)
        self.engine.restore(store.symbols(start.generation))
        self._outdated = [] if store.position == start else list(store.outdated(start.generation))
        self._measured: Measured = Counter()

    def warm_up(self, messages: Sequence[Record]) -> None:
        """Take records into a new generation's state that nothing comes of."""
        if messages:
            self.engine.feed(_lines(messages)[0])

    def feed(self, messages: Sequence[Record]) -> Iterator[Outgoing]:
        """Take the next records; what comes of them, to be taken before the next call."""
        lines, origin = _lines(messages)
        batch = self.engine.feed(lines)
        self.offset = messages[-1].offset() + 1
        self.reached = max(self.reached, self.offset)
        return self._outgoing(batch, origin)

    def pass_time(self, now_ms: int, caught_up: bool) -> Iterator[Outgoing]:
        """Let idle time pass; the bars that it closes."""
        engine = self.engine
        idle_ms = self.idle.pass_time(now_ms, caught_up, engine.arrived(), len(engine.symbols.keys))
        if not caught_up:
            return iter(())
        return self._outgoing(engine.close_idle(idle_ms), None)

    def changes(self) -> list[Change]:
        """What the commit writes to the changelog: the state changed since the last, and last the position.

        The first commit of a generation deletes the state of those before.
        """
        self._position = self._position._replace(offset=self.offset)
        outdated: list[Change] = [(key, None) for key in self._outdated]
        self._outdated = []
        puts, deletes = self.engine.changes()
        changed = changes_of(puts, deletes, self._position.generation)
        return [*outdated, *changed, (POSITION_KEY, self._position.dumps())]

    def measured(self) -> Measured:
        """What was taken since the last call, by metric and labels."""
        engine, before = self.engine, self._measured
        counts = engine.counts
        now: Measured = Counter({(f"streamproc_{name}_total", ()): counts[name] for name in _COUNTED})
        now |= {("streamproc_invalid_books_total", (flag,)): count for flag, count in engine.invalid_books.items()}
        now |= {("streamproc_rejects_total", (reason,)): count for reason, count in engine.reasons.items()}
        self._measured = now
        return now - before

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def _outgoing(self, batch: Batch, origin: Origin | None) -> Iterator[Outgoing]:
        keys = self.engine.symbols.keys
        streams: tuple[tuple[Stream, NDArray[np.int64]], ...] = (("hf", batch.hf), ("bars", batch.bars))
        for stream, words in streams:
            if len(words):
                yield from self._out.rows(stream, words, keys, self._sources(origin, words[:, LINE_WORD]))
        if batch.rejected:
            assert origin is not None, "only lines are rejected"
            yield from self._dead_letters(batch.rejected, origin)

    def _dead_letters(self, rejected: Sequence[Rejected], origin: Origin) -> Iterator[Outgoing]:
        lines = np.array([one.line for one in rejected])
        found = zip(rejected, origin.of_lines(lines), self._sources(origin, lines), strict=True)
        for one, (message, _), source in found:
            headers = [
                ("reason", one.reason.encode()),
                ("detail", one.detail.encode()),
                ("source", source),
                ("generation", b"%d" % self._position.generation),
                *(message.headers() or ()),
            ]
            yield Outgoing(self._out.names.dlq, message.key(), one.raw, 0, headers)

    def _sources(self, origin: Origin | None, lines: NDArray[np.int64]) -> list[bytes]:
        """`partition:offset:line` of the record that caused each row; of none, the next record's place."""
        if origin is None:
            return [b"%d:%d:" % (self.number, self.offset)] * len(lines)
        return [b"%d:%d:%d" % (self.number, message.offset(), inner) for message, inner in origin.of_lines(lines)]

    def _misrouted(self, exchange: str, symbol: str) -> str:
        key = record_key(exchange, symbol)
        home = partition_of(key, self._partitions)
        if home == self.number:
            return ""
        return f"{key.decode()} belongs to partition {home} of {self._partitions}, not {self.number}"
