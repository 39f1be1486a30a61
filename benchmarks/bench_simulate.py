"""How fast a market is simulated: books a second of CPU time on one core, lines written to memory and thrown away."""

import time
from typing import NamedTuple

from benchmarks.measure import memory_kb
from streamproc.simulate import Market, Simulation

WANTED_BOOKS_A_SECOND = 50_000
RUNS = 3
MARKETS = {
    "20 symbols, 20 levels": Market(symbols=20, seconds=1_500),
    "10,000 symbols, 20 levels": Market(symbols=10_000, seconds=3),
    "20 symbols, 100 levels": Market(symbols=20, seconds=300, levels=100),
    "20 symbols, 20 levels, with faults": Market(symbols=20, seconds=300, faults=True),
}


class Speed(NamedTuple):
    """What one run gave."""

    books: int
    lines: int
    bytes: int
    seconds: float

    @property
    def books_a_second(self) -> float:
        return self.books / self.seconds


def measure(market: Market) -> Speed:
    """Simulate the market once, start-up included; CPU time, so that neighbours on the machine count little."""
    begun = time.process_time()
    simulation = Simulation(market)
    for _ in simulation:
        pass
    seconds = time.process_time() - begun
    summary = simulation.summary()
    return Speed(summary["books"], summary["lines"], summary["bytes"], seconds)


def median_speed(market: Market) -> Speed:
    """The run of median speed."""
    return sorted((measure(market) for _ in range(RUNS)), key=lambda speed: speed.books_a_second)[RUNS // 2]


def compilation_seconds() -> float:
    """CPU time to the first lines; next to nothing where the kernels lie in the cache."""
    return measure(Market(symbols=1, seconds=1)).seconds


def main() -> None:
    print(f"first lines after {compilation_seconds():.2f} s (compilation, or loading from the cache)")
    for name, market in MARKETS.items():
        speed = median_speed(market)
        print(
            f"{name:36} {speed.books_a_second:10,.0f} books/s  {1e6 / speed.books_a_second:6.2f} us with its trades"
            f"  {speed.bytes / speed.seconds / 1e6:6.0f} MB/s  ({speed.books:,} books, {speed.lines:,} lines)"
        )
    print(f"at least {WANTED_BOOKS_A_SECOND:,} books/s are wanted at 20 levels")
    print(f"largest memory {memory_kb('VmHWM') // 1024} MB")


if __name__ == "__main__":
    main()
