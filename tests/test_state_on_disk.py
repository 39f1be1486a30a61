"""States that must not be used: damaged, of another configuration, of another output, in use; and stores as such."""

import multiprocessing
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamproc.config import Settings, SinkConfig, StateConfig
from streamproc.errors import StateError, StreamprocError, UsageError
from streamproc.local.run import process_files, run_files
from streamproc.observe.progress import QuietProgress
from streamproc.observe.stop import StopRequest
from streamproc.simulate import Market, generate
from streamproc.store import MemoryStore, RocksStore, Store
from tests.outputs import assert_same

SETTINGS = Settings(state=StateConfig(bar_idle_close=None))


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return b"".join(generate(Market(symbols=4, seconds=40, levels=4, rate_hz=5, seed=3))).splitlines(keepends=True)


def go_on(folder: Path, *, settings: Settings = SETTINGS, output: str = "out", **how: bool) -> dict[str, Any]:
    """One run with the folder's state, flushed at the end."""
    return run_files(
        [str(folder / "in")],
        folder / output,
        settings,
        state=folder / "state",
        flush=how.get("flush", True),
        workers=1,
        merge=False,
        overwrite=how.get("overwrite", False),
        fresh=how.get("fresh", False),
        progress=QuietProgress(),
        stop=StopRequest(),
    )


@pytest.fixture
def folder(lines: list[bytes], tmp_path: Path) -> Path:
    """A folder with inputs of which the first half is taken in."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ndjson").write_bytes(b"".join(lines[: len(lines) // 2]))
    go_on(tmp_path, flush=False)
    (tmp_path / "in" / "b.ndjson").write_bytes(b"".join(lines[len(lines) // 2 :]))
    return tmp_path


@pytest.fixture(scope="module")
def whole(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "in.ndjson").write_bytes(b"".join(lines))
    process_files([str(folder / "in.ndjson")], folder / "out", settings=SETTINGS)
    return folder / "out"


def test_the_untouched_state_goes_on(folder: Path, whole: Path) -> None:
    go_on(folder)
    assert_same(folder / "out", whole)


def test_another_configuration_is_refused_with_both_shown(folder: Path) -> None:
    other = Settings(state=StateConfig(bar_idle_close=None, max_levels=7))
    with pytest.raises(StateError) as refused:
        go_on(folder, settings=other)
    assert '"max_levels":10' in str(refused.value).replace(" ", "")
    assert '"max_levels":7' in str(refused.value).replace(" ", "")
    assert "--fresh" in refused.value.hint


def test_another_partitioning_is_refused(folder: Path) -> None:
    other = SETTINGS.model_copy(update={"sink": SinkConfig(partition_by=("exchange", "date"))})
    with pytest.raises(StateError, match="partition_by"):
        go_on(folder, settings=other)


def test_starting_afresh_needs_an_empty_output_or_leave_to_replace_it(folder: Path, whole: Path) -> None:
    with pytest.raises(UsageError):
        go_on(folder, fresh=True)
    with pytest.raises(UsageError):
        go_on(folder, overwrite=True)
    go_on(folder, fresh=True, overwrite=True)
    assert_same(folder / "out", whole)


def test_another_output_is_refused(folder: Path) -> None:
    with pytest.raises(StateError, match="belongs to another output"):
        go_on(folder, output="elsewhere")


def test_a_new_state_does_not_write_into_the_output_of_another(folder: Path) -> None:
    shutil.rmtree(folder / "state")
    with pytest.raises(UsageError, match="this state is new"):
        go_on(folder)


def test_an_older_copy_of_the_state_is_noticed(folder: Path) -> None:
    shutil.copytree(folder / "state", folder / "copy")
    go_on(folder, flush=False)
    shutil.rmtree(folder / "state")
    (folder / "copy").rename(folder / "state")
    with pytest.raises(StateError, match="lost commits"):
        go_on(folder)


def test_a_folder_with_other_things_is_no_state(folder: Path) -> None:
    shutil.rmtree(folder / "state")
    (folder / "state").mkdir()
    (folder / "state" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="something else"):
        go_on(folder, fresh=True, overwrite=True)
    assert (folder / "state" / "thesis.txt").exists()


def test_two_processes_at_once(folder: Path) -> None:
    store = RocksStore(folder / "state")
    try:
        with pytest.raises(StateError, match="in use"):
            go_on(folder)
    finally:
        store.close()


def damaged_files(state: Path) -> list[Path]:
    """Files that hold data; the others are logs for people."""
    return [
        path
        for path in sorted(state.iterdir())
        if path.suffix in {".sst", ".log"} or path.name.startswith(("MANIFEST", "CURRENT"))
    ]


def flip(path: Path, chance: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    """Cut the file short."""
    os.truncate(path, chance.randrange(path.stat().st_size))


def remove(path: Path, _chance: random.Random) -> None:
    """Delete the file."""
    path.unlink()


@pytest.mark.parametrize("harm", [flip, cut, remove])
@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_file_is_named_or_harmless_never_silently_used(
    harm: Callable[[Path, random.Random], None], seed: int, folder: Path, whole: Path
) -> None:
    chance = random.Random(seed)
    files = [path for path in damaged_files(folder / "state") if path.stat().st_size]
    harm(chance.choice(files), chance)
    try:
        go_on(folder)
    except StreamprocError as refused:
        assert str(folder) in str(refused) or "lost commits" in str(refused)
        assert refused.hint
    else:
        assert_same(folder / "out", whole)


@pytest.mark.parametrize("make", [lambda path: MemoryStore(), RocksStore], ids=["memory", "rocks"])
def test_a_store_is_an_ordered_map_that_changes_in_steps(make: Callable[[Path], Store], tmp_path: Path) -> None:
    store = make(tmp_path / "store")
    store.write([(b"b/2", b"two"), (b"a/1", b"one"), (b"b/1", b"")], [])
    store.write([(b"b/3", b"three")], [b"b/2", b"absent"])
    assert list(store.scan(b"b/")) == [(b"b/1", b""), (b"b/3", b"three")]
    assert store.get(b"a/1") == b"one"
    assert store.get(b"b/2") is None
    store.close()


def _die_while_writing(path: Path, durable: bool, last: int) -> None:
    store = RocksStore(path, durable=durable)
    for number in range(10_000):
        store.write([(b"%d/%d" % (number, part), bytes(2000)) for part in range(10)], [])
        if number == last:
            os._exit(9)


@pytest.mark.parametrize(("durable", "last"), [(True, 50), (False, 4_000)])
def test_batches_are_there_whole_and_in_order_after_a_kill(tmp_path: Path, durable: bool, last: int) -> None:
    arguments = (tmp_path / "store", durable, last)
    process = multiprocessing.get_context("spawn").Process(target=_die_while_writing, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 9
    store = RocksStore(tmp_path / "store")
    keys = {key for key, _ in store.scan(b"")}
    there = len(keys) // 10
    assert there == last + 1 if durable else 0 < there <= last
    assert keys == {b"%d/%d" % (number, part) for number in range(there) for part in range(10)}
    store.close()
