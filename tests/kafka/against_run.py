"""What tests of faults share: lines, what `run` makes of them, and both held against each other."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from streamproc.config import Settings
from streamproc.kafka import client
from streamproc.kafka.client import Record
from streamproc.kafka.lookup import READER, Scan
from streamproc.kafka.names import Names
from streamproc.local.run import process_files
from streamproc.simulate import Market, generate
from tests.kafka.groups import canonical, committed, eventually, rejects_of_run, rows_of_run, running_member

PATIENCE_SECONDS = 120


def lines_of(market: Market) -> list[bytes]:
    """Lines of a market, those left out that split a line or are none."""
    text = b"".join(generate(market)).removeprefix(b"\xef\xbb\xbf")
    return [line for line in text.split(b"\n") if line.strip()]


def run_on(lines: Sequence[bytes], settings: Settings, folder: Path) -> Path:
    """The output of `run` on lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lines.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    process_files([str(folder / "lines.ndjson")], folder / "out", settings=settings, flush=False)
    return folder / "out"


class TopicReader:
    """Reads whole topics, committed records only."""

    def __init__(self, settings: Settings) -> None:
        self._names = Names(settings.kafka.prefix)
        self._consumer = client.consumer(settings.kafka, {"group.id": "reader", **READER})

    def close(self) -> None:
        """Let go of the consumer."""
        self._consumer.close()

    def records(self, topic: str) -> list[Record]:
        """By partition in their order."""
        numbers = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        found = list(Scan(self._consumer, topic, dict.fromkeys(numbers, 0)))
        return sorted(found, key=lambda record: (record.partition(), record.offset()))

    def rows(self, stream: str, generation: int | None = None) -> Counter[bytes]:
        """Rows, all or of one generation, as canonical JSON without it."""
        told = (canonical(record.value() or b"") for record in self.records(getattr(self._names, stream)))
        return Counter(row for of, row in told if generation in (None, of))

    def dead_letters(self) -> Counter[tuple[str, bytes]]:
        """Reason and bytes of them."""
        return Counter(
            (dict(record.headers() or ())["reason"].decode(), record.value() or b"")
            for record in self.records(self._names.dlq)
        )


@contextmanager
def reading(settings: Settings) -> Iterator[TopicReader]:
    """A reader of the settings' topics."""
    reader = TopicReader(settings)
    try:
        yield reader
    finally:
        reader.close()


def assert_topics_as_run(settings: Settings, output: Path) -> None:
    """The topics hold the rows and the rejects of `run`, each as often."""
    with reading(settings) as reader:
        for stream in ("hf", "bars"):
            rows, wanted = reader.rows(stream), rows_of_run(output, stream)
            lost, added = wanted - rows, rows - wanted
            assert not lost and not added, f"{stream}: {lost.total()} lost, {added.total()} too many"
        assert reader.dead_letters() == rejects_of_run(output)


def process_up_to(settings: Settings, count: int) -> None:
    """Be a member until the group's offsets add up to a count of records."""
    with running_member(settings):
        eventually(lambda: committed(settings) == count, seconds=PATIENCE_SECONDS)
