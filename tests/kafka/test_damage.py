"""State that is damaged, too new or of another topic, and topics made anew: noticed, mended or refused by name."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from streamproc.config import KafkaConfig, Settings, StateConfig
from streamproc.errors import StateError
from streamproc.kafka.client import admin
from streamproc.kafka.names import Names
from streamproc.kafka.process.changelog import Position
from streamproc.kafka.process.partition import Partition
from streamproc.kafka.process.store import PartitionStore
from streamproc.kafka.process.takeover import Input, TakeOver, TakeOverThread
from streamproc.kafka.replay import replay, target_of
from streamproc.kafka.topics import check_topics
from streamproc.simulate import Market
from tests.kafka.against_run import PATIENCE_SECONDS, assert_topics_as_run, lines_of, process_up_to, run_on
from tests.kafka.groups import committed, eventually, fill_raw, rows_of, rows_of_run, running_member, with_process
from tests.kafka.replaying import short_windows, without_members
from tests.kafka.topics import make_topics

PARTITIONS = 3
READ_ANEW = "its state is read from the changelog anew"


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=8, seconds=30, levels=5, rate_hz=5, seed=17))


class Held(NamedTuple):
    """All that a partition holds."""

    position: Position | None
    changelog_offset: int
    state: dict[bytes, bytes]


def held(partition: Partition) -> Held:
    store = partition.store
    return Held(store.position, store.changelog_offset, dict(store.symbols(0)))


def input_of(settings: Settings) -> Input:
    topics = check_topics(admin(settings.kafka), settings.kafka, {"raw", "hf", "bars", "dlq", "state"})
    raw, state = topics["raw"], topics["state"]
    return Input(raw.partitions, raw.id, state.id, state.deletions_ms, state.max_message_bytes)


@pytest.fixture(scope="module")
def done(bootstrap: str, lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """All lines processed by a member that has left."""
    kafka = KafkaConfig(bootstrap_servers=bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}")
    settings = Settings(kafka=kafka, state=StateConfig(bar_idle_close=None))
    settings = with_process(settings, tmp_path_factory.mktemp("done") / "state", commit_interval=0.05)
    make_topics(settings, PARTITIONS)
    process_up_to(settings, fill_raw(settings, lines))
    return settings


@contextmanager
def taking_over(settings: Settings, folder: Path) -> Iterator[TakeOver]:
    folder.mkdir(parents=True, exist_ok=True)
    take_over = TakeOver(settings, admin(settings.kafka), input_of(settings), folder)
    try:
        yield take_over
    finally:
        take_over.close()


def store_folder(state: Path, number: int) -> Path:
    """Where a member keeps a partition."""
    [found] = state.glob(f"*-{number}")
    return found


@pytest.mark.parametrize("ended", ["cleanly", "killed"])
def test_a_damaged_file_of_rocksdb_costs_nothing_but_the_reading(
    ended: str, done: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each file cut, and with a byte changed at many places: what is held afterwards is what the changelog says."""
    sound = tmp_path / "sound"
    with taking_over(done, tmp_path / "members") as take_over:
        partition = take_over.take(0)
        folder = store_folder(tmp_path / "members", 0)
        if ended == "killed":
            shutil.copytree(folder, sound)
        wanted = held(partition)
        partition.close()
        if ended == "cleanly":
            shutil.copytree(folder, sound)
        assert wanted.state and wanted.position

        noticed = []
        for file in sorted(path for path in sound.iterdir() if path.stat().st_size):
            for damage in damages(file):
                shutil.rmtree(folder)
                shutil.copytree(sound, folder)
                (folder / file.name).write_bytes(damage)
                caplog.clear()
                partition = take_over.take(0)
                assert held(partition) == wanted, file.name
                partition.close()
                if READ_ANEW in caplog.text:
                    noticed.append(file.suffix or file.name)
    assert set(noticed) >= {".sst" if ended == "cleanly" else "CURRENT"}, noticed


def damages(file: Path) -> Iterator[bytes]:
    """The file cut, and with single bytes changed."""
    content = file.read_bytes()
    yield content[: len(content) // 2]
    yield b""
    for place in {len(content) * part // 8 for part in (1, 4, 7)}:
        yield content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
    yield content[:-1] + bytes([content[-1] ^ 1])


def test_state_that_does_not_belong_to_its_changelog_is_read_anew(
    done: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ahead of it, of a topic of the same name before, or so old that it may have missed deletions."""
    with taking_over(done, tmp_path) as take_over:
        partition = take_over.take(1)
        wanted = held(partition)
        assert wanted.position
        partition.close()
        folder = store_folder(tmp_path, 1)
        others = wanted.position._replace(state_id="another", offset=wanted.position.offset - 1)
        deletions_ms = input_of(done).deletions_ms
        for position, ahead, age_ms, reason in (
            (wanted.position, 1, 0, "ahead of its changelog"),
            (others, 0, 0, "another topic"),
            (wanted.position, -1, deletions_ms, "so old that deletions may be gone"),
        ):
            store = PartitionStore(folder, "state")
            changes = [(b"s", b"of no generation"), (b"position", position.dumps())]
            store.write(changes, store.changelog_offset + ahead, store.changelog_ms - age_ms)
            store.close()
            caplog.clear()
            partition = take_over.take(1)
            assert held(partition) == wanted
            partition.close()
            assert READ_ANEW in caplog.text and reason in caplog.text


def test_state_of_another_format_is_refused(done: Settings, tmp_path: Path) -> None:
    with taking_over(done, tmp_path) as take_over:
        partition = take_over.take(1)
        store, position = partition.store, partition.store.position
        assert position
        older = position._replace(format=position.format - 1)
        store.write([(b"position", older.dumps())], store.changelog_offset, store.changelog_ms)
        partition.close()
        with pytest.raises(StateError, match=r"has format \d+, this version writes format"):
            take_over.take(1)


def test_damaged_partitions_are_mended_and_all_go_on(
    done: Settings,
    settings: Settings,
    lines: list[bytes],
    run_output: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A member starts with a damaged file in one partition, and a later state of elsewhere in another."""
    mine = with_process(settings, tmp_path / "state", commit_interval=0.05)
    make_topics(settings, PARTITIONS)
    half = len(lines) // 2
    process_up_to(mine, fill_raw(settings, lines[:half]))

    [file] = store_folder(tmp_path / "state", 0).glob("*.sst")
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    folder = store_folder(tmp_path / "state", 1)
    shutil.rmtree(folder)
    shutil.copytree(store_folder(Path(done.process.state), 1), folder)

    caplog.clear()
    process_up_to(mine, half + fill_raw(settings, lines[half:]))
    for number in range(PARTITIONS):
        assert (f"partition {number}: {READ_ANEW}" in caplog.text) is (number < 2)
    assert_topics_as_run(settings, run_output)


def test_a_partition_that_went_and_came_back_at_once_is_handed_over_once(done: Settings, tmp_path: Path) -> None:
    """Of the former assignments the store is closed, or the last one could not open it."""
    thread = TakeOverThread(done, admin(done.kafka), input_of(done), tmp_path)
    try:
        for assignment in range(1, 6):
            thread.ask(0, assignment)
            thread.ask(1, assignment)
            eventually(lambda: assignment == 5 or not thread.taken.empty())  # noqa: B023
        eventually(lambda: thread.taken.qsize() == 2)
        for taken in [thread.taken.get() for _ in range(2)]:
            assert taken.assignment == 5 and taken.error is None and taken.partition
            taken.partition.close()
    finally:
        thread.close()


def make_anew(settings: Settings, topic: str) -> None:
    """Delete a topic, and make it again."""
    client = admin(settings.kafka)
    client.delete_topics([topic])[topic].result(30)
    eventually(lambda: topic not in client.list_topics(timeout=10).topics)
    make_topics(settings, PARTITIONS)


def test_a_raw_topic_made_anew_is_refused_until_a_replay(
    settings: Settings, lines: list[bytes], tmp_path: Path
) -> None:
    mine = short_windows(settings, tmp_path / "state")
    make_topics(settings, PARTITIONS)
    half = len(lines) // 2
    process_up_to(mine, fill_raw(settings, lines[:half]))
    make_anew(settings, Names(settings.kafka.prefix).raw)
    filled = fill_raw(settings, lines[half:])
    with running_member(mine) as member:
        error = member.fails()
    assert isinstance(error, StateError) and "deleted and made anew" in error.message
    without_members(mine)
    replay(mine, target_of(to_earliest=True), execute=True)
    process_up_to(mine, filled)
    output = run_on(lines[half:], mine, tmp_path / "run")
    for stream in ("hf", "bars"):
        assert rows_of(settings, stream, generation=1) == rows_of_run(output, stream)


@pytest.mark.parametrize("when", ["away", "there"])
def test_a_changelog_made_anew_begins_a_generation_that_goes_on_as_before(
    when: str,
    settings: Settings,
    lines: list[bytes],
    run_output: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the member is away, and while it is there, and writes on into a changelog that has no beginning."""
    mine = with_process(settings, tmp_path / "state", commit_interval=0.05)
    make_topics(settings, PARTITIONS)
    third = len(lines) // 3
    filled = fill_raw(settings, lines[:third], timestamps=True)
    state = Names(settings.kafka.prefix).state
    with running_member(mine):
        eventually(lambda: committed(settings) == filled, seconds=PATIENCE_SECONDS)
        if when == "there":
            make_anew(settings, state)
            filled += fill_raw(settings, lines[third : 2 * third], timestamps=True)
            eventually(lambda: committed(settings) == filled, seconds=PATIENCE_SECONDS)
    if when == "away":
        make_anew(settings, state)
    filled += fill_raw(settings, lines[filled:], timestamps=True)
    caplog.clear()
    process_up_to(mine, filled)
    assert caplog.text.count("made anew") == PARTITIONS and "generation 1 begins" in caplog.text
    assert_topics_as_run(settings, run_output)
