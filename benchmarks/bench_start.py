"""From the start of the command to its first row: kernels in the cache, and kernels not yet compiled."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import SCRATCH, market_file, tell
from streamproc.simulate import Market

ROUNDS = 5


def seconds_to_first_row(path: Path, cache: Path) -> float:
    """Until a run over a few lines has written its rows and ended: a little more than its first row takes."""
    output = SCRATCH / "start-out"
    shutil.rmtree(output, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "streamproc",
        "run",
        "--quiet",
        "--flush",
        "--input",
        str(path),
        "--output",
        str(output),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | {"STREAMPROC_CACHE_DIR": str(cache)}, timeout=300)
    return time.perf_counter() - started


if __name__ == "__main__":
    path = market_file(Market(symbols=1, seconds=5, levels=20), "start")
    cache = SCRATCH / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    tell("seconds to the first row, kernels not yet compiled", seconds_to_first_row(path, cache), "<= 25")
    warm = statistics.median(seconds_to_first_row(path, cache) for _ in range(ROUNDS))
    tell("seconds to the first row, kernels in the cache", warm, "<= 2")
