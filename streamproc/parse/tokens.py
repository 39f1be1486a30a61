"""Compiled scanners of JSON's tokens, and of values that are passed over.

They take a token only when they are sure of it: strict JSON, printable ASCII strings without escapes, numbers of at
most 18 digits that one exactly rounded operation turns into a double. Anything else they decline, with `DECLINED` in
the place of a position. A line ends with its newline, which no token may hold: no byte after it is read, and no end
needs to be compared.

Numbers: W. Clinger, How to read floating point numbers accurately, PLDI 1990 (the fast path): a mantissa of at most
2^53 times or over a power of ten of at most 10^22, both exact, rounds once.
"""

from streamproc.jit import Bytes, load_u8, part
from streamproc.parse.record import ABSENT_TIME, MAX_TIME
from streamproc.schema import NULL_INT

DECLINED = -1
NAN = float("nan")
POWERS_OF_TEN = tuple(10.0**k for k in range(23))
MAX_MANTISSA = 2**53
MAX_DIGITS = 18  # what an int64 holds whatever the digits
MAX_PLAIN_DIGITS = 300  # an unread number without exponent cannot leave the doubles below that
MAX_DEPTH = 60

NEWLINE, QUOTE, COMMA, MINUS, POINT, COLON = 10, 34, 44, 45, 46, 58
OPEN_LIST, BACKSLASH, CLOSE_LIST, OPEN_MAP, CLOSE_MAP = 91, 92, 93, 123, 125
ZERO, NINE, PLUS, LOWER_E, LOWER_F, LOWER_N, LOWER_T = 48, 57, 43, 101, 102, 110, 116

CASE = 32
"""The bit that makes `E` of ASCII `e`, and `[` `{`."""

BLANKS = 1 << 32 | 1 << 13 | 1 << 9
"""A bit for each of JSON's blanks but the newline, which ends the line."""


def word_of(name: bytes) -> int:
    """The first 8 bytes of a name, as `word_at` reads them."""
    return int.from_bytes(name[:8], "little")


NULL, TRUE, FALSE = (word_of(name) for name in (b"null", b"true", b"false"))


@part
def skip_blanks(data: Bytes, i: int) -> int:
    """First position from i on that is no JSON blank; a newline counts as none."""
    c = load_u8(data, i)
    while c <= 32 and (BLANKS >> c) & 1:
        i += 1
        c = load_u8(data, i)
    return i


@part
def skip_string(data: Bytes, i: int) -> int:
    """Position after the closing quote of a string whose first character is at i."""
    c = load_u8(data, i)
    while c != QUOTE:
        if c < 32 or c > 126 or c == BACKSLASH:
            return DECLINED
        i += 1
        c = load_u8(data, i)
    return i + 1


@part
def text_at(data: Bytes, i: int) -> tuple[int, int, int]:
    """The string at i: (position after it, where its text begins, size of that)."""
    if load_u8(data, i) != QUOTE:
        return DECLINED, i, 0
    end = skip_string(data, i + 1)
    return end, i + 1, end - i - 2


@part
def word_at(data: Bytes, i: int, size: int) -> int:
    """Up to 8 bytes from i on as a little-endian word: what short names are compared by."""
    word = 0
    for k in range(min(size, 8)):
        word |= load_u8(data, i + k) << (8 * k)
    return word


@part
def skip_literal(data: Bytes, i: int) -> int:
    """Position after the null, true or false at i."""
    c = load_u8(data, i)
    word, size = NULL, 4
    if c == LOWER_T:
        word = TRUE
    elif c == LOWER_F:
        word, size = FALSE, 5
    for k in range(size):
        if load_u8(data, i + k) != (word >> (8 * k)) & 255:
            return DECLINED
    return i + size


@part
def exponent_at(data: Bytes, i: int) -> tuple[int, int]:
    """What follows a number's e: (position after it, power of ten)."""
    c = load_u8(data, i)
    below = c == MINUS
    if below or c == PLUS:
        i += 1
        c = load_u8(data, i)
    start = i
    power = 0
    while ZERO <= c <= NINE and i - start < 4:
        power = power * 10 + (c - ZERO)
        i += 1
        c = load_u8(data, i)
    if i == start or ZERO <= c <= NINE:
        return DECLINED, 0
    return i, -power if below else power


@part
def number(data: Bytes, i: int) -> tuple[int, float]:
    """The number at i: (position after it, value)."""
    negative = load_u8(data, i) == MINUS
    if negative:
        i += 1
    mantissa = 0
    exponent = 0
    start = i
    c = load_u8(data, i)
    while ZERO <= c <= NINE:
        mantissa = mantissa * 10 + (c - ZERO)
        i += 1
        c = load_u8(data, i)
    digits = i - start
    if digits == 0 or (digits > 1 and load_u8(data, start) == ZERO):
        return DECLINED, 0.0
    if c == POINT:
        i += 1
        start = i
        c = load_u8(data, i)
        while ZERO <= c <= NINE:
            mantissa = mantissa * 10 + (c - ZERO)
            i += 1
            c = load_u8(data, i)
        exponent = start - i
        if exponent == 0:
            return DECLINED, 0.0
        digits -= exponent
    if (c | CASE) == LOWER_E:
        i, power = exponent_at(data, i + 1)
        if i < 0:
            return DECLINED, 0.0
        exponent += power
    if digits > MAX_DIGITS or mantissa > MAX_MANTISSA or exponent < -22 or exponent > 22:
        return DECLINED, 0.0
    value = float(mantissa)
    value = value / POWERS_OF_TEN[-exponent] if exponent < 0 else value * POWERS_OF_TEN[exponent]
    return i, -value if negative else value


@part
def quoted_number(data: Bytes, i: int) -> tuple[int, float]:
    """A number or a string that is one, at i."""
    if load_u8(data, i) != QUOTE:
        return number(data, i)
    i, value = number(data, i + 1)
    if i < 0 or load_u8(data, i) != QUOTE:
        return DECLINED, 0.0
    return i + 1, value


@part
def number_or_null(data: Bytes, i: int) -> tuple[int, float]:
    """A number, a string that is one, or a null (NaN), at i."""
    if load_u8(data, i) == LOWER_N:
        return skip_literal(data, i), NAN
    return quoted_number(data, i)


@part
def integer_or_null(data: Bytes, i: int) -> tuple[int, int]:
    """A plain integer or a null (`NULL_INT`) at i; floats, negative numbers and strings are declined."""
    c = load_u8(data, i)
    if c == LOWER_N:
        return skip_literal(data, i), NULL_INT
    start = i
    value = 0
    while ZERO <= c <= NINE:
        value = value * 10 + (c - ZERO)
        i += 1
        c = load_u8(data, i)
    digits = i - start
    if digits == 0 or digits > MAX_DIGITS or (digits > 1 and load_u8(data, start) == ZERO):
        return DECLINED, 0
    if c == POINT or (c | CASE) == LOWER_E:
        return DECLINED, 0
    return i, value


@part
def time_or_null(data: Bytes, i: int) -> tuple[int, int]:
    """A time in ms at i; null and nonsense count as absent."""
    i, value = integer_or_null(data, i)
    return i, value if 0 < value < MAX_TIME else ABSENT_TIME


@part
def skip_digits(data: Bytes, i: int) -> int:
    """First position from i on that is no digit."""
    while ZERO <= load_u8(data, i) <= NINE:
        i += 1
    return i


@part
def skip_number(data: Bytes, i: int) -> int:
    """Position after the number at i, which has no exponent."""
    start = i + (load_u8(data, i) == MINUS)
    i = skip_digits(data, start)
    if i == start or (i - start > 1 and load_u8(data, start) == ZERO):
        return DECLINED
    if load_u8(data, i) == POINT:
        point = i
        i = skip_digits(data, point + 1)
        if i == point + 1:
            return DECLINED
    if (load_u8(data, i) | CASE) == LOWER_E or i - start > MAX_PLAIN_DIGITS:
        return DECLINED
    return i


@part
def skip_scalar(data: Bytes, i: int) -> int:
    """Position after the string, number or literal at i."""
    c = load_u8(data, i)
    if c == QUOTE:
        return skip_string(data, i + 1)
    return skip_literal(data, i) if c > NINE else skip_number(data, i)


@part
def skip_value(data: Bytes, i: int) -> int:
    """Position after the value at i, whatever it is, its grammar checked. `maps` holds a bit for each open level."""
    maps = 0
    depth = 0
    while True:
        i = skip_blanks(data, i)
        c = load_u8(data, i)
        opened = (c | CASE) == OPEN_MAP
        if opened:
            depth += 1
            if depth > MAX_DEPTH:
                return DECLINED
            maps = (maps << 1) | (c == OPEN_MAP)
            i = skip_blanks(data, i + 1)
            closed = load_u8(data, i) == (CLOSE_MAP if maps & 1 else CLOSE_LIST)
        else:
            i = skip_scalar(data, i)
            if i < 0:
                return DECLINED
            closed = False
        if opened and not closed:
            if maps & 1:
                i = skip_key(data, i)
                if i < 0:
                    return DECLINED
            continue
        if closed:
            i += 1
            depth -= 1
            maps >>= 1
        while depth > 0:
            i = skip_blanks(data, i)
            c = load_u8(data, i)
            if c == COMMA:
                i = skip_blanks(data, i + 1)
                if maps & 1:
                    i = skip_key(data, i)
                    if i < 0:
                        return DECLINED
                break
            if c != (CLOSE_MAP if maps & 1 else CLOSE_LIST):
                return DECLINED
            i += 1
            depth -= 1
            maps >>= 1
        if depth == 0:
            return i


@part
def value_after(data: Bytes, i: int) -> int:
    """Where the value begins that follows the key whose closing quote is before i."""
    i = skip_blanks(data, i)
    return skip_blanks(data, i + 1) if load_u8(data, i) == COLON else DECLINED


@part
def key_at(data: Bytes, i: int) -> tuple[int, int, int]:
    """The key at i: (where its value begins, where its text begins, size of that)."""
    end, start, size = text_at(data, i)
    return value_after(data, end) if end >= 0 else DECLINED, start, size


@part
def skip_key(data: Bytes, i: int) -> int:
    """Where the value begins of the key at i."""
    return key_at(data, i)[0]


@part
def after_member(data: Bytes, i: int, close: int) -> tuple[int, bool]:
    """Past a comma to the next member: (position, whether the collection ended or is declined)."""
    i = skip_blanks(data, i)
    c = load_u8(data, i)
    if c == COMMA:
        return skip_blanks(data, i + 1), False
    return (i + 1 if c == close else DECLINED), True
