"""Rows to files: every value, every reader, bounded memory, and nothing visible before its time."""

import errno
import hashlib
import itertools
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproc import schema
from streamproc.config import SinkConfig, StateConfig
from streamproc.errors import DataError
from streamproc.parquet.partition import decode_value, encode_value, folder, values_of
from streamproc.parquet.table import to_table
from streamproc.parquet.writer import PartitionedWriter, Pending, publish
from streamproc.schema import Stream
from tests.parquet_rows import (
    KEYS,
    READERS,
    START_MS,
    Words,
    as_written,
    plain_rows,
    random_words,
    read_duckdb,
    table_rows,
)

CONFIG = StateConfig()
SMALL = StateConfig(horizons=(0.5, 2.0), max_levels=2, bands_bps=(7.5,))
BY_SYMBOL = SinkConfig(buffer_rows=500, row_group_rows=120)
BY_EXCHANGE = SinkConfig(buffer_rows=500, row_group_rows=120, partition_by=("exchange", "date"))
STREAMS: list[Stream] = ["hf", "bars"]


def write(
    staging: Path,
    words: Words,
    *,
    stream: Stream = "hf",
    config: StateConfig = SMALL,
    sink: SinkConfig = BY_SYMBOL,
    keys: list[tuple[str, str]] = KEYS,
    piece: int = 100,
) -> list[Pending]:
    writer = PartitionedWriter(stream, config, sink, staging, "run-0001")
    for start in range(0, len(words), piece):
        writer.add(words[start : start + piece], keys)
    return writer.finish()


def as_set(rows: list[list[object]]) -> list[str]:
    return sorted(map(repr, rows))


# Words -> Arrow


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("config", [CONFIG, SMALL], ids=["default", "small"])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 300])
def test_table_has_every_value_of_the_words(stream: Stream, config: StateConfig, count: int) -> None:
    words = random_words(stream, config, count)
    table = to_table(stream, config, words, KEYS)
    table.validate(full=True)
    assert table.schema.equals(schema.arrow_schema(stream, config), check_metadata=True)
    assert table_rows(table) == plain_rows(stream, config, words, KEYS)


def test_table_of_words_without_nulls_has_no_validity_bitmaps() -> None:
    words = np.zeros((100, schema.width("hf", SMALL)), np.int64)
    table = to_table("hf", SMALL, words, KEYS)
    columns = [column.chunk(0) for column in table.columns if not pa.types.is_string(column.type)]
    assert [column.buffers()[0] for column in columns] == [None] * len(columns)


@pytest.mark.parametrize("bits", [0x7FF8_0000_0000_0001, 0xFFF0_0000_0000_0000, 0x7FF0_0000_0000_0000])
def test_a_double_that_is_not_finite_is_null_whatever_its_bits(bits: int) -> None:
    words = random_words("hf", SMALL, 2)
    words[0, schema.word("hf", "ofi")] = np.array(bits, np.uint64).view(np.int64)
    words[1, schema.word("hf", "ofi")] = np.array(5e-324).view(np.int64)
    assert to_table("hf", SMALL, words, KEYS)["ofi"].to_pylist() == [None, 5e-324]


def test_words_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, "):
        to_table("hf", CONFIG, random_words("hf", SMALL, 3), KEYS)


# Partition names


@given(st.text(min_size=1, max_size=60))
def test_partition_values_come_back_and_stay_in_their_folder(value: str) -> None:
    path = folder({"exchange": value, "symbol": value, "date": "2024-08-09"})
    assert len(path.parts) == 3
    assert values_of(path) == {"exchange": value, "symbol": value, "date": "2024-08-09"}
    assert encode_value(value).isascii()


def test_an_encoded_value_that_is_no_utf8_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode_value("%FF")


ODD_SYMBOLS = [
    "BTC/USDT",
    "BTC/USDT:USDT-240927",
    "../../x",
    "..",
    ".",
    "a=b",
    "%2F",
    "%",
    "a b",
    " ",
    "\n",
    "nul\0byte",
    "日本/円",
    "é",
    "*?[x]{y}",
    "back\\slash",
    "'\"",
    "_hidden",
    "NULL",
    "a+b~c",
    "x" * 200,
    "é" * 33,
]


@pytest.mark.parametrize("reader", READERS)
def test_readers_give_odd_symbols_back(tmp_path: Path, reader: str) -> None:
    keys = [("ex/change", symbol) for symbol in ODD_SYMBOLS]
    words = random_words("bars", SMALL, 200, symbols=len(keys), span_ms=1000)
    write(tmp_path, words, stream="bars", keys=keys)
    table = READERS[reader](tmp_path / "bars")
    assert set(table["exchange"].to_pylist()) == {"ex/change"}
    assert set(table["symbol"].to_pylist()) == {keys[i][1] for i in words[:, 0]}


@pytest.mark.parametrize(
    ("symbol", "given_by"),
    [
        ("123", {"pyarrow": 123, "pandas": 123, "polars": 123, "duckdb": 123}),
        ("true", {"pyarrow": "true", "pandas": "true", "polars": True, "duckdb": "true"}),
    ],
)
def test_readers_that_guess_types_turn_such_symbols_into_other_values(
    tmp_path: Path, symbol: str, given_by: dict[str, object]
) -> None:
    words = random_words("bars", SMALL, 3, symbols=1)
    write(tmp_path, words, stream="bars", keys=[("binance", symbol)])
    found = {name: set(reader(tmp_path / "bars")["symbol"].to_pylist()) for name, reader in READERS.items()}
    assert found == {name: {value} for name, value in given_by.items()}


def test_of_the_readers_duckdb_gives_back_a_symbol_that_is_hives_name_for_null(tmp_path: Path) -> None:
    symbol = "__HIVE_DEFAULT_PARTITION__"
    write(tmp_path, random_words("bars", SMALL, 3, symbols=1), stream="bars", keys=[("binance", symbol)])
    assert set(read_duckdb(tmp_path / "bars")["symbol"].to_pylist()) == {symbol}


# Files


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("sink", [BY_SYMBOL, BY_EXCHANGE], ids=["by-symbol", "by-exchange"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_gives_the_same_rows(tmp_path: Path, stream: Stream, sink: SinkConfig, reader: str) -> None:
    words = random_words(stream, CONFIG, 1300)
    pending = write(tmp_path, words, stream=stream, config=CONFIG, sink=sink)
    table = as_written(READERS[reader](tmp_path / stream), schema.arrow_schema(stream, CONFIG))
    assert as_set(table_rows(table)) == as_set(plain_rows(stream, CONFIG, words, KEYS))
    assert sum(file.rows for file in pending) == len(words)
    assert "BTC/USDT" in table["symbol"].to_pylist()


@pytest.mark.parametrize("sink", [BY_SYMBOL, BY_EXCHANGE], ids=["by-symbol", "by-exchange"])
def test_files_are_sorted_and_equal_keys_stay_in_order_of_arrival(tmp_path: Path, sink: SinkConfig) -> None:
    words = random_words("bars", SMALL, 2000, span_ms=40)
    words = words[np.random.default_rng(5).permutation(len(words))]
    words[:, schema.word("bars", "count")] = np.arange(len(words))
    for file in write(tmp_path, words, stream="bars", sink=sink):
        columns = ["timestamp", "duration", "count"]
        if sink is BY_EXCHANGE:
            columns.insert(0, "symbol")
        rows = table_rows(pq.ParquetFile(file.staged).read().select(columns))
        assert rows == sorted(rows)
        assert len(rows) == file.rows


def test_files_lie_at_their_final_place_below_staging(tmp_path: Path) -> None:
    [file] = write(tmp_path, random_words("hf", SMALL, 3, symbols=1, span_ms=5))
    place = "hf/exchange=binance/symbol=BTC%2FUSDT/date=2024-08-09/run-0001-000000.parquet"
    assert file == Pending(tmp_path / place, PurePosixPath(place), 3)


def test_a_row_belongs_to_the_utc_date_of_its_timestamp(tmp_path: Path) -> None:
    words = random_words("hf", SMALL, 2, symbols=1)
    words[:, schema.word("hf", "timestamp")] = [START_MS - 1, START_MS]
    assert [file.final.parts[3] for file in write(tmp_path, words)] == ["date=2024-08-08", "date=2024-08-09"]


def test_a_file_says_its_schema_and_carries_statistics(tmp_path: Path) -> None:
    words = random_words("hf", SMALL, 300, symbols=1, span_ms=1000)
    [file] = write(tmp_path, words)
    parquet = pq.ParquetFile(file.staged)
    expected = pa.schema(
        [field for field in schema.arrow_schema("hf", SMALL) if field.name not in {"exchange", "symbol"}]
    ).with_metadata(schema.arrow_schema("hf", SMALL).metadata)
    assert parquet.schema_arrow.equals(expected, check_metadata=True)
    assert parquet.schema_arrow.field("timestamp").type == pa.timestamp("ms", tz="UTC")
    assert [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)] == [120, 120, 60]
    group = parquet.metadata.row_group(1)
    times = parquet.read(["timestamp"])["timestamp"].slice(120, 120).to_pylist()
    for i in range(group.num_columns):
        column = group.column(i)
        assert column.compression == "ZSTD"
        assert column.is_stats_set
        if column.path_in_schema == "timestamp":
            assert (column.statistics.min, column.statistics.max) == (times[0], times[-1])
        if column.path_in_schema == "spread_regime":
            assert "RLE_DICTIONARY" in column.encodings


def digests(staging: Path) -> dict[str, str]:
    return {
        str(path.relative_to(staging)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in staging.rglob("*.parquet")
    }


def test_files_do_not_depend_on_how_rows_are_handed_over(tmp_path: Path) -> None:
    words = random_words("hf", SMALL, 2500)
    for piece in (1, 77, 2500):
        write(tmp_path / str(piece), words, piece=piece)
    assert digests(tmp_path / "1") == digests(tmp_path / "77") == digests(tmp_path / "2500")


def test_a_full_buffer_writes_the_largest_partitions_and_keeps_the_small(tmp_path: Path) -> None:
    words = random_words("hf", SMALL, 500, span_ms=1000)
    words[:, 0] = np.repeat([0, 1, 2, 3], [240, 200, 50, 10])
    writer = PartitionedWriter("hf", SMALL, BY_SYMBOL, tmp_path, "run")
    writer.add(words, KEYS)
    assert {path.parent.parent.name for path in tmp_path.rglob("*.parquet")} == {
        "symbol=BTC%2FUSDT",
        "symbol=ETH%2FUSDT",
    }
    assert sorted(file.rows for file in writer.finish()) == [10, 50, 200, 240]


def open_files() -> list[Path]:
    listed = [Path(f"/proc/self/fd/{descriptor}") for descriptor in os.listdir("/proc/self/fd")]
    return [path.readlink() for path in listed if path.is_symlink()]


def test_no_file_stays_open_and_the_buffer_does_not_grow(tmp_path: Path) -> None:
    writer = PartitionedWriter("hf", SMALL, BY_SYMBOL, tmp_path, "run")
    buffers = {name: value.nbytes for name, value in vars(writer).items() if isinstance(value, np.ndarray)}
    for seed in range(20):
        writer.add(random_words("hf", SMALL, 300, seed=seed), KEYS)
        assert [path for path in open_files() if path.is_relative_to(tmp_path)] == []
    assert {name: value.nbytes for name, value in vars(writer).items() if isinstance(value, np.ndarray)} == buffers
    assert sum(file.rows for file in writer.finish()) == 6000


def test_keys_may_grow_between_calls(tmp_path: Path) -> None:
    writer = PartitionedWriter("hf", SMALL, BY_EXCHANGE, tmp_path, "run")
    first, second = random_words("hf", SMALL, 600, symbols=2), random_words("hf", SMALL, 600, seed=1)
    writer.add(first, KEYS[:2])
    writer.add(second, KEYS)
    writer.finish()
    table = as_written(READERS["pyarrow"](tmp_path / "hf"), schema.arrow_schema("hf", SMALL))
    assert as_set(table_rows(table)) == as_set(plain_rows("hf", SMALL, np.concatenate([first, second]), KEYS))


def test_a_writer_serves_one_commit_after_another(tmp_path: Path) -> None:
    writer = PartitionedWriter("hf", SMALL, BY_SYMBOL, tmp_path, "run-0001")
    writer.add(random_words("hf", SMALL, 5), KEYS)
    with pytest.raises(RuntimeError):
        writer.begin("run-0002")
    first = writer.finish()
    writer.begin("run-0002")
    writer.add(random_words("hf", SMALL, 7), KEYS)
    second = writer.finish()
    assert sum(file.rows for file in first) == 5
    assert sum(file.rows for file in second) == 7
    assert {file.staged.name[:8] for file in second} == {"run-0002"}
    assert writer.finish() == []


def test_finished_files_and_their_folders_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    pending = write(tmp_path / "staging", random_words("hf", SMALL, 900))
    folders = {
        parent for file in pending for parent in file.staged.parents if parent.is_relative_to(tmp_path / "staging")
    }
    assert {file.staged for file in pending} | folders == set(synced)
    synced.clear()
    publish(pending, tmp_path)
    assert synced
    for file, parent in itertools.product(pending, range(5)):
        assert (tmp_path / file.final).parents[parent] in synced


# Faults


def test_a_full_disk_names_the_file_and_leaves_no_half_of_it(tmp_path: Path) -> None:
    place = tmp_path / "hf/exchange=binance/symbol=BTC%2FUSDT/date=2024-08-09/run-0001-000000.parquet"
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/full")
    with pytest.raises(DataError, match="No space left on device") as caught:
        write(tmp_path, random_words("hf", CONFIG, 400, symbols=1, span_ms=5), config=CONFIG)
    assert caught.value.where == str(place)
    assert caught.value.hint
    assert not os.path.lexists(place)


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match="Permission denied") as caught:
        write(tmp_path, random_words("hf", SMALL, 5))
    assert str(tmp_path) in caught.value.where


def test_a_staging_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "staging").write_text("")
    with pytest.raises(DataError, match=r"Not a directory|File exists") as caught:
        write(tmp_path / "staging", random_words("hf", SMALL, 5))
    assert str(tmp_path / "staging") in caught.value.where


# Publication


def published(output: Path) -> int:
    return sum(pq.ParquetFile(path).metadata.num_rows for path in output.glob("hf/**/*.parquet"))


def test_published_files_are_where_readers_look_and_staging_is_empty(tmp_path: Path) -> None:
    pending = write(tmp_path / "_pending", random_words("hf", SMALL, 700))
    assert published(tmp_path) == 0
    publish(pending, tmp_path)
    assert published(tmp_path) == 700
    assert list((tmp_path / "_pending").rglob("*.parquet")) == []


@pytest.mark.parametrize("moved", [0, 1, 3])
def test_publishing_again_after_a_crash_in_the_middle_is_harmless(tmp_path: Path, moved: int) -> None:
    pending = write(tmp_path / "_pending", random_words("hf", SMALL, 700))
    publish(pending[:moved], tmp_path)
    publish(pending, tmp_path)
    publish(pending, tmp_path)
    assert published(tmp_path) == 700


def test_a_published_file_that_was_merged_meanwhile_counts_as_published(tmp_path: Path) -> None:
    pending = write(tmp_path / "_pending", random_words("hf", SMALL, 700))
    publish(pending, tmp_path)
    (tmp_path / pending[0].final).unlink()
    publish(pending, tmp_path)
    assert published(tmp_path) == 700 - pending[0].rows


def test_a_committed_file_that_is_lost_is_an_error(tmp_path: Path) -> None:
    pending = write(tmp_path / "_pending", random_words("hf", SMALL, 700))
    (tmp_path / "_pending").rename(tmp_path / "_elsewhere")
    with pytest.raises(DataError, match="gone") as caught:
        publish(pending, tmp_path)
    assert caught.value.where == str(pending[0].staged)


def test_publishing_never_overwrites_a_file(tmp_path: Path) -> None:
    pending = write(tmp_path / "_pending", random_words("hf", SMALL, 700))
    final = tmp_path / pending[0].final
    final.parent.mkdir(parents=True)
    final.write_text("another's")
    with pytest.raises(DataError, match="already") as caught:
        publish(pending, tmp_path)
    assert caught.value.where == str(final)
    assert final.read_text() == "another's"
    assert pending[0].staged.exists()
