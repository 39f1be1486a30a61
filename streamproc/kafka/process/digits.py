"""Numbers as JSON text, compiled: the shortest decimal that reads back as the same double, and integers.

R. Giulietti, The Schubfach way to render doubles, 2020: of the decimals between the middles to both neighbours of a
double the one with the fewest digits, of those the nearest, with one power of ten of 128 bits (where the paper has 126)
for each double. The powers are not those of `sink.decimal`: here all are rounded up, there most down.
"""

import numpy as np
from numpy.typing import NDArray

from streamproc.jit import Bytes, part
from streamproc.kafka.bits import as_word, high_word, leading_zeros, store_u8, store_u64, trailing_zeros
from streamproc.parse.tokens import LOWER_E, MINUS, POINT, word_of

Powers = NDArray[np.uint64]
SMALLEST_POWER, LARGEST_POWER = -292, 324
LONGEST = 25
"""Bytes of the longest number."""
MOST_STORED = 34
"""Bytes from a number's first on that may be written."""

_NO_WORD = np.uint64(0)
_ONE, _TWO, _FOUR, _TEN, _FORTY = (np.uint64(n) for n in (1, 2, 4, 10, 40))
_FRACTION = np.uint64(2**52 - 1)
_HIDDEN = np.uint64(2**52)
_E4, _E8, _E16 = (np.uint64(10**n) for n in (4, 8, 16))
_LANE, _PAIR, _BYTE = np.uint64(32), np.uint64(16), np.uint64(8)
_PER_HUNDRED, _HUNDRED, _BY_HUNDRED, _HUNDREDS = (np.uint64(n) for n in (10486, 100, 20, 0x7F0000007F))
_PER_TEN, _BY_TEN, _TENS = (np.uint64(n) for n in (103, 10, 0x000F000F000F000F))
_ASCII = np.uint64(word_of(b"0" * 8))
_BELOW_ONE = np.uint64(word_of(b"0.000000"))
_LAST_DIGIT = np.uint64(1 << 56)

_LARGEST_PLAIN, _SMALLEST_PLAIN = 16, -4


def powers_of_ten() -> Powers:
    """(617, 2): high and low word of 10^k for k from -292 to 324, scaled by 2^n into [2^127, 2^128), rounded up."""
    rows = []
    for k in range(SMALLEST_POWER, LARGEST_POWER + 1):
        ten = 10 ** abs(k)
        if k >= 0:
            shift = ten.bit_length() - 128
            scaled = -(-ten >> shift) if shift > 0 else ten << -shift
        else:
            scaled = -(-(1 << (ten - 1).bit_length() + 127) // ten)
        rows.append((scaled >> 64, scaled & (2**64 - 1)))
    return np.array(rows, np.uint64)


@part
def round_to_odd(high: np.uint64, low: np.uint64, factor: np.uint64) -> np.uint64:
    """The factor times a power over 2^128; odd where that is no integer."""
    carried = high_word(low, factor)
    rest = high * factor + carried
    whole = high_word(high, factor)
    if rest < carried:
        whole = whole + _ONE
    return whole | np.uint64(rest > _ONE)


@part
def shortest(bits: np.uint64, powers: Powers) -> tuple[np.uint64, int]:
    """Digits and power of ten of a positive finite double's shortest decimal; zeros may end the digits."""
    fraction = bits & _FRACTION
    biased = as_word(bits >> np.uint64(52))
    c = fraction | _HIDDEN if biased else fraction
    q = max(biased, 1) - 1075
    closer_below = fraction == _NO_WORD and biased > 1
    odd = c & _ONE
    k = (q * 1262611 - (524031 if closer_below else 0)) >> 22
    shift = np.uint64(q + ((-k * 1741647) >> 19) + 1)
    high, low = powers[-k - SMALLEST_POWER, 0], powers[-k - SMALLEST_POWER, 1]
    fourfold = c << _TWO
    below = round_to_odd(high, low, (fourfold - (_ONE if closer_below else _TWO)) << shift) + odd
    value = round_to_odd(high, low, fourfold << shift)
    above = round_to_odd(high, low, (fourfold + _TWO) << shift) - odd
    s = value >> _TWO
    tens = s // _TEN * _TEN
    down, up = below <= tens << _TWO, (tens << _TWO) + _FORTY <= above
    if down != up and s >= _TEN:
        return tens + (_TEN if up else _NO_WORD), k
    down, up = below <= s << _TWO, (s << _TWO) + _FOUR <= above
    if down == up:
        middle = (s << _TWO) + _TWO
        up = value > middle or (value == middle and s & _ONE == _ONE)
    return s + np.uint64(up), k


@part
def eight_digits(n: np.uint64) -> np.uint64:
    """A number below 10^8 as its 8 digits, a byte each, the first one lowest: halves, pairs, digits side by side."""
    fours = n // _E4 | n % _E4 << _LANE
    hundreds = (fours * _PER_HUNDRED >> _BY_HUNDRED) & _HUNDREDS
    pairs = hundreds | (fours - hundreds * _HUNDRED) << _PAIR
    tens = (pairs * _PER_TEN >> _BY_TEN) & _TENS
    return tens | (pairs - tens * _TEN) << _BYTE


@part
def write_plain(out: Bytes, i: int, first: np.uint64, upper: np.uint64, lower: np.uint64, point: int) -> None:
    """Seventeen digits at i with a point after so many of them, from 1 to 16."""
    store_u8(out, i, first | _ASCII)
    store_u64(out, i + 1, upper | _ASCII)
    store_u64(out, i + 9, lower | _ASCII)
    before = np.uint64(8 * (point - 1))
    if point <= 8:
        upper = upper >> before | lower << _BYTE << (np.uint64(56) - before)
        lower = lower >> before
    else:
        upper = lower >> (before - np.uint64(64))
        lower = _NO_WORD
    store_u8(out, i + point, POINT)
    store_u64(out, i + point + 1, upper | _ASCII)
    store_u64(out, i + point + 9, lower | _ASCII)


@part
def write_exponent(out: Bytes, i: int, power: int) -> int:
    """The e and a power of ten at i: position after it."""
    store_u8(out, i, LOWER_E)
    i += 1
    if power < 0:
        store_u8(out, i, MINUS)
        i += 1
    return write_start(out, i, np.uint64(abs(power)))


@part
def write_decimal(out: Bytes, i: int, digits: np.uint64, power: int) -> int:
    """Digits (from 1 to 17 of them) times a power of ten at i: position after it."""
    while digits < _E16:
        digits = digits * _TEN
        power -= 1
    first = digits // _E16
    upper = eight_digits(digits // _E8 % _E8)
    lower = eight_digits(digits % _E8)
    used = 17 - leading_zeros(lower) // 8 if lower else 9 - leading_zeros(upper) // 8
    point = power + 17
    if 0 < point <= _LARGEST_PLAIN:
        write_plain(out, i, first, upper, lower, point)
        return i + 1 + max(used, point + 1)
    small = _SMALLEST_PLAIN <= point <= 0
    if small:
        store_u64(out, i, _BELOW_ONE)
        i += 1 - point
        store_u8(out, i + 1, first | _ASCII)
    else:
        store_u8(out, i, first | _ASCII)
        store_u8(out, i + 1, POINT)
    store_u64(out, i + 2, upper | _ASCII)
    store_u64(out, i + 10, lower | _ASCII)
    return i + 1 + used if small else write_exponent(out, i + used + (used > 1), point - 1)


@part
def write_double(out: Bytes, i: int, word: int, powers: Powers) -> int:
    """A finite double, given by its bits, at i: position after it."""
    if word < 0:
        store_u8(out, i, MINUS)
        i += 1
    bits = np.uint64(word & (2**63 - 1))
    if bits == _NO_WORD:
        store_u64(out, i, _BELOW_ONE)
        return i + 3
    digits, power = shortest(bits, powers)
    return write_decimal(out, i, digits, power)


@part
def write_start(out: Bytes, i: int, n: np.uint64) -> int:
    """A number below 10^8 at i, without zeros before it: position after it."""
    digits = eight_digits(n)
    zeros = trailing_zeros(digits | _LAST_DIGIT) // 8
    store_u64(out, i, (digits | _ASCII) >> np.uint64(8 * zeros))
    return i + 8 - zeros


@part
def write_int(out: Bytes, i: int, value: int) -> int:
    """An integer at i: position after it."""
    n = np.uint64(value)
    if value < 0:
        store_u8(out, i, MINUS)
        i += 1
        n = _NO_WORD - n
    if n < _E8:
        return write_start(out, i, n)
    if n < _E16:
        i = write_start(out, i, n // _E8)
    else:
        i = write_start(out, i, n // _E16)
        store_u64(out, i, eight_digits(n // _E8 % _E8) | _ASCII)
        i += 8
    store_u64(out, i, eight_digits(n % _E8) | _ASCII)
    return i + 8
