"""Several workers: the same rows, rejects and counts as one, and what happens when somebody dies."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from streamproc import process_files
from streamproc.config import LocalConfig, Settings, SinkConfig, StateConfig
from streamproc.engine import Engine
from streamproc.errors import DataError, StateError, StreamprocError
from streamproc.local import workers as workers_module
from streamproc.local.crew import Crew
from streamproc.local.inputs import Source
from streamproc.local.orders import SharedBytes
from streamproc.local.sources import Chunk, LineReader
from streamproc.local.workers import hire
from streamproc.simulate import Market, generate

from .parquet_rows import read_pyarrow, table_rows
from .strategies import random_stream

SETTINGS = Settings(
    state=StateConfig(horizons=(1.0, 5.0), bar_durations=(1.0, 5.0), hf_emit_interval=0.0, max_levels=3),
    local=LocalConfig(chunk_bytes=1 << 14),
    sink=SinkConfig(buffer_rows=1000),
)
"""Small chunks, so that they go through all slots many times, and long lines are longer than a slot."""

PATIENCE_S = 120.0


@dataclass
class Outcome:
    """What a run, or several, made: rows and rejects from the disk, and the last summary."""

    rows: dict[str, list[list[Any]]]
    rejects: list[dict[str, str]]
    summary: dict[str, Any]

    @classmethod
    def of(cls, output: Path, summary: dict[str, Any]) -> "Outcome":
        rows = {stream: sorted(table_rows(read_pyarrow(output / stream)), key=str) for stream in ("hf", "bars")}
        lines = [line for file in sorted(output.glob("rejects/*")) for line in file.read_bytes().splitlines()]
        rejects = [reject | {"origin": Path(reject["origin"]).name} for reject in map(orjson.loads, lines)]
        return cls(rows, rejects, {name: value for name, value in summary.items() if name != "seconds"})


def run(output: Path, *inputs: Path, **arguments: Any) -> Outcome:
    return Outcome.of(output, process_files([*map(str, inputs)], output, settings=SETTINGS, **arguments))


def market(seconds: float, **changes: Any) -> bytes:
    return b"".join(generate(Market(symbols=4, seconds=seconds, levels=5, **changes)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def faulty(folder: Path) -> Path:
    """A market with faults, and what simulated markets do not have: names written oddly, bytes that are no text."""
    path = folder / "faulty.ndjson"
    path.write_bytes(market(20, faults=True) + b"".join(line + b"\n" for line in random_stream(7, 1500)))
    return path


@pytest.fixture(scope="module")
def alone(folder: Path, faulty: Path) -> Outcome:
    """What one worker makes of it."""
    outcome = run(folder / "alone", faulty)
    assert len(outcome.rows["hf"]) > 500
    assert len(outcome.rejects) > 100
    assert outcome.summary["symbols"] > 4
    return outcome


@pytest.mark.parametrize("workers", [2, 3])
def test_the_output_is_that_of_one(workers: int, tmp_path: Path, faulty: Path, alone: Outcome) -> None:
    assert run(tmp_path, faulty, workers=workers) == alone


def test_pieces_may_have_any_number_of_workers(
    tmp_path: Path, faulty: Path, alone: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "ENTRIES_AT_ONCE", 5)
    content = faulty.read_bytes()
    growing = tmp_path / faulty.name
    start = 0
    for end, workers in [(len(content) // 3, 2), (len(content) * 3 // 5, 1), (len(content), 3)]:
        with growing.open("ab") as file:
            file.write(content[start:end])
        last = end == len(content)
        outcome = run(tmp_path / "out", growing, state=tmp_path / "state", workers=workers, flush=last)
        start = end
    assert (outcome.rows, outcome.rejects) == (alone.rows, alone.rejects)


def test_merged_and_packed_inputs(tmp_path: Path) -> None:
    lines = market(10).splitlines(keepends=True)
    for name, kind in (("books", b'"orderbook"'), ("trades", b'"trades"')):
        with gzip.open(tmp_path / f"{name}.ndjson.gz", "wb") as file:
            file.writelines(line for line in lines if line.startswith(b'{"type":' + kind))
    inputs = sorted(tmp_path.glob("*.gz"))
    one, two = (run(tmp_path / str(workers), *inputs, merge=True, workers=workers) for workers in (1, 2))
    assert one.rejects == []
    assert len(one.rows["bars"]) > 30
    assert two == one


def test_a_line_of_twenty_megabytes(tmp_path: Path) -> None:
    lines = market(2).splitlines(keepends=True)
    book = orjson.loads(next(line for line in lines if line.startswith(b'{"type":"orderbook"')))
    padded = orjson.dumps(book | {"symbol": "LONG/ONE", "info": "x" * (20 << 20)}) + b"\n"
    path = tmp_path / "long.ndjson"
    path.write_bytes(b"".join([*lines[:20], padded, b"x" * (1 << 20) + b"\n", *lines[20:]]))
    one, two = (run(tmp_path / str(workers), path, workers=workers) for workers in (1, 2))
    assert [reject["reason"] for reject in one.rejects] == ["malformed"]
    assert two == one


@pytest.mark.parametrize("without", ["nothing", "memfd_create"])
def test_shared_bytes_are_seen_by_the_other_side(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, without, raising=False)
    ours = SharedBytes()
    theirs = SharedBytes(ours.descriptor)
    ours.grow(5000)
    ours.part(4998, 2)[:] = [1, 2]
    assert theirs.part(4998, 2).tolist() == [1, 2]
    ours.grow(1 << 20)
    ours.part((1 << 20) - 1, 1)[:] = 3
    assert theirs.part((1 << 20) - 1, 1).tolist() == [3]
    assert theirs.part(4998, 2).tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        theirs.part(0, 1)[:] = 1
    ours.close()


# The crew itself, without a run around it.


@contextlib.contextmanager
def team(staging: Path, state: Any = ()) -> Iterator[Crew]:
    """A crew of two; none of its processes is left at the end, neither running nor as a zombie."""
    others = psutil.Process().children()
    crew = hire(2, SETTINGS, staging, "part", state)
    try:
        yield crew
    finally:
        crew.close()
        assert [child for child in psutil.Process().children() if child not in others] == []


def workers() -> list[psutil.Process]:
    """The processes of the crew, in their order; other tests' helpers are children of this process too."""
    return [child for child in psutil.Process().children() if "streamproc.local.worker" in child.cmdline()]


def chunks(path: Path) -> Iterator[Chunk]:
    """A file as the drivers read it."""
    with LineReader(Source(str(path)), chunk_bytes=1 << 14) as reader:
        while (chunk := reader.read()) is not None:
            yield chunk


def test_a_worker_that_is_killed_is_named(tmp_path: Path, faulty: Path) -> None:
    given = chunks(faulty)
    with team(tmp_path) as crew:
        list(crew.take(next(given)))
        victim = workers()[1]
        victim.send_signal(signal.SIGKILL)
        with pytest.raises(
            StreamprocError, match=f"process {victim.pid}: worker 2 of 2 was killed by SIGKILL"
        ) as caught:
            for chunk in given:
                list(crew.take(chunk))
    assert type(caught.value) is StreamprocError
    assert caught.value.hint


def test_an_error_of_a_worker_is_raised_as_it_is(tmp_path: Path, faulty: Path) -> None:
    (tmp_path / "hf").write_bytes(b"in the way")
    alone = hire(1, SETTINGS, tmp_path, "part", ())
    errors = []
    with team(tmp_path) as crew:
        for working in (alone, crew):
            with pytest.raises(DataError) as caught:
                for chunk in chunks(faulty):
                    list(working.take(chunk))
                working.finish()
            errors.append(caught.value)
    one, two = errors
    assert (two.message, two.hint) == (one.message, one.hint)
    assert two.where.startswith(str(tmp_path / "hf"))
    assert any("in worker" in note and "write_file" in note for note in two.__notes__)


def test_a_damaged_state_is_refused_by_its_worker(tmp_path: Path) -> None:
    engine = Engine(SETTINGS.state)
    engine.feed(market(10))
    entries = sorted(engine.changes().puts)
    assert len(entries) > 8
    with team(tmp_path, entries[:-1]) as crew, pytest.raises(StateError, match="is damaged"):
        crew.tally()


HOLDS_THE_INTERPRETER = """
import re, sys
from streamproc.local.worker import end_with_parent
end_with_parent(int(sys.argv[1]))
print(flush=True)
re.match("(a+)+$", "a" * 60 + "b")
"""


def test_a_worker_ends_with_its_parent_whatever_it_is_at() -> None:
    read_end, write_end = os.pipe()
    command = [sys.executable, "-c", HOLDS_THE_INTERPRETER, str(read_end)]
    with subprocess.Popen(command, pass_fds=(read_end,), stdout=subprocess.PIPE) as process:
        try:
            os.close(read_end)
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            os.close(write_end)
            assert process.wait(2) == -signal.SIGIO
        finally:
            process.kill()


# The command, and signals from outside.


@dataclass
class Command:
    """`streamproc run --workers 2 --state` over a file and stdin, in the middle of the work: it has files staged."""

    process: "subprocess.Popen[bytes]"
    workers: list[psutil.Process]

    def end(self) -> tuple[int, bytes, bytes]:
        """Close its stdin and wait: exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err


@contextlib.contextmanager
def started(folder: Path, path: Path) -> Iterator[Command]:
    config = folder / "config.yaml"
    config.write_text(orjson.dumps(SETTINGS.model_dump(include={"state", "local", "sink"})).decode())
    arguments = [
        "run",
        "--config",
        config,
        "--input",
        path,
        "-",
        "--output",
        "out",
        "--state",
        "state",
        "--workers",
        "2",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "streamproc", *map(str, arguments), "--json", "--set", "sink.buffer_rows=100"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            until(lambda: all(any(folder.rglob(f"out/_pending/**/*-w0{i}-*.parquet")) for i in (0, 1)))
            yield Command(process, psutil.Process(process.pid).children())
        finally:
            process.kill()


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def all_of(folder: Path, path: Path) -> Outcome:
    """What is there after the rest of the file was taken in, by one worker."""
    return run(folder / "out", path, state=folder / "state", flush=True)


def test_a_run_whose_worker_was_killed_can_be_repeated(tmp_path: Path, faulty: Path, alone: Outcome) -> None:
    with started(tmp_path, faulty) as command:
        command.workers[0].kill()
        code, out, err = command.end()
        assert (code, out) == (1, b"")
        assert b"was killed by SIGKILL" in err
        assert b"Traceback" not in err
        assert not any(worker.is_running() for worker in command.workers)
    outcome = all_of(tmp_path, faulty)
    assert (outcome.rows, outcome.rejects) == (alone.rows, alone.rejects)


def test_workers_do_not_outlive_their_parent(tmp_path: Path, faulty: Path, alone: Outcome) -> None:
    with started(tmp_path, faulty) as command:
        assert len(command.workers) == 2
        command.process.kill()
        command.process.wait()
        _, alive = psutil.wait_procs(command.workers, timeout=2)
        assert alive == []
    outcome = all_of(tmp_path, faulty)
    assert (outcome.rows, outcome.rejects) == (alone.rows, alone.rejects)


def test_a_signal_to_all_ends_in_a_clean_commit(tmp_path: Path, faulty: Path, alone: Outcome) -> None:
    with started(tmp_path, faulty) as command:
        os.killpg(command.process.pid, signal.SIGINT)
        code, out, err = command.end()
        assert code == 130, err
        summary = json.loads(out)
        assert summary["interrupted"] is True
    assert summary["records"] > 0
    outcome = all_of(tmp_path, faulty)
    assert (outcome.rows, outcome.rejects) == (alone.rows, alone.rejects)


def test_a_file_and_then_standard_input(tmp_path: Path, faulty: Path, alone: Outcome) -> None:
    lines = faulty.read_bytes().splitlines(keepends=True)
    path = tmp_path / "first.ndjson"
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    with started(tmp_path, path) as command:
        out, err = command.process.communicate(b"".join(lines[len(lines) // 2 :]), timeout=PATIENCE_S)
        assert command.process.returncode == 0, err
    outcome = all_of(tmp_path, path)
    assert outcome.rows == alone.rows
    assert [reject | {"origin": ""} for reject in outcome.rejects] == [
        reject | {"origin": ""} for reject in alone.rejects
    ]
    assert outcome.rejects[-1]["origin"].startswith("<stdin>:")
    assert json.loads(out)["records"] == alone.summary["records"]
