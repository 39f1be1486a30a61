"""Writing JSON text into a byte buffer: numbers as Python's `json` writes floats, dates as CCXT writes them.

Each function writes at `at` and returns the place after what it wrote. The caller has made sure that it fits.
"""

import numpy as np
import numpy.typing as npt

from streamproc.jit import part
from streamproc.simulate.draws import Int

Bytes = npt.NDArray[np.uint8]

POWERS_OF_TEN: npt.NDArray[np.int64] = np.array([10**n for n in range(19)], dtype=np.int64)

# numba compiles a function anew for each plain constant it is called with, and once for all numpy ones.
_ZERO, _POINT, _DASH, _COLON, _T, _Z, _E = (np.int64(ord(letter)) for letter in "0.-:TZe")
_TWO, _THREE, _FOUR = np.int64(2), np.int64(3), np.int64(4)


@part
def put_phrase(out: Bytes, at: Int, text: Bytes, ends: npt.NDArray[np.int64], phrase: Int) -> Int:
    """Copy phrase number `phrase` of `text`; phrase n lies between ends[n] and ends[n + 1]."""
    begin, length = ends[phrase], ends[phrase + 1] - ends[phrase]
    for i in range(length):
        out[at + i] = text[begin + i]
    return at + length


@part
def put_digits(out: Bytes, at: Int, value: Int, digits: Int) -> Int:
    """Write exactly `digits` decimal digits of a value of 0 or more, with leading zeros."""
    for i in range(at + digits - 1, at - 1, -1):
        tenth = value // 10
        out[i] = _ZERO + value - 10 * tenth
        value = tenth
    return at + digits


@part
def count_digits(value: Int) -> Int:
    """Decimal digits of a value of 0 or more."""
    digits = 1
    while digits < 19 and value >= POWERS_OF_TEN[digits]:
        digits += 1
    return digits


@part
def put_integer(out: Bytes, at: Int, value: Int) -> Int:
    """Write a whole number of 0 or more."""
    return put_digits(out, at, value, count_digits(value))


@part
def put_decimal(out: Bytes, at: Int, value: Int, decimals: Int) -> Int:
    """Write value * 10^-decimals, value > 0, in the shortest form that `json.dumps` gives a float."""
    if decimals > 4 and value < POWERS_OF_TEN[decimals - 4]:
        return put_small(out, at, value, decimals)
    whole = value // POWERS_OF_TEN[decimals]
    fraction = value - whole * POWERS_OF_TEN[decimals]
    at = put_integer(out, at, whole)
    out[at] = _POINT
    while decimals > 1 and fraction % 10 == 0:
        fraction //= 10
        decimals -= 1
    return put_digits(out, at + 1, fraction, max(decimals, 1))


@part
def put_small(out: Bytes, at: Int, value: Int, decimals: Int) -> Int:
    """Write a value below 10^-4 as `9e-05` or `1.25e-06`."""
    exponent = decimals
    while value % 10 == 0:
        value //= 10
        exponent -= 1
    digits = count_digits(value)
    exponent -= digits - 1
    leading = value // POWERS_OF_TEN[digits - 1]
    out[at] = _ZERO + leading
    at += 1
    if digits > 1:
        out[at] = _POINT
        at = put_digits(out, at + 1, value - leading * POWERS_OF_TEN[digits - 1], digits - 1)
    out[at] = _E
    out[at + 1] = _DASH
    return put_digits(out, at + 2, exponent, _TWO)


@part
def put_datetime(out: Bytes, at: Int, time_ms: Int) -> Int:
    """Write milliseconds since 1970 as `2024-08-09T00:00:00.000Z`, proleptic Gregorian calendar."""
    days = time_ms // 86_400_000
    rest_ms = time_ms - days * 86_400_000
    # Years that begin in March put the leap day last, so that month lengths follow one linear formula.
    shifted = days + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    year = year_of_era + 400 * era + (1 if month <= 2 else 0)
    at = put_field(out, put_digits(out, at, year, _FOUR), month, _TWO, _DASH)
    at = put_field(out, put_field(out, at, day, _TWO, _DASH), rest_ms // 3_600_000, _TWO, _T)
    at = put_field(out, at, rest_ms // 60_000 % 60, _TWO, _COLON)
    at = put_field(out, at, rest_ms // 1_000 % 60, _TWO, _COLON)
    at = put_field(out, at, rest_ms % 1_000, _THREE, _POINT)
    out[at] = _Z
    return at + 1


@part
def put_field(out: Bytes, at: Int, value: Int, digits: Int, separator: Int) -> Int:
    """Write a separator and a number of fixed width."""
    out[at] = separator
    return put_digits(out, at + 1, value, digits)
