"""A sink gives the files that `run` gives, whatever dies whenever."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from streamproc import read
from streamproc.config import Settings
from streamproc.crash import EXIT_CODE
from streamproc.errors import DataError
from streamproc.kafka.client import admin
from streamproc.kafka.group import describe
from streamproc.kafka.names import Names
from streamproc.kafka.sink import chain, member
from streamproc.kafka.topics import check_topics
from streamproc.parquet.compact import compact
from streamproc.simulate import Market
from tests.children import begin
from tests.kafka.against_run import lines_of
from tests.kafka.groups import committed, eventually, fill_raw, running_member, with_process
from tests.kafka.sinks import be_sink, hints_reach_the_end, in_another_group, outgoing, produce, running_sink, with_sink
from tests.kafka.topics import make_topics
from tests.outputs import assert_same

PROMPT = {"max_age": 0.3, "idle": 0.3}


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Lines of a market with every fault."""
    return lines_of(Market(symbols=6, seconds=40, levels=5, rate_hz=6, seed=5, faults=True))


def test_a_sink_gives_what_run_gives(settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path) -> None:
    make_topics(settings)
    produce(settings, [*outgoing(settings, lines)], transactions=3)
    mine = with_sink(settings, **PROMPT)
    with running_sink(mine, tmp_path / "out") as summary:
        eventually(lambda: hints_reach_the_end(settings))
    assert_same(tmp_path / "out", run_output)
    assert summary["segments"] >= 3


POINTS = [
    "sink.after_genesis",
    "sink.after_draft_folder",
    "sink.after_write",
    "sink.after_put",
    "sink.after_draft:14",
    "sink.after_link:14",
    "sink.after_record",
    "sink.after_record:2",
    "sink.after_rename",
    "sink.after_rename:2",
    "sink.after_publish",
    "sink.after_checkpoint",
    "sink.after_hint",
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_of_a_segment(
    point: str,
    settings: Settings,
    lines: list[bytes],
    run_output: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_topics(settings)
    records = [*outgoing(settings, lines)]
    produce(settings, records[: len(records) // 2])
    mine = with_sink(settings, **PROMPT)
    killed = begin(be_sink_with_short_walks, mine, tmp_path / "out", crash_at=point)
    produce(settings, records[len(records) // 2 :])  # while it works, so that segments follow one another
    killed.join(60)
    assert killed.exitcode == EXIT_CODE
    in_another_group(monkeypatch)
    with running_sink(mine, tmp_path / "out"):
        eventually(lambda: hints_reach_the_end(settings))
    assert_same(tmp_path / "out", run_output)


def test_sinks_of_a_group_come_and_go(settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path) -> None:
    make_topics(settings)
    records = [*outgoing(settings, lines)]
    third = len(records) // 3
    mine = with_sink(settings, **PROMPT, segment_rows=50)
    with running_sink(mine, tmp_path / "out") as one:
        produce(settings, records[:third])
        with running_sink(mine, tmp_path / "out") as other:
            produce(settings, records[third : 2 * third])
            eventually(lambda: hints_reach_the_end(settings))
        produce(settings, records[2 * third :])
        eventually(lambda: hints_reach_the_end(settings))
    assert_same(tmp_path / "out", run_output)
    assert one["lost_segments"] == other["lost_segments"] == 0


def test_partitions_that_come_and_go_within_one_call(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of `consume` that lasts over several rebalances assigns each partition once."""
    make_topics(settings)
    produce(settings, [*outgoing(settings, lines)])
    mine = with_sink(settings, **PROMPT)
    look, group = admin(settings.kafka), Names(settings.kafka.prefix).sink_group
    monkeypatch.setattr(member, "WAIT_SECONDS", 12.0)
    with running_sink(mine, tmp_path / "out"):
        eventually(lambda: len(describe(look, group).members) == 1)
        monkeypatch.undo()
        with running_sink(mine, tmp_path / "out"):
            eventually(lambda: [bool(one.partitions) for one in describe(look, group).members] == [True, True])
        eventually(lambda: hints_reach_the_end(settings))
    assert_same(tmp_path / "out", run_output)


def test_two_sinks_with_the_same_partitions_and_readers_beside(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes itself for the owner of all; a segment has one winner, and no reader sees a row twice."""
    make_topics(settings)
    records = [*outgoing(settings, lines)]
    mine = with_sink(settings, **PROMPT, segment_rows=20)
    rival = begin(be_sink, mine, tmp_path / "out")
    eventually(lambda: any((tmp_path / "out" / "_commits").rglob("_genesis")))  # it works, and ends by SIGTERM
    in_another_group(monkeypatch)
    try:
        with running_sink(mine, tmp_path / "out"):
            for start in range(0, len(records), 200):
                produce(settings, records[start : start + 200])
                compact_beside(tmp_path / "out", settings)
            eventually(lambda: hints_reach_the_end(settings))
    finally:
        rival.terminate()
        rival.join(30)
    assert rival.exitcode == 0
    assert_same(tmp_path / "out", run_output)


def compact_beside(output: Path, settings: Settings) -> None:
    if any((output / "hf").rglob("*.parquet")):
        compact(output, settings)
        rows = read(output / "hf").select(["symbol", "timestamp", "nonce", "mid_price"]).to_pylist()
        assert len(rows) == len({tuple(row.values()) for row in rows})


def test_a_sink_that_is_paused_past_its_session_does_no_harm(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topics(settings)
    records = [*outgoing(settings, lines)]
    produce(settings, records[: len(records) // 2])
    patient = with_sink(settings, max_age=2, idle=2)
    zombie = begin(be_sink, patient, tmp_path / "out")
    assert zombie.pid is not None
    eventually(lambda: any((tmp_path / "out" / "_commits").rglob("_genesis")))
    time.sleep(1)  # by now it holds rows
    os.kill(zombie.pid, signal.SIGSTOP)
    in_another_group(monkeypatch)
    try:
        produce(settings, records[len(records) // 2 :])
        with running_sink(with_sink(settings, **PROMPT), tmp_path / "out"):
            eventually(lambda: hints_reach_the_end(settings))
            os.kill(zombie.pid, signal.SIGCONT)
            time.sleep(3)
    finally:
        os.kill(zombie.pid, signal.SIGCONT)
        zombie.terminate()
        zombie.join(30)
    assert zombie.exitcode == 0
    assert_same(tmp_path / "out", run_output)


def test_sigterm_commits_what_is_held(settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path) -> None:
    """With limits that are never reached, nothing is written before."""
    make_topics(settings)
    produce(settings, [*outgoing(settings, lines)])
    hour = with_sink(settings, max_age=3600, idle=3600)
    child = begin(be_sink, hour, tmp_path / "out")
    eventually(lambda: any((tmp_path / "out" / "_commits").rglob("_genesis")))
    time.sleep(2)
    assert not (tmp_path / "out" / "hf").exists()
    child.terminate()
    child.join(30)
    assert child.exitcode == 0
    assert_same(tmp_path / "out", run_output)


def test_a_full_memory_is_emptied_by_commits(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    make_topics(settings)
    produce(settings, [*outgoing(settings, lines)])
    hour = with_sink(settings, max_age=3600, idle=3600, buffer_bytes=50_000)
    with running_sink(hour, tmp_path / "out") as summary:
        eventually(lambda: any((tmp_path / "out" / "hf").rglob("*.parquet")))
    assert_same(tmp_path / "out", run_output)
    assert summary["segments"]


def test_rows_that_were_deleted_before_they_were_read_are_told(
    settings: Settings, lines: list[bytes], tmp_path: Path
) -> None:
    names = make_topics(settings, partitions=1)
    records = [*outgoing(settings, lines)]
    produce(settings, records[:1])
    mine = with_sink(settings, **PROMPT)
    with running_sink(mine, tmp_path / "out"):
        eventually(lambda: hints_reach_the_end(settings))
    produce(settings, records[1:100])
    hf = TopicPartition(names.hf, 0, 50)
    client = admin(settings.kafka)
    [deleted] = client.delete_records([hf]).values()
    deleted.result(10)
    with (
        pytest.raises(DataError, match="the rows from offset 1 on were deleted from the topic"),
        running_sink(mine, tmp_path / "out") as sinking,
    ):
        sinking["thread"].join(30)


def test_a_chain_that_ends_beyond_the_log_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_topics(settings, partitions=1)
    monkeypatch.setattr(member, "END_SECONDS", 0.3)
    hf = check_topics(admin(settings.kafka), settings.kafka, {"hf"})["hf"]
    folder = tmp_path / "out" / "_commits" / names.hf / hf.id / "0"
    folder.mkdir(parents=True)
    (folder / "_genesis").write_text('{"next": 5}')
    with (
        pytest.raises(DataError, match="the output has rows up to offset 5, but the topic ends at 0"),
        running_sink(settings, tmp_path / "out") as sinking,
    ):
        sinking["thread"].join(30)


STARVED = """
import pickle, resource, signal, sys
from pathlib import Path
from streamproc.errors import StreamprocError
from tests.kafka.sinks import be_sink
settings, output, limit = pickle.loads(bytes.fromhex(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    be_sink(settings, output)
except StreamprocError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
"""Files that may not grow beyond a limit stand for the disk: the system refuses the write that would."""


@pytest.mark.parametrize("limit", [30, 4_000, 30_000])
def test_a_full_disk_stops_a_sink_and_loses_nothing(
    limit: int, settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    """A small limit stops the output's mark, a larger one a file of rows."""
    make_topics(settings)
    produce(settings, [*outgoing(settings, lines)])
    mine = with_sink(settings, **PROMPT)
    given = pickle.dumps((mine, tmp_path / "out", limit)).hex()
    done = subprocess.run(
        [sys.executable, "-c", STARVED, given], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "cannot write: File too large" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    with running_sink(mine, tmp_path / "out"):
        eventually(lambda: hints_reach_the_end(settings))
    assert_same(tmp_path / "out", run_output)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_from_raw_lines_to_files(
    protocol: str, settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    """What members and sinks make of the raw topic is what `run` makes of the lines."""
    make_topics(settings)
    mine = with_sink(settings, **PROMPT, group_protocol=protocol)
    with running_sink(mine, tmp_path / "out"):
        count = fill_raw(settings, lines)
        with running_member(with_process(settings, tmp_path / "state", group_protocol=protocol)):
            eventually(lambda: committed(settings) == count)
        eventually(lambda: hints_reach_the_end(settings))
    assert_same(tmp_path / "out", run_output)


def be_sink_with_short_walks(settings: Settings, output: Path) -> None:
    """A sink that makes a checkpoint after every segment."""
    chain.CHECKPOINT_RECORDS = 1
    be_sink(settings, output)
