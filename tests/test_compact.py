"""`compact`: fewer files, the same rows, at every step and whatever dies in the middle."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamproc import schema
from streamproc.config import Settings, SinkConfig, StateConfig
from streamproc.crash import EXIT_CODE
from streamproc.errors import DataError
from streamproc.parquet import merge
from streamproc.parquet.compact import compact
from streamproc.parquet.listing import natural
from streamproc.parquet.reader import read
from streamproc.schema import Stream
from tests.crashing import crash_compaction
from tests.parquet_rows import (
    DAY_MS,
    KEYS,
    READERS,
    START_MS,
    Words,
    as_written,
    in_order,
    plain_rows,
    random_words,
    table_rows,
    write_output,
)

CONFIG = StateConfig(horizons=(0.5,), max_levels=1, bands_bps=(7.5,))
OTHER = CONFIG.model_copy(update={"gap_reset": 7.0})
BY_SYMBOL = SinkConfig(buffer_rows=300, row_group_rows=50)
BY_EXCHANGE = SinkConfig(buffer_rows=300, row_group_rows=50, partition_by=("exchange", "date"))
LAYOUTS = pytest.mark.parametrize("sink", [BY_SYMBOL, BY_EXCHANGE], ids=["by-symbol", "by-exchange"])
SETTINGS = Settings(sink=BY_SYMBOL)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes die in these tests, not machines: what is written may stay in the page cache."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def expected(words: Words, stream: Stream = "hf") -> list[list[Any]]:
    return in_order(stream, CONFIG, plain_rows(stream, CONFIG, words, KEYS))


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def partitions(directory: Path) -> dict[str, int]:
    """Number of files by partition."""
    counts: dict[str, int] = {}
    for path in directory.rglob("*.parquet"):
        folder = str(path.parent.relative_to(directory))
        counts[folder] = counts.get(folder, 0) + 1
    return counts


def write(
    output: Path, *commits: Words, stream: Stream = "hf", sink: SinkConfig = BY_SYMBOL, stem: str = "run"
) -> None:
    write_output(output, *commits, stream=stream, config=CONFIG, sink=sink, stem=stem)


def replay(*, seed: int = 0, symbols: int = 4) -> list[Words]:
    """Three generations that begin one after the other; the newest of half the symbols."""
    starts = [(START_MS, symbols), (START_MS + DAY_MS // 2, symbols), (START_MS + DAY_MS, symbols // 2)]
    end = START_MS + 2 * DAY_MS
    return [
        random_words(
            "hf",
            CONFIG,
            150,
            seed=10 * seed + generation,
            generation=generation,
            symbols=count,
            start_ms=start,
            span_ms=end - start,
        )
        for generation, (start, count) in enumerate(starts)
    ]


@LAYOUTS
@pytest.mark.parametrize("stream", ["hf", "bars"])
def test_each_partition_becomes_one_file_with_the_same_rows(tmp_path: Path, stream: Stream, sink: SinkConfig) -> None:
    words = random_words(stream, CONFIG, 1000)
    write(tmp_path, *np.array_split(words, 6), stream=stream, sink=sink)
    before = partitions(tmp_path)
    counts = compact(tmp_path, SETTINGS)
    assert set(partitions(tmp_path)) == set(before)
    assert set(partitions(tmp_path).values()) == {1}
    assert counts == {
        "partitions": len(before),
        "merged": len(before),
        "files_before": sum(before.values()),
        "files_after": len(before),
        "rows": 1000,
        "superseded_rows": 0,
    }
    assert table_rows(read(tmp_path / stream)) == expected(words, stream)
    for name, reader in READERS.items():
        table = as_written(reader(tmp_path / stream), schema.arrow_schema(stream, CONFIG))
        found = sorted(map(repr, table_rows(table)))
        assert found == sorted(map(repr, expected(words, stream))), name


@LAYOUTS
def test_the_merged_file_is_sorted_and_keeps_schema_and_row_groups(tmp_path: Path, sink: SinkConfig) -> None:
    words = random_words("hf", CONFIG, 700, span_ms=20)
    words[:, schema.word("hf", "updates")] = np.arange(len(words))
    write(tmp_path, *np.array_split(words, 6), sink=sink)
    some = pq.read_schema(next(tmp_path.rglob("*.parquet")))
    compact(tmp_path, SETTINGS)
    for path in tmp_path.rglob("*.parquet"):
        file = pq.ParquetFile(path)
        assert file.schema_arrow.equals(some, check_metadata=True)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert set(sizes[:-1]) <= {50}
        assert file.metadata.row_group(0).column(0).is_stats_set
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        rows = table_rows(file.read([*(["symbol"] if sink is BY_EXCHANGE else []), "timestamp", "updates"]))
        assert rows == sorted(rows)


def test_what_is_merged_already_is_left_alone(tmp_path: Path) -> None:
    words = random_words("hf", CONFIG, 400)
    write(tmp_path, *np.array_split(words, 3))
    compact(tmp_path, SETTINGS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    counts = compact(tmp_path, SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == before
    assert counts["merged"] == 0
    assert counts["files_after"] == counts["files_before"] == len(before)


def test_new_files_are_merged_with_those_of_the_last_time(tmp_path: Path) -> None:
    words = random_words("hf", CONFIG, 900, span_ms=1000)
    words[:, schema.word("hf", "timestamp")] = START_MS
    words[:, schema.word("hf", "updates")] = np.arange(len(words))
    pieces = np.array_split(words, 9)
    for round_number in range(3):
        write(tmp_path, *pieces[3 * round_number : 3 * round_number + 3], stem=f"run-{round_number}")
        compact(tmp_path, SETTINGS)
        done = np.concatenate(pieces[: 3 * round_number + 3])
        assert set(partitions(tmp_path).values()) == {1}
        assert table_rows(read(tmp_path / "hf")) == expected(done)


def test_one_table_can_be_compacted_alone(tmp_path: Path) -> None:
    for stream in ("hf", "bars"):
        names: Stream = "hf" if stream == "hf" else "bars"
        write(tmp_path, *np.array_split(random_words(names, CONFIG, 100), 3), stream=names)
    bars = partitions(tmp_path / "bars")
    compact(tmp_path / "hf", SETTINGS)
    assert set(partitions(tmp_path / "hf").values()) == {1}
    assert partitions(tmp_path / "bars") == bars
    compact(tmp_path, SETTINGS)
    assert set(partitions(tmp_path / "bars").values()) == {1}


# Generations


@LAYOUTS
def test_superseded_rows_are_dropped_on_disk(tmp_path: Path, sink: SinkConfig) -> None:
    write(tmp_path, *replay(), sink=sink)
    resolved = read(tmp_path / "hf")
    counts = compact(tmp_path, SETTINGS)
    assert counts["superseded_rows"] == 450 - len(resolved) > 0
    assert read(tmp_path / "hf").equals(resolved)
    for name, reader in READERS.items():
        table = as_written(reader(tmp_path / "hf"), schema.arrow_schema("hf", CONFIG))
        assert sorted(map(repr, table_rows(table))) == sorted(map(repr, table_rows(resolved))), name
    assert compact(tmp_path, SETTINGS)["merged"] == 0


def test_a_partition_of_which_nothing_remains_loses_its_files(tmp_path: Path) -> None:
    old = random_words("hf", CONFIG, 40, symbols=1, start_ms=START_MS + DAY_MS, span_ms=DAY_MS)
    new = random_words("hf", CONFIG, 3, symbols=1, start_ms=START_MS, span_ms=DAY_MS, generation=1)
    write(tmp_path, old, new)
    counts = compact(tmp_path, SETTINGS)
    assert counts["superseded_rows"] == 40
    assert counts["files_after"] == 1
    assert table_rows(read(tmp_path / "hf")) == expected(new)
    assert files(tmp_path / "hf/_compact") == ["run.lock", "swap.lock"]


@pytest.mark.parametrize("step", [1, 3, 5, 7])
def test_dropping_rows_partition_by_partition_never_changes_what_is_read(tmp_path: Path, step: int) -> None:
    write(tmp_path, *replay(seed=1))
    resolved = read(tmp_path / "hf")
    crash(tmp_path, f"compact.after_swap:{step}")
    assert read(tmp_path / "hf").equals(resolved)


# Configurations


def test_files_of_different_configurations_are_not_merged_with_each_other(tmp_path: Path) -> None:
    early = random_words("hf", CONFIG, 60, symbols=1, span_ms=1000)
    late = random_words("hf", OTHER, 60, symbols=1, start_ms=START_MS + 5000, span_ms=1000)
    write(tmp_path, *np.array_split(early, 3), stem="a")
    write_output(tmp_path, *np.array_split(late, 3), stream="hf", config=OTHER, sink=BY_SYMBOL, stem="b")
    assert compact(tmp_path, SETTINGS)["files_after"] == 2
    assert table_rows(read(tmp_path / "hf", end=START_MS + 5000)) == expected(early)
    assert len(read(tmp_path / "hf", start=START_MS + 5000)) == 60
    assert compact(tmp_path, SETTINGS)["merged"] == 0


# Crashes


def crash(output: Path, point: str) -> int | None:
    return crash_compaction(output, SETTINGS, point)


POINTS = [
    "compact.after_output",
    "compact.after_output:3",
    "compact.after_manifest",
    "compact.after_manifest:2",
    "compact.after_rename",
    "compact.after_rename:3",
    "compact.after_delete",
    "compact.after_delete:2",
    "compact.after_delete:7",
    "compact.after_swap",
    "compact.after_swap:2",
    "compact.after_clear",
    "compact.after_clear:3",
]


@pytest.mark.parametrize("point", POINTS)
def test_after_a_crash_read_is_exact_and_the_next_compaction_finishes(tmp_path: Path, point: str) -> None:
    write(tmp_path, *replay(symbols=2))
    resolved = read(tmp_path / "hf")
    assert crash(tmp_path, point) == EXIT_CODE
    assert read(tmp_path / "hf").equals(resolved)
    assert read(tmp_path / "hf", symbol="BTC/USDT").equals(
        resolved.filter(pa.compute.equal(resolved["symbol"], "BTC/USDT"))
    )
    late = random_words("hf", CONFIG, 50, seed=9, start_ms=START_MS + 3 * DAY_MS, generation=2)
    write(tmp_path, late, stem="while-down")
    compact(tmp_path, SETTINGS)
    assert set(partitions(tmp_path).values()) == {1}
    assert files(tmp_path / "hf/_compact") == ["run.lock", "swap.lock"]
    assert read(tmp_path / "hf", end=START_MS + 3 * DAY_MS).equals(resolved)
    assert table_rows(read(tmp_path / "hf", start=START_MS + 3 * DAY_MS)) == expected(late)


def test_a_crash_before_the_manifest_leaves_the_inputs_to_plain_readers_too(tmp_path: Path) -> None:
    words = random_words("hf", CONFIG, 300)
    write(tmp_path, *np.array_split(words, 4))
    crash(tmp_path, "compact.after_output")
    for name, reader in READERS.items():
        table = as_written(reader(tmp_path / "hf"), schema.arrow_schema("hf", CONFIG))
        assert sorted(map(repr, table_rows(table))) == sorted(map(repr, expected(words))), name


def test_without_its_manifest_a_crashed_swap_would_show_rows_twice(tmp_path: Path) -> None:
    # The control: what the tests above rest on can fail.
    words = random_words("hf", CONFIG, 300)
    write(tmp_path, *np.array_split(words, 4))
    crash(tmp_path, "compact.after_rename")
    for manifest in (tmp_path / "hf/_compact").glob("*.json"):
        manifest.unlink()
    assert len(read(tmp_path / "hf")) > 300


def test_each_step_is_durable_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, *np.array_split(random_words("hf", CONFIG, 60, symbols=1, span_ms=1000), 2))
    table = tmp_path / "hf"
    steps: list[tuple[str, str]] = []

    def record(step: str, path: Path) -> None:
        steps.append((step, "folder" if path.is_dir() and path.name != "_compact" else path.suffix or path.name))

    rename, unlink = Path.rename, Path.unlink

    def traced_rename(self: Path, to: Path) -> Path:
        record("rename", self)
        return rename(self, to)

    def traced_unlink(self: Path, missing_ok: bool = False) -> None:
        record("delete", self)
        unlink(self, missing_ok)

    monkeypatch.setattr(os, "fsync", lambda number: record("sync", Path(f"/proc/self/fd/{number}").readlink()))
    monkeypatch.setattr(Path, "rename", traced_rename)
    monkeypatch.setattr(Path, "unlink", traced_unlink)
    compact(table, SETTINGS)
    assert steps == [
        ("sync", ".pending"),
        ("sync", "_compact"),
        ("sync", ".draft"),
        ("rename", ".draft"),
        ("sync", "_compact"),
        ("rename", ".pending"),
        ("sync", "folder"),
        ("delete", ".parquet"),
        ("delete", ".parquet"),
        ("sync", "folder"),
        ("delete", ".json"),
        ("sync", "_compact"),
    ]


def test_read_is_exact_while_compaction_runs(tmp_path: Path) -> None:
    keys = [("binance", f"S{i}/USDT") for i in range(12)]
    words = random_words("hf", CONFIG, 600, symbols=12)
    write_output(tmp_path, *np.array_split(words, 4), stream="hf", config=CONFIG, sink=BY_SYMBOL, keys=keys)
    resolved = read(tmp_path / "hf")
    reads = 0
    with ThreadPoolExecutor(1) as pool:
        compaction = pool.submit(compact, tmp_path, SETTINGS)
        while not compaction.done():
            assert read(tmp_path / "hf").equals(resolved)
            reads += 1
    assert compaction.result()["merged"] == 24
    assert reads > 0
    assert read(tmp_path / "hf").equals(resolved)
    assert set(partitions(tmp_path).values()) == {1}


def test_a_second_compaction_at_the_same_time_is_refused(tmp_path: Path) -> None:
    write(tmp_path, *np.array_split(random_words("hf", CONFIG, 100), 3))
    (tmp_path / "hf/_compact").mkdir()
    before = files(tmp_path / "hf")
    with (tmp_path / "hf/_compact/run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another compaction") as caught:
            compact(tmp_path, SETTINGS)
    assert caught.value.where == str(tmp_path / "hf")
    assert set(files(tmp_path / "hf")) - set(before) <= {"_compact/run.lock", "_compact/swap.lock"}
    compact(tmp_path, SETTINGS)


# Faults


def test_a_folder_that_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no output"):
        compact(tmp_path, SETTINGS)
    assert files(tmp_path) == []


def test_a_damaged_file_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    write(tmp_path, *np.array_split(random_words("hf", CONFIG, 300, symbols=1), 4))
    file = sorted(tmp_path.rglob("*.parquet"))[1]
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)
    before = sorted(tmp_path.rglob("*.parquet"))
    with pytest.raises(DataError, match="damaged") as caught:
        compact(tmp_path, SETTINGS)
    assert caught.value.where == str(file)
    assert sorted(tmp_path.rglob("*.parquet")) == before


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = random_words("hf", CONFIG, 300)
    write(tmp_path, *np.array_split(words, 4))
    full = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
    program = (
        "import sys; from pathlib import Path; from streamproc.config import Settings\n"
        "from streamproc.parquet.compact import compact; from streamproc.errors import DataError\n"
        f"{full}try:\n compact(Path(sys.argv[1]), Settings())\nexcept DataError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot write: File too large" in done.stdout
    assert table_rows(read(tmp_path / "hf")) == expected(words)
    compact(tmp_path, SETTINGS)
    assert table_rows(read(tmp_path / "hf")) == expected(words)


def test_an_interrupted_compaction_whose_output_is_gone_is_told(tmp_path: Path) -> None:
    write(tmp_path, *np.array_split(random_words("hf", CONFIG, 300), 4))
    crash(tmp_path, "compact.after_swap")
    output = next(tmp_path.rglob("*-compacted-1.parquet"))
    output.unlink()
    with pytest.raises(DataError, match="cut short") as caught:
        compact(tmp_path, SETTINGS)
    assert caught.value.where == str(output)


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    write(tmp_path, *np.array_split(random_words("hf", CONFIG, 300), 4))
    crash(tmp_path, "compact.after_manifest")
    manifest = next(tmp_path.rglob("*.json"))
    manifest.write_text("{")
    for work in (lambda: compact(tmp_path, SETTINGS), lambda: read(tmp_path / "hf")):
        with pytest.raises(DataError, match="damaged record") as caught:
            work()
        assert caught.value.where == str(manifest)


# Memory


@pytest.fixture
def most_rows_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rows that a merge holds at the most, tracked at every row group read."""
    held: dict[int, int] = {}
    most = [0]
    hold = merge.SortedFile._hold

    def track(self: merge.SortedFile, rows: pa.Table) -> None:
        hold(self, rows)
        held[id(self)] = len(rows)
        most[0] = max(most[0], sum(held.values()))

    monkeypatch.setattr(merge.SortedFile, "_hold", track)
    yield most


@LAYOUTS
@pytest.mark.parametrize("overlapping", [False, True])
def test_a_merge_holds_a_few_row_groups_whatever_the_number_of_files(
    tmp_path: Path, sink: SinkConfig, overlapping: bool, most_rows_held: list[int]
) -> None:
    words = random_words("hf", CONFIG, 1500, symbols=2, span_ms=DAY_MS)
    if overlapping:
        words = words[np.random.default_rng(0).permutation(len(words))]
    write(tmp_path, *np.array_split(words, 30), sink=sink)
    compact(tmp_path, SETTINGS)
    assert set(partitions(tmp_path).values()) == {1}
    assert 0 < most_rows_held[0] <= merge.ROW_GROUPS_IN_MEMORY * 50
    left = read(tmp_path / "hf")
    assert sorted(map(repr, table_rows(left))) == sorted(map(repr, expected(words)))


@pytest.mark.parametrize(
    "names", [["a-2", "a-10"], ["run-0009-000001", "run-0009-000001-compacted-2", "run-0010-000000"]]
)
def test_names_sort_by_their_numbers(names: list[str]) -> None:
    assert sorted(reversed(names), key=natural) == names


def test_nothing_else_in_the_output_is_touched(tmp_path: Path) -> None:
    write(tmp_path, *np.array_split(random_words("hf", CONFIG, 300), 4))
    kept = ["_pending/x/hf/exchange=binance/date=2024-08-09/a.parquet", "rejects/r.ndjson", "_state-1.json"]
    for name in kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    compact(tmp_path, SETTINGS)
    assert [(tmp_path / name).read_text() for name in kept] == kept
    shutil.rmtree(tmp_path / "_pending")
