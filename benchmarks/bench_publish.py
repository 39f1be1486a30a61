"""`publish` of packed segments: lines a second into a real broker, start-up apart.

A broker of its own, or that of `STREAMPROC_BENCH_BOOTSTRAP`. Beside it what the publisher does without
any broker: read, find the symbols, pack.
"""

import sys
import uuid
from pathlib import Path

from benchmarks.kafka import PARTITIONS, broker
from benchmarks.measure import SCRATCH, alternating, seconds_of, tell
from streamproc.config import KafkaConfig, Settings
from streamproc.kafka.publish import publish_files
from streamproc.kafka.publish.packer import Packer
from streamproc.kafka.publish.pieces import pieces_of
from streamproc.local.inputs import Source
from streamproc.local.sources import LineReader
from streamproc.observe.progress import QuietProgress
from streamproc.observe.stop import StopRequest
from streamproc.simulate import Market, generate
from tests.kafka.topics import make_topics

BROKER_BYTES = 4 << 20
BOOK = b'"type":"orderbook"'


def publish_seconds(path: Path, servers: str) -> float:
    """Time of a publisher that begins with an empty topic."""
    settings = Settings(kafka=KafkaConfig(bootstrap_servers=servers, prefix=f"bench{uuid.uuid4().hex[:8]}"))
    make_topics(settings, PARTITIONS)

    def publish() -> None:
        publish_files(
            [str(path)],
            settings,
            follow=False,
            speed=None,
            progress=QuietProgress(),
            stop=StopRequest(),
        )

    return seconds_of(publish)


def pack_seconds(path: Path) -> float:
    """Time of reading and packing alone."""

    def pack() -> None:
        packer = Packer(Settings().publish.segment_bytes, BROKER_BYTES)
        with LineReader(Source(str(path))) as reader:
            while (chunk := reader.read()) is not None:
                for piece in pieces_of(chunk):
                    packer.pack(piece.data, piece.times)

    return seconds_of(pack)


def books_file(seconds: float) -> Path:
    """Books of 100 symbols with 20 levels, no trades between them: made at first use and kept."""
    path = SCRATCH / f"publish-books-{seconds:g}s.ndjson"
    if not path.exists():
        SCRATCH.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".tmp")
        with beside.open("wb") as out:
            for chunk in generate(Market(symbols=100, seconds=seconds, levels=20)):
                out.writelines(line for line in chunk.splitlines(keepends=True) if BOOK in line)
        beside.rename(path)
    return path


def main(seconds: float, rounds: int) -> None:
    """Measure on inputs of two lengths; the difference is what the lines take."""
    short, long = books_file(seconds / 10), books_file(seconds)
    lines = [sum(1 for _ in path.open("rb")) for path in (short, long)]
    size = long.stat().st_size - short.stat().st_size
    with broker() as servers:
        publish_seconds(short, servers)
        works = [lambda: publish_seconds(short, servers), lambda: publish_seconds(long, servers)]
        works += [lambda: pack_seconds(short), lambda: pack_seconds(long)]
        first, whole, first_packed, whole_packed = alternating(works, rounds)
    count = lines[1] - lines[0]
    rate, packed = count / (whole - first), count / (whole_packed - first_packed)
    tell("publish, lines a second in packed segments", rate, ">= 100000", f"{size / (whole - first) / 1e6:.0f} MB/s")
    tell("the same with its start-up", lines[1] / whole, "", f"{whole:.1f} s")
    tell("reading and packing alone, lines a second", packed, "")


if __name__ == "__main__":
    main(*((100, 3) if "--quick" in sys.argv else (400, 5)))
