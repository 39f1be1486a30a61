"""Compiled scanner of the ordinary line.

It takes a line only when it is sure of it: strict JSON, printable ASCII strings without escapes, numbers of at most 18
digits that one exactly rounded operation turns into a double, sorted levels. Anything else it declines (`DECLINED`), and the
reference parser decides. So it may be conservative, never wrong.

A line ends with its newline, which no token may hold: no byte after it is read, and no end needs to be compared.

Numbers: W. Clinger, How to read floating point numbers accurately, PLDI 1990 (the fast path): a mantissa of at most 2^53 times or
over a power of ten of at most 10^22, both exact, rounds once.
"""

import numpy as np

from streamproc.jit import kernel, load_u8, part
from streamproc.parse.record import ABSENT_TIME, BOOK, BUY, MAX_TIME, OTHER_SIDE, SELL, TRADES
from streamproc.schema import NULL_INT

DECLINED = -1
NAN = float("nan")
POWERS_OF_TEN = tuple(10.0**k for k in range(23))
MAX_MANTISSA = 2**53
MAX_DIGITS = 18  # what an int64 holds whatever the digits
MAX_PLAIN_DIGITS = 300  # an unread number without exponent cannot leave the doubles below that
MAX_DEPTH = 60
LONGEST_NAME = 66  # percent-encoding triples at most: 198 of 200 bytes

NEWLINE, QUOTE, COMMA, MINUS, POINT, COLON = 10, 34, 44, 45, 46, 58
OPEN_LIST, BACKSLASH, CLOSE_LIST, OPEN_MAP, CLOSE_MAP = 91, 92, 93, 123, 125
ZERO, NINE, LOWER_E, UPPER_E, PLUS = 48, 57, 101, 69, 43


def _word(name: bytes) -> int:
    return int.from_bytes(name[:8], "little")


EXCHANGE, SYMBOL, TYPE, DATA, COLLECTED_AT = (_word(k) for k in (b"exchange", b"symbol", b"type", b"data", b"collected_at"))
BIDS, ASKS, TIMESTAMP, NONCE = (_word(k) for k in (b"bids", b"asks", b"timestamp", b"nonce"))
ID, SIDE, PRICE, AMOUNT = (_word(k) for k in (b"id", b"side", b"price", b"amount"))
ORDERBOOK_TYPE, TRADES_TYPE = _word(b"orderbook"), _word(b"trades")
BUY_SIDE, SELL_SIDE, NULL, TRUE, FALSE = (_word(k) for k in (b"buy", b"sell", b"null", b"true", b"false"))
COLLECTED_AT_TAIL, TIMESTAMP_TAIL, ORDERBOOK_TAIL = _word(b"d_at"), _word(b"p"), _word(b"k")


@part
def skip_blanks(data, i):
    """First position from i on that is no JSON blank; a newline counts as none, for it ends the line."""
    c = load_u8(data, i)
    while c <= 32 and (c == 32 or c == 9 or c == 13):
        i += 1
        c = load_u8(data, i)
    return i


@part
def skip_string(data, i):
    """Position after the closing quote of a string whose first character is at i."""
    c = load_u8(data, i)
    while c != QUOTE:
        if c < 32 or c > 126 or c == BACKSLASH:
            return DECLINED
        i += 1
        c = load_u8(data, i)
    return i + 1


@part
def word_at(data, i, size):
    """Up to 8 bytes from i on as a little-endian word: what short names are compared by."""
    word = 0
    for k in range(min(size, 8)):
        word |= load_u8(data, i + k) << (8 * k)
    return word


@part
def is_literal(data, i, word, size):
    """Whether the `size` bytes from i on are the word's; none after the first that differs is read."""
    for k in range(size):
        if load_u8(data, i + k) != (word >> (8 * k)) & 255:
            return False
    return True


@part
def number(data, i):
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
    if c == LOWER_E or c == UPPER_E:
        i += 1
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
            return DECLINED, 0.0
        exponent += -power if below else power
    if digits > MAX_DIGITS or mantissa > MAX_MANTISSA or exponent < -22 or exponent > 22:
        return DECLINED, 0.0
    value = float(mantissa)
    value = value / POWERS_OF_TEN[-exponent] if exponent < 0 else value * POWERS_OF_TEN[exponent]
    return i, -value if negative else value


@part
def quoted_number(data, i):
    """A number or a string that is one, at i."""
    if load_u8(data, i) != QUOTE:
        return number(data, i)
    i, value = number(data, i + 1)
    if i < 0 or load_u8(data, i) != QUOTE:
        return DECLINED, 0.0
    return i + 1, value


@part
def number_or_null(data, i):
    """A number, a string that is one, or null (NaN), at i."""
    if is_literal(data, i, NULL, 4):
        return i + 4, NAN
    return quoted_number(data, i)


@part
def integer_or_null(data, i, null):
    """A plain integer or null at i; floats and strings are declined."""
    if is_literal(data, i, NULL, 4):
        return i + 4, null
    start = i
    value = 0
    c = load_u8(data, i)
    while ZERO <= c <= NINE:
        value = value * 10 + (c - ZERO)
        i += 1
        c = load_u8(data, i)
    digits = i - start
    if digits == 0 or digits > MAX_DIGITS or (digits > 1 and load_u8(data, start) == ZERO):
        return DECLINED, 0
    if c == POINT or c == LOWER_E or c == UPPER_E:
        return DECLINED, 0
    return i, value


@part
def time_or_null(data, i):
    """A time in ms at i; nonsense counts as absent."""
    i, value = integer_or_null(data, i, ABSENT_TIME)
    return i, value if 0 < value < MAX_TIME else ABSENT_TIME


@part
def skip_scalar(data, i):
    """Position after the string, number or literal at i."""
    c = load_u8(data, i)
    if c == QUOTE:
        return skip_string(data, i + 1)
    if is_literal(data, i, NULL, 4) or is_literal(data, i, TRUE, 4):
        return i + 4
    if is_literal(data, i, FALSE, 5):
        return i + 5
    if c == MINUS:
        i += 1
    start = i
    while ZERO <= load_u8(data, i) <= NINE:
        i += 1
    if i == start or (i - start > 1 and load_u8(data, start) == ZERO):
        return DECLINED
    if load_u8(data, i) == POINT:
        i += 1
        point = i
        while ZERO <= load_u8(data, i) <= NINE:
            i += 1
        if i == point:
            return DECLINED
    c = load_u8(data, i)
    if c == LOWER_E or c == UPPER_E or i - start > MAX_PLAIN_DIGITS:
        return DECLINED
    return i


@part
def skip_value(data, i):
    """Position after the value at i, whatever it is, its grammar checked. `maps` holds a bit for each open level."""
    maps = 0
    depth = 0
    while True:
        i = skip_blanks(data, i)
        c = load_u8(data, i)
        opened = c == OPEN_LIST or c == OPEN_MAP
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
def skip_key(data, i):
    """Position after the key at i and its colon."""
    if load_u8(data, i) != QUOTE:
        return DECLINED
    i = skip_string(data, i + 1)
    if i < 0:
        return DECLINED
    i = skip_blanks(data, i)
    return i + 1 if load_u8(data, i) == COLON else DECLINED


@part
def value_after(data, i):
    """Where the value begins that follows the key whose closing quote is before i."""
    i = skip_blanks(data, i)
    return skip_blanks(data, i + 1) if load_u8(data, i) == COLON else DECLINED


@part
def after_member(data, i, close):
    """Past a comma to the next member: (position, whether the collection ended)."""
    i = skip_blanks(data, i)
    c = load_u8(data, i)
    if c == COMMA:
        return skip_blanks(data, i + 1), False
    return (i + 1 if c == close else DECLINED), True


@part
def spaced_level(data, i):
    """A level at i however it is written, the elements after the second passed over: (position, price, size)."""
    if load_u8(data, i) != OPEN_LIST:
        return DECLINED, 0.0, 0.0
    i, price = quoted_number(data, skip_blanks(data, i + 1))
    if i < 0:
        return DECLINED, 0.0, 0.0
    i = skip_blanks(data, i)
    if load_u8(data, i) != COMMA:
        return DECLINED, 0.0, 0.0
    i, size = quoted_number(data, skip_blanks(data, i + 1))
    closed = False
    while i >= 0:
        i, closed = after_member(data, i, CLOSE_LIST)
        if closed or i < 0:
            break
        i = skip_value(data, i)
    return i, price, size


@part
def level(data, i):
    """A level at i: (position, price, size). The compact form `[price,size]` is by far the most common."""
    if load_u8(data, i) == OPEN_LIST:
        j, price = number(data, i + 1)
        if j >= 0 and load_u8(data, j) == COMMA:
            j, size = number(data, j + 1)
            if j >= 0 and load_u8(data, j) == CLOSE_LIST:
                return j + 1, price, size
    return spaced_level(data, i)


@part
def levels(data, i, out, sign):
    """A side at i into `out`: (position, levels). `sign` is 1 for bids and -1 for asks: levels in any other order are declined."""
    count = 0
    if load_u8(data, i) != OPEN_LIST:
        return DECLINED, 0
    i = skip_blanks(data, i + 1)
    if load_u8(data, i) == CLOSE_LIST:
        return i + 1, 0
    before = sign * np.inf
    while count < out.shape[0]:
        i, price, size = level(data, i)
        if i < 0:
            return DECLINED, 0
        if price > 0.0 and size > 0.0:
            if sign * price >= sign * before:
                return DECLINED, 0
            before = price
            out[count, 0] = price
            out[count, 1] = size
            count += 1
        if load_u8(data, i) == COMMA and load_u8(data, i + 1) == OPEN_LIST:
            i += 1
            continue
        i, ended = after_member(data, i, CLOSE_LIST)
        if ended or i < 0:
            return i, count
    return DECLINED, 0


@part
def book(data, i, record):
    """The `data` of a book at i, its opening brace passed; position after its closing one."""
    envelope = record.envelope[0]
    envelope.kind = BOOK
    envelope.timestamp = ABSENT_TIME
    envelope.nonce = NULL_INT
    envelope.flags = 0
    sides = 0
    i = skip_blanks(data, i)
    ended = False
    while not ended:
        if load_u8(data, i) != QUOTE:
            return DECLINED
        start = i + 1
        i = skip_string(data, start)
        if i < 0:
            return DECLINED
        size = i - 1 - start
        key = word_at(data, start, size)
        i = value_after(data, i)
        if i < 0:
            return DECLINED
        if size == 4 and key == BIDS:
            i, envelope.bids = levels(data, i, record.bids, 1)
            sides |= 1
        elif size == 4 and key == ASKS:
            i, envelope.asks = levels(data, i, record.asks, -1)
            sides |= 2
        elif size == 9 and key == TIMESTAMP and word_at(data, start + 8, 1) == TIMESTAMP_TAIL:
            i, envelope.timestamp = time_or_null(data, i)
        elif size == 5 and key == NONCE:
            i, envelope.nonce = integer_or_null(data, i, NULL_INT)
        else:
            i = skip_value(data, i)
        if i < 0:
            return DECLINED
        i, ended = after_member(data, i, CLOSE_MAP)
        if i < 0:
            return DECLINED
    return i if sides == 3 else DECLINED


@kernel
def id_key(data, start, size):
    """16 bytes that stand for a trade id: the text itself and its size up to 15 bytes, beyond that two hashes of it."""
    if size <= 15:
        return word_at(data, start, size), word_at(data, start + 8, max(size - 8, 0)) | (size << 56)
    low = 0x2545F4914F6CDD1D
    high = 0x1B873593CC9E2D51
    for k in range(size):
        c = load_u8(data, start + k)
        low = (low ^ c) * 0x100000001B3
        low ^= (low >> 29) & 0x7FFFFFFFF
        high = (high + c + 1) * 0x5851F42D4C957F2D
        high ^= (high >> 31) & 0x1FFFFFFFF
    return low, high | (255 << 56)


@part
def trade_id(data, i, trade):
    """A trade's id at i into `trade`: a string, an integer, or what is not compared."""
    trade.id_low = 0
    trade.id_high = 0
    c = load_u8(data, i)
    start = i
    if c == QUOTE:
        start = i + 1
        i = skip_string(data, start)
        size = i - 1 - start
    else:
        i = skip_scalar(data, i)
        size = i - start
        if ZERO <= c <= NINE:
            for k in range(size):
                if load_u8(data, start + k) == POINT:
                    size = 0
            if size > MAX_DIGITS:
                return DECLINED
        elif c == MINUS:
            return DECLINED
        else:
            size = 0
    if i > 0 and size > 0:
        trade.id_low, trade.id_high = id_key(data, start, size)
    return i


@part
def trade_side(data, i, trade):
    """A trade's side at i into `trade`."""
    trade.side = OTHER_SIDE
    if load_u8(data, i) != QUOTE:
        return skip_value(data, i)
    start = i + 1
    i = skip_string(data, start)
    size = i - 1 - start
    if size == 3 and word_at(data, start, 3) == BUY_SIDE:
        trade.side = BUY
    elif size == 4 and word_at(data, start, 4) == SELL_SIDE:
        trade.side = SELL
    return i


@part
def trade(data, i, out):
    """A trade at i, its opening brace passed, into `out`; position after its closing one."""
    out.timestamp = ABSENT_TIME
    out.price = NAN
    out.amount = NAN
    out.side = OTHER_SIDE
    out.id_low = 0
    out.id_high = 0
    i = skip_blanks(data, i)
    if load_u8(data, i) == CLOSE_MAP:
        return i + 1
    ended = False
    while not ended:
        if load_u8(data, i) != QUOTE:
            return DECLINED
        start = i + 1
        i = skip_string(data, start)
        if i < 0:
            return DECLINED
        size = i - 1 - start
        key = word_at(data, start, size)
        i = value_after(data, i)
        if i < 0:
            return DECLINED
        if size == 2 and key == ID:
            i = trade_id(data, i, out)
        elif size == 9 and key == TIMESTAMP and word_at(data, start + 8, 1) == TIMESTAMP_TAIL:
            i, out.timestamp = time_or_null(data, i)
        elif size == 4 and key == SIDE:
            i = trade_side(data, i, out)
        elif size == 5 and key == PRICE:
            i, out.price = number_or_null(data, i)
        elif size == 6 and key == AMOUNT:
            i, out.amount = number_or_null(data, i)
        else:
            i = skip_value(data, i)
        if i < 0:
            return DECLINED
        i, ended = after_member(data, i, CLOSE_MAP)
        if i < 0:
            return DECLINED
    return i


@part
def trades(data, i, record):
    """The `data` of a trades message at i, its opening bracket passed; position after its closing one."""
    envelope = record.envelope[0]
    envelope.kind = TRADES
    count = 0
    i = skip_blanks(data, i)
    ended = load_u8(data, i) == CLOSE_LIST
    if ended:
        i += 1
    while not ended:
        if load_u8(data, i) != OPEN_MAP or count == record.trades.shape[0]:
            return DECLINED
        i = trade(data, i + 1, record.trades[count])
        if i < 0:
            return DECLINED
        count += 1
        i, ended = after_member(data, i, CLOSE_LIST)
        if i < 0:
            return DECLINED
    envelope.trades = count
    return i


@part
def scan(data, i, record):
    """Scan the line at i into `record`; position of its newline, or `DECLINED`."""
    envelope = record.envelope[0]
    envelope.collected_at = ABSENT_TIME
    envelope.exchange_size = 0
    envelope.symbol_size = 0
    kind = -1
    has_data = False
    i = skip_blanks(data, i)
    if load_u8(data, i) != OPEN_MAP:
        return DECLINED
    i = skip_blanks(data, i + 1)
    ended = False
    while not ended:
        if load_u8(data, i) != QUOTE:
            return DECLINED
        start = i + 1
        i = skip_string(data, start)
        if i < 0:
            return DECLINED
        size = i - 1 - start
        key = word_at(data, start, size)
        i = value_after(data, i)
        if i < 0:
            return DECLINED
        c = load_u8(data, i)
        if size == 4 and key == DATA:
            i = book(data, i + 1, record) if c == OPEN_MAP else trades(data, i + 1, record) if c == OPEN_LIST else DECLINED
            has_data = True
        elif size == 12 and key == COLLECTED_AT and word_at(data, start + 8, 4) == COLLECTED_AT_TAIL:
            i, envelope.collected_at = time_or_null(data, i)
        elif size == 4 and key == TYPE:
            if c != QUOTE:
                return DECLINED
            start = i + 1
            i = skip_string(data, start)
            size = i - 1 - start
            named = word_at(data, start, size)
            if size == 9 and named == ORDERBOOK_TYPE and word_at(data, start + 8, 1) == ORDERBOOK_TAIL:
                kind = BOOK
            elif size == 6 and named == TRADES_TYPE:
                kind = TRADES
            else:
                return DECLINED
        elif (size == 8 and key == EXCHANGE) or (size == 6 and key == SYMBOL):
            if c != QUOTE:
                return DECLINED
            start = i + 1
            i = skip_string(data, start)
            length = i - 1 - start
            if length <= 0 or length > LONGEST_NAME:
                return DECLINED
            if key == EXCHANGE:
                envelope.exchange_start = start
                envelope.exchange_size = length
            else:
                envelope.symbol_start = start
                envelope.symbol_size = length
        else:
            i = skip_value(data, i)
        if i < 0:
            return DECLINED
        i, ended = after_member(data, i, CLOSE_MAP)
        if i < 0:
            return DECLINED
    i = skip_blanks(data, i)
    complete = has_data and kind == envelope.kind and envelope.exchange_size > 0 and envelope.symbol_size > 0
    return i if complete and load_u8(data, i) == NEWLINE else DECLINED
