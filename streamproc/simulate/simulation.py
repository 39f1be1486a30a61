"""A simulated stream from its market to its summary."""

import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from streamproc.simulate.faults.mixer import Mixer
from streamproc.simulate.listing import instruments
from streamproc.simulate.market import Market
from streamproc.simulate.stream import CHUNK_BYTES, chunks
from streamproc.simulate.tally import Tally


class Simulation:
    """One pass over a market's stream.

    Parameters
    ----------
    market : what to simulate.
    chunk_bytes : about how many bytes come at once; no byte of the stream depends on it.
    """

    def __init__(self, market: Market, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._market = market
        self._chunk_bytes = chunk_bytes
        self._listed = instruments(market.symbols)
        self._tally = Tally(self._listed)
        self._bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Chunks of whole lines, in order of `collected_at`."""
        mixer = Mixer(self._market.seed, self._tally) if self._market.faults else None
        for chunk in chunks(self._market, self._listed, self._chunk_bytes):
            self._tally.add_lines(chunk)
            data = mixer.mix(chunk) if mixer else chunk.data
            self._bytes += len(data)
            yield data

    def summary(self) -> dict[str, Any]:
        """What was given so far: `lines`, `books`, `trades`, `symbols`, `bytes`, `faults` by name, and `expected`.

        `expected` is what the summary of `run` must say of the stream under the default configuration.
        """
        expected = self._tally.expected()
        return {
            "lines": self._tally.lines,
            "books": expected["books"],
            "trades": expected["trades"],
            "symbols": expected["symbols"],
            "bytes": self._bytes,
            "faults": self._tally.faults(),
            "expected": expected,
        }


def generate(market: Market, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The market's stream as chunks of whole NDJSON lines, about `chunk_bytes` each, in bounded memory."""
    return iter(Simulation(market, chunk_bytes))


def simulate(market: Market, out: BinaryIO, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Write the market's stream and return its summary, ready for JSON; `seconds` is how long it took by `clock`."""
    begun = clock()
    simulation = Simulation(market)
    for chunk in simulation:
        out.write(chunk)
    return simulation.summary() | {"seconds": round(clock() - begun, 3)}
