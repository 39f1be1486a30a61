"""Random numbers in integers only: the same seed gives the same draws on every machine.

Kernels never touch floating point. The two curves they need (a logarithm and an exponential) are tables of rounded
integers; no entry lies near a rounding boundary, so the last bit of a machine's `log` or `exp` cannot reach them.

`Q16` and the like in names: a fixed-point number with so many bits after the point.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from streamproc.jit import part

U64 = npt.NDArray[np.uint64]
Int = Any
"""A machine integer inside a kernel."""

_MASK = (1 << 64) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1 = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR_2 = np.uint64(0x94D049BB133111EB)
_S1, _S27, _S30, _S31 = np.uint64(1), np.uint64(27), np.uint64(30), np.uint64(31)

QUANTILE_CELLS = 1024
DECAY_STEPS = 64
DECAY_CONSTANTS = 16
QUANTILE_Q16: npt.NDArray[np.int64] = np.array(
    [round(-math.log(1.0 - i / QUANTILE_CELLS) * (1 << 16)) for i in range(QUANTILE_CELLS)], dtype=np.int64
)
"""-ln(1 - i/1024): quantiles of the unit exponential distribution. The last cell has no end and is split again."""

DECAY_Q24: npt.NDArray[np.int64] = np.array(
    [round(math.exp(-i / DECAY_STEPS) * (1 << 24)) for i in range(DECAY_STEPS * DECAY_CONSTANTS + 1)], dtype=np.int64
)
"""exp(-i/64) for i up to 16 time constants."""

_LAST = QUANTILE_CELLS - 1
_LN_CELLS_Q16 = int(QUANTILE_Q16[_LAST])


def mix64(value: int) -> int:
    """Scramble 64 bits: the output function of splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * int(_FACTOR_1)) & _MASK
    value = ((value ^ (value >> 27)) * int(_FACTOR_2)) & _MASK
    return value ^ (value >> 31)


class Draws:
    """splitmix64 for Python code; the kernels draw by the same recurrence from an array with one state a symbol."""

    def __init__(self, seed: int) -> None:
        self._state = mix64(seed)

    def bits(self) -> int:
        """63 random bits as an integer of 0 or more."""
        self._state = (self._state + int(_GOLDEN)) & _MASK
        return mix64(self._state) >> 1

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        return (self.bits() >> 31) * bound >> 32

    def shuffled(self, items: list[Any]) -> list[Any]:
        """The items in random order."""
        deck = list(items)
        for last in range(len(deck) - 1, 0, -1):
            other = self.below(last + 1)
            deck[last], deck[other] = deck[other], deck[last]
        return deck


def symbol_seeds(seed: int, symbols: int) -> U64:
    """First states of the symbols' own sequences, shape (symbols,)."""
    return np.array([mix64(mix64(seed) + symbol) for symbol in range(symbols)], dtype=np.uint64)


@part
def random_bits(states: U64, symbol: Int) -> Int:
    """63 random bits of the symbol's own sequence."""
    state = states[symbol] + _GOLDEN
    states[symbol] = state
    state = (state ^ (state >> _S30)) * _FACTOR_1
    state = (state ^ (state >> _S27)) * _FACTOR_2
    return np.int64((state ^ (state >> _S31)) >> _S1)


@part
def random_below(states: U64, symbol: Int, bound: Int) -> Int:
    """A whole number from 0 to bound - 1; bound at most 2^31."""
    return (random_bits(states, symbol) >> 31) * bound >> 32


@part
def exponential_quantile(probability_q32: Int) -> Int:
    """-ln(1 - p) in Q16, linear between the table's entries."""
    rest, total = probability_q32, 0
    while rest >= _LAST << 22:
        rest = (rest - (_LAST << 22)) << 10
        total += _LN_CELLS_Q16
    cell = rest >> 22
    low = QUANTILE_Q16[cell]
    return total + low + ((QUANTILE_Q16[cell + 1] - low) * (rest & 0x3FFFFF) >> 22)


@part
def random_exponential(states: U64, symbol: Int) -> Int:
    """Exponential variate of mean 1 in Q16."""
    return exponential_quantile(random_bits(states, symbol) >> 31)


@part
def decay_q24(elapsed_us: Int, constant_us: Int) -> Int:
    """exp(-elapsed / constant) in Q24, 0 beyond 16 constants."""
    if elapsed_us >= DECAY_CONSTANTS * constant_us:
        return 0
    scaled = elapsed_us * DECAY_STEPS
    step = scaled // constant_us
    high = DECAY_Q24[step]
    return high - (high - DECAY_Q24[step + 1]) * (scaled - step * constant_us) // constant_us


@part
def power_of_two(value: Int, exponent_q16: Int) -> Int:
    """value * 2^exponent, the power taken linear between whole exponents; exponents from -15 to 15."""
    whole = exponent_q16 >> 16
    scaled = value * (65536 + (exponent_q16 & 65535))
    return scaled >> (16 - whole)
