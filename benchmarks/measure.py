"""What the benchmarks share: inputs made once, alternating runs, medians, and one line a figure."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from streamproc.simulate import Market, simulate

SCRATCH = Path(os.environ.get("STREAMPROC_BENCH_DIR", Path(tempfile.gettempdir()) / "streamproc-bench"))


def market_file(market: Market, name: str) -> Path:
    """A simulated file, made at its first use and kept for the next."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    path = (
        SCRATCH
        / f"{name}-{market.symbols}x{market.seconds:g}s-{market.levels}l-{market.rate_hz:g}hz-{market.seed}.ndjson"
    )
    if not path.exists():
        beside = path.with_suffix(".tmp")
        with beside.open("wb") as out:
            simulate(market, out)
        beside.rename(path)
    return path


def seconds_of(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternating(works: Sequence[Callable[[], float]], rounds: int = 5) -> list[float]:
    """Median of what each of `works` gives, called in turn: A B A B ..., so that a drift of the machine meets all."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for times, work in zip(taken, works, strict=True):
            times.append(work())
    return [statistics.median(times) for times in taken]


def memory_kb(field: str) -> int:
    """Memory of this process: `VmRSS` now, `VmHWM` at most so far.

    The peak that getrusage tells is not less than that of the process which has started this one.
    """
    with open("/proc/self/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith(field)).split()[1])


def tell(what: str, value: float, bound: str, detail: str = "") -> None:
    """One figure beside what it must reach."""
    print(f"{what:<72} {value:>9.3g}   ({bound})   {detail}", flush=True)
