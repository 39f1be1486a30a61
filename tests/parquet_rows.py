"""Random rows as the engine hands them over, the same rows in plain Python, and the readers that users have."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from streamproc import schema
from streamproc.config import SinkConfig, StateConfig
from streamproc.parquet.writer import PartitionedWriter, publish
from streamproc.schema import NULL_INT, Column, Stream

Words = npt.NDArray[np.int64]
DAY_MS = 86_400_000
START_MS = 1_723_161_600_000
"""2024-08-09 00:00 UTC."""
KEYS = [("binance", "BTC/USDT"), ("binance", "ETH/USDT"), ("kraken", "BTC/USDT"), ("kraken", "ADA/EUR:EUR-240927")]


def random_words(
    stream: Stream,
    config: StateConfig,
    count: int,
    *,
    seed: int = 0,
    symbols: int = len(KEYS),
    start_ms: int = START_MS,
    span_ms: int = 2 * DAY_MS,
    generation: int = 0,
) -> Words:
    """Rows in order of time, with nulls of every kind (several NaNs and infinities among the doubles)."""
    rng = np.random.default_rng(seed)
    words = np.zeros((count, schema.width(stream, config)), np.int64)
    words[:, schema.SYMBOL_WORD] = rng.integers(0, symbols, count)
    words[:, schema.LINE_WORD] = np.arange(count)
    for i, column in enumerate(schema.columns(stream, config)[2:]):
        words[:, schema.WORDS_BEFORE_COLUMNS + i] = _random_column(column, rng, count)
    words[:, schema.word(stream, "timestamp")] = start_ms + np.sort(rng.integers(0, span_ms, count))
    words[:, schema.word(stream, "generation")] = generation
    if stream == "bars":
        durations = rng.choice(np.array(config.bar_durations), count)
        words[:, schema.word(stream, "duration")] = durations.view(np.int64)
    return words


def _random_column(column: Column, rng: np.random.Generator, count: int) -> Words:
    if column.kind == "double":
        doubles = rng.normal(size=count).round(4)
        if column.nullable:
            odd = np.array([math.nan, -math.nan, math.inf, -math.inf])
            doubles = np.where(rng.random(count) < 0.1, rng.choice(odd, count), doubles)
        return doubles.view(np.int64)
    top = {"bool": 2, "string": len(column.values), "int": 2**62, "time": 2**40}[column.kind]
    numbers = rng.integers(0, top, count)
    return np.where(rng.random(count) < 0.1, NULL_INT, numbers) if column.nullable else numbers


def plain_rows(stream: Stream, config: StateConfig, words: Words, keys: Sequence[tuple[str, str]]) -> list[list[Any]]:
    """The same rows value by value, columns in order; times in ms."""
    listed = schema.columns(stream, config)[2:]
    doubles = words.view(np.float64)
    return [
        [*keys[row[0]], *(_plain(column, int(row[2 + i]), float(numbers[2 + i])) for i, column in enumerate(listed))]
        for row, numbers in zip(words, doubles, strict=True)
    ]


def _plain(column: Column, word: int, number: float) -> Any:
    if column.kind == "double":
        return number if math.isfinite(number) else None
    if word == NULL_INT:
        return None
    if column.kind == "string":
        return column.values[word]
    return bool(word) if column.kind == "bool" else word


def table_rows(table: pa.Table) -> list[list[Any]]:
    """Rows of a table, columns in order; times in ms."""
    columns = [
        column.cast(pa.int64()).to_pylist() if pa.types.is_timestamp(column.type) else column.to_pylist()
        for column in table.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def write_output(
    output: Path,
    *commits: Words,
    stream: Stream,
    config: StateConfig,
    sink: SinkConfig,
    keys: Sequence[tuple[str, str]] = KEYS,
    stem: str = "run",
) -> None:
    """Write and publish rows, one commit after the other."""
    staging = output / "_pending"
    writer = PartitionedWriter(stream, config, sink, staging, "unused")
    for number, words in enumerate(commits):
        writer.begin(f"{stem}-{number:04d}")
        writer.add(words, keys)
        publish(writer.finish(), output)


def in_order(stream: Stream, config: StateConfig, rows: list[list[Any]]) -> list[list[Any]]:
    """Rows by exchange, symbol, timestamp and duration; equal ones as they come."""
    names = [column.name for column in schema.columns(stream, config)]
    by = [names.index(name) for name in ("exchange", "symbol", "timestamp", "duration") if name in names]
    return sorted(rows, key=lambda row: [row[i] for i in by])


def read_pyarrow(directory: Path) -> pa.Table:
    return ds.dataset(directory, partitioning="hive").to_table()


def read_pandas(directory: Path) -> pa.Table:
    return pa.Table.from_pandas(pd.read_parquet(directory, dtype_backend="pyarrow"), preserve_index=False)


def read_polars(directory: Path) -> pa.Table:
    return pl.scan_parquet(directory / "**/*.parquet", hive_partitioning=True).collect().to_arrow()


def read_duckdb(directory: Path) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        query = f"SELECT * FROM read_parquet('{directory}/**/*.parquet', hive_partitioning = true)"
        return connection.sql(query).to_arrow_table()


READERS: dict[str, Callable[[Path], pa.Table]] = {
    "pyarrow": read_pyarrow,
    "pandas": read_pandas,
    "polars": read_polars,
    "duckdb": read_duckdb,
}


def as_written(table: pa.Table, expected: pa.Schema) -> pa.Table:
    """A reader's table with the columns and types of the files; `date`, which only the folders say, left out."""
    assert set(table.column_names) == {*expected.names, "date"}
    return table.select(expected.names).cast(expected)
