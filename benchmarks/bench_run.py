"""`run` against orjson alone.

Time a record of the whole way to Parquet over that of turning the same lines into Python objects.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson

from benchmarks.measure import SCRATCH, alternating, market_file, seconds_of, tell
from streamproc import Settings, process_files
from streamproc.simulate import Market


def batches(path: Path, size: int = 64 << 20) -> Iterator[list[bytes]]:
    """Lines of a file, a batch of `size` bytes at a time."""
    with path.open("rb") as file:
        while lines := file.readlines(size):
            yield lines


def orjson_seconds(path: Path) -> float:
    """Time of `orjson.loads` over all lines, reading them apart."""
    total = 0.0
    for lines in batches(path):

        def parse(lines: list[bytes] = lines) -> None:
            for line in lines:
                orjson.loads(line)

        total += seconds_of(parse)
    return total


def run_seconds(path: Path) -> float:
    """Time of a run without state, its start-up apart."""
    output = SCRATCH / "out"
    shutil.rmtree(output, ignore_errors=True)
    return float(process_files([str(path)], output, settings=Settings())["seconds"])


def compare(levels: int, seconds: float, bound: str) -> None:
    """One line of the table: 20 symbols at 10 books/s with trades between them."""
    path = market_file(Market(symbols=20, seconds=seconds, levels=levels), "run")
    run_seconds(market_file(Market(symbols=20, seconds=20, levels=levels), "warm"))
    run, alone = alternating(
        [lambda: run_seconds(path), lambda: orjson_seconds(path)], rounds=3 if seconds > 1000 else 5
    )
    summary = process_files([str(path)], SCRATCH / "out", overwrite=True)
    records = summary["records"]
    tell(
        f"run / orjson alone, {levels} levels, {summary['books']:,} books",
        run / alone,
        bound,
        f"{run / records * 1e6:.2f} against {alone / records * 1e6:.2f} µs a record",
    )


if __name__ == "__main__":
    quick = "--quick" in sys.argv
    compare(20, 250 if quick else 2500, "<= 1.5")
    compare(100, 250 if quick else 2500, "<= 0.9")
