"""Compiled reader of rows as members write them: the columns in their order, no blanks.

What it does not take for certain it leaves to `rows.RowReader`, which knows JSON and tells what is wrong.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamproc.jit import Bytes, Ints, hot_kernel, load_u8, load_u64, part
from streamproc.kafka.sink.decimal import Powers, double_at
from streamproc.parse.tokens import (
    BACKSLASH,
    DECLINED,
    FALSE,
    LOWER_N,
    LOWER_T,
    MINUS,
    QUOTE,
    TRUE,
    integer_or_null,
    skip_literal,
    text_at,
    word_at,
    word_of,
)
from streamproc.schema import LINE_WORD, NULL_INT, WORDS_BEFORE_COLUMNS, Column

DOUBLE, INT, BOOL, ENUM = range(4)
KINDS = {"double": DOUBLE, "int": INT, "time": INT, "bool": BOOL, "string": ENUM}
NAN_WORD = int(np.array(np.nan).view(np.int64))
PADDING = b"\n" + bytes(8)
"""After the last row: it ends all tokens, and 8 bytes may be read from any position."""

CLOSE = 125


class Template(NamedTuple):
    """What stands before each value, and what values may be."""

    text: Bytes
    """`{"exchange":`, `,"symbol":` and so on, one after the other, padded."""
    starts: Ints
    """(columns + 1,): where these begin."""
    kinds: Ints
    """(columns,): of those after exchange and symbol."""
    nullable: NDArray[np.bool_]
    enums: Ints
    """(columns, values): words of the texts that a column may have."""
    sizes: Ints
    """(columns, values): their lengths, -1 where there is none."""

    @classmethod
    def of(cls, columns: tuple[Column, ...]) -> "Template":
        """Of a stream's columns."""
        texts = [b'%c"%s":' % (b",{"[i == 0], column.name.encode()) for i, column in enumerate(columns)]
        starts = np.cumsum([0, *map(len, texts)])
        valued = columns[2:]
        shape = len(valued), max(len(column.values) for column in valued)
        enums, sizes = np.zeros(shape, np.int64), np.full(shape, -1)
        for i, column in enumerate(valued):
            for k, value in enumerate(column.values):
                enums[i, k], sizes[i, k] = word_of(value.encode()), len(value.encode())
        text = np.frombuffer(b"".join(texts) + bytes(8), np.uint8)
        nullable = np.array([column.nullable for column in valued])
        return cls(text, starts, np.array([KINDS[column.kind] for column in valued]), nullable, enums, sizes)


@part
def after_text(data: Bytes, i: int, text: Bytes, start: int, end: int) -> int:
    """Position after text[start:end], which has to be at i."""
    while start < end:
        differ = load_u64(data, i) ^ load_u64(text, start)
        left = end - start
        if left < 8:
            differ &= (1 << (8 * left)) - 1
        if differ != 0:
            return DECLINED
        i += min(left, 8)
        start += 8
    return i


@part
def after_key_text(data: Bytes, i: int) -> int:
    """Position after the string without escapes at i."""
    if load_u8(data, i) != QUOTE:
        return DECLINED
    i += 1
    c = load_u8(data, i)
    while c != QUOTE:
        if c < 32 or c == BACKSLASH:
            return DECLINED
        i += 1
        c = load_u8(data, i)
    return i + 1


@part
def int_at(data: Bytes, i: int) -> tuple[int, int]:
    """The integer at i: (position after it, value)."""
    negative = load_u8(data, i) == MINUS
    i, value = integer_or_null(data, i + negative)
    if value == NULL_INT:
        return DECLINED, 0
    return i, -value if negative else value


@part
def bool_at(data: Bytes, i: int) -> tuple[int, int]:
    """The true or false at i: (position after it, 1 or 0)."""
    c = load_u8(data, i)
    word = TRUE if c == LOWER_T else FALSE
    if (word & 255) != c:
        return DECLINED, 0
    return skip_literal(data, i), int(c == LOWER_T)


@part
def enum_at(data: Bytes, i: int, enums: Ints, sizes: Ints, column: int) -> tuple[int, int]:
    """The text at i, one of a column's: (position after it, which)."""
    i, start, size = text_at(data, i)
    if i < 0 or size > 8:
        return DECLINED, 0
    word = word_at(data, start, size)
    for k in range(sizes.shape[1]):
        if sizes[column, k] == size and enums[column, k] == word:
            return i, k
    return DECLINED, 0


@part
def value_at(data: Bytes, i: int, template: Template, column: int, powers: Powers) -> tuple[int, int]:
    """The value of a column at i: (position after it, word)."""
    kind = template.kinds[column]
    if load_u8(data, i) == LOWER_N:
        if not template.nullable[column]:
            return DECLINED, 0
        return skip_literal(data, i), NAN_WORD if kind == DOUBLE else NULL_INT
    if kind == DOUBLE:
        return double_at(data, i, powers)
    if kind == INT:
        return int_at(data, i)
    if kind == BOOL:
        return bool_at(data, i)
    return enum_at(data, i, template.enums, template.sizes, column)


@part
def row_at(data: Bytes, i: int, template: Template, powers: Powers, words: Ints, row: int) -> tuple[int, int]:
    """The row at i into words[row]: (position after it, position after its symbol)."""
    starts = template.starts
    for key in range(2):
        i = after_text(data, i, template.text, starts[key], starts[key + 1])
        if i >= 0:
            i = after_key_text(data, i)
        if i < 0:
            return DECLINED, 0
    after_key = i
    for column in range(template.kinds.shape[0]):
        i = after_text(data, i, template.text, starts[column + 2], starts[column + 3])
        if i < 0:
            return DECLINED, 0
        i, words[row, WORDS_BEFORE_COLUMNS + column] = value_at(data, i, template, column, powers)
        if i < 0:
            return DECLINED, 0
    if load_u8(data, i) != CLOSE:
        return DECLINED, 0
    return i + 1, after_key


@hot_kernel
def scan_rows(data: Bytes, starts: Ints, template: Template, powers: Powers, words: Ints, key_ends: Ints) -> None:
    """Rows data[starts[r]:starts[r + 1] - 1], each followed by a byte between, into words[r].

    key_ends[r] is the position after the row's symbol, `DECLINED` where the row was left.
    """
    for row in range(words.shape[0]):
        end, after_key = row_at(data, starts[row], template, powers, words, row)
        words[row, LINE_WORD] = 0
        key_ends[row] = after_key if end == starts[row + 1] - 1 else DECLINED
