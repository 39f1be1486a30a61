"""Where the time of a book goes.

Scanning its bytes, its state and bars, its rows, Parquet. Each stage is the difference of two runs.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.measure import SCRATCH, alternating, market_file, seconds_of, tell
from streamproc import Settings, process_files
from streamproc.config import StateConfig
from streamproc.engine import Engine
from streamproc.jit import kernel
from streamproc.parse.record import Record
from streamproc.parse.scan import scan
from streamproc.simulate import Market

LINES_AT_ONCE = 8 << 20


@kernel
def scan_all(data: Any, size: int, record: Any) -> int:
    """Scan all lines, doing nothing with them; how many were taken."""
    position = 0
    taken = 0
    while position < size:
        position = scan(data, position, record) + 1
        taken += 1
    return taken


def pieces(path: Path) -> list[list[bytes]]:
    """The lines of a file, some megabytes at a time."""
    with path.open("rb") as file:
        return list(iter(lambda: file.readlines(LINES_AT_ONCE), []))


def main() -> None:
    """Print the stages of a run over 20 symbols at 20 levels."""
    path = market_file(Market(symbols=20, seconds=500, levels=20), "stages")
    lines = pieces(path)
    data = [np.frombuffer(b"".join(piece), np.uint8) for piece in lines]
    record = Record.empty(4096, 4096)

    def scanned() -> float:
        return seconds_of(lambda: [scan_all(piece, len(piece), record) for piece in data])

    def fed(config: StateConfig) -> Callable[[], float]:
        def feed() -> float:
            engine = Engine(config)
            return seconds_of(lambda: [engine.feed(piece) for piece in data])

        return feed

    def ran() -> float:
        shutil.rmtree(SCRATCH / "out", ignore_errors=True)
        return float(process_files([str(path)], SCRATCH / "out", settings=Settings())["seconds"])

    def parse() -> None:
        for piece in lines:
            for line in piece:
                orjson.loads(line)

    def parsed() -> float:
        return seconds_of(parse)

    fed(StateConfig())()
    summary = process_files([str(path)], SCRATCH / "out", overwrite=True)
    scan_all(data[0], 0, record)
    times = alternating([scanned, fed(StateConfig(hf_emit_interval=1e6)), fed(StateConfig()), ran, parsed])
    scanning, state, rows, run, alone = (time / summary["records"] * 1e6 for time in times)
    print(
        f"{summary['books']:,} books, {summary['trades']:,} trades messages, "
        f"{summary['hf_rows']:,} feature rows, {summary['bar_rows']:,} bars"
    )
    for name, value in (
        ("scan the bytes", scanning),
        ("symbol state, windows' rings, bars", state - scanning),
        ("feature rows (structure, windows)", rows - state),
        ("files: read, Parquet", run - rows),
        ("all of run", run),
    ):
        tell(f"µs a record: {name}", value, f"{value / alone:.2f} of orjson alone")
    tell("µs a record: orjson alone", alone, "1")


if __name__ == "__main__":
    main()
