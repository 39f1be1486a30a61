"""`process` with much state: how fast an empty disk is filled from the changelog, and how soon a restart works again.

The changelog holds what members leave there of 10,000 symbols with full windows of 60 s, each key once, as after
compaction: engines are fed the books of 62 s, and their state is written as a member writes it. The books are those of
100 simulated symbols under 100 names each.

Restore: time from a member's start with an empty folder until all partitions run, less the same with an empty
changelog; megabytes are those of keys and values before compression. Restart: time from the start of the process until
each partition has committed records that came meanwhile, the start of Python included. All rows are read in the end:
one for each symbol and round, none of which would be warm if its window had not been there.
"""

import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import orjson

from benchmarks.children import Child, child, member_command, until
from benchmarks.kafka import PARTITIONS, SESSION_SECONDS, Topics, broker, ends, records
from benchmarks.measure import SCRATCH, alternating, tell
from benchmarks.raw_topic import FLUSH_SECONDS, as_book, books, market, produce, raw_producer
from streamproc.engine import Engine
from streamproc.kafka.partitioner import partition_of
from streamproc.kafka.process.changelog import POSITION_KEY, Change, Position, changes_of
from streamproc.kafka.topics import check_topics

FOLDER = SCRATCH / "members-state"
BASE_SYMBOLS = 100
STATE_SECONDS = 62
"""Of event time: all windows of 60 s are full, whenever in the first two seconds a symbol began."""

ROUND_SECONDS = 5
"""Of event time: in so many each symbol has a book."""

SYMBOL_FIELD = b'"symbol":"'


class Books:
    """The books of many symbols, made of a few.

    Parameters
    ----------
    names : how many symbols each of the simulated ones stands for.
    rounds : stretches after the state's, of each of which a symbol's first book is kept.
    """

    def __init__(self, names: int, rounds: int) -> None:
        of = market(BASE_SYMBOLS, STATE_SECONDS + ROUND_SECONDS * rounds)
        lines: dict[bytes, list[bytes]] = defaultdict(list)
        self._later: list[dict[bytes, bytes]] = [{} for _ in range(rounds)]
        for book in books(of):
            later = ((book.timestamp - of.start_ms) // 1000 - STATE_SECONDS) // ROUND_SECONDS
            if later < 0:
                lines[book.key].append(book.line + b"\n")
            elif later < rounds:
                self._later[later].setdefault(book.key, book.line)
        self._state = {key: b"".join(of_key) for key, of_key in lines.items()}
        self._names = range(names)
        self.symbols = names * len(self._state)

    def of_state(self, partition: int) -> Iterator[bytes]:
        """Lines of each symbol of a partition."""
        for key, lines in self._state.items():
            exchange, symbol = key.split(b":", 1)
            for name in self._names:
                if partition_of(exchange + b":" + _prefix(name) + symbol, PARTITIONS) == partition:
                    yield _renamed(lines, name)

    def of_round(self, number: int) -> Iterator[bytes]:
        """A line of each symbol."""
        lines = self._later[number]
        assert lines.keys() == self._state.keys(), "a symbol was silent for too long"
        return (_renamed(line, name) for line in lines.values() for name in self._names)


def _prefix(name: int) -> bytes:
    return b"%d-" % name


def _renamed(lines: bytes, name: int) -> bytes:
    return lines.replace(SYMBOL_FIELD, SYMBOL_FIELD + _prefix(name))


def fill_changelog(topics: Topics, of: Books) -> int:
    """Write the state that members have after those books; bytes of it."""
    kafka, state = topics.settings.kafka, topics.settings.state
    found = check_topics(topics.admin, kafka, {"raw", "state"})
    position = Position(0, 0, found["raw"].id, found["state"].id, state.canonical())
    producer = raw_producer(topics, linger_ms=50)
    size = 0
    for partition in range(PARTITIONS):
        engine = Engine(state)
        for lines in of.of_state(partition):
            engine.feed(lines)
        changes: list[Change] = [*changes_of(*engine.changes(), 0), (POSITION_KEY, position.dumps())]
        for key, value in changes:
            size += len(key) + len(value or b"")
            produce(producer, topics.names.state, value, key, partition=partition)
        assert not producer.flush(FLUSH_SECONDS)
    return size


def add_round(topics: Topics, lines: Iterator[bytes]) -> None:
    """A book of each symbol into the raw topic."""
    producer = raw_producer(topics, linger_ms=50)
    for line in lines:
        book = as_book(line)
        produce(producer, topics.names.raw, line, book.key, timestamp=book.collected_at)
    assert not producer.flush(FLUSH_SECONDS)


def start_seconds(topics: Topics) -> float:
    """From a member's start with an empty folder until all its partitions run."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    with child(member_command(topics, FOLDER / "member-1")) as member:
        took = until(lambda: len(member.running()) == PARTITIONS, member.check) - member.started
        member.stop()
    return took


class Again(NamedTuple):
    """Seconds from a member's start until records that came meanwhile were committed."""

    first: float
    """Of any partition."""
    all: float
    """Of each partition."""


def again_seconds(topics: Topics, lines: Iterator[bytes], end: Callable[[Child], object]) -> Again:
    """A restart, the folder kept.

    Parameters
    ----------
    end : how the member ends afterwards.
    """
    with topics.offsets_of(topics.names.process_group) as committed:
        stood = committed()
        add_round(topics, lines)
        wanted = ends(topics.settings, topics.names.raw)
        with child(member_command(topics, FOLDER / "member-1")) as member:
            first = until(lambda: committed() != stood, member.check)
            whole = until(lambda: all(now > then for now, then in zip(committed(), stood, strict=True)), member.check)
            until(lambda: committed() == wanted, member.check)
            end(member)
    return Again(first - member.started, whole - member.started)


def check_rows(topics: Topics, expected: int) -> None:
    """As many rows as there must be, all with full windows."""
    rows = [orjson.loads(record.value() or b"") for record in records(topics.settings, topics.names.hf)]
    assert len(rows) == expected, f"{len(rows)} rows instead of {expected}"
    assert all(row["warm_60s"] for row in rows), "windows were lost"


def main(names: int, rounds: int) -> None:
    """Write the changelog, restore it some times, then restart on what the last of these has left."""
    with broker() as servers:
        empty, topics = Topics(servers), Topics(servers)
        of = Books(names, rounds + 1)
        size = fill_changelog(topics, of)
        start_seconds(empty)  # compiles, where that was not done before
        started, restored = alternating([partial(start_seconds, empty), partial(start_seconds, topics)], rounds)
        restarts = [
            again_seconds(topics, of.of_round(number), Child.kill if number == rounds - 1 else Child.stop)
            for number in range(rounds)
        ]
        after_kill = again_seconds(topics, of.of_round(rounds), Child.stop)
        check_rows(topics, of.symbols * (rounds + 1))
    shutil.rmtree(FOLDER, ignore_errors=True)
    what, detail = f"{of.symbols:,} symbols", f"{size / 1e6:.0f} MB in {restored - started:.1f} s"
    tell(f"process: restore of {what} from the changelog, MB/s", size / 1e6 / (restored - started), ">= 50", detail)
    tell("process: start with nothing to restore, seconds", started, "for comparison")
    first, again = (statistics.median(of_all) for of_all in zip(*restarts, strict=True))
    longest = max(restart.all for restart in restarts)
    tell(f"process: restart after SIGTERM, disk kept, {what}, seconds", again, "<= 3", f"longest {longest:.1f} s")
    tell("process: the same until the first partition works again, seconds", first, "for comparison")
    bound = f"<= {SESSION_SECONDS + 5}: session timeout {SESSION_SECONDS} s + 5"
    tell("process: restart after kill -9, seconds", after_kill.all, bound, f"first partition {after_kill.first:.1f} s")


if __name__ == "__main__":
    main(*((20, 2) if "--quick" in sys.argv else (100, 3)))
