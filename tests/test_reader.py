"""`streamproc.read`: the same rows whatever the layout of the files, and errors that name the file."""

import datetime
import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import streamproc
from streamproc import schema
from streamproc.config import SinkConfig, StateConfig
from streamproc.errors import DataError, StreamprocError, UsageError
from streamproc.parquet import listing, reader
from streamproc.parquet.listing import list_files
from streamproc.parquet.manifest import swapping
from streamproc.parquet.reader import read
from streamproc.schema import Stream
from tests.parquet_rows import (
    DAY_MS,
    KEYS,
    START_MS,
    Words,
    in_order,
    plain_rows,
    random_words,
    table_rows,
    write_output,
)

CONFIG = StateConfig(horizons=(0.5, 2.0), max_levels=2, bands_bps=(7.5,))
OTHER = CONFIG.model_copy(update={"gap_reset": 7.0})
BY_SYMBOL = SinkConfig(buffer_rows=300, row_group_rows=90)
BY_EXCHANGE = SinkConfig(buffer_rows=300, row_group_rows=90, partition_by=("exchange", "date"))
LAYOUTS = pytest.mark.parametrize("sink", [BY_SYMBOL, BY_EXCHANGE], ids=["by-symbol", "by-exchange"])
BOTH = pytest.mark.parametrize("stream", ["hf", "bars"])


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def expected(words: Words, stream: Stream = "hf") -> list[list[Any]]:
    return in_order(stream, CONFIG, plain_rows(stream, CONFIG, words, KEYS))


@pytest.fixture
def words() -> Words:
    return random_words("hf", CONFIG, 800)


@pytest.fixture
def hf(tmp_path: Path, words: Words) -> Path:
    write_output(tmp_path, words[:500], words[500:], stream="hf", config=CONFIG, sink=BY_SYMBOL)
    return tmp_path / "hf"


@LAYOUTS
@BOTH
def test_all_rows_come_sorted_in_the_schema_of_the_columns(tmp_path: Path, stream: Stream, sink: SinkConfig) -> None:
    words = random_words(stream, CONFIG, 1500, span_ms=3 * DAY_MS)
    write_output(tmp_path, *np.array_split(words, 5), stream=stream, config=CONFIG, sink=sink)
    table = streamproc.read(tmp_path / stream)
    assert table.schema.equals(schema.arrow_schema(stream, CONFIG), check_metadata=True)
    assert table_rows(table) == expected(words, stream)


@LAYOUTS
def test_rows_with_equal_keys_stay_in_order_of_arrival(tmp_path: Path, sink: SinkConfig) -> None:
    words = random_words("hf", CONFIG, 1200, span_ms=2)
    words[:, schema.word("hf", "updates")] = np.arange(len(words))
    write_output(tmp_path, *np.array_split(words, 12), stream="hf", config=CONFIG, sink=sink)
    rows = table_rows(read(str(tmp_path / "hf"), columns=["exchange", "symbol", "timestamp", "updates"]))
    assert rows == sorted(rows)


def test_both_layouts_may_be_in_one_table(tmp_path: Path, words: Words) -> None:
    write_output(tmp_path, words[:400], stream="hf", config=CONFIG, sink=BY_SYMBOL, stem="a")
    write_output(tmp_path, words[400:], stream="hf", config=CONFIG, sink=BY_EXCHANGE, stem="b")
    assert table_rows(read(tmp_path / "hf")) == expected(words)
    chosen = [row for row in expected(words) if row[1] == "BTC/USDT"]
    assert table_rows(read(tmp_path / "hf", symbol="BTC/USDT")) == chosen


@LAYOUTS
@pytest.mark.parametrize(
    ("exchange", "symbol"),
    [("binance", None), (None, "BTC/USDT"), ("kraken", "BTC/USDT"), (["binance", "kraken"], ["ETH/USDT", "BTC/USDT"])],
)
def test_exchange_and_symbol_choose_rows(
    tmp_path: Path, words: Words, sink: SinkConfig, exchange: str | list[str] | None, symbol: str | list[str] | None
) -> None:
    write_output(tmp_path, words, stream="hf", config=CONFIG, sink=sink)
    exchanges = [exchange] if isinstance(exchange, str) else exchange or ["binance", "kraken"]
    symbols = [symbol] if isinstance(symbol, str) else symbol or [name for _, name in KEYS]
    chosen = [row for row in expected(words) if row[0] in exchanges and row[1] in symbols]
    assert chosen
    assert table_rows(read(tmp_path / "hf", exchange=exchange, symbol=symbol)) == chosen


MIDDLE = datetime.datetime(2024, 8, 9, 20, 0, 0, 500_000, tzinfo=datetime.UTC)
MIDDLE_MS = START_MS + 20 * 3_600_000 + 500


@LAYOUTS
@pytest.mark.parametrize(
    "time",
    [
        MIDDLE,
        MIDDLE.replace(tzinfo=None),
        MIDDLE.astimezone(datetime.timezone(datetime.timedelta(hours=9))),
        "2024-08-09T20:00:00.500Z",
        "2024-08-09 20:00:00.5",
        "2024-08-09T22:00:00.500+02:00",
        MIDDLE_MS,
        MIDDLE - datetime.timedelta(microseconds=999),
    ],
    ids=str,
)
def test_start_is_inclusive_and_end_exclusive_whatever_tells_the_time(
    tmp_path: Path, words: Words, sink: SinkConfig, time: datetime.datetime | str | int
) -> None:
    words[400:402, schema.word("hf", "timestamp")] = [MIDDLE_MS - 1, MIDDLE_MS]
    write_output(tmp_path, words, stream="hf", config=CONFIG, sink=sink)
    earlier, later = read(tmp_path / "hf", end=time), read(tmp_path / "hf", start=time)
    assert table_rows(earlier) == [row for row in expected(words) if row[2] < MIDDLE_MS]
    assert table_rows(later) == [row for row in expected(words) if row[2] >= MIDDLE_MS]
    assert len(earlier) and len(later)


@pytest.mark.parametrize("time", ["yesterday", "", 1.5, True, datetime.date(2024, 8, 9)], ids=repr)
def test_what_is_no_time_is_refused(hf: Path, time: Any) -> None:
    with pytest.raises(UsageError, match="not a time"):
        read(hf, start=time)


def test_columns_come_in_the_order_asked_for(hf: Path, words: Words) -> None:
    table = read(hf, columns=["mid_price", "symbol"])
    assert table.column_names == ["mid_price", "symbol"]
    assert table["symbol"].to_pylist() == [row[1] for row in expected(words)]
    assert table.schema.metadata == schema.arrow_schema("hf", CONFIG).metadata


def test_an_unknown_column_is_refused_with_similar_ones(hf: Path) -> None:
    with pytest.raises(UsageError, match="mid_prize") as caught:
        read(hf, columns=["mid_prize"])
    assert "mid_price" in caught.value.hint


@pytest.mark.parametrize(
    "chosen",
    [{"symbol": "NOPE"}, {"exchange": "NOPE"}, {"start": "2031-01-01"}, {"end": 0}, {"start": -(10**30), "end": 5}],
)
def test_nothing_chosen_is_an_empty_table_with_all_columns(hf: Path, chosen: dict[str, Any]) -> None:
    table = read(hf, **chosen)
    assert len(table) == 0
    assert table.schema.equals(schema.arrow_schema("hf", CONFIG), check_metadata=True)


@pytest.mark.parametrize(
    "symbol", ["123", "1.5", "true", "2024-08-09", "__HIVE_DEFAULT_PARTITION__", "../x", "nul\0", "a=b"]
)
def test_symbols_are_text_as_they_came(tmp_path: Path, symbol: str) -> None:
    keys = [("007", symbol), ("007", "other")]
    words = random_words("hf", CONFIG, 30, symbols=2)
    write_output(tmp_path, words, stream="hf", config=CONFIG, sink=BY_SYMBOL, keys=keys)
    table = read(tmp_path / "hf", symbol=symbol, exchange="007")
    assert set(table["symbol"].to_pylist()) == {symbol}
    assert set(table["exchange"].to_pylist()) == {"007"}
    assert len(table) == (words[:, 0] == 0).sum()


def test_the_programs_own_names_are_skipped(hf: Path, words: Words) -> None:
    file = next(hf.rglob("*.parquet"))
    shutil.copy(file, file.with_name("_draft.parquet"))
    shutil.copy(file, file.with_name(".hidden.parquet"))
    shutil.copytree(file.parents[2], hf / "_pending")
    (file.parent / "notes.txt").write_text("mine")
    assert table_rows(read(hf)) == expected(words)


# Generations


def replayed(generation: int, first_ms: int, count: int = 200, *, symbols: int = 4, seed: int = 0) -> Words:
    span = START_MS + 2 * DAY_MS - first_ms
    return random_words(
        "hf",
        CONFIG,
        count,
        seed=seed + generation,
        start_ms=first_ms,
        span_ms=span,
        generation=generation,
        symbols=symbols,
    )


def newest(words: Words, keys: list[str]) -> Words:
    """Rows that no newer generation of their key supersedes, found row by row."""
    columns = [schema.SYMBOL_WORD if key == "symbol" else schema.word("bars", key) for key in keys]
    stream: Stream = "bars" if "duration" in keys else "hf"
    time, generation = schema.word(stream, "timestamp"), schema.word(stream, "generation")
    kept = [
        not any(
            other[generation] > row[generation] and other[time] <= row[time]
            for other in words
            if all(other[i] == row[i] for i in columns)
        )
        for row in words
    ]
    return words[kept]


@LAYOUTS
def test_the_newest_generation_wins_from_its_first_row_on(tmp_path: Path, sink: SinkConfig) -> None:
    words = [replayed(0, START_MS), replayed(1, START_MS + DAY_MS // 2), replayed(2, START_MS + DAY_MS, symbols=2)]
    write_output(tmp_path, *words, stream="hf", config=CONFIG, sink=sink)
    left = newest(np.concatenate(words), ["symbol"])
    assert 0 < len(left) < 600
    assert set(left[:, schema.word("hf", "generation")]) == {0, 1, 2}
    assert table_rows(read(tmp_path / "hf")) == expected(left)
    # The first row of the new generation lies outside what is read here, and still decides.
    late = [row for row in expected(left) if row[2] >= START_MS + DAY_MS * 3 // 2]
    assert table_rows(read(tmp_path / "hf", start=START_MS + DAY_MS * 3 // 2)) == late
    narrow = read(tmp_path / "hf", symbol="ETH/USDT", columns=["best_bid"])
    position = schema.arrow_schema("hf", CONFIG).names.index("best_bid")
    assert narrow["best_bid"].to_pylist() == [row[position] for row in expected(left) if row[1] == "ETH/USDT"]


@LAYOUTS
def test_generations_of_bars_are_resolved_by_duration(tmp_path: Path, sink: SinkConfig) -> None:
    first = random_words("bars", CONFIG, 400)
    second = random_words("bars", CONFIG, 60, seed=1, start_ms=START_MS + DAY_MS, span_ms=DAY_MS, generation=1)
    second = second[second[:, schema.word("bars", "duration")] != np.float64(5.0).view(np.int64)]
    write_output(tmp_path, first, second, stream="bars", config=CONFIG, sink=sink)
    left = newest(np.concatenate([first, second]), ["symbol", "duration"])
    assert table_rows(read(tmp_path / "bars")) == expected(left, "bars")


def test_an_older_generation_may_arrive_later(tmp_path: Path) -> None:
    words = [replayed(1, START_MS + DAY_MS), replayed(0, START_MS)]
    write_output(tmp_path, *words, stream="hf", config=CONFIG, sink=BY_SYMBOL)
    assert table_rows(read(tmp_path / "hf")) == expected(newest(np.concatenate(words), ["symbol"]))


# Datasets


@LAYOUTS
def test_a_dataset_has_the_rows_chosen(tmp_path: Path, words: Words, sink: SinkConfig) -> None:
    write_output(tmp_path, words, stream="hf", config=CONFIG, sink=sink)
    dataset = read(tmp_path / "hf", symbol=["BTC/USDT"], start=MIDDLE, as_dataset=True)
    assert isinstance(dataset, ds.Dataset)
    chosen = [row for row in expected(words) if row[1] == "BTC/USDT" and row[2] >= MIDDLE_MS]
    assert sorted(table_rows(dataset.to_table()), key=repr) == sorted(chosen, key=repr)
    assert dataset.count_rows(filter=ds.field("exchange") == "kraken") == sum(row[0] == "kraken" for row in chosen)


def test_a_dataset_leaves_out_files_that_are_superseded_as_a_whole(tmp_path: Path) -> None:
    words = [replayed(0, START_MS), replayed(1, START_MS)]
    for commit in words:
        commit[:4, 0] = range(4)
        commit[:4, schema.word("hf", "timestamp")] = START_MS
    write_output(tmp_path, *words, stream="hf", config=CONFIG, sink=BY_SYMBOL)
    assert read(tmp_path / "hf", as_dataset=True).to_table()["generation"].unique().to_pylist() == [1]


def test_a_dataset_that_would_need_rows_left_out_is_refused(tmp_path: Path) -> None:
    words = [replayed(0, START_MS), replayed(1, START_MS + DAY_MS // 2)]
    write_output(tmp_path, *words, stream="hf", config=CONFIG, sink=BY_SYMBOL)
    with pytest.raises(DataError, match="replay") as caught:
        read(tmp_path / "hf", as_dataset=True)
    assert "streamproc compact" in caught.value.hint


def test_columns_of_a_dataset_are_chosen_at_its_scan(hf: Path) -> None:
    choose: Any = {"columns": ["symbol"], "as_dataset": True}
    with pytest.raises(UsageError, match="columns"):
        read(hf, **choose)


# Faults


def fault(directory: Path) -> StreamprocError:
    with pytest.raises(DataError) as caught:
        read(directory)
    assert caught.value.hint
    return caught.value


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert fault(tmp_path / "hf").where == str(tmp_path / "hf")


def test_a_table_without_files(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    assert "no files" in fault(tmp_path / "hf").message


def test_the_output_instead_of_a_table(hf: Path) -> None:
    assert str(hf) in fault(hf.parent).hint


def test_a_partition_instead_of_a_table(hf: Path) -> None:
    assert "partition" in fault(hf / "exchange=binance").message


def test_a_file_outside_the_partitions(hf: Path) -> None:
    shutil.copy(next(hf.rglob("*.parquet")), hf / "copy.parquet")
    assert fault(hf).where == str(hf / "copy.parquet")


def test_a_file_of_another_program(hf: Path) -> None:
    file = next(hf.rglob("*.parquet")).with_name("mine.parquet")
    pq.write_table(pa.table({"timestamp": [1]}), file)
    found = fault(hf)
    assert found.where == str(file)
    assert "not a file that streamproc wrote" in found.message


def test_a_file_of_ours_that_another_program_wrote_anew_without_rows_or_statistics(hf: Path) -> None:
    file = next(hf.rglob("*.parquet"))
    table = pq.ParquetFile(file).read()
    for stripped, statistics in [(table.slice(0, 0), True), (table, False)]:
        pq.write_table(stripped, file, write_statistics=statistics)
        assert fault(hf).where == str(file)


def test_a_folder_that_may_not_be_read(hf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    found = fault(hf)
    assert found.where == str(hf)
    assert found.message == "cannot read: Permission denied"


def test_a_file_of_another_version_of_the_columns(hf: Path) -> None:
    file = next(hf.rglob("*.parquet"))
    table = pq.ParquetFile(file).read()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"streamproc.columns": b"999"}), file)
    found = fault(hf)
    assert found.where == str(file)
    assert "999" in found.message


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped"])
def test_a_damaged_file_is_named(hf: Path, damage: str) -> None:
    file = sorted(hf.rglob("*.parquet"))[2]
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[2000] ^= 1
    file.write_bytes({"empty": b"", "truncated": bytes(content[:-100]), "flipped": bytes(content)}[damage])
    found = fault(hf)
    assert found.where == str(file)
    assert "damaged" in found.message


def test_rows_of_two_configurations_are_refused_with_what_differs(hf: Path) -> None:
    later = random_words("hf", OTHER, 50, start_ms=START_MS + 5 * DAY_MS, span_ms=1000)
    write_output(hf.parent, later, stream="hf", config=OTHER, sink=BY_SYMBOL, stem="other")
    found = fault(hf)
    assert "state.gap_reset is 2.0 and 7.0" in found.message
    assert "other-0000" in found.message
    assert len(read(hf, start=START_MS + 4 * DAY_MS)) == 50
    assert len(read(hf, end=START_MS + 4 * DAY_MS)) == 800


def test_rows_of_another_configuration_that_are_superseded_do_not_matter(tmp_path: Path) -> None:
    old, new = random_words("hf", OTHER, 50, symbols=1), random_words("hf", CONFIG, 50, symbols=1, generation=1)
    new[0, schema.word("hf", "timestamp")] = START_MS
    write_output(tmp_path, old, stream="hf", config=OTHER, sink=BY_SYMBOL, stem="a")
    write_output(tmp_path, new, stream="hf", config=CONFIG, sink=BY_SYMBOL, stem="b")
    assert table_rows(read(tmp_path / "hf")) == expected(new)


def test_files_swapped_between_listing_and_reading_are_listed_again(
    hf: Path, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = reader._scan
    moved: list[Path] = []

    def swap_first(*arguments: Any) -> pa.Table:
        if not moved:
            file = next(hf.rglob("*.parquet"))
            moved.append(file.rename(file.with_name("run-0000-000000-compacted-1.parquet")))
        return scan(*arguments)

    monkeypatch.setattr(reader, "_scan", swap_first)
    assert table_rows(read(hf)) == expected(words)
    assert moved


def test_files_are_not_listed_while_they_are_swapped(hf: Path, words: Words) -> None:
    (hf / "_compact").mkdir()
    (hf / "_compact/swap.lock").touch()
    with ThreadPoolExecutor(1) as pool:
        with swapping(hf):
            listed = pool.submit(list_files, hf)
            with pytest.raises(TimeoutError):
                listed.result(timeout=0.1)
        assert len(listed.result(timeout=10)) == len(list(hf.rglob("*.parquet")))


def test_files_are_listed_again_when_the_first_compaction_began_meanwhile(
    hf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = []
    walk = listing._walk

    def begin_meanwhile(table: Path, below: PurePosixPath) -> Iterator[PurePosixPath]:
        if table == hf:
            walks.append(list(walk(table, below)))
            (hf / "_compact").mkdir(exist_ok=True)
            (hf / "_compact/swap.lock").touch()
        return walk(table, below)

    monkeypatch.setattr(listing, "_walk", begin_meanwhile)
    assert len(list_files(hf)) == len(list(hf.rglob("*.parquet")))
    assert len(walks) == 2


def test_a_name_without_a_file_behind_it_is_told(hf: Path) -> None:
    file = next(hf.rglob("*.parquet"))
    file.with_name("gone.parquet").symlink_to(hf / "nowhere")
    found = fault(hf)
    assert found.message == "cannot read: No such file or directory"


def test_the_folder_may_be_relative(hf: Path, words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hf.parent)
    assert table_rows(read("hf")) == expected(words)
    assert read("./hf", as_dataset=True).count_rows() == len(words)
