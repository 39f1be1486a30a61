"""Delta Lake tables: rows and offsets enter the log together, so that no row comes twice whoever writes, and dies."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from streamproc import read
from streamproc.config import Settings, SinkConfig, StateConfig
from streamproc.crash import EXIT_CODE
from streamproc.errors import DataError, UsageError
from streamproc.kafka.sink.chain import Chain
from streamproc.kafka.sink.delta import DeltaCommits, Table
from streamproc.kafka.sink.local import LocalStorage
from streamproc.kafka.sink.objects import ObjectStorage
from streamproc.kafka.sink.partition import Partition
from streamproc.parquet.compact import compact
from streamproc.parquet.delta import delta_options
from streamproc.parquet.objects import open_store
from tests.children import exit_code
from tests.kafka.segments import CONFIG, RECORDS, SOURCE, commit_rest, partition_over
from tests.parquet_rows import table_rows
from tests.s3 import Server, running_server

pytestmark = pytest.mark.go

STEP = 40
"""Rows of a segment."""
APPLICATION = f"streamproc.sink/{SOURCE.folder}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


class Place:
    """An output, in a folder or an object store."""

    def __init__(self, address: str, options: Mapping[str, str]) -> None:
        self.address = address
        self.options = dict(options)

    def commits(self) -> DeltaCommits:
        """Those of a process that has just got the partition."""
        sink = SinkConfig(format="delta", storage=self.options)
        table = Table(self.address, "hf", CONFIG, sink)
        if not self.options:
            return DeltaCommits(LocalStorage(Path(self.address)), SOURCE, table)
        return DeltaCommits(ObjectStorage(open_store(self.address, self.options), self.address), SOURCE, table)

    def opened(self) -> Partition:
        return partition_over(self.commits())

    def table(self) -> DeltaTable:
        return DeltaTable(f"{self.address}/hf", storage_options=delta_options(self.options) if self.options else None)

    def rows(self) -> list[str]:
        return sorted(map(repr, table_rows(read(f"{self.address}/hf", storage=self.options))))


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place(str(tmp_path / "out"), {})
    bucket = server.bucket()
    return Place(bucket.address, bucket.options())


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "out"), {})


@pytest.fixture(scope="module")
def all_rows(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a sink gives that writes plain files."""
    output = tmp_path_factory.mktemp("plain")
    commit_rest(partition_over(Chain(LocalStorage(output), SOURCE)))
    return sorted(map(repr, table_rows(read(output / "hf"))))


def test_rows_are_those_of_plain_files(place: Place, all_rows: list[str]) -> None:
    commit_rest(place.opened(), STEP)
    assert place.rows() == all_rows
    assert place.table().transaction_version(APPLICATION) == len(RECORDS)
    assert place.opened().next == len(RECORDS)


def test_readers_of_delta_tables_see_the_same(place: Place, all_rows: list[str]) -> None:
    commit_rest(place.opened(), STEP)
    names = ["symbol", "timestamp", "mid_price"]
    wanted = read(f"{place.address}/hf", storage=place.options, columns=names).to_pylist()
    seen = pl.read_delta(f"{place.address}/hf", storage_options=place.options or None).select(names)
    assert sorted(map(repr, seen.rows())) == sorted(repr(tuple(row.values())) for row in wanted)
    connection = duckdb.connect()
    connection.register("rows", place.table().to_pyarrow_dataset())
    query = "select count(*), count(distinct symbol), min(date)::varchar from rows"
    [counted] = connection.execute(query).fetchall()
    assert counted == (len(RECORDS), len({row["symbol"] for row in wanted}), "2024-08-09")


def test_delta_itself_takes_a_transaction_twice(folder: Place) -> None:
    """What the rule is for: were it otherwise, the tests of zombies would prove nothing."""
    folder.commits()
    table = folder.table()
    again = CommitProperties(app_transactions=[Transaction(APPLICATION, 7)])
    for _ in range(2):
        table.create_write_transaction([], "append", table.schema(), commit_properties=again)
        table.update_incremental()
    assert table.version() == 2


def test_of_two_zombies_neither_doubles_a_row(place: Place, all_rows: list[str]) -> None:
    """Both have put files of the same offsets; they wake after a third has gone on, one with a log as old as they."""
    zombies = [place.commits() for _ in range(2)]
    wake = [asleep_before_its_commit(zombie, next_) for zombie, next_ in zip(zombies, (STEP, 60), strict=True)]
    heir = place.opened()
    assert heir.next == 0
    heir.add(RECORDS[:STEP])
    assert heir.commit()
    assert not wake[1](), "another segment from the same offset"
    assert place.table().transaction_version(APPLICATION) == STEP
    wake[0]()  # its very segment is in the table: by whom is the same
    commit_rest(heir)
    assert not wake[0]()
    assert place.rows() == all_rows


def test_one_zombie_that_is_first_takes_the_segment(place: Place, all_rows: list[str]) -> None:
    wake = asleep_before_its_commit(place.commits(), 60)
    heir = place.opened()
    heir.add(RECORDS[:STEP])
    assert wake()
    assert heir.commit() is None
    heir.restart()
    assert heir.next == 60
    commit_rest(heir)
    assert place.rows() == all_rows


def asleep_before_its_commit(commits: DeltaCommits, next_: int) -> Callable[[], bool]:
    """A process that has put its first segment's files; what wakes it."""
    waking: list[Callable[[], bool]] = []

    class Asleep(DeltaCommits):
        def commit(self, *given: object) -> bool:
            waking.append(lambda: DeltaCommits.commit(self, *given))  # type: ignore[arg-type]
            return False

    commits.__class__ = Asleep
    partition = partition_over(commits)
    partition.add(RECORDS[:next_])
    assert partition.commit() is None
    return waking[0]


def test_sinks_that_race_give_each_row_once(place: Place, all_rows: list[str]) -> None:
    def work(step: int) -> None:
        partition = place.opened()
        while partition.next < len(RECORDS):
            partition.add(RECORDS[partition.next : partition.next + step])
            if partition.commit() is None:
                partition.restart()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, (17, 23, 29)))
    assert place.rows() == all_rows


def test_partitions_of_one_table_do_not_disturb_each_other(folder: Place) -> None:
    others = [SOURCE._replace(partition=number) for number in range(4)]

    def work(number: int) -> None:
        commits = folder.commits()
        mine = DeltaCommits(LocalStorage(Path(folder.address)), others[number], commits._table)
        commit_rest(partition_over(mine), 30)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(read(f"{folder.address}/hf")) == 4 * len(RECORDS)


def commit_all(address: str, options: Mapping[str, str]) -> None:
    commit_rest(Place(address, options).opened(), STEP)


@pytest.mark.parametrize("step", ["draft_folder", "write", "put", "put:2", "record", "record:2"])
def test_killed_at_each_step(step: str, place: Place, all_rows: list[str]) -> None:
    point = f"sink.after_{step}"
    assert exit_code(commit_all, place.address, place.options, crash_at=point) == EXIT_CODE
    commit_rest(place.opened(), STEP)
    assert place.rows() == all_rows


def test_a_commit_whose_answer_is_lost_is_known_by_the_log(
    folder: Place, all_rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Table.append

    def unanswered(self: Table, *given: object) -> None:
        append(self, *given)  # type: ignore[arg-type]
        raise OSError("error sending request")

    monkeypatch.setattr(Table, "append", unanswered)
    partition = folder.opened()
    partition.add(RECORDS[:STEP])
    assert partition.commit()
    monkeypatch.undo()
    commit_rest(folder.opened())
    assert folder.rows() == all_rows


def test_a_log_that_takes_nothing_is_told(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise CommitFailedError("no")

    commits = folder.commits()
    commits._sleep = lambda _: None
    partition = partition_over(commits)
    partition.add(RECORDS[:STEP])
    monkeypatch.setattr(Table, "append", refused)
    with pytest.raises(DataError, match="the table's log takes no commit"):
        partition.commit()


def test_a_table_of_another_configuration_is_refused(folder: Place) -> None:
    folder.commits()
    with pytest.raises(UsageError, match="the table has other columns than this configuration makes, such as "):
        Table(folder.address, "hf", StateConfig(horizons=(7.0,)), SinkConfig())


def test_compact_leaves_delta_tables_alone(folder: Place) -> None:
    commit_rest(folder.opened())
    with pytest.raises(UsageError, match="a Delta table is compacted by its own tools"):
        compact(Path(folder.address), Settings())


def test_drafts_of_killed_sinks_go(folder: Place) -> None:
    assert exit_code(commit_all, folder.address, {}, crash_at="sink.after_write:2") == EXIT_CODE
    waiting = Path(folder.address, "_pending")
    assert any(waiting.rglob("*.parquet"))
    commit_rest(folder.opened(), STEP)
    folder.opened()
    assert not any(waiting.rglob("*.parquet"))
