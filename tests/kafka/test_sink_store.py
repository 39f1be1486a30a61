"""Segments in an object store: the protocol against a real S3 server, whatever breaks."""

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import MemoryStore
from pyarrow import fs

from streamproc import read
from streamproc.config import Settings, SinkConfig
from streamproc.crash import EXIT_CODE
from streamproc.errors import DataError, StreamprocError, UsageError
from streamproc.kafka.sink import chain as chains
from streamproc.kafka.sink import objects, scratch
from streamproc.kafka.sink.chain import Chain
from streamproc.kafka.sink.local import LocalStorage
from streamproc.kafka.sink.objects import ObjectStorage
from streamproc.kafka.sink.output import opened
from streamproc.kafka.sink.partition import Partition
from streamproc.kafka.sink.segment import Attempt
from streamproc.parquet.compact import compact
from streamproc.parquet.objects import RETRY, open_store
from tests.children import exit_code
from tests.kafka.segments import RECORDS, SOURCE, commit_rest, partition_over
from tests.parquet_rows import table_rows
from tests.s3 import ACCESS_KEY, SECRET_KEY, Bucket, Cut, Server, proxy_before, running_server

pytestmark = pytest.mark.go

STEP = 40
"""Rows of a segment."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(server: Server) -> Bucket:
    return server.bucket()


@pytest.fixture(scope="module")
def all_rows(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a local sink gives."""
    output = tmp_path_factory.mktemp("local")
    commit_rest(partition_over(Chain(LocalStorage(output), SOURCE)))
    return sorted(map(repr, table_rows(read(output / "hf"))))


def rows(bucket: Bucket) -> list[str]:
    return sorted(map(repr, table_rows(read(f"{bucket.address}/hf", storage=bucket.options()))))


def storage_of(address: str, options: Mapping[str, str]) -> ObjectStorage:
    return ObjectStorage(open_store(address, options), address)


def opened_on(bucket: Bucket, port: int = 0) -> Partition:
    """The partition, by a process that has just got it; through another port where one is given."""
    return partition_over(Chain(storage_of(bucket.address, bucket.options(port)), SOURCE))


def pending(bucket: Bucket) -> list[str]:
    return [each["path"] for found in obstore.list(bucket.store(), "some/prefix/_pending") for each in found]


def test_the_server_lets_one_of_many_create(bucket: Bucket) -> None:
    """Without that, no test of this file would prove anything."""
    store = bucket.store()

    def create(rival: int, name: str) -> bool:
        try:
            obstore.put(store, name, b"%d" % rival, mode="create")
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for number in range(25):
            names = [f"race-{number}"] * 8
            assert sum(pool.map(create, range(8), names)) == 1


def test_rows_are_those_of_a_local_sink(bucket: Bucket, all_rows: list[str]) -> None:
    partition = opened_on(bucket)
    commit_rest(partition, STEP)
    assert rows(bucket) == all_rows
    assert not pending(bucket)
    assert opened_on(bucket).next == len(RECORDS)


def test_plain_readers_see_each_row_once(bucket: Bucket, all_rows: list[str]) -> None:
    commit_rest(opened_on(bucket), STEP)
    endpoint = bucket.options()["endpoint"].removeprefix("http://")
    plain = fs.S3FileSystem(
        access_key=ACCESS_KEY, secret_key=SECRET_KEY, endpoint_override=endpoint, scheme="http", region="us-east-1"
    )
    table = ds.dataset(f"{bucket.name}/some/prefix/hf", filesystem=plain, partitioning="hive").to_table()
    assert len(table) == len(all_rows)
    assert set(table["symbol"].to_pylist()) == {row["symbol"] for row in _as_read(bucket)}


def _as_read(bucket: Bucket) -> list[dict[str, Any]]:
    table = read(f"{bucket.address}/hf", storage=bucket.options(), columns=["symbol"])
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_read_selects_and_gives_datasets(bucket: Bucket) -> None:
    commit_rest(opened_on(bucket), STEP)
    address, options = f"{bucket.address}/hf", bucket.options()
    whole = read(address, storage=options)
    some = read(address, storage=options, symbol="ETH/USDT")
    assert 0 < len(some) < len(whole)
    assert set(some["symbol"].to_pylist()) == {"ETH/USDT"}
    assert read(address, storage=options, as_dataset=True).count_rows() == len(whole)
    with pytest.raises(DataError, match="this is an output with several tables"):
        read(bucket.address, storage=options)
    with pytest.raises(DataError, match="no files here"):
        read(f"{bucket.address}/nothing", storage=options)


def commit_all(address: str, options: Mapping[str, str]) -> None:
    """Segments of some rows; a checkpoint after each second."""
    chains.CHECKPOINT_RECORDS = 2
    commit_rest(partition_over(Chain(storage_of(address, options), SOURCE)), STEP)


STEPS = ("genesis", "draft_folder", "write", "upload", "upload:3", "put", "record", "copy", "copy:3", "publish")
POINTS = [f"sink.after_{step}" for step in (*STEPS, "record:2", "checkpoint")]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_while_readers_read(
    point: str, bucket: Bucket, all_rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "CHECKPOINT_RECORDS", 2)
    with reading(bucket):
        assert exit_code(commit_all, bucket.address, bucket.options(), crash_at=point) == EXIT_CODE
        commit_rest(opened_on(bucket), STEP)
    assert rows(bucket) == all_rows
    opened_on(bucket)
    assert not pending(bucket)


class reading:  # noqa: N801  it is used as a verb
    """A reader that reads in a loop: never a broken file, never a row twice."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
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
            while not self._stop.wait(0.05):
                if any((self._bucket.data / "some/prefix/hf").rglob("*.parquet")):
                    seen = rows(self._bucket)
                    assert len(seen) == len(set(seen))
        except BaseException as error:
            self._failed.append(error)


def test_two_sinks_with_the_same_partition(bucket: Bucket, all_rows: list[str]) -> None:
    def work(step: int) -> int:
        partition = opened_on(bucket)
        lost = 0
        while partition.next < len(RECORDS):
            partition.add(RECORDS[partition.next : partition.next + step])
            if partition.commit() is None:
                lost += 1
                partition.restart()
        return lost

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(work, (7, 11, 13))) > 0, "nobody has lost a segment, so nobody has raced"
    assert rows(bucket) == all_rows
    opened_on(bucket)
    assert not pending(bucket)


class AsleepError(Exception):
    """Stands for a process that stops in its tracks."""


class Sleeper(ObjectStorage):
    """Storage of a process that falls asleep before its commit record, and can be woken."""

    asleep = True

    def create(self, name: str, content: bytes) -> bool:
        if self.asleep and name.endswith(".json"):
            raise AsleepError
        return super().create(name, content)


def fallen_asleep(store: MemoryStore) -> Callable[[], bool]:
    """A process that has uploaded its first segment's files; what wakes it."""
    storage = Sleeper(store, "memory")
    chain = Chain(storage, SOURCE)
    partition = partition_over(chain)
    partition.add(RECORDS[:STEP])
    with pytest.raises(AsleepError):
        partition.commit()
    [folder] = storage.names(f"_pending/{SOURCE.folder}")
    waiting = f"_pending/{SOURCE.folder}/{folder}/"
    files = [each["path"].removeprefix(waiting) for found in obstore.list(store, waiting) for each in found]

    def wake() -> bool:
        storage.asleep = False
        return chain.commit(Attempt(0, STEP, folder.partition("-")[2]), STEP, files)

    return wake


def count_rows(store: MemoryStore) -> int:
    return sum(len(read_table(store, each["path"])) for found in obstore.list(store, "hf/") for each in found)


def read_table(store: MemoryStore, name: str) -> Any:
    return pq.read_table(pa.BufferReader(bytes(obstore.get(store, name).bytes())))


def test_files_of_a_sleeper_stay_as_long_as_it_may_commit_them() -> None:
    store = MemoryStore()
    wake = fallen_asleep(store)
    successor = partition_over(Chain(ObjectStorage(store, "memory"), SOURCE))
    assert wake()
    successor.add(RECORDS[:60])
    assert successor.commit() is None
    successor.restart()
    commit_rest(successor)
    assert count_rows(store) == len(RECORDS)


def test_a_sleeper_that_wakes_after_another_has_committed_has_lost() -> None:
    store = MemoryStore()
    wake = fallen_asleep(store)
    successor = partition_over(Chain(ObjectStorage(store, "memory"), SOURCE))
    commit_rest(successor)
    assert not wake()
    partition_over(Chain(ObjectStorage(store, "memory"), SOURCE))
    assert count_rows(store) == len(RECORDS)
    assert not list(obstore.list(store, "_pending/"))


class BreaksUploads(Cut):
    """Cuts every third connection's first large request in its middle."""

    def __init__(self) -> None:
        self._cut: set[int] = set()

    def request(self, connection: int, sent: bytes) -> bool:
        breaks = connection % 3 != 0 and connection < 30 and sent.startswith(b"PUT ") and len(sent) > 4096
        return breaks and connection not in self._cut and not self._cut.add(connection)  # type: ignore[func-returns-value]


def test_a_connection_that_breaks_in_mid_upload_leaves_nothing_visible(
    server: Server, bucket: Bucket, all_rows: list[str]
) -> None:
    with proxy_before(server.port, BreaksUploads()) as proxy, reading(bucket):
        commit_rest(opened_on(bucket, proxy.port), STEP)
        assert proxy.cuts > 3
    assert rows(bucket) == all_rows
    assert not pending(bucket)


class SwallowsAnswers(Cut):
    """Has each commit record created, and cuts the connection before the answer: once for each."""

    def __init__(self) -> None:
        self._met: set[bytes] = set()

    def answer(self, connection: int, request: bytes) -> bool:
        line = request.split(b"\r\n", 1)[0]
        if not line.startswith(b"PUT ") or b"_commits" not in line or line in self._met:
            return False
        self._met.add(line)
        return True


def test_a_commit_whose_answer_is_lost_is_known_by_its_record(
    server: Server, bucket: Bucket, all_rows: list[str]
) -> None:
    with proxy_before(server.port, SwallowsAnswers()) as proxy:
        partition = opened_on(bucket, proxy.port)
        for start in range(0, len(RECORDS), STEP):
            partition.add(RECORDS[start : start + STEP])
            assert partition.commit(), "it has lost against itself"
        assert proxy.cuts >= 3
    assert rows(bucket) == all_rows


def test_a_commit_that_nobody_answers_may_have_been_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted then: whoever comes next finds the record, or none."""
    store = MemoryStore()
    partition = partition_over(Chain(ObjectStorage(store, "memory", sleep=lambda _: None), SOURCE))
    partition.add(RECORDS[:STEP])
    put = obstore.put

    def unanswered(store: Any, name: str, *rest: Any, **options: Any) -> Any:
        if name.endswith(".json"):
            raise GenericError("error sending request")
        return put(store, name, *rest, **options)

    monkeypatch.setattr(objects, "TRY_SECONDS", 0.0)
    monkeypatch.setattr(obstore, "put", unanswered)
    with pytest.raises(DataError, match="the object store says: no answer"):
        partition.commit()
    assert list(obstore.list(store, "_pending/"))
    monkeypatch.undo()
    commit_rest(partition_over(Chain(ObjectStorage(store, "memory"), SOURCE)))
    assert count_rows(store) == len(RECORDS)
    partition_over(Chain(ObjectStorage(store, "memory"), SOURCE))
    assert not list(obstore.list(store, "_pending/"))


def test_the_hot_path_lists_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = partition_over(Chain(ObjectStorage(MemoryStore(), "memory"), SOURCE))

    def listed(*_: object) -> None:
        pytest.fail("listed")

    monkeypatch.setattr(obstore, "list", listed)
    monkeypatch.setattr(obstore, "list_with_delimiter", listed)
    commit_rest(partition, 20)


def test_a_store_that_does_not_honour_conditions_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_server(tmp_path_factory.mktemp("careless"), honest=False) as server:
        bucket = server.bucket()
        with pytest.raises(UsageError, match="the object store lets several create the same object"):
            opened(bucket.address, settings_of(bucket.options()))
        assert not list(bucket.store().list()), "the probe is still there"


def settings_of(options: Mapping[str, str]) -> Settings:
    return Settings(sink=SinkConfig(storage=dict(options)))


WRONG: list[tuple[str, dict[str, str], str]] = [
    ("{bucket}", {"secret_access_key": "not-the-secret"}, "the object store says: SignatureDoesNotMatch"),
    ("{bucket}", {"access_key_id": "nobody-at-all"}, "the object store says: (InvalidAccessKeyId|XAdminUserNotFound)"),
    ("s3://there-is-no-such/prefix", {}, "the object store says: NoSuchBucket"),
    ("{bucket}", {"no_such_option": "1"}, "the object store cannot be opened: Configuration key: 'no_such_option'"),
    ("ftp://host/prefix", {}, "no kind of place that is known"),
    ("file://host/folder", {}, "not the address of a local folder"),
]


@pytest.mark.parametrize(("address", "options", "told"), WRONG)
def test_what_is_wrong_with_a_place_is_told_without_secrets(
    address: str, options: dict[str, str], told: str, bucket: Bucket
) -> None:
    given = bucket.options() | options
    with pytest.raises(StreamprocError, match=told) as caught:
        opened(address.format(bucket=bucket.address), settings_of(given))
    shown = f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert not any(given[name] in shown for name in ("secret_access_key", "access_key_id"))
    assert caught.value.hint


def test_a_store_that_is_not_there_is_told(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RETRY, "max_retries", 1)
    with pytest.raises(DataError, match="the object store says: no answer"):
        opened(bucket.address, settings_of(bucket.options(port=1)))


def test_an_output_that_a_sink_has_not_made_is_refused(bucket: Bucket) -> None:
    obstore.put(bucket.store(), "some/prefix/hf/exchange=x/date=y/a.parquet", b"")
    with pytest.raises(UsageError, match="the output already holds rows that no sink has written"):
        opened(bucket.address, settings_of(bucket.options()))


def test_compact_refuses_an_address() -> None:
    with pytest.raises(UsageError, match="compact works on folders"):
        compact(Path("s3://bucket/prefix"), Settings())


def test_an_output_keeps_its_format(bucket: Bucket) -> None:
    opened(bucket.address, settings_of(bucket.options()))
    other = Settings(sink=SinkConfig(storage=bucket.options(), format="delta"))
    with pytest.raises(UsageError, match=r"the output was begun with sink\.format parquet, not delta"):
        opened(bucket.address, other)


def test_what_a_killed_sink_has_left_on_the_local_disk_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"{scratch.PREFIX}left"
    left.mkdir()
    (left / "_lock").touch()
    living = scratch.Scratch()
    living.make("a/b")
    scratch.Scratch()
    assert not left.exists()
    assert living.path("a/b").is_dir()
