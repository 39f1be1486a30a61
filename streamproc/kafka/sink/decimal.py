"""Decimal numbers of up to 18 digits to the nearest double, compiled.

D. Lemire, Number parsing at a gigabyte per second, Software: Practice and Experience 51 (2021), algorithm 1 with the
table of its section 5: a 64-bit mantissa times a 128-bit approximation of the power of five; what that leaves open, and
what is no normal double, is declined.
"""

import numpy as np
from numpy.typing import NDArray

from streamproc.jit import Bytes, load_u8, part
from streamproc.kafka.bits import as_word, high_word, leading_zeros
from streamproc.parse.tokens import CASE, DECLINED, LOWER_E, MAX_DIGITS, MINUS, NINE, POINT, ZERO, exponent_at

Powers = NDArray[np.uint64]
SMALLEST_POWER, LARGEST_POWER = -342, 308
_ONE, _WORD, _LOW_BITS = np.uint64(1), np.uint64(64), np.uint64(0x1FF)
_ALL = np.uint64(2**64 - 1)
_DROPPED = 64 - 52 - 3
_HIDDEN = np.uint64(1 << 52)
_SIGN = np.uint64(1 << 63)


def powers_of_five() -> Powers:
    """(651, 2): high and low word of 5^q for q from -342 to 308, scaled by a power of two into [2^127, 2^128)."""
    rows = []
    for q in range(SMALLEST_POWER, LARGEST_POWER + 1):
        five = 5 ** abs(q)
        if q >= 0:
            excess = five.bit_length() - 128
            scaled = five >> excess if excess > 0 else five << -excess
        else:
            bits = (five - 1).bit_length()
            scaled = (1 << (bits + 127 if q >= -27 else 2 * bits + 128)) // five + 1
            scaled >>= max(0, scaled.bit_length() - 128)
        rows.append((scaled >> 64, scaled & (2**64 - 1)))
    return np.array(rows, np.uint64)


@part
def nearest(mantissa: int, power: int, powers: Powers) -> tuple[bool, int]:
    """Mantissa (positive) times 10^power: (whether that is settled, bits of the nearest double)."""
    if power < SMALLEST_POWER or power > LARGEST_POWER:
        return False, 0
    w = np.uint64(mantissa)
    shift = leading_zeros(w)
    w = w << np.uint64(shift)
    row = power - SMALLEST_POWER
    high = high_word(w, powers[row, 0])
    low = w * powers[row, 0]
    if high & _LOW_BITS == _LOW_BITS:
        more = high_word(w, powers[row, 1])
        low = low + more
        if low < more:
            high = high + _ONE
    if low == _ALL and (power < -27 or power > 55):
        return False, 0
    upper = np.int64(high >> np.uint64(63))
    dropped = np.uint64(upper + _DROPPED)
    bits = high >> dropped
    exponent = ((217706 * power) >> 16) + 63 + upper - shift + 1023
    if exponent <= 0 or exponent >= 2046:
        return False, 0
    if low <= _ONE and -4 <= power <= 23 and bits & np.uint64(3) == _ONE and (bits << dropped) == high:
        bits = bits - _ONE  # halfway between two doubles: to the even one
    bits = (bits + (bits & _ONE)) >> _ONE
    if bits >= _HIDDEN << _ONE:
        bits = _HIDDEN
        exponent += 1
    return True, as_word((bits & (_HIDDEN - _ONE)) | np.uint64(exponent) << np.uint64(52))


@part
def _digits_at(data: Bytes, i: int, mantissa: int, digits: int) -> tuple[int, int, int]:
    """Digits from i on: (position after them, mantissa, its digits), both going on from what they are."""
    c = load_u8(data, i)
    while ZERO <= c <= NINE:
        mantissa = mantissa * 10 + (c - ZERO)
        digits += mantissa > 0
        i += 1
        c = load_u8(data, i)
    return i, mantissa, digits


@part
def double_at(data: Bytes, i: int, powers: Powers) -> tuple[int, int]:
    """The JSON number at i: (position after it, bits of the nearest double)."""
    negative = load_u8(data, i) == MINUS
    start = i + negative
    power = 0
    i, mantissa, digits = _digits_at(data, start, 0, 0)
    if i == start or (i - start > 1 and load_u8(data, start) == ZERO):
        return DECLINED, 0
    if load_u8(data, i) == POINT:
        start = i + 1
        i, mantissa, digits = _digits_at(data, start, mantissa, digits)
        power = start - i
        if power == 0:
            return DECLINED, 0
    if (load_u8(data, i) | CASE) == LOWER_E:
        i, tens = exponent_at(data, i + 1)
        if i < 0:
            return DECLINED, 0
        power += tens
    if digits > MAX_DIGITS:
        return DECLINED, 0
    bits = 0
    if mantissa:
        settled, bits = nearest(mantissa, power, powers)
        if not settled:
            return DECLINED, 0
    return i, as_word(np.uint64(bits) | _SIGN) if negative else bits
