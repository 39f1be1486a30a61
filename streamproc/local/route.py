"""Of which symbol each line of a chunk is, seen in the raw bytes without parsing them; and to whom it goes for that.

Where the values of all `"symbol"` keys of a line agree, and those of all `"exchange"` keys, and it has no backslash, a
walk that stops at nothing else settles it. Of any other line the last keys at the top level count, as for the parser; a
second walk follows strings and nesting to find them. Both are sure for every line that is JSON. Whose a line is that is
none does not matter, for it touches no state. Only lines with names not met before, and with escaped keys, are parsed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from streamproc.engine.symbols import UNKNOWN, Names, SymbolTable, find
from streamproc.jit import inlined, kernel, load_u8, load_u64, part
from streamproc.local.bytemask import WIDTH, lowest_bit, starts_of
from streamproc.parse.ccxt import RawParser, Reject
from streamproc.parse.scan import EXCHANGE, SYMBOL
from streamproc.parse.tokens import (
    BACKSLASH,
    CLOSE_LIST,
    CLOSE_MAP,
    DECLINED,
    NEWLINE,
    OPEN_LIST,
    OPEN_MAP,
    QUOTE,
    skip_blanks,
    value_after,
    word_at,
)

NOBODY, UNDECIDED, STRAY = -1, -2, -3
"""In a symbol's place: the line is blank; the kernel does not know it; it has no names."""

SHORTEST_MEMBER = len(b'"symbol":""')
QUOTED_SYMBOL = int.from_bytes(b'"symbol"', "little")

NAMES = np.dtype(
    [
        ("exchange_start", "i8"),
        ("exchange_size", "i8"),  # NONE: not seen
        ("symbol_start", "i8"),
        ("symbol_size", "i8"),
        ("certain", "i8"),  # the first walk settles the line
        ("escaped", "i8"),  # a name holds a backslash
        ("unreadable", "i8"),  # a key at the top level holds one
    ]
)
"""Where a line's names lie, as far as a walk has come."""

NONE = -1

marks = starts_of(b"\n", b"\\", b'"s', b'"e')


class Share(NamedTuple):
    """What a worker gets of a chunk."""

    start: int
    """Place among the dealt bytes."""
    size: int
    lines: NDArray[np.int64]
    """Their numbers in the chunk, from 0."""


NamesOf = Callable[[bytes], tuple[str, str] | None]
"""Exchange and symbol of a line, None when it has none."""


class SymbolFinder:
    """Tells of which symbol each line is. Symbols are numbered in the order in which they are met.

    Parameters
    ----------
    names_of : asked about lines whose names are not known yet.
    """

    def __init__(self, names_of: NamesOf) -> None:
        self._names_of = names_of
        self._symbols = SymbolTable()
        self._indices: dict[tuple[str, str], int] = {}
        self._found = np.zeros(1, NAMES)

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Exchange and symbol of each symbol."""
        return self._symbols.keys

    def index(self, exchange: str, symbol: str) -> int:
        """The number of a symbol."""
        key = (exchange, symbol)
        if key not in self._indices:
            self._indices[key] = self._symbols.index(exchange, symbol)
        return self._indices[key]

    def symbols(self, data: NDArray[np.uint8], size: int, lines: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The symbol of each line, `NOBODY` for blank ones, `STRAY` for those without names; and bounds.

        Line i is data[bounds[i]:bounds[i + 1]], its newline included.

        Parameters
        ----------
        data : bytes; the first `size` of them are `lines` whole lines.
        """
        symbols = np.empty(lines, np.int64)
        bounds = np.zeros(lines + 1, np.int64)
        line = 0
        while line < lines:
            line = find_symbols(data, size, line, self._symbols.names, self._found, symbols, bounds)
            if line < lines:
                symbols[line] = self._decide(data, bounds[line], bounds[line + 1])
                line += 1
        return symbols, bounds

    def _decide(self, data: NDArray[np.uint8], begin: int, end: int) -> int:
        """The symbol of a line that the kernel does not know."""
        known = self._indices.get(self._unescaped(data), UNKNOWN)
        if known != UNKNOWN:
            return known
        names = self._names_of(data[begin:end].tobytes())
        return STRAY if names is None else self.index(*names)

    def _unescaped(self, data: NDArray[np.uint8]) -> tuple[str, str]:
        """The names that the kernel has found, as text; empty where they cannot be told so."""
        found = self._found[0]
        if found["unreadable"]:
            return "", ""
        spans = ((found[f"{name}_start"], found[f"{name}_size"]) for name in ("exchange", "symbol"))
        try:
            exchange, symbol = (orjson.loads(b'"%b"' % data[start : start + size].tobytes()) for start, size in spans)
        except orjson.JSONDecodeError:
            return "", ""
        return exchange, symbol


class Router:
    """Deals lines to workers, each symbol's always to the same one.

    Symbols go to the workers in turn, in the order in which they are met: the busiest come first, so they are spread.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._finder = SymbolFinder(accepted_names)

    def owner(self, exchange: str, symbol: str) -> int:
        """The worker of a symbol."""
        return self._finder.index(exchange, symbol) % self._workers

    def owners(self, data: NDArray[np.uint8], size: int, lines: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The owner of each line, `NOBODY` for blank ones, the first worker for rejected ones; and bounds.

        As `SymbolFinder.symbols`.
        """
        symbols, bounds = self._finder.symbols(data, size, lines)
        share_out(symbols, self._workers)
        return symbols, bounds

    def deal(self, data: NDArray[np.uint8], size: int, lines: int, out: NDArray[np.uint8]) -> list[Share]:
        """Copy the lines to `out`, those of a worker together in their order; each worker's share."""
        owners, bounds = self.owners(data, size, lines)
        sizes = np.zeros(self._workers, np.int64)
        add_sizes(owners, bounds, sizes)
        starts = np.cumsum(sizes) - sizes
        copy_lines(data, owners, bounds, starts.copy(), out)
        return [
            Share(start, size, np.flatnonzero(owners == worker))
            for worker, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True))
        ]


def accepted_names(line: bytes) -> tuple[str, str] | None:
    """Names of a record that the parser accepts: others take no turn."""
    parsed = RawParser().parse(line)
    return None if isinstance(parsed, Reject) else (parsed.exchange, parsed.symbol)


@part
def forget(found: Any) -> None:
    """Begin a line."""
    found.exchange_size = NONE
    found.symbol_size = NONE
    found.certain = True
    found.escaped = False
    found.unreadable = False


@part
def last_marks(data: Any, i: int, size: int) -> int:
    """As `marks`, and more quotes, where there are no `WIDTH` bytes left."""
    bits = 0
    for k in range(size - i):
        c: int = load_u8(data, i + k)
        if c in (QUOTE, NEWLINE, BACKSLASH):
            bits |= 1 << k
    return bits


@inlined
def same_bytes(data: Any, i: int, j: int, size: int) -> bool:
    """Whether the `size` bytes at i and at j are the same."""
    k = 0
    while k < size and load_u8(data, i + k) == load_u8(data, j + k):
        k += 1
    return k == size


@inlined
def string_end(data: Any, i: int) -> tuple[int, bool]:
    """Where the string from i on ends, at its quote or the line's newline; and whether it holds a backslash."""
    escaped = False
    c: int = load_u8(data, i)
    while c not in (QUOTE, NEWLINE):
        if c == BACKSLASH:
            escaped = True
            i += 1
            if load_u8(data, i) == NEWLINE:
                break
        i += 1
        c = load_u8(data, i)
    return i, escaped


@inlined
def note_key(data: Any, i: int, size: int, found: Any) -> None:
    """Take note of the value where one of the two keys begins at the quote at i; all values of a kind must agree."""
    if i + SHORTEST_MEMBER >= size:
        return
    of_symbol: bool = load_u64(data, i) == QUOTED_SYMBOL
    if not of_symbol and (load_u64(data, i + 1) != EXCHANGE or load_u8(data, i + 9) != QUOTE):
        return
    start = value_after(data, i + (8 if of_symbol else 10))
    if start == DECLINED or load_u8(data, start) != QUOTE:
        return
    start += 1
    length = string_end(data, start)[0] - start
    if of_symbol:
        if found.symbol_size == NONE:
            found.symbol_start = start
            found.symbol_size = length
        elif found.symbol_size != length or not same_bytes(data, found.symbol_start, start, length):
            found.certain = False
    elif found.exchange_size == NONE:
        found.exchange_start = start
        found.exchange_size = length
    elif found.exchange_size != length or not same_bytes(data, found.exchange_start, start, length):
        found.certain = False


@part
def note_top_key(data: Any, start: int, size: int, value: int, found: Any) -> None:
    """Take note of the value at `value` where the key at `start` is one of the two; the last one counts."""
    of_symbol = size == 6 and word_at(data, start, 6) == SYMBOL
    if not of_symbol and (size != 8 or word_at(data, start, 8) != EXCHANGE):
        return
    begin, length = value + 1, NONE
    if load_u8(data, value) == QUOTE:
        end, escaped = string_end(data, begin)
        length = end - begin
        found.escaped |= escaped
    if of_symbol:
        found.symbol_start = begin
        found.symbol_size = length
    else:
        found.exchange_start = begin
        found.exchange_size = length


@part
def walk_line(data: Any, i: int, found: Any) -> None:
    """The names of the line at i by its strings and its nesting."""
    forget(found)
    depth = 0
    c: int = load_u8(data, i)
    while c != NEWLINE:
        if c == QUOTE:
            start = i + 1
            end, escaped = string_end(data, start)
            i = end if load_u8(data, end) == NEWLINE else end + 1
            value = value_after(data, i)
            if depth == 1 and value != DECLINED:
                found.unreadable |= escaped
                note_top_key(data, start, end - start, value, found)
        else:
            depth += (c in (OPEN_MAP, OPEN_LIST)) - (c in (CLOSE_MAP, CLOSE_LIST))
            i += 1
        c = load_u8(data, i)


@inlined
def symbol_of(data: Any, begin: int, names: Names, found: Any) -> int:
    """Symbol of the line at `begin`, after the first walk over it; `UNDECIDED` where Python must decide."""
    if not found.certain:
        walk_line(data, begin, found)
    if found.unreadable:
        return UNDECIDED
    if found.exchange_size <= 0 or found.symbol_size <= 0:
        return NOBODY if load_u8(data, skip_blanks(data, begin)) == NEWLINE else STRAY
    if found.escaped:
        return UNDECIDED
    symbol = find(names, data, found.exchange_start, found.exchange_size, found.symbol_start, found.symbol_size)
    return UNDECIDED if symbol == UNKNOWN else symbol


@kernel
def find_symbols(data: Any, size: int, line: int, names: Names, found: Any, symbols: Any, bounds: Any) -> int:
    """Symbols and ends of the lines from number `line` on; the number of the line that is undecided, or of all lines.

    The start of the first is known.
    """
    found = found[0]
    begin = bounds[line]
    block, bits = begin - WIDTH, 0
    forget(found)
    while begin < size:
        while bits == 0:
            block += WIDTH
            bits = marks(data, block) if block + WIDTH < len(data) else last_marks(data, block, size)
        at = block + lowest_bit(bits)
        bits &= bits - 1
        c: int = load_u8(data, at)
        if c == NEWLINE:
            bounds[line + 1] = at + 1
            symbols[line] = symbol_of(data, begin, names, found)
            if symbols[line] == UNDECIDED:
                break
            line += 1
            begin = at + 1
            forget(found)
        elif c == BACKSLASH:
            found.certain = False
        else:
            note_key(data, at, size, found)
    return line


@kernel
def share_out(symbols: Any, workers: int) -> None:
    """Put owners in the place of symbols."""
    for line in range(len(symbols)):
        if symbols[line] == STRAY:
            symbols[line] = 0
        elif symbols[line] != NOBODY:
            symbols[line] %= workers


@kernel
def add_sizes(owners: Any, bounds: Any, sizes: Any) -> None:
    """Add up the bytes of each owner's lines."""
    for line in range(len(owners)):
        if owners[line] != NOBODY:
            sizes[owners[line]] += bounds[line + 1] - bounds[line]


@kernel
def copy_lines(data: Any, owners: Any, bounds: Any, places: Any, out: Any) -> None:
    """Copy lines to their owners' places, which move on."""
    for line in range(len(owners)):
        owner = owners[line]
        if owner == NOBODY:
            continue
        begin = bounds[line]
        size = bounds[line + 1] - begin
        place = places[owner]
        places[owner] += size
        source = data[begin : begin + size]
        target = out[place : place + size]
        for i in range(size):  # quicker than assigning the slice
            target[i] = source[i]
