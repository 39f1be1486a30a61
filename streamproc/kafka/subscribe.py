"""Rows of the topics for programs downstream: typed, committed ones only, each at least once."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, Self, TypeVar, overload

import orjson
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from streamproc.config import Settings, StateConfig, load_settings
from streamproc.errors import DataError, StreamprocError, UsageError
from streamproc.kafka import client
from streamproc.kafka.client import BrokerError, Record, told
from streamproc.kafka.names import STREAMS, Names
from streamproc.kafka.protocol import GroupProtocol
from streamproc.schema import BAR_FIXED, COLUMNS_VERSION, HF_FIXED, Stream, arrow_schema

Row = dict[str, Any]
From = Literal["earliest", "latest", "committed"]

AT_ONCE = 5_000
"""Most rows of a record batch."""

WAIT_SECONDS = 0.2
COMMIT_SECONDS = 1.0
ANSWER_SECONDS = 30.0
ALONE = "streamproc.subscriber"
"""A group's name is needed even where none is joined."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMA = b"%d" % COLUMNS_VERSION
_FROM = ("earliest", "latest", "committed")

_FIXED = {"hf": HF_FIXED, "bars": BAR_FIXED}
"""Columns that every configuration has; all times are among them."""

_PASSING = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._MAX_POLL_EXCEEDED,  # by a caller who was long about a row: it comes back
}

_logger = logging.getLogger(__name__)

T_co = TypeVar("T_co", covariant=True)


@overload
def consume_rows(
    stream: Stream,
    settings: Settings | str | None = ...,
    *,
    group: str | None = ...,
    from_: From = ...,
    batches: Literal[False] = ...,
) -> "Subscription[Row]": ...


@overload
def consume_rows(
    stream: Stream,
    settings: Settings | str | None = ...,
    *,
    group: str | None = ...,
    from_: From = ...,
    batches: Literal[True],
) -> "Subscription[pa.RecordBatch]": ...


def consume_rows(
    stream: Stream,
    settings: Settings | str | None = None,
    *,
    group: str | None = None,
    from_: From = "earliest",
    batches: bool = False,
) -> "Subscription[Any]":
    """Rows of a topic as they are committed, until closed.

    Parameters
    ----------
    stream : `"hf"` or `"bars"`.
    settings : those of streamproc, or just the brokers, `"host:port"`; None: `./config.yaml` and the environment.
    group : a consumer group of your own. Its members share the partitions, and each row comes at least once: offsets
        are committed when the rows after them are asked for, and on closing. None: all partitions, nothing committed.
    from_ : where partitions begin of which the group has committed nothing. `"committed"`: that is an error.
    batches : record batches with `streamproc.schema.arrow_schema` instead of dicts; `settings.state` must then be the
        configuration that made the rows.

    Returns
    -------
    An iterator of dicts with the columns of docs/columns.md: times are `datetime`, UTC; null is None. It waits for rows
    without end; `close()`, from any thread, ends it. As a context manager it closes itself, and after an exception
    leaves the row at hand uncommitted. Rows of several generations come as they are written; the newest counts.

    Raises
    ------
    UsageError : for another stream, or `"committed"` without a group.
    BrokerError : for what Kafka refuses, also while rows are taken.
    DataError : for a record that is no row of this version or, in batches, configuration; for rows that were deleted
        before they were read.

    Examples
    --------
    >>> with consume_rows("hf", "localhost:9092", group="my-strategy") as rows:  # doctest: +SKIP
    ...     for row in rows:
    ...         print(row["symbol"], row["timestamp"], row["mid_price"])
    """
    if stream not in STREAMS:
        raise UsageError(f"{stream!r} is no stream", hint="one of: hf, bars")
    if from_ not in _FROM or (from_ == "committed" and group is None):
        raise UsageError(f"from_={from_!r} cannot be", hint="earliest or latest; with a group, also committed")
    if not isinstance(settings, Settings):
        settings = load_settings(overrides=[] if settings is None else [f"kafka.bootstrap_servers={settings}"])
    decoder: Decoder[Any] = BatchDecoder(stream, settings.state) if batches else RowDecoder(stream)
    return Subscription(settings, stream, group, from_, decoder)


class Decoder(Protocol[T_co]):
    """Records -> what is handed out."""

    at_once: int
    """Most records that go into one."""

    def decode(self, records: Sequence[Record]) -> T_co: ...


class RowDecoder:
    """Each record as a dict."""

    at_once = 1

    def __init__(self, stream: Stream) -> None:
        self._times = [column.name for column in _FIXED[stream] if column.kind == "time"]

    def decode(self, records: Sequence[Record]) -> Row:
        """The row of the one record."""
        [record] = records
        row = _loaded(record)
        try:
            for name in self._times:
                row[name] = None if row[name] is None else _EPOCH + timedelta(milliseconds=row[name])
        except (KeyError, TypeError, OverflowError) as error:
            raise _no_row(record, f"{name} is {row.get(name)!r}") from error
        return row


class BatchDecoder:
    """Many records as a record batch."""

    at_once = AT_ONCE

    def __init__(self, stream: Stream, config: StateConfig) -> None:
        self._schema = arrow_schema(stream, config)
        self._names = frozenset(self._schema.names)

    def decode(self, records: Sequence[Record]) -> pa.RecordBatch:
        """The rows in the records' order."""
        rows = [_loaded(record) for record in records]
        for record, row in zip(records, rows, strict=True):
            if row.keys() != self._names:
                odd = sorted(self._names ^ row.keys())
                raise _no_row(
                    record, f"it was made under another configuration: {len(odd)} columns differ, as {odd[0]}"
                )
        try:
            return pa.RecordBatch.from_pylist(rows, schema=self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise _no_row(records[0], f"from here on: {error}") from error


def _loaded(record: Record) -> Row:
    version = dict(record.headers() or ()).get("schema")
    if version != _SCHEMA:
        found = "no version" if version is None else f"version {version.decode(errors='replace')}"
        raise _no_row(record, f"its columns are of {found}, this program knows version {COLUMNS_VERSION}")
    try:
        row = orjson.loads(record.value() or b"")
    except orjson.JSONDecodeError as error:
        raise _no_row(record, f"no JSON: {error}") from error
    if not isinstance(row, dict):
        raise _no_row(record, "no JSON object")
    return row


def _no_row(record: Record, why: str) -> DataError:
    return DataError(
        f"the record is no row as is expected here: {why}",
        where=f"{record.topic()}[{record.partition()}]@{record.offset()}",
        hint="give the version and configuration of streamproc that writes them, or begin behind it",
    )


class Subscription(Iterator[T_co]):
    """Iterates over what is committed to a topic, see `consume_rows`."""

    def __init__(
        self,
        settings: Settings,
        stream: Stream,
        group: str | None,
        from_: From,
        decoder: Decoder[T_co],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic: str = getattr(Names(settings.kafka.prefix), stream)
        self._group = group
        self._from = from_
        self._decoder = decoder
        self._clock = clock
        self._lock = threading.Lock()
        self._taker = 0
        """The thread within `__next__`, 0 when there is none."""
        self._closing = False
        self._closed = False
        self._failed: StreamprocError | None = None
        self._fetched: deque[Record] = deque()
        self._at_hand: dict[int, int] = {}
        """Next offset by partition, of what was handed out last; `_taken`: of what the caller is done with."""
        self._taken: dict[int, int] = {}
        self._due = clock() + COMMIT_SECONDS
        client.admin(settings.kafka)  # says so where nobody answers
        self._kafka = settings.kafka
        self._protocol = GroupProtocol(settings.process.group_protocol)
        self._consumer = self._begun()

    def __next__(self) -> T_co:
        with self._lock:
            self._taker = threading.get_ident()
            try:
                self._settle()
                return self._next()
            finally:
                self._taker = 0
                if self._closing:
                    self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._at_hand.clear()
        self.close()

    def close(self) -> None:
        """Commit what was taken, and leave. What waits for a row in another thread ends."""
        self._closing = True
        if self._taker == threading.get_ident():  # a signal's handler: what it has interrupted goes on and closes
            return
        with self._lock:
            self._settle()
            self._finish()

    def _begun(self) -> Consumer:
        """A consumer that reads the topic, as one of its group where there is one."""
        own: dict[str, Any] = {
            "group.id": self._group or ALONE,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
        consumer = client.consumer(self._kafka, {**own, **(self._protocol.properties if self._group else {})})
        with told("cannot read the topic", self._topic):
            there = consumer.list_topics(self._topic, timeout=ANSWER_SECONDS).topics[self._topic]
            if there.error:
                raise KafkaException(there.error)
            if self._group is None:
                start = OFFSET_END if self._from == "latest" else OFFSET_BEGINNING
                consumer.assign([TopicPartition(self._topic, number, start) for number in there.partitions])
            else:
                consumer.subscribe(
                    [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
                )
        return consumer

    def _next(self) -> T_co:
        while not self._closing:
            if self._fetched:
                records = [self._fetched.popleft() for _ in range(min(self._decoder.at_once, len(self._fetched)))]
                item = self._decoder.decode(records)
                self._at_hand = {record.partition(): record.offset() + 1 for record in records}
                return item
            if self._clock() >= self._due:
                self._commit()
            messages = client.consume(self._consumer, AT_ONCE, WAIT_SECONDS)
            if self._failed:
                raise self._failed
            for message in messages:
                error = message.error()
                if error is None:
                    self._fetched.append(message)
                else:
                    self._meet(error, message)
        raise StopIteration

    def _meet(self, error: KafkaError, message: Record) -> None:
        """An error among the records: one that passes is told, any other is the end."""
        where = f"{self._topic}[{message.partition()}]"
        if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:
            raise DataError(
                "rows were deleted from the topic before they were read here",
                where=where,
                hint="another group begins with what there is; let the topic keep its rows longer",
            )
        if self._protocol.falls_back(error):
            self._consumer.close()
            self._consumer = self._begun()
            return
        if error.retriable() or error.code() in _PASSING:
            _logger.warning("Kafka: %s", error.str())
            return
        raise BrokerError(error, "cannot read", where)

    def _settle(self) -> None:
        """What was handed out last is done with."""
        self._taken |= self._at_hand
        self._at_hand = {}

    def _commit(self) -> None:
        """Commit what is done with. Partitions that others own by now are theirs to commit."""
        self._due = self._clock() + COMMIT_SECONDS
        taken, self._taken = self._taken, {}
        if not taken or self._group is None:
            return
        offsets = [TopicPartition(self._topic, number, offset) for number, offset in taken.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            _logger.warning("offsets were not committed, their rows come again: %s", error.args[0].str())

    def _finish(self) -> None:
        if not self._closed:
            self._closed = True
            self._fetched.clear()
            self._commit()
            self._consumer.close()

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        try:
            with told("cannot read the group's offsets", self._group or ""):
                found = consumer.committed(assigned, timeout=ANSWER_SECONDS) if assigned else []
                consumer.incremental_assign([self._start(one) for one in found])
        except StreamprocError as error:
            self._failed = error  # raised once the call that runs this has returned

    def _start(self, committed: TopicPartition) -> TopicPartition:
        if committed.error:
            raise KafkaException(committed.error)
        if committed.offset >= 0:
            return TopicPartition(self._topic, committed.partition, committed.offset)
        if self._from == "committed":
            raise UsageError(
                "the group has committed nothing to go on from",
                where=f"{self._group}: {self._topic}[{committed.partition}]",
                hint='begin with from_="earliest" or "latest"',
            )
        start = OFFSET_END if self._from == "latest" else OFFSET_BEGINNING
        return TopicPartition(self._topic, committed.partition, start)

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        self._commit()
        consumer.incremental_unassign(revoked)

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        for one in lost:
            self._taken.pop(one.partition, None)
        consumer.incremental_unassign(lost)
