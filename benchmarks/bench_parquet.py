"""What a row costs on its way to disk and back, in CPU time, by rows a file; and what other encodings would cost."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from streamproc import schema
from streamproc.config import Settings, SinkConfig, StateConfig
from streamproc.parquet.compact import compact
from streamproc.parquet.reader import read
from streamproc.parquet.table import ColumnBlock
from streamproc.parquet.writer import PartitionedWriter
from streamproc.schema import Stream

Words = npt.NDArray[np.int64]
CONFIG = StateConfig()
SYMBOLS = [("binance", f"S{i:02}/USDT") for i in range(64)]
FILE_ROWS = (125, 500, 2_000, 8_000, 16_000)
ROWS = 32_000
RUNS = 3
WANTED_US_A_ROW = 12.0
START_MS = 1_723_161_600_000
DOUBLES = [column.name for column in schema.columns("hf", CONFIG) if column.kind == "double"]
PLAIN: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["spread_regime"]}
ENCODINGS: dict[str, dict[str, Any]] = {
    "plain, zstd 1 (as written)": PLAIN,
    "plain, zstd 3": PLAIN | {"compression_level": 3},
    "plain, zstd 9": PLAIN | {"compression_level": 9},
    "plain, snappy": PLAIN | {"compression": "snappy", "compression_level": None},
    "plain, uncompressed": PLAIN | {"compression": "none", "compression_level": None},
    "byte stream split, zstd 1": PLAIN | {"use_byte_stream_split": DOUBLES},
    "dictionary, zstd 1": PLAIN | {"use_dictionary": True},
    "plain, zstd 1, no statistics": PLAIN | {"write_statistics": False},
    "plain, zstd 1, no checksums": PLAIN | {"write_page_checksum": False},
}


def market_rows(stream: Stream, count: int, seed: int = 0) -> Words:
    """Rows of one symbol as far as their compression goes: prices on ticks, sizes of 5 digits, ratios of 53 bits."""
    rng = np.random.default_rng(seed)
    words = np.zeros((count, schema.width(stream, CONFIG)), np.int64)
    mid = np.round(60_000 + rng.normal(size=count).cumsum(), 2)
    for i, column in enumerate(schema.columns(stream, CONFIG)[2:], schema.WORDS_BEFORE_COLUMNS):
        if column.kind != "double":
            words[:, i] = rng.integers(0, 2, count)
            continue
        numbers = {
            "price": np.round(mid + rng.integers(-500, 500, count) / 100, 2),
            "size": np.round(rng.exponential(size=count), 5),
        }.get(column.unit, rng.normal(size=count))
        words[:, i] = numbers.view(np.int64)
    words[:, schema.word(stream, "generation")] = 0
    words[:, schema.word(stream, "timestamp")] = START_MS + 1000 * np.arange(count)
    return words


def cpu_us_a_row(work: Callable[[], object], rows: int) -> float:
    """Median over some runs."""
    times = []
    for _ in range(RUNS):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return sorted(times)[RUNS // 2] / rows * 1e6


class Output:
    """A folder into which `ROWS` rows are written as files of `file_rows`, again and again."""

    def __init__(self, stream: Stream, file_rows: int, folder: Path, symbols: int = len(SYMBOLS)) -> None:
        symbols = min(symbols, ROWS // file_rows)
        self._times = schema.word(stream, "timestamp")
        self._words = np.repeat(market_rows(stream, file_rows), symbols, axis=0)
        self._words[:, schema.SYMBOL_WORD] = np.tile(np.arange(symbols), file_rows)
        sink = SinkConfig(buffer_rows=len(self._words), row_group_rows=file_rows)
        self._writer = PartitionedWriter(stream, CONFIG, sink, folder, "bench")

    def write(self) -> int:
        """Bytes written."""
        files = []
        for commit in range(ROWS // len(self._words)):
            self._words[:, self._times] += int(np.ptp(self._words[:, self._times])) + 1000 if commit else 0
            self._writer.begin(f"bench-{commit:04}")
            self._writer.add(self._words, SYMBOLS)
            files += self._writer.finish()
        self._words[:, self._times] -= self._words[0, self._times] - START_MS
        return sum(file.staged.stat().st_size for file in files)


def measure_writing(stream: Stream) -> None:
    print(f"{stream}: {len(schema.columns(stream, CONFIG))} columns, files of one symbol")
    for file_rows in FILE_ROWS:
        with tempfile.TemporaryDirectory() as folder:
            output = Output(stream, file_rows, Path(folder))
            size = output.write()
            cost = cpu_us_a_row(output.write, ROWS)
        print(f"  {file_rows:6,} rows a file {cost:8.2f} us a row {size / ROWS:8.0f} bytes a row")


def measure_arrow(stream: Stream, tell: bool = True) -> None:
    words, order = market_rows(stream, 16_000), np.arange(16_000)
    block = ColumnBlock(stream, CONFIG, len(words), without=("exchange", "symbol"))
    cost = cpu_us_a_row(lambda: block.batch(words, order, SYMBOLS), len(words))
    if tell:
        print(f"  of this {cost:.2f} us a row from words to Arrow columns")


def measure_encodings(file_rows: int) -> None:
    print(f"hf, one file of {file_rows:,} rows by encoding")
    words = market_rows("hf", file_rows)
    block = ColumnBlock("hf", CONFIG, len(words), without=("exchange", "symbol"))
    table = pa.Table.from_batches([block.batch(words, np.arange(len(words)), SYMBOLS)])
    for name, options in ENCODINGS.items():
        chosen = {"write_page_checksum": True, "store_schema": False} | options
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **chosen)
        size = len(sink.getvalue())
        cost = cpu_us_a_row(lambda given=chosen: pq.write_table(table, pa.BufferOutputStream(), **given), file_rows)  # type: ignore[misc]
        print(f"  {name:30} {cost:8.2f} us a row {size / file_rows:8.0f} bytes a row")


def measure_reading() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Output("hf", 500, Path(folder), symbols=4).write()
        reading = cpu_us_a_row(lambda: read(f"{folder}/hf"), ROWS)
        begun = time.process_time()
        counts = compact(Path(folder), Settings())
        merging = (time.process_time() - begun) / counts["rows"] * 1e6
        afterwards = cpu_us_a_row(lambda: read(f"{folder}/hf"), ROWS)
    print(f"hf: compact {counts['files_before']} files to {counts['files_after']}: {merging:.1f} us a row")
    print(f"hf: read all columns {reading:.1f} us a row before, {afterwards:.1f} after")


def main() -> None:
    measure_arrow("hf", tell=False)  # the kernel is compiled, or loaded
    for stream in ("hf", "bars"):
        names: Stream = "hf" if stream == "hf" else "bars"
        measure_writing(names)
        measure_arrow(names)
    for file_rows in (2_000, 16_000):
        measure_encodings(file_rows)
    measure_reading()
    print(f"at most {WANTED_US_A_ROW} us a row are wanted for hf at some thousand rows a file")


if __name__ == "__main__":
    main()
