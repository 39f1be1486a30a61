"""The commit-record protocol: several processes, asleep, dead or racing, and one chain of segments."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streamproc import read
from streamproc.config import Settings, SinkConfig
from streamproc.crash import EXIT_CODE
from streamproc.errors import DataError, UsageError
from streamproc.kafka.client import Headers
from streamproc.kafka.sink import chain as chains
from streamproc.kafka.sink.chain import Chain
from streamproc.kafka.sink.collect import RejectCollector
from streamproc.kafka.sink.local import LocalStorage
from streamproc.kafka.sink.output import claim
from streamproc.kafka.sink.partition import Partition
from streamproc.kafka.sink.segment import Attempt
from streamproc.parquet.compact import compact
from tests.children import exit_code
from tests.kafka.segments import RECORDS, SOURCE, Clock, Message, commit_rest, partition_over
from tests.parquet_rows import READERS, table_rows


def opened(output: Path, sink: SinkConfig | None = None, clock: Callable[[], float] = time.monotonic) -> Partition:
    """The partition, by a process that has just got it."""
    return partition_over(Chain(LocalStorage(output), SOURCE), sink, clock)


def rows(output: Path) -> list[str]:
    return sorted(map(repr, table_rows(read(output / "hf"))))


@pytest.fixture(scope="module")
def all_rows(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What one process gives in one segment."""
    output = tmp_path_factory.mktemp("all")
    partition = opened(output)
    partition.add(RECORDS)
    assert partition.commit()
    return rows(output)


def finish(output: Path) -> None:
    """A process that takes over, and reads to the end."""
    commit_rest(opened(output))


def pending(output: Path) -> list[Path]:
    return [path for path in (output / "_pending").rglob("*") if path.is_file()]


def test_of_two_that_commit_the_same_segment_one_wins(tmp_path: Path, all_rows: list[str]) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.add(RECORDS[:50])
    other.add(RECORDS[:70])
    assert one.commit()
    assert other.commit() is None
    other.restart()
    assert other.next == 50
    other.add(RECORDS[50:])
    assert other.commit()
    assert rows(tmp_path) == all_rows
    assert not pending(tmp_path)


def test_many_that_race_give_each_row_once(tmp_path: Path, all_rows: list[str]) -> None:
    def work(step: int) -> None:
        partition = opened(tmp_path)
        while partition.next < len(RECORDS):
            partition.add(RECORDS[partition.next : partition.next + step])
            if partition.commit() is None:
                partition.restart()

    threads = [threading.Thread(target=work, args=(step,)) for step in (7, 11, 13, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(tmp_path) == all_rows
    assert opened(tmp_path).next == len(RECORDS)
    assert not pending(tmp_path)


class AsleepError(Exception):
    """Stands for a process that stops in its tracks."""


class Sleeper(LocalStorage):
    """Storage of a process that falls asleep before its commit record, and can be woken."""

    asleep = True

    def create(self, name: str, content: bytes) -> bool:
        if self.asleep and name.endswith(".json"):
            raise AsleepError
        return super().create(name, content)


def fallen_asleep(output: Path) -> Callable[[], int | None]:
    """A process that has written its first segment's files; what wakes it."""
    partition = opened(output)
    storage = Sleeper(output)
    partition._commits = Chain(storage, SOURCE)
    partition.add(RECORDS[:40])
    with pytest.raises(AsleepError):
        partition.commit()

    def wake() -> int | None:
        storage.asleep = False
        written = [path.relative_to(output) for path in pending(output) if path.suffix == ".parquet"]
        folders = {path.parts[4] for path in written}
        chain = partition._commits
        for name in folders:
            start, _, attempt = name.partition("-")
            names = [str(Path(*path.parts[5:])) for path in written if path.parts[4] == name]
            if chain.commit(Attempt(int(start), 40, attempt), 40, names):
                return len(names)
        return None

    return wake


def test_a_zombie_that_wakes_after_another_has_committed_does_no_harm(tmp_path: Path, all_rows: list[str]) -> None:
    wake = fallen_asleep(tmp_path)
    successor = opened(tmp_path)
    successor.add(RECORDS[:90])
    assert successor.commit()
    assert wake() is None
    finish(tmp_path)
    assert rows(tmp_path) == all_rows
    assert not pending(tmp_path)


def test_files_of_a_sleeper_stay_as_long_as_it_may_commit_them(tmp_path: Path, all_rows: list[str]) -> None:
    """A successor that has committed nothing yet must not delete them: the sleeper may win."""
    wake = fallen_asleep(tmp_path)
    successor = opened(tmp_path)
    assert pending(tmp_path)
    assert wake() == len(list((tmp_path / "hf").rglob("*.parquet")))
    successor.add(RECORDS[:60])
    assert successor.commit() is None
    finish(tmp_path)
    assert rows(tmp_path) == all_rows


def test_files_of_one_that_never_wakes_are_cleared_once_they_cannot_be_committed(tmp_path: Path) -> None:
    fallen_asleep(tmp_path)
    assert pending(tmp_path)
    finish(tmp_path)
    opened(tmp_path)
    assert not pending(tmp_path)


def test_a_sleeper_whose_files_were_cleared_has_lost(tmp_path: Path, all_rows: list[str]) -> None:
    """Cleared while it writes: what fails for it is no fault of the disk."""
    partition = opened(tmp_path)
    partition.add(RECORDS[:40])
    write = partition.collected.write

    def cleared_meanwhile(folder: Path, stem: str) -> Any:
        names = write(folder, stem)
        finish(tmp_path)
        shutil.rmtree(folder)
        return names

    partition.collected.write = cleared_meanwhile  # type: ignore[method-assign]
    assert partition.commit() is None
    assert rows(tmp_path) == all_rows


def test_torn_files_are_never_seen_and_are_cleared(tmp_path: Path, all_rows: list[str]) -> None:
    fallen_asleep(tmp_path)
    for path in pending(tmp_path):
        path.write_bytes(path.read_bytes()[:100])
    finish(tmp_path)
    assert rows(tmp_path) == all_rows
    opened(tmp_path)
    assert not pending(tmp_path)


POINTS = [f"sink.after_{step}" for step in ("draft_folder", "write", "put", "draft:2", "link:2", "record", "rename")]


def commit_all(output: Path) -> None:
    """Segments of 40 rows; a checkpoint after each second."""
    chains.CHECKPOINT_RECORDS = 2
    commit_rest(opened(output), 40)


@pytest.mark.parametrize("point", [*POINTS, "sink.after_rename:3", "sink.after_publish:2", "sink.after_checkpoint"])
def test_killed_at_each_step_while_readers_read(
    point: str, tmp_path: Path, all_rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "CHECKPOINT_RECORDS", 2)
    with Reading(tmp_path):
        assert exit_code(commit_all, tmp_path, crash_at=point) == EXIT_CODE
        commit_all(tmp_path)
    assert rows(tmp_path) == all_rows
    opened(tmp_path)
    assert not pending(tmp_path)


class Reading:
    """Readers that read in a loop: never a broken file, never a row twice."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failed:
            raise self._failed[0]

    def _work(self) -> None:
        try:
            for number in self._numbers():
                table = self._seen(number)
                if table is not None:
                    seen = list(map(repr, table_rows(table)))
                    assert len(seen) == len(set(seen))
        except BaseException as error:
            self._failed.append(error)

    def _numbers(self) -> Iterator[int]:
        number = 0
        while not self._stop.is_set():
            yield number
            number += 1

    def _seen(self, number: int) -> pa.Table | None:
        if not any((self._output / "hf").rglob("*.parquet")):
            return None
        return READERS["pyarrow"](self._output / "hf") if number % 2 else read(self._output / "hf")


def test_a_compaction_beside_a_sink(tmp_path: Path, all_rows: list[str]) -> None:
    partition = opened(tmp_path)
    for start in range(0, len(RECORDS), 10):
        partition.add(RECORDS[start : start + 10])
        assert partition.commit()
        if start % 30 == 0:
            compact(tmp_path, Settings())
    assert opened(tmp_path).next == len(RECORDS), "the walk takes what was merged for done"
    assert rows(tmp_path) == all_rows


def test_the_walk_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "CHECKPOINT_RECORDS", 5)
    partition = opened(tmp_path)
    for record in RECORDS:
        partition.add([record])
        assert partition.commit()
    walked = []
    read_ = LocalStorage.read
    monkeypatch.setattr(LocalStorage, "read", lambda self, name: walked.append(name) or read_(self, name))  # type: ignore[func-returns-value]
    assert opened(tmp_path).next == len(RECORDS)
    assert len(walked) <= 10


def test_a_topic_made_anew_has_a_chain_of_its_own(tmp_path: Path) -> None:
    finish(tmp_path)
    anew = SOURCE._replace(topic_id="another")
    assert Chain(LocalStorage(tmp_path), anew).recover(lambda: 7) == 7


@pytest.mark.parametrize(
    ("limits", "due"),
    [
        ({"segment_rows": 20}, True),
        ({"segment_rows": 21}, False),
        ({"segment_files": 2}, True),
        ({"segment_files": 1_000}, False),
    ],
)
def test_a_segment_is_due_by_rows_and_files(limits: dict[str, int], due: bool, tmp_path: Path) -> None:
    sink = SinkConfig(**limits)
    partition = opened(tmp_path, sink)
    assert not partition.is_due(sink)
    partition.add(RECORDS[:20])
    assert partition.is_due(sink) is due


def test_a_segment_is_due_by_age_and_by_idleness(tmp_path: Path) -> None:
    clock = Clock()
    sink = SinkConfig(max_age=10, idle=3)
    partition = opened(tmp_path, sink, clock)
    for second in range(10):
        clock.seconds = second
        partition.add(RECORDS[second : second + 1])
        assert not partition.is_due(sink)
    clock.seconds = 10
    assert partition.is_due(sink)
    partition.commit()
    partition.add(RECORDS[10:11])
    clock.seconds = 12.9
    assert not partition.is_due(sink)
    clock.seconds = 13
    assert partition.is_due(sink)


@pytest.mark.parametrize("headers", [[], [("schema", b"2")]])
def test_rows_of_another_version_are_refused(headers: Headers, tmp_path: Path) -> None:
    partition = opened(tmp_path)
    with pytest.raises(DataError, match="its columns are of version") as caught:
        partition.add([*RECORDS[:2], Message(2, RECORDS[2].value() or b"", headers)])
    assert caught.value.where == "t.hf/3/2"


def test_a_row_of_another_configuration_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row of this configuration: no JSON object") as caught:
        opened(tmp_path).add([RECORDS[0], Message(17, b"[]", [("schema", b"1")])])
    assert caught.value.where == "t.hf/3/17"


def test_a_dead_letter_without_its_headers_is_refused() -> None:
    with pytest.raises(DataError, match="no dead letter"):
        RejectCollector("t.raw").add([Message(0, b"x", [("reason", b"late")])])


def test_a_folder_that_cannot_be_written_loses_nothing(tmp_path: Path, all_rows: list[str]) -> None:
    partition = opened(tmp_path)
    partition.add(RECORDS[:50])
    in_the_way = tmp_path / "_pending"
    shutil.rmtree(in_the_way, ignore_errors=True)
    in_the_way.write_bytes(b"")
    with pytest.raises(DataError, match="cannot write"):
        partition.commit()
    in_the_way.unlink()
    assert partition.commit()
    finish(tmp_path)
    assert rows(tmp_path) == all_rows


def test_a_commit_whose_files_cannot_move_is_published_later(tmp_path: Path, all_rows: list[str]) -> None:
    partition = opened(tmp_path)
    partition.add(RECORDS[:50])
    (tmp_path / "hf").write_bytes(b"")
    with pytest.raises(DataError, match="cannot write"):
        partition.commit()
    (tmp_path / "hf").unlink()
    finish(tmp_path)
    assert rows(tmp_path) == all_rows
    assert not pending(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"start": 0}'])
def test_a_damaged_record_is_told(content: bytes, tmp_path: Path) -> None:
    finish(tmp_path)
    (tmp_path / "_commits" / "t.hf" / "id" / "3" / "0.json").write_bytes(content)
    with pytest.raises(DataError, match="a damaged record of the sink's commits"):
        opened(tmp_path)


def test_an_output_with_other_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "a.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match="the output already holds rows that no sink has written"):
        claim(str(tmp_path), LocalStorage(tmp_path), SinkConfig())


def test_an_output_of_another_partitioning_is_refused(tmp_path: Path) -> None:
    claim(str(tmp_path), LocalStorage(tmp_path), SinkConfig())
    claim(str(tmp_path), LocalStorage(tmp_path), SinkConfig())
    with pytest.raises(UsageError, match="the output's folders were made by"):
        claim(str(tmp_path), LocalStorage(tmp_path), SinkConfig(partition_by=("exchange", "date")))
