"""Compiled writer of rows as JSON objects: the columns in their order, no blanks. `sink.scan` reads them."""

from typing import NamedTuple

import numpy as np

from streamproc.jit import Bytes, Ints, hot_kernel, inlined, load_u64
from streamproc.kafka.bits import store_u8, store_u64
from streamproc.kafka.process.digits import LONGEST, MOST_STORED, Powers, write_double, write_int
from streamproc.parse.tokens import CLOSE_MAP, FALSE, NULL, TRUE
from streamproc.schema import NULL_INT, WORDS_BEFORE_COLUMNS, Column

DOUBLE, INT, BOOL, ENUM = range(4)
KINDS = {"double": DOUBLE, "int": INT, "time": INT, "bool": BOOL, "string": ENUM}
_EXPONENT = 0x7FF0_0000_0000_0000
_WORDS_AT_ONCE = 4
_STRIDE = 8 * _WORDS_AT_ONCE


class Texts(NamedTuple):
    """Short texts, copied 32 bytes at a time."""

    data: Bytes
    """One after the other, each from a multiple of 32 on."""
    starts: Ints
    sizes: Ints

    @classmethod
    def of(cls, texts: list[bytes]) -> "Texts":
        """Of these."""
        padded = [text + bytes(-len(text) % _STRIDE) for text in texts]
        starts = np.cumsum([0, *map(len, padded)])[:-1]
        return cls(np.frombuffer(b"".join(padded), np.uint8), starts, np.array([len(text) for text in texts]))


class Template(NamedTuple):
    """What stands before each value, and what values may be."""

    texts: Texts
    """`,"timestamp":` and so on, of the columns after exchange and symbol; then the texts that these may have."""
    kinds: Ints
    """(columns,)."""
    values: Ints
    """(columns,): which text is a column's first value."""
    longest: int
    """Bytes of a row from after its symbol on, and those that may be written behind it."""

    @classmethod
    def of(cls, columns: tuple[Column, ...]) -> "Template":
        """Of a stream's columns."""
        names = [b',"%s":' % column.name.encode() for column in columns[2:]]
        values = [b'"%s"' % value.encode() for column in columns[2:] for value in column.values]
        counts = [len(column.values) for column in columns[2:]]
        longest_value = max([LONGEST, *map(len, values)])
        return cls(
            Texts.of(names + values),
            np.array([KINDS[column.kind] for column in columns[2:]]),
            np.cumsum([len(names), *counts])[:-1],
            sum(map(len, names)) + len(names) * longest_value + MOST_STORED + _STRIDE,
        )


@inlined
def copy_text(out: Bytes, i: int, texts: Texts, which: int) -> int:
    """A text at i: position after it."""
    start, size = int(texts.starts[which]), int(texts.sizes[which])
    for at in range(0, size, _STRIDE):
        for word in range(_WORDS_AT_ONCE):
            store_u64(out, i + at + 8 * word, load_u64(texts.data, start + at + 8 * word))
    return i + size


@inlined
def write_value(out: Bytes, i: int, word: int, template: Template, column: int, powers: Powers) -> int:
    """A column's value at i: position after it."""
    kind = template.kinds[column]
    null = (word & _EXPONENT) == _EXPONENT if kind == DOUBLE else kind == INT and word == NULL_INT
    if null:
        store_u64(out, i, NULL)
        return i + 4
    if kind == DOUBLE:
        return write_double(out, i, word, powers)
    if kind == INT:
        return write_int(out, i, word)
    if kind == BOOL:
        store_u64(out, i, TRUE if word == 1 else FALSE)
        return i + (4 if word == 1 else 5)
    return copy_text(out, i, template.texts, template.values[column] + word)


@hot_kernel
def write_rows(
    words: Ints, heads: Bytes, head_ends: Ints, template: Template, powers: Powers, out: Bytes, ends: Ints
) -> None:
    """Rows one after the other into `out`, each of them up to ends[r].

    `heads` are the rows' beginnings up to the end of the symbol, one after the other, row r's up to head_ends[r]; 32
    bytes may be read behind them.
    """
    i = start = 0
    for row in range(words.shape[0]):
        size = head_ends[row] - start
        for at in range(0, size, 8):
            store_u64(out, i + at, load_u64(heads, start + at))
        i += size
        start += size
        for column in range(template.kinds.shape[0]):
            i = copy_text(out, i, template.texts, column)
            i = write_value(out, i, words[row, WORDS_BEFORE_COLUMNS + column], template, column, powers)
        store_u8(out, i, CLOSE_MAP)
        i += 1
        ends[row] = i
