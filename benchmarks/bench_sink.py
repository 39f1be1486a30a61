"""Rows a second of a sink over a prefilled topic, and its memory. One process, the broker beside it.

A broker of its own, or that of `STREAMPROC_BENCH_BOOTSTRAP`.
"""

import json
import resource
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.kafka import PARTITIONS, broker
from benchmarks.measure import SCRATCH, tell
from streamproc.config import KafkaConfig, Settings, StateConfig
from streamproc.engine import Engine
from streamproc.kafka.client import admin
from streamproc.kafka.names import Names
from streamproc.kafka.process.partition import Encoders
from streamproc.kafka.sink.local import LocalStorage
from streamproc.kafka.sink.member import ROLES, Sink
from streamproc.kafka.topics import check_topics
from streamproc.observe.stop import StopRequest
from streamproc.simulate import Market, generate
from tests.kafka.topics import make_topics

MARKET = Market(symbols=100, seconds=400, levels=20, rate_hz=10)
RUNS = 3
WANTED_ROWS_PER_S = 30_000


def settings_of(bootstrap: str, prefix: str) -> Settings:
    """A feature row for each book, so that rows come as fast as the sink takes them."""
    return Settings(
        kafka=KafkaConfig(bootstrap_servers=bootstrap, prefix=prefix),
        state=StateConfig(bar_idle_close=None, hf_emit_interval=0),
    )


def fill(settings: Settings) -> int:
    """Rows of the market into the topic of feature rows; how many."""
    make_topics(settings, PARTITIONS)
    engine, encoders = Engine(settings.state), Encoders(Names(settings.kafka.prefix), settings.state)
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 20,
        }
    )
    count = 0
    for piece in generate(MARKET):
        batch = engine.feed(piece)
        sources = [b"0:0:0"] * len(batch.hf)
        for record in encoders.rows("hf", batch.hf, engine.symbols.keys, sources):
            while True:
                try:
                    producer.produce(
                        record.topic, record.value, record.key, timestamp=record.timestamp, headers=[*record.headers]
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
    producer.flush(60)
    return count


class Until(StopRequest):
    """Asks for the end once so many rows were read; notes time and memory on the way."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.member: Sink | None = None
        self.begun: tuple[float, float, int] | None = None
        self.half_kb = 0
        self._rows = rows

    @property
    def requested(self) -> bool:
        read = self.member.counts["records"] if self.member else 0
        if read and self.begun is None:
            self.begun = time.perf_counter(), time.process_time(), read
        if read >= self._rows // 2 and not self.half_kb:
            self.half_kb = peak_kb()
        return read >= self._rows


def peak_kb() -> int:
    """Most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_sink(bootstrap: str, prefix: str, rows: int, output: str) -> dict[str, Any]:
    """One run in this process: rows a second, and a CPU second, from the first row on."""
    settings = settings_of(bootstrap, prefix)
    settings.kafka.properties["group.id"] = f"{prefix}.{uuid.uuid4().hex[:6]}"
    until = Until(rows)
    client = admin(settings.kafka)
    member = Sink(settings, LocalStorage(Path(output)), lambda: check_topics(client, settings.kafka, ROLES), until)
    until.member = member
    member.run()
    assert until.begun is not None
    begun, begun_cpu, read = until.begun
    return {
        "rows_per_s": (rows - read) / (time.perf_counter() - begun),
        "rows_per_cpu_s": (rows - read) / (time.process_time() - begun_cpu),
        "grown": peak_kb() / until.half_kb,
        "peak_mb": peak_kb() / 1e3,
        "files": member.counts["files"],
        "written": member.counts["hf_rows"],
    }


def measured(bootstrap: str, prefix: str, rows: int) -> dict[str, Any]:
    """One run in a process of its own."""
    output = SCRATCH / "sink-out"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.bench_sink", bootstrap, prefix, str(rows), str(output)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600)
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["written"] == rows
    return result


def main() -> None:
    """Fill, run some times, tell the medians."""
    with broker() as bootstrap:
        prefix = f"bench{uuid.uuid4().hex[:6]}"
        rows = fill(settings_of(bootstrap, prefix))
        runs = [measured(bootstrap, prefix, rows) for _ in range(RUNS)]
    middle = {name: sorted(run[name] for run in runs)[RUNS // 2] for name in runs[0]}
    tell("sink: hf rows a second, the broker beside it", middle["rows_per_s"], f">= {WANTED_ROWS_PER_S:,}")
    detail = f"{rows:,} rows in {middle['files']:,} files"
    tell("sink: hf rows a CPU second", middle["rows_per_cpu_s"], "for comparison", detail)
    tell("sink: peak of memory, whole / first half", middle["grown"], "<= 1.2", f"{middle['peak_mb']:.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(run_sink(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
    else:
        main()
