"""`watch`: files that appear, grow, vanish, are replaced or damaged; idle bars; what becomes of files that are done."""

import gzip
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamproc.config import Settings, StateConfig
from streamproc.errors import UsageError
from streamproc.local.run import process_files
from streamproc.local.watch import watch_directory
from streamproc.observe.progress import QuietProgress
from streamproc.observe.stop import StopRequest
from streamproc.parquet.reader import read
from streamproc.simulate import Market, generate
from tests.outputs import assert_same

SETTINGS = Settings(state=StateConfig(bar_idle_close=None), local={"commit_interval": 0.05, "settle": 0.2})


class Heard(QuietProgress):
    """Keeps what is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str, **fields: Any) -> None:
        self.warnings.append(message)


class Watching:
    """A watch in a thread of its own."""

    def __init__(self, folder: Path, settings: Settings, after: str) -> None:
        self.heard = Heard()
        self.stop = StopRequest()
        self.summary: dict[str, Any] = {}
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._watch, args=(folder, settings, after))
        self._thread.start()

    def _watch(self, folder: Path, settings: Settings, after: str) -> None:
        try:
            self.summary = watch_directory(
                folder / "in",
                folder / "out",
                settings,
                state=folder / "state",
                after=after,
                fresh=False,
                progress=self.heard,
                stop=self.stop,
            )
        except BaseException as error:
            self.error = error

    def end(self) -> dict[str, Any]:
        """Stop it; its summary."""
        self.stop.request()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.summary


@contextmanager
def watching(folder: Path, *, settings: Settings = SETTINGS, after: str = "keep") -> Iterator[Watching]:
    """A watch of `folder / "in"` that ends with the block."""
    (folder / "in").mkdir(exist_ok=True)
    watch = Watching(folder, settings, after)
    try:
        yield watch
    finally:
        if watch.error is None:
            watch.end()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def rows(folder: Path, stream: str = "hf") -> int:
    """Rows in the output now."""
    return read(str(folder / "out" / stream)).num_rows if list((folder / "out" / stream).rglob("*.parquet")) else 0


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return b"".join(generate(Market(symbols=1, seconds=20, levels=3, rate_hz=5, seed=8))).splitlines(keepends=True)


@pytest.fixture(scope="module")
def whole(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "all.ndjson").write_bytes(b"".join(lines))
    process_files([str(folder / "all.ndjson")], folder / "out", settings=SETTINGS)
    return folder / "out"


def flushed(folder: Path, inputs: Path) -> None:
    """Close the bars that the watch left open."""
    process_files([str(inputs)], folder / "out", settings=SETTINGS, state=folder / "state")


def test_files_that_appear_and_grow(lines: list[bytes], whole: Path, tmp_path: Path) -> None:
    third = len(lines) // 3
    with watching(tmp_path):
        (tmp_path / "in" / "a.ndjson").write_bytes(b"".join(lines[:third]))
        until(lambda: rows(tmp_path) > 0)
        with (tmp_path / "in" / "a.ndjson").open("ab") as file:
            file.write(b"".join(lines[third : 2 * third]))
            file.write(lines[2 * third][:30])
            file.flush()
            before = rows(tmp_path)
            until(lambda: rows(tmp_path) > before)
            file.write(lines[2 * third][30:])
        (tmp_path / "in" / "b.ndjson.gz").write_bytes(gzip.compress(b"".join(lines[2 * third + 1 :])))
        until(lambda: rows(tmp_path) == read(str(whole / "hf")).num_rows)
    flushed(tmp_path, tmp_path / "in")
    assert_same(tmp_path / "out", whole)


@pytest.mark.parametrize("after", ["delete", "move"])
def test_files_that_are_done_and_settled(after: str, lines: list[bytes], whole: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    with watching(tmp_path, after="delete" if after == "delete" else f"move:{done}"):
        (tmp_path / "in" / "sub").mkdir()
        (tmp_path / "in" / "sub" / "a.ndjson").write_bytes(b"".join(lines))
        (tmp_path / "in" / "half.ndjson").write_bytes(b'{"type":"orderb')
        until(lambda: not (tmp_path / "in" / "sub" / "a.ndjson").exists())
        assert rows(tmp_path) == read(str(whole / "hf")).num_rows, "committed before it went"
        time.sleep(0.5)
    assert (tmp_path / "in" / "half.ndjson").exists(), "a file with an unfinished line is not done"
    assert (done / "sub" / "a.ndjson").exists() == (after == "move")


def test_a_moved_file_does_not_replace_another(lines: list[bytes], tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    (done / "a.ndjson").write_text("kept")
    with watching(tmp_path, after=f"move:{done}"):
        (tmp_path / "in" / "a.ndjson").write_bytes(lines[0])
        until((done / "a.ndjson.1").exists)
    assert (done / "a.ndjson").read_text() == "kept"


def test_moving_within_the_watched_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    watch = Watching(tmp_path, SETTINGS, f"move:{tmp_path / 'in' / 'done'}")
    with pytest.raises(UsageError, match="within the watched folder"):
        watch.end()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    watch = Watching(tmp_path, SETTINGS, "keep")
    with pytest.raises(UsageError, match="no such folder"):
        watch.end()


def test_a_renamed_file_goes_on_and_a_new_one_in_its_place_begins(
    lines: list[bytes], whole: Path, tmp_path: Path
) -> None:
    half = len(lines) // 2
    current = tmp_path / "in" / "current.ndjson"
    with watching(tmp_path):
        current.write_bytes(b"".join(lines[: half - 10]))
        until(lambda: rows(tmp_path) > 0)
        with current.open("ab") as writer:
            os.rename(current, tmp_path / "in" / "rotated.ndjson")
            writer.write(b"".join(lines[half - 10 : half]))
            writer.flush()
            time.sleep(0.5)
        current.write_bytes(b"".join(lines[half:]))
        until(lambda: rows(tmp_path) == read(str(whole / "hf")).num_rows)
    flushed(tmp_path, tmp_path / "in")
    assert_same(tmp_path / "out", whole)


def test_a_damaged_file_is_warned_of_once_and_the_others_go_on(lines: list[bytes], tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        packed = gzip.compress(b"".join(lines[:50]))
        (tmp_path / "in" / "cut.ndjson.gz").write_bytes(packed[: len(packed) // 2])
        (tmp_path / "in" / "whole.ndjson").write_bytes(b"".join(lines[50:]))
        until(lambda: rows(tmp_path) > 10)
        time.sleep(1.5)
    assert len([text for text in watch.heard.warnings if "cut.ndjson.gz" in text]) == 1


def test_an_idle_bar_closes_once_and_for_good(tmp_path: Path) -> None:
    settings = Settings(
        state=StateConfig(bar_durations=(1.0,), bar_grace=0.1, bar_idle_close=0.3),
        local={"commit_interval": 0.05},
    )

    def book(t: int) -> bytes:
        data = {"bids": [[9.0, 1.0]], "asks": [[11.0, 1.0]], "timestamp": t}
        return (
            orjson.dumps({"type": "orderbook", "exchange": "x", "symbol": "A/B", "data": data, "collected_at": t})
            + b"\n"
        )

    file = tmp_path / "in" / "a.ndjson"
    with watching(tmp_path, settings=settings):
        file.write_bytes(book(1_723_161_600_900))
        until(lambda: rows(tmp_path, "bars") == 1)
    with watching(tmp_path, settings=settings) as watch:
        with file.open("ab") as more:
            more.write(book(1_723_161_600_950) + book(1_723_161_602_000))
        until(lambda: rows(tmp_path, "bars") == 2)
    bars = read(str(tmp_path / "out" / "bars")).to_pylist()
    assert [bar["bar_reason"] for bar in bars] == ["idle", "idle"]
    assert [bar["count"] for bar in bars] == [1, 1]
    assert [bar["late_events"] for bar in bars] == [0, 1], "the close was durable: what came for that bar later is late"
    assert watch.summary["late_events"] == 1
