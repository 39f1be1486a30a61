"""Rows a second of a sink over a prefilled topic, and its memory. One process, the broker beside it.

A broker of its own, or that of `STREAMPROC_BENCH_BOOTSTRAP`.
"""

import json
import shutil
import statistics
import subprocess
import sys
import uuid
from typing import Any

from confluent_kafka import Producer

from benchmarks.kafka import PARTITIONS, broker
from benchmarks.measure import SCRATCH, tell
from benchmarks.raw_topic import produce
from benchmarks.sink_run import settings_of
from streamproc.config import Settings
from streamproc.engine import Engine
from streamproc.kafka.names import Names
from streamproc.kafka.process.partition import Encoders
from streamproc.simulate import Market, generate
from tests.kafka.topics import make_topics

WANTED_ROWS_PER_S = 30_000


def fill(settings: Settings, market: Market) -> int:
    """Rows of a market into the topic of feature rows; how many."""
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
    for piece in generate(market):
        batch = engine.feed(piece)
        sources = [b"0:0:0"] * len(batch.hf)
        for record in encoders.rows("hf", batch.hf, engine.symbols.keys, sources):
            headers = [*record.headers]
            produce(producer, record.topic, record.value, record.key, timestamp=record.timestamp, headers=headers)
            count += 1
    producer.flush(60)
    return count


def measured(bootstrap: str, prefix: str, rows: int) -> dict[str, Any]:
    """One run in a process of its own."""
    output = SCRATCH / "sink-out"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.sink_run", bootstrap, prefix, str(rows), str(output)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600)
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["written"] == rows
    return result


def main(seconds: float, rounds: int) -> None:
    """Fill, run some times, tell the medians."""
    with broker() as bootstrap:
        prefix = f"bench{uuid.uuid4().hex[:6]}"
        rows = fill(settings_of(bootstrap, prefix), Market(symbols=100, seconds=seconds, levels=20, rate_hz=10))
        runs = [measured(bootstrap, prefix, rows) for _ in range(rounds)]
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    tell("sink: hf rows a second, the broker beside it", middle["rows_per_s"], f">= {WANTED_ROWS_PER_S:,}")
    detail = f"{rows:,} rows in {middle['files']:,} files"
    tell("sink: hf rows a CPU second", middle["rows_per_cpu_s"], "for comparison", detail)
    tell("sink: peak of memory, whole / first half", middle["grown"], "<= 1.2", f"{middle['peak_mb']:.0f} MB")


if __name__ == "__main__":
    main(*((100, 1) if "--quick" in sys.argv else (400, 3)))
