"""What tests of the publisher share: publishing, here or in a process of its own, and reading what has come."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from streamproc.config import Settings
from streamproc.errors import StreamprocError
from streamproc.kafka.names import Names
from streamproc.kafka.partitioner import record_key
from streamproc.kafka.publish import publish_files
from streamproc.observe.progress import Progress, QuietProgress
from streamproc.observe.stop import StopRequest
from streamproc.simulate import Market, generate
from tests.kafka.groups import scan_topic, transactions_end

UNENDED_S = 3.0
"""How long a reader waits for the end of a transaction: one whose publisher was killed lasts longer."""


def market(seconds: float, **changes: Any) -> bytes:
    """Lines of a small market."""
    return b"".join(generate(Market(**({"symbols": 4, "seconds": seconds, "levels": 5} | changes))))


def lines_of(content: bytes) -> list[bytes]:
    """The lines that are to be published: all but blank ones, without a mark at the start of the file."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line for line in lines if line.strip(b" \t\r")]


def with_publish(settings: Settings, **changes: Any) -> Settings:
    """The settings with another section `publish`."""
    return settings.model_copy(update={"publish": settings.publish.model_copy(update=changes)})


def publish(
    settings: Settings,
    *inputs: Path | str,
    follow: bool = False,
    speed: float | None = None,
    stop: StopRequest | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Publish here; the summary."""
    return publish_files(
        [*map(str, inputs)],
        settings,
        follow=follow,
        speed=speed,
        progress=progress or QuietProgress(),
        stop=stop or StopRequest(),
    )


def publish_as_command(settings: Settings, inputs: list[str], follow: bool) -> None:
    """Publish until the end or a signal, as the command does: for a process of its own."""
    with StopRequest() as stop:
        publish(settings, *inputs, follow=follow, stop=stop)


class Record(NamedTuple):
    """A record of the raw topic."""

    partition: int
    key: bytes | None
    value: bytes
    timestamp: int

    @property
    def lines(self) -> list[bytes]:
        return self.value.split(b"\n")


def records(settings: Settings, isolation: str = "read_committed") -> list[Record]:
    """All that a reader sees in the raw topic, partition by partition."""
    topic = Names(settings.kafka.prefix).raw
    transactions_end(settings, topic, UNENDED_S)
    found = [
        Record(one.partition(), one.key(), one.value() or b"", one.timestamp()[1])
        for one in scan_topic(settings, topic, isolation)
    ]
    return sorted(found, key=lambda record: record.partition)


def published(settings: Settings) -> list[bytes]:
    """The lines of all records that are committed."""
    return [line for record in records(settings) for line in record.lines]


def write(path: Path, lines: Iterable[bytes]) -> None:
    """Lines, each with its end, into a file of their own."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def append(path: Path, lines: Iterable[bytes]) -> None:
    """Lines behind those that a file has."""
    with path.open("ab") as file:
        file.writelines(line + b"\n" for line in lines)


def key_of(line: bytes) -> bytes | None:
    """The key that a line must have; None where it may have any, as nobody can say for certain whose it is."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    names = (record.get("exchange"), record.get("symbol")) if isinstance(record, dict) else ()
    told = [name for name in names if isinstance(name, str) and 0 < len(quote(name, safe="")) <= 200]
    return record_key(*told) if len(told) == 2 else None


def assert_published(settings: Settings, wanted: Iterable[bytes]) -> list[Record]:
    """Each line is there once, under its key, those of a key in their order; the records."""
    wanted = list(wanted)
    found = records(settings)
    assert sorted(line for record in found for line in record.lines) == sorted(wanted)
    orders: dict[bytes, list[bytes]] = defaultdict(list)
    for record in found:
        for line in record.lines:
            if key_of(line) is not None:
                assert record.key == key_of(line)
                orders[record.key or b""].append(line)
    for key, lines in orders.items():
        assert lines == [line for line in wanted if key_of(line) == key]
    return found


class Notes(QuietProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bytes = 0

    def warn(self, message: str, **fields: Any) -> None:
        self.said.append(message)

    def advance(self, bytes: int, records: int) -> None:
        self.bytes += bytes


class Background:
    """A publisher in a thread."""

    def __init__(self, settings: Settings, *inputs: Path | str, **options: Any) -> None:
        self.stop = StopRequest()
        self.summary: dict[str, Any] = {}
        self.error: BaseException | None = None
        self.progress = Notes()
        self._thread = threading.Thread(target=self._run, args=(settings, inputs, options))
        self._thread.start()

    def _run(self, settings: Settings, inputs: tuple[Path | str, ...], options: Any) -> None:
        try:
            self.summary = publish(settings, *inputs, stop=self.stop, progress=self.progress, **options)
        except StreamprocError as error:
            self.error = error

    def end(self, patience_s: float = 30.0) -> dict[str, Any]:
        self.stop.request()
        return self.wait(patience_s)

    def wait(self, patience_s: float = 30.0) -> dict[str, Any]:
        self._thread.join(patience_s)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.summary


@contextmanager
def background(settings: Settings, *inputs: Path | str, **options: Any) -> Iterator[Background]:
    running = Background(settings, *inputs, **options)
    try:
        yield running
    finally:
        running.stop.request()
        running._thread.join(60)


def steady(value: Callable[[], int], seconds: float = 1.5) -> int:
    """A value once it has not changed for so long."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.05)
        if value() != last:
            last, since = value(), time.monotonic()
    return last
