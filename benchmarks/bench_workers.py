"""`run --workers 2` against one worker: 20 symbols that are all alike, a plain file, start-up excluded."""

import sys
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


def main(seconds: int, rounds: int) -> None:
    """Measure on inputs of one and of two lengths; the difference is what the work itself takes."""
    short, long = equal_symbols_file(seconds // 5), equal_symbols_file(seconds)
    cases = [(path, workers) for path in (short, long) for workers in (1, 2)]
    works = [lambda path=path, workers=workers: run_seconds(path, workers) for path, workers in cases]
    short_one, short_two, long_one, long_two = alternating(works, rounds)
    one, two = long_one - short_one, long_two - short_two
    tell(
        "run with 1 worker / with 2 workers, 20 equal symbols", one / two, ">= 1.7", f"{one:.1f} s against {two:.1f} s"
    )
    tell("the same with start-up", long_one / long_two, "", f"{long_one:.1f} s against {long_two:.1f} s")


if __name__ == "__main__":
    main(*((2500, 3) if "--quick" in sys.argv else (18_000, 5)))
