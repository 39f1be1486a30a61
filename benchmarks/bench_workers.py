"""`run --workers 2` against one worker: 20 symbols that are all alike, a plain file, start-up excluded.

Beside it what the machine's two cores give at best: two runs of one worker each at the same time.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import SCRATCH, alternating, seconds_of, tell
from streamproc import process_files
from streamproc.simulate import Market, generate

SYMBOLS = 20
NAME = b"BTC/USDT"


def equal_symbols_file(seconds: int) -> Path:
    """One simulated symbol under 20 names, line by line in turn: made at its first use and kept."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = SCRATCH / f"workers-{SYMBOLS}x{seconds}s.ndjson"
    if not path.exists():
        beside = path.with_suffix(".tmp")
        with beside.open("wb") as out:
            for chunk in generate(Market(symbols=1, seconds=seconds)):
                for line in chunk.splitlines(keepends=True):
                    out.writelines(line.replace(NAME, b"S%02d/USDT" % i) for i in range(SYMBOLS))
        beside.rename(path)
    return path


def run_seconds(path: Path, workers: int) -> float:
    """Wall time of a run, start-up and all."""
    return seconds_of(lambda: process_files([str(path)], SCRATCH / "workers", workers=workers, overwrite=True))


def pair_seconds(path: Path) -> float:
    """Wall time of two runs of one worker at the same time, each over the whole file."""
    command = [sys.executable, "-m", "streamproc", "run", "--quiet", "--overwrite", "--input", str(path), "--output"]

    def both() -> None:
        runs = [subprocess.Popen([*command, str(SCRATCH / f"pair-{k}")]) for k in range(2)]
        assert [run.wait() for run in runs] == [0, 0]

    return seconds_of(both)


def main(seconds: int, rounds: int) -> None:
    """Measure on inputs of one and of two lengths; the difference is what the work itself takes."""
    short, long = equal_symbols_file(seconds // 5), equal_symbols_file(seconds)
    works: list[Callable[[], float]] = []
    for path in (short, long):
        works += [partial(run_seconds, path, 1), partial(run_seconds, path, 2), partial(pair_seconds, path)]
    short_one, short_two, short_pair, long_one, long_two, long_pair = alternating(works, rounds)
    one, two, pair = long_one - short_one, long_two - short_two, long_pair - short_pair
    tell(
        "run with 1 worker / with 2 workers, 20 equal symbols", one / two, ">= 1.7", f"{one:.1f} s against {two:.1f} s"
    )
    tell("the most that the two cores give", 2 * one / pair, "", f"two runs at the same time: {pair:.1f} s")
    tell("the first with start-up", long_one / long_two, "", f"{long_one:.1f} s against {long_two:.1f} s")


if __name__ == "__main__":
    main(*((2500, 3) if "--quick" in sys.argv else (45_000, 3)))
