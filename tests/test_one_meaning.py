"""The same input gives the same rows however it arrives, whatever dies on the way."""

import gzip
import itertools
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from streamproc.config import Settings, StateConfig
from streamproc.crash import EXIT_CODE
from streamproc.local.run import process_files, run_files
from streamproc.local.watch import watch_directory
from streamproc.observe.progress import QuietProgress
from streamproc.observe.stop import StopRequest
from streamproc.simulate import Market, generate
from tests.children import begin, exit_code
from tests.outputs import assert_same, contents

SETTINGS = Settings(state=StateConfig(bar_idle_close=None), local={"commit_interval": 0.05, "chunk_bytes": 65536})
"""Small chunks and frequent commits, so that there are many boundaries to get wrong."""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return b"".join(generate(Market(symbols=3, seconds=70, levels=5, rate_hz=6, seed=11, faults=True)))


@pytest.fixture(scope="module")
def whole(market: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "market.ndjson").write_bytes(market)
    process_files([str(folder / "market.ndjson")], folder / "out", settings=SETTINGS)
    assert contents(folder / "out").rejects.total() > 10
    return folder / "out"


def go_on(folder: Path, flush: bool = False, inputs: str = "in") -> dict[str, Any]:
    """One run with the folder's state."""
    return run_files(
        [str(folder / inputs)],
        folder / "out",
        SETTINGS,
        state=folder / "state",
        flush=flush,
        workers=1,
        merge=False,
        overwrite=False,
        fresh=False,
        progress=QuietProgress(),
        stop=StopRequest(),
    )


def pieces_of(market: bytes, count: int, seed: int) -> list[bytes]:
    """Cut at random bytes, in the middle of lines."""
    cuts = [0, *sorted(random.Random(seed).sample(range(1, len(market)), count - 1)), len(market)]
    return [market[a:b] for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_file_that_grows_by_pieces_cut_anywhere(seed: int, market: bytes, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    records = 0
    for piece in pieces_of(market, 12, seed):
        with (tmp_path / "in" / "a.ndjson").open("ab") as file:
            file.write(piece)
        records += go_on(tmp_path)["records"]
    records += go_on(tmp_path, flush=True)["records"]
    assert_same(tmp_path / "out", whole)
    assert (
        records
        == process_files([str(whole.parent / "market.ndjson")], tmp_path / "again", settings=SETTINGS)["records"]
    )


def test_a_gzip_file_that_grows_by_members(market: bytes, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for piece in pieces_of(market, 5, 3):
        with (tmp_path / "in" / "a.ndjson.gz").open("ab") as file:
            file.write(gzip.compress(piece))
        go_on(tmp_path)
    go_on(tmp_path, flush=True)
    assert_same(tmp_path / "out", whole)


def test_files_one_after_the_other_taken_in_once_each(market: bytes, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = market.splitlines(keepends=True)
    for number, start in enumerate(range(0, len(lines), 800)):
        (tmp_path / "in" / f"part-{number}.ndjson").write_bytes(b"".join(lines[start : start + 800]))
        go_on(tmp_path)
    os.rename(tmp_path / "in" / "part-0.ndjson", tmp_path / "in" / "part-99.ndjson")
    (tmp_path / "in" / "copy.ndjson.gz").write_bytes(gzip.compress((tmp_path / "in" / "part-1.ndjson").read_bytes()))
    assert go_on(tmp_path)["records"] == 0
    go_on(tmp_path, flush=True)
    assert_same(tmp_path / "out", whole)


POINTS = [
    "commit.after_files",
    "commit.after_batch",
    "publish.after_rename",
    "publish.after_rename:3",
    "commit.after_publish",
    "commit.after_mark",
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_of_a_commit(point: str, market: bytes, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, piece in enumerate(pieces_of(market, 3, 4)):
        with (tmp_path / "in" / "a.ndjson").open("ab") as file:
            file.write(piece)
        last = number == 2
        assert exit_code(go_on, tmp_path, last, crash_at=point) == EXIT_CODE, "the crash point was not reached"
        go_on(tmp_path)
    go_on(tmp_path, flush=True)
    assert_same(tmp_path / "out", whole)
    staged = [path for path in (tmp_path / "out" / "_pending").rglob("*") if path.is_file() and path.name != "_lock"]
    assert not staged


@pytest.mark.parametrize("point", ["run.before_publish", "run.after_rename"])
def test_a_run_without_state_killed_while_it_publishes(point: str, whole: Path, tmp_path: Path) -> None:
    source = [str(whole.parent / "market.ndjson")]

    assert exit_code(_overwrite, source, tmp_path / "out", crash_at=point) == EXIT_CODE
    process_files(source, tmp_path / "out", settings=SETTINGS, overwrite=True)
    assert_same(tmp_path / "out", whole)
    assert not (tmp_path / "out" / "_pending").exists()


def _overwrite(source: list[str], output: Path) -> None:
    process_files(source, output, settings=SETTINGS, overwrite=True)


def _watch(folder: Path) -> None:
    with StopRequest() as stop:
        watch_directory(
            folder / "in",
            folder / "out",
            SETTINGS,
            state=folder / "state",
            after="keep",
            fresh=False,
            progress=QuietProgress(),
            stop=stop,
        )


def test_watch_killed_at_random_while_a_file_grows(market: bytes, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    chance = random.Random(5)
    watching = begin(_watch, tmp_path)
    for piece in pieces_of(market, 40, 6):
        with (tmp_path / "in" / "a.ndjson").open("ab") as file:
            file.write(piece)
        time.sleep(0.05)
        if chance.random() < 0.25:
            time.sleep(chance.random() * 0.3)
            watching.kill()
            watching.join()
            watching = begin(_watch, tmp_path)
    _wait_until_taken_in(tmp_path, len(market))
    assert watching.pid is not None
    os.kill(watching.pid, signal.SIGTERM)
    watching.join(60)
    assert watching.exitcode == 0
    assert go_on(tmp_path, flush=True)["records"] == 0
    assert_same(tmp_path / "out", whole)


def _wait_until_taken_in(folder: Path, size: int) -> None:
    """The newest feature rows appear when the end of the file has been taken in and committed."""
    deadline = time.monotonic() + 60
    newest = 0.0
    while time.monotonic() < deadline:
        files = [path.stat().st_mtime for path in (folder / "out" / "hf").rglob("*.parquet")]
        if files and max(files) == newest and time.time() - newest > 2:
            return
        newest = max(files, default=0.0)
        time.sleep(0.3)
    raise AssertionError("watch did not come to rest")
