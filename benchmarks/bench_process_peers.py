"""`process` against Kafka Streams and Quix Streams: the same topic, the same broker, in turn, all exactly once.

Needs `mvn` and a Java 17 or newer for the one, nothing but Python for the other; both are set up under `SCRATCH`.
Measured as in `bench_process`: by the committed offsets, to the topic's end, every row counted. What the peers compute
is told in their sources below `peers/`. They commit as often as `process` does, but for Quix Streams, where each
second is in its favour.

The program that keeps a minute in Quix Streams' state gets a topic that its speed allows for, and is measured on the
part where its windows are full; `process` and Kafka Streams have full windows in most of theirs.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.bench_process import SYMBOLS, process_rate
from benchmarks.children import child, rate, watched
from benchmarks.kafka import Topics, broker, records
from benchmarks.measure import SCRATCH, alternating, tell
from benchmarks.raw_topic import Filled, fill, market
from streamproc.config import Settings

PEERS = Path(__file__).parent / "peers"
FOLDER = SCRATCH / "peers"
QUIX_COMMIT_SECONDS = 1.0
ROW_BOOKS = 10
"""Quix Streams' program with a counter gives a row each so many books of a symbol."""

WINDOW_SECONDS = 60


class KafkaStreams:
    """The Maven project, built; runs it."""

    def __init__(self) -> None:
        built = SCRATCH / "kafka-streams"
        project = PEERS / "kafka_streams" / "pom.xml"
        subprocess.run(["mvn", "-q", "-B", "-f", project, f"-DbuildDirectory={built}", "package"], check=True)
        self._classpath = os.pathsep.join([str(built / "peer.jar"), str(built / "lib" / "*")])

    def command(self, topics: Topics, group: str, out: str) -> list[str]:
        """A program that begins with nothing."""
        commit_ms = round(1000 * Settings().process.commit_interval)
        # Of its collectors the one that leaves most of two cores to the work.
        java = [
            "java",
            "-XX:+UseParallelGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            self._classpath,
            "bench.Main",
        ]
        servers = topics.settings.kafka.bootstrap_servers
        return [*java, servers, group, topics.names.raw, out, str(FOLDER / group), str(commit_ms)]


class QuixStreams:
    """The environment with its packages, made; runs one of the two programs in it."""

    def __init__(self, program: str) -> None:
        self._program = program
        environment = SCRATCH / "quix"
        self._python = environment / "bin" / "python"
        if not self._python.exists():
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pins = PEERS / "quix" / "requirements.txt"
        subprocess.run([self._python, "-m", "pip", "install", "--quiet", "--requirement", pins], check=True)

    def command(self, topics: Topics, group: str, out: str) -> list[str]:
        """A program that begins with nothing."""
        script = str(PEERS / "quix" / "features.py")
        servers = topics.settings.kafka.bootstrap_servers
        given = [servers, group, topics.names.raw, out, str(FOLDER / group), str(QUIX_COMMIT_SECONDS), self._program]
        return [str(self._python), script, *given]


class Runs:
    """Runs of a peer, each with a group and an output topic of its own."""

    def __init__(self, peer: KafkaStreams | QuixStreams, name: str, topics: Topics, filled: Filled, rows: int) -> None:
        self._peer, self._name, self._topics, self._filled, self._rows = peer, name, topics, filled, rows
        self._count = 0

    def rate(self, first: int) -> float:
        """Books a second, from the commit behind the first so many."""
        self._count += 1
        group = f"{self._topics.names.prefix}-{self._name}-{self._count}"
        out = self._topics.make(f"{self._name}-{self._count}")
        with child(self._peer.command(self._topics, group, out)) as running:
            samples = watched(self._topics, group, self._filled.records, running.check)
            running.end()
        self._check(out)
        self._topics.delete(out)
        self._topics.delete(group)  # what the peer has made for itself
        self._topics.delete(f"changelog__{group}")
        shutil.rmtree(FOLDER, ignore_errors=True)
        return rate(samples, first)

    def _check(self, out: str) -> None:
        rows = [record.value() or b"" for record in records(self._topics.settings, out)]
        assert len(rows) == self._rows, f"{self._name}: {len(rows)} rows instead of {self._rows}"
        assert all(json.loads(row)["mid_price"] > 0 for row in rows), f"{self._name}: rows without a price"


def main(seconds: float, window_seconds: float, rounds: int) -> None:
    """Fill two topics, the second one shorter, then measure on them in turn."""
    with broker() as servers:
        long, short = Topics(servers), Topics(servers)
        books = fill(long, market(SYMBOLS, seconds))
        few = fill(short, market(SYMBOLS, window_seconds))
        streams = Runs(KafkaStreams(), "streams", long, books, books.rows)
        every_tenth = sum(-(-count // ROW_BOOKS) for count in books.by_key.values())
        counter = Runs(QuixStreams("counter"), "counter", long, books, every_tenth)
        window = Runs(QuixStreams("window"), "window", short, few, few.rows)
        full = round(few.books * WINDOW_SECONDS / window_seconds)
        process_rate(long, books)  # compiles, where that was not done before
        works = [
            partial(process_rate, long, books),
            partial(streams.rate, books.records // 5),
            partial(counter.rate, books.records // 5),
            partial(window.rate, full),
        ]
        tell_all(alternating(works, rounds))


def tell_all(rates: Sequence[float]) -> None:
    """The figures, from books a second."""
    process, streams, counter, window = rates
    tell("process: books a second beside its peers", process, "for comparison")
    tell(
        "process / Kafka Streams, the same features and a 60 s ring",
        process / streams,
        ">= 3",
        f"{streams:,.0f} books/s",
    )
    tell("process / Quix Streams with a counter and a float", process / counter, ">= 3.5", f"{counter:,.0f} books/s")
    tell("process / Quix Streams with a window of 60 s", process / window, ">= 30", f"{window:,.0f} books/s")


if __name__ == "__main__":
    main(*((200, 75, 1) if "--quick" in sys.argv else (400, 100, 3)))
