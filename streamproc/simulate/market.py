"""What a simulated market is made of, as a user gives it."""

import math
from dataclasses import dataclass

from streamproc.errors import UsageError

_EARLIEST_START_MS = 1_000_000_000_000
"""In 2001: late enough that a time some hours before it is still a time."""

DEFAULT_START_MS = 1_723_161_600_000
"""2024-08-09T00:00:00Z: fixed, so that two runs of the same command give the same bytes."""

MAX_TIME_MS = 4_102_444_800_000
"""Times at or after this (the year 2100) are no times to the parser."""

_MAX_SYMBOLS = 100_000
_MAX_LEVELS = 5_000
_MAX_SYMBOL_LEVELS = 10_000_000
"""Some hundred megabytes of books."""

_MAX_RATE_HZ = 10_000.0
_MIN_RATE_HZ = 0.001


@dataclass(frozen=True)
class Market:
    """Parameters of a simulation; two equal markets give the same bytes on every machine.

    Parameters
    ----------
    symbols : number of (exchange, symbol) pairs.
    seconds : length in event time.
    levels : price levels a side.
    rate_hz : books a second a symbol, mean over symbols and time.
    trade_rate_hz : trades messages a second a symbol; None: half of `rate_hz`.
    seed : picks the market; of an integer the lowest 64 bits count.
    faults : mix in every oddity that real streams have.
    start_ms : first moment of event time, milliseconds since 1970 UTC.
    """

    symbols: int
    seconds: float
    levels: int = 20
    rate_hz: float = 10.0
    seed: int = 0
    faults: bool = False
    start_ms: int = DEFAULT_START_MS
    trade_rate_hz: float | None = None

    def __post_init__(self) -> None:
        _check_range("symbols", self.symbols, 1, _MAX_SYMBOLS)
        _check_range("levels", self.levels, 1, _MAX_LEVELS)
        _check_range("symbols times levels", self.symbols * self.levels, 1, _MAX_SYMBOL_LEVELS)
        _check_range("rate_hz", self.rate_hz, _MIN_RATE_HZ, _MAX_RATE_HZ)
        _check_range("trade_rate_hz", self.trades_hz, 0, _MAX_RATE_HZ)
        _check_range("start_ms", self.start_ms, _EARLIEST_START_MS, MAX_TIME_MS - 1)
        longest_s = min((MAX_TIME_MS - self.start_ms) / 1000, self._longest_clock_s)
        if not 0 < self.seconds <= longest_s:
            raise UsageError(
                f"seconds is {self.seconds}", hint=f"give a length above 0 and at most {math.floor(longest_s)} seconds"
            )

    @property
    def trades_hz(self) -> float:
        """Trades messages a second a symbol."""
        return self.rate_hz / 2 if self.trade_rate_hz is None else self.trade_rate_hz

    @property
    def symbol_bits(self) -> int:
        """Bits that number the symbols; the event calendar packs them below a time in microseconds."""
        return self.symbols.bit_length()

    @property
    def _longest_clock_s(self) -> float:
        return float((1 << (61 - self.symbol_bits)) // 1_000_000)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}", hint=f"give {name} from {low} to {high}")
