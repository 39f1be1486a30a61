"""Cost of long windows, of many symbols, of a commit.

Size of a symbol's state. The engine without files, but for the commit.
"""

import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.measure import SCRATCH, alternating, market_file, seconds_of, tell
from streamproc import Settings, process_files
from streamproc.config import SinkConfig, StateConfig
from streamproc.engine import Engine
from streamproc.local.journal import Journal
from streamproc.local.pipeline import Pipeline
from streamproc.simulate import Market
from streamproc.store import RocksStore

CHUNK_BYTES = 4 << 20


def chunks(path: Path) -> Iterator[bytes]:
    """Whole lines of a file, some megabytes at a time."""
    with path.open("rb") as file:
        while lines := file.readlines(CHUNK_BYTES):
            yield b"".join(lines)


def run_seconds(path: Path, settings: Settings) -> float:
    """Time of a run without state, its start-up apart."""
    output = SCRATCH / "out"
    shutil.rmtree(output, ignore_errors=True)
    return float(process_files([str(path)], output, settings=settings)["seconds"])


def horizons() -> None:
    """Two hours of one symbol, a row for each book."""
    path = market_file(Market(symbols=1, seconds=7200, levels=20), "windows")
    long, short = (
        Settings(state=StateConfig(horizons=horizons, hf_emit_interval=0.0))
        for horizons in ((1.0, 60.0, 3600.0), (1.0, 60.0))
    )
    a, b = alternating([lambda: run_seconds(path, long), lambda: run_seconds(path, short)], rounds=5)
    tell("run with horizons [1,60,3600] / [1,60], a row a book, 2 h", a / b, "<= 1.2", f"{a:.2f} s against {b:.2f} s")


def symbols() -> None:
    """The same number of books from 10,000 symbols and from 10."""
    many = market_file(Market(symbols=10_000, seconds=20, levels=20), "many")
    few = market_file(Market(symbols=10, seconds=20_000, levels=20), "few")
    settings = Settings(sink=SinkConfig(partition_by=("exchange", "date")))
    books = [
        process_files([str(path)], SCRATCH / "out", settings=settings, overwrite=True)["books"] for path in (many, few)
    ]
    a, b = alternating([lambda: run_seconds(many, settings), lambda: run_seconds(few, settings)], rounds=3)
    tell(
        "cost a book, 10,000 symbols / 10 symbols",
        (a / books[0]) / (b / books[1]),
        "<= 1.5",
        f"{books[0]:,} and {books[1]:,} books",
    )


def state_size() -> None:
    """A symbol at 10 books/s and 5 trades/s under the default configuration, in memory and on disk."""
    count = 200
    path = market_file(Market(symbols=count, seconds=240, levels=5), "state")
    engine = Engine(StateConfig())
    for data in chunks(path):
        engine.feed(data)
    arrays = engine.arrays
    flat = itertools.chain.from_iterable(part if isinstance(part, tuple) else (part,) for part in arrays)
    memory = sum(array.nbytes for array in flat)
    folder = SCRATCH / "state"
    shutil.rmtree(folder, ignore_errors=True)
    store = RocksStore(folder)
    store.write(engine.changes().puts, [])
    store.close()
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in {".sst", ".log"})
    tell("state of a symbol in memory", memory / count / 1e3, "<= 100 kB", "all arrays with their reserve / symbols")
    tell("state of a symbol on disk", disk / count / 1e3, "<= 50 kB", "RocksDB's log of the first snapshot / symbols")


def commit() -> None:
    """A commit of 10,000 active symbols with a second of new data each, against the engine's time for that second."""
    path = market_file(Market(symbols=10_000, seconds=8, levels=20, rate_hz=10.0), "commit")
    settings = Settings(sink=SinkConfig(partition_by=("exchange", "date")))
    folder, output = SCRATCH / "commit-state", SCRATCH / "commit-out"
    for old in (folder, output):
        shutil.rmtree(old, ignore_errors=True)
    store = RocksStore(folder)
    journal = Journal(store, output, settings)
    pipeline = Pipeline(settings, journal.staging.path, journal.stem)
    engine_times, commit_times = [], []
    for second in by_second(path):
        engine_times.append(seconds_of(lambda data=second: pipeline.take(data, len(data))))  # type: ignore[misc]

        def make() -> None:
            journal.commit(pipeline.finish(), [pipeline.changes()], [])
            pipeline.begin(journal.stem)

        commit_times.append(seconds_of(make))
    store.close()
    pairs = sorted(zip(commit_times[2:], engine_times[2:], strict=True), key=lambda pair: pair[0] / pair[1])
    middle = pairs[len(pairs) // 2]
    tell(
        "a commit of 10,000 active symbols / the engine's time for that second",
        middle[0] / middle[1],
        "<= 1.0",
        f"{middle[0]:.2f} s against {middle[1]:.2f} s",
    )


def by_second(path: Path) -> Iterator[bytes]:
    """The lines of each second of `collected_at`."""

    def second(line: bytes) -> bytes:
        return line[line.rindex(b":") + 1 : -5]

    with path.open("rb") as file:
        for _, lines in itertools.groupby(file, second):
            yield b"".join(lines)


def main(names: Sequence[str]) -> None:
    """Run the benchmarks of these names, all without any."""
    works: dict[str, object] = {"horizons": horizons, "symbols": symbols, "state_size": state_size, "commit": commit}
    chosen: Iterable[str] = names or works
    for name in chosen:
        work = works[name]
        assert callable(work)
        work()


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
