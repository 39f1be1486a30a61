"""Compiled scanner of the ordinary line.

It takes a line only when it is sure of it: tokens that `parse.tokens` is sure of, sorted levels, names and members in
their usual form. Anything else it declines (`DECLINED`), and the reference parser decides. So it may be conservative,
never wrong.
"""

import numpy as np

from streamproc.jit import Bytes, Doubles, Struct, kernel, load_u8, part
from streamproc.parse.record import ABSENT_TIME, BOOK, BUY, OTHER_SIDE, SELL, TRADES, Record
from streamproc.parse.tokens import (
    CLOSE_LIST,
    CLOSE_MAP,
    COMMA,
    DECLINED,
    MAX_DIGITS,
    MINUS,
    NAN,
    NEWLINE,
    NINE,
    OPEN_LIST,
    OPEN_MAP,
    POINT,
    QUOTE,
    ZERO,
    after_member,
    integer_or_null,
    key_at,
    number,
    number_or_null,
    quoted_number,
    skip_blanks,
    skip_scalar,
    skip_value,
    text_at,
    time_or_null,
    word_at,
    word_of,
)
from streamproc.schema import NULL_INT

LONGEST_NAME = 66  # percent-encoding triples at most: 198 of 200 bytes
DESCENDING, ASCENDING = 1.0, -1.0
NO_KIND = -1

EXCHANGE, SYMBOL, TYPE, DATA = (word_of(key) for key in (b"exchange", b"symbol", b"type", b"data"))
COLLECTED_AT, COLLECTED_AT_TAIL = word_of(b"collected_at"), word_of(b"d_at")
BIDS, ASKS, NONCE = (word_of(key) for key in (b"bids", b"asks", b"nonce"))
TIMESTAMP, TIMESTAMP_TAIL = word_of(b"timestamp"), word_of(b"p")
ID, SIDE, PRICE, AMOUNT = (word_of(key) for key in (b"id", b"side", b"price", b"amount"))
ORDERBOOK_TYPE, ORDERBOOK_TAIL, TRADES_TYPE = word_of(b"orderbook"), word_of(b"k"), word_of(b"trades")
BUY_SIDE, SELL_SIDE = word_of(b"buy"), word_of(b"sell")


@part
def spaced_level(data: Bytes, i: int) -> tuple[int, float, float]:
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
    ended = False
    while i >= 0:
        i, ended = after_member(data, i, CLOSE_LIST)
        if ended:
            break
        i = skip_value(data, i)
    return i, price, size


@part
def level(data: Bytes, i: int) -> tuple[int, float, float]:
    """A level at i: (position, price, size). The compact form `[price,size]` is by far the most common."""
    if load_u8(data, i) == OPEN_LIST:
        j, price = number(data, i + 1)
        if j >= 0 and load_u8(data, j) == COMMA:
            j, size = number(data, j + 1)
            if j >= 0 and load_u8(data, j) == CLOSE_LIST:
                return j + 1, price, size
    return spaced_level(data, i)


@part
def levels(data: Bytes, i: int, out: Doubles, order: float) -> tuple[int, int]:
    """A side at i into `out`: (position, levels). Levels that are not in the `order` are declined."""
    count = 0
    if load_u8(data, i) != OPEN_LIST:
        return DECLINED, 0
    i = skip_blanks(data, i + 1)
    if load_u8(data, i) == CLOSE_LIST:
        return i + 1, 0
    before = np.inf
    while count < out.shape[0]:
        i, price, size = level(data, i)
        if i < 0:
            return DECLINED, 0
        if price > 0.0 and size > 0.0:
            if order * price >= before:
                return DECLINED, 0
            before = order * price
            out[count, 0] = price
            out[count, 1] = size
            count += 1
        if load_u8(data, i) == COMMA and load_u8(data, i + 1) == OPEN_LIST:
            i += 1
            continue
        i, ended = after_member(data, i, CLOSE_LIST)
        if ended:
            return i, count
    return DECLINED, 0


@part
def book(data: Bytes, i: int, record: Record) -> int:
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
        i, start, size = key_at(data, i)
        if i < 0:
            return DECLINED
        key = word_at(data, start, size)
        if size == 4 and key == BIDS:
            i, envelope.bids = levels(data, i, record.bids, DESCENDING)
            sides |= 1
        elif size == 4 and key == ASKS:
            i, envelope.asks = levels(data, i, record.asks, ASCENDING)
            sides |= 2
        elif size == 9 and key == TIMESTAMP and word_at(data, start + 8, size - 8) == TIMESTAMP_TAIL:
            i, envelope.timestamp = time_or_null(data, i)
        elif size == 5 and key == NONCE:
            i, envelope.nonce = integer_or_null(data, i)
        else:
            i = skip_value(data, i)
        if i < 0:
            return DECLINED
        i, ended = after_member(data, i, CLOSE_MAP)
    return i if sides == 3 else DECLINED


@kernel
def id_key(data: Bytes, start: int, size: int) -> tuple[int, int]:
    """16 bytes that stand for a trade id: the text itself and its size up to 15 bytes, beyond that two hashes of it."""
    if size <= 15:
        return word_at(data, start, size), word_at(data, start + 8, size - 8) | (size << 56)
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
def trade_id(data: Bytes, i: int, out: Struct) -> int:
    """A trade's id at i into `out`: a string, an integer, or what is not compared."""
    out.id_low = 0
    out.id_high = 0
    c = load_u8(data, i)
    start = i
    if c == QUOTE:
        i, start, size = text_at(data, i)
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
        out.id_low, out.id_high = id_key(data, start, size)
    return i


@part
def trade_side(data: Bytes, i: int, out: Struct) -> int:
    """A trade's side at i into `out`."""
    out.side = OTHER_SIDE
    if load_u8(data, i) != QUOTE:
        return skip_value(data, i)
    i, start, size = text_at(data, i)
    side = word_at(data, start, size)
    if size == 3 and side == BUY_SIDE:
        out.side = BUY
    elif size == 4 and side == SELL_SIDE:
        out.side = SELL
    return i


@part
def trade(data: Bytes, i: int, out: Struct) -> int:
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
        i, start, size = key_at(data, i)
        if i < 0:
            return DECLINED
        key = word_at(data, start, size)
        if size == 2 and key == ID:
            i = trade_id(data, i, out)
        elif size == 9 and key == TIMESTAMP and word_at(data, start + 8, size - 8) == TIMESTAMP_TAIL:
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
    return i


@part
def trades(data: Bytes, i: int, record: Record) -> int:
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
    envelope.trades = count
    return i


@part
def payload(data: Bytes, i: int, record: Record) -> int:
    """The `data` of a message at i, its kind told by its form; position after it."""
    c = load_u8(data, i)
    if c == OPEN_MAP:
        return book(data, i + 1, record)
    return trades(data, i + 1, record) if c == OPEN_LIST else DECLINED


@part
def message_type(data: Bytes, i: int) -> tuple[int, int]:
    """The `type` of a message at i: (position after it, kind)."""
    i, start, size = text_at(data, i)
    named = word_at(data, start, size)
    if size == 9 and named == ORDERBOOK_TYPE and word_at(data, start + 8, size - 8) == ORDERBOOK_TAIL:
        return i, BOOK
    return (i, TRADES) if size == 6 and named == TRADES_TYPE else (DECLINED, NO_KIND)


@part
def name_at(data: Bytes, i: int) -> tuple[int, int, int]:
    """An exchange's or symbol's name at i: (position after it, where its text begins, size)."""
    i, start, size = text_at(data, i)
    return i if 0 < size <= LONGEST_NAME else DECLINED, start, size


@part
def members(data: Bytes, i: int, record: Record) -> tuple[int, bool]:
    """The members from the key at i on, up to the value of `data`: (its position, False), or (after the last, True)."""
    envelope = record.envelope[0]
    ended = False
    while not ended:
        i, start, size = key_at(data, i)
        if i < 0:
            return DECLINED, True
        key = word_at(data, start, size)
        if size == 4 and key == DATA:
            return i, False
        if size == 12 and key == COLLECTED_AT and word_at(data, start + 8, size - 8) == COLLECTED_AT_TAIL:
            i, envelope.collected_at = time_or_null(data, i)
        elif size == 4 and key == TYPE:
            i, envelope.type = message_type(data, i)
        elif size == 8 and key == EXCHANGE:
            i, envelope.exchange_start, envelope.exchange_size = name_at(data, i)
        elif size == 6 and key == SYMBOL:
            i, envelope.symbol_start, envelope.symbol_size = name_at(data, i)
        else:
            i = skip_value(data, i)
        if i < 0:
            return DECLINED, True
        i, ended = after_member(data, i, CLOSE_MAP)
    return i, True


@part
def first_members(data: Bytes, i: int, record: Record) -> int:
    """Begin the line at i into `record`: position of the value of its first `data`."""
    envelope = record.envelope[0]
    envelope.kind = NO_KIND
    envelope.type = NO_KIND
    envelope.collected_at = ABSENT_TIME
    envelope.exchange_size = 0
    envelope.symbol_size = 0
    i = skip_blanks(data, i)
    if load_u8(data, i) != OPEN_MAP:
        return DECLINED
    i, ended = members(data, skip_blanks(data, i + 1), record)
    return DECLINED if ended else i


@part
def from_data(data: Bytes, i: int, record: Record) -> int:
    """The rest of a line, from the value of its `data` at i on; position of its newline, or `DECLINED`."""
    ended = False
    while not ended:
        i = payload(data, i, record)
        if i < 0:
            return DECLINED
        i, ended = after_member(data, i, CLOSE_MAP)
        if not ended:
            i, ended = members(data, i, record)
    if i < 0:
        return DECLINED
    i = skip_blanks(data, i)
    envelope = record.envelope[0]
    typed = NO_KIND < envelope.type == envelope.kind
    named = envelope.exchange_size > 0 and envelope.symbol_size > 0
    return i if typed and named and load_u8(data, i) == NEWLINE else DECLINED


@part
def scan(data: Bytes, i: int, record: Record) -> int:
    """Scan the line at i into `record`; position of its newline, or `DECLINED`."""
    i = first_members(data, i, record)
    return DECLINED if i < 0 else from_data(data, i, record)
