"""Snapshots of symbols' states: what changed since the last one as key and value, and the way back.

A snapshot holds a symbol's *head* (head record, closes, open bars) and *blocks*: pages of its rings up to their filled
end. A block is named by its absolute number and never changes once full, so only the last ones of each ring are written
again. The head names what is live; blocks outside that are ignored, whether deleted yet or not. Cursors, links and sums
are derived when loading.
"""

import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamproc.errors import StateError
from streamproc.jit import Ints, Struct, StructArray, kernel, part
from streamproc.state.layout import (
    ARRIVED,
    BAR,
    BOOK_POINT,
    CHANGED,
    CLOSE,
    HEAD,
    ID_POINT,
    NONE,
    PAGE,
    TRADE_POINT,
    Arrays,
)
from streamproc.state.pages import append_book, append_trade, live_pages
from streamproc.state.trade_ids import remember_id

FORMAT = 2
"""Version of the snapshot's form. A change of the layout's dtypes is a change of the form."""

HEAD_KIND, BOOK_KIND, TRADE_KIND, ID_KIND = range(4)
KIND_NAMES = ("head", "books", "trades", "trade ids")
RECOVERY = "start afresh with --fresh, or restore the state's folder from a copy"

MOST_ELEMENTS = 1 << 53
"""Of a ring, ever: a thousand a second make so many in 280,000 years."""

WORD = 8
HEAD_WORDS, BAR_WORDS, CLOSE_WORDS = HEAD.itemsize // WORD, BAR.itemsize // WORD, CLOSE.itemsize // WORD
BOOK_WORDS, TRADE_WORDS, ID_WORDS = (point.itemsize // WORD for point in (BOOK_POINT, TRADE_POINT, ID_POINT))

PIECE = np.dtype([("symbol", "i8"), ("kind", "i8"), ("block", "i8"), ("start", "i8"), ("size", "i8")])
"""A value among the words of a dump or of what is loaded: start and size in words; size NONE: delete."""

SAVED = np.dtype([(kind, [("block", "i8"), ("head", "i8"), ("page", "i8")]) for kind in ("books", "trades", "ids")])
"""What the last snapshot of a symbol held: the live range of each ring, from the start of `block` up to `head`, and its
last page."""


class Words(NamedTuple):
    """The arrays seen as words, a symbol or page a row."""

    head: Ints
    bars: Ints
    closes: Ints
    books: Ints
    trades: Ints
    ids: Ints

    @classmethod
    def of(cls, arrays: Arrays) -> "Words":
        """Views, no copies."""

        def rows(array: StructArray | Ints, width: int) -> Ints:
            return array.view(np.int64).reshape(len(array), width)

        durations = arrays.closes.shape[1]
        return cls(
            rows(arrays.head, HEAD_WORDS),
            rows(arrays.bars, durations * 2 * BAR_WORDS),
            rows(arrays.closes, durations * CLOSE_WORDS),
            rows(arrays.books.points, PAGE * BOOK_WORDS),
            rows(arrays.trades.points, PAGE * TRADE_WORDS),
            rows(arrays.ids.points, PAGE * ID_WORDS),
        )


class Dump(NamedTuple):
    """Room for a dump: values' words, what they are, and how much of both is used."""

    values: Ints
    pieces: StructArray
    used: Ints  # (2,) words, pieces


@part
def begin_piece(dump: Dump, symbol: int, kind: int, block: int) -> Struct:
    """A new value at the end of the dump."""
    piece = dump.pieces[dump.used[1]]
    dump.used[1] += 1
    piece.symbol = symbol
    piece.kind = kind
    piece.block = block
    piece.start = dump.used[0]
    piece.size = 0
    return piece


@part
def add_words(dump: Dump, piece: Struct, row: Ints, start: int, stop: int) -> None:
    """Append words of a row to the value."""
    used = dump.used[0]
    for k in range(start, stop):
        dump.values[used + k - start] = row[k]
    dump.used[0] += stop - start
    piece.size += stop - start


@part
def add_word(dump: Dump, piece: Struct, word: int) -> None:
    """Append one word to the value."""
    dump.values[dump.used[0]] = word
    dump.used[0] += 1
    piece.size += 1


@part
def delete_blocks(dump: Dump, symbol: int, kind: int, first: int, last: int) -> None:
    """Deletions of the blocks [first, last)."""
    for block in range(first, last):
        begin_piece(dump, symbol, kind, block).size = NONE


@part
def dump_ring(
    dump: Dump, symbol: int, kind: int, ring: Struct, links: Ints, words: Ints, width: int, saved: Struct
) -> None:
    """The blocks of a ring that changed since `saved`, and deletions of those that are no longer live."""
    delete_blocks(dump, symbol, kind, saved.block, min(ring.block, (saved.head + PAGE - 1) // PAGE))
    block, page = ring.block, ring.first
    if saved.head > 0 and (saved.head - 1) // PAGE >= block:
        block, page = (saved.head - 1) // PAGE, saved.page
    while page != NONE:
        if min(ring.head, (block + 1) * PAGE) > saved.head:
            piece = begin_piece(dump, symbol, kind, block)
            add_words(dump, piece, words[page], 0, min(PAGE, ring.head - block * PAGE) * width)
        page = links[page, 0]
        block += 1
    saved.block = ring.block
    saved.head = ring.head
    saved.page = ring.last


@part
def dump_head(dump: Dump, symbol: int, arrays: Arrays, words: Words) -> None:
    """The head of a symbol: head record, closes, number of open bars, and these each after its place."""
    piece = begin_piece(dump, symbol, HEAD_KIND, 0)
    add_words(dump, piece, words.head[symbol], 0, HEAD_WORDS)
    durations = arrays.closes.shape[1]
    add_words(dump, piece, words.closes[symbol], 0, durations * CLOSE_WORDS)
    open_bars = dump.used[0]
    add_word(dump, piece, 0)
    for place in range(2 * durations):
        if arrays.bars[symbol, place // 2, place % 2].index != NONE:
            dump.values[open_bars] += 1
            add_word(dump, piece, place)
            add_words(dump, piece, words.bars[symbol], place * BAR_WORDS, (place + 1) * BAR_WORDS)


@part
def fits(dump: Dump, symbol: int, arrays: Arrays, saved: Struct) -> bool:
    """Whether a dump of the symbol surely fits."""
    head = arrays.head[symbol]
    books = min(live_pages(head.books), (head.books.head - saved.books.head) // PAGE + 2)
    trades = min(live_pages(head.trades), (head.trades.head - saved.trades.head) // PAGE + 2)
    ids = min(live_pages(head.ids), (head.ids.head - saved.ids.head) // PAGE + 2)
    dropped = head.books.block - saved.books.block + head.trades.block - saved.trades.block
    dropped += head.ids.block - saved.ids.block
    durations = arrays.closes.shape[1]
    words = HEAD_WORDS + 1 + durations * (CLOSE_WORDS + 2 * (BAR_WORDS + 1))
    words += PAGE * (books * BOOK_WORDS + trades * TRADE_WORDS + ids * ID_WORDS)
    pieces = 2 + books + trades + ids + dropped
    enough: bool = dump.used[0] + words <= len(dump.values) and dump.used[1] + pieces <= len(dump.pieces)
    return enough


@kernel
def dump_symbols(
    symbols: NDArray[np.intp], first: int, arrays: Arrays, words: Words, saved: StructArray, dump: Dump
) -> int:
    """Dump the symbols from place `first` on while they fit; place of the first that did not."""
    for place in range(first, len(symbols)):
        symbol = symbols[place]
        if not fits(dump, symbol, arrays, saved[symbol]):
            return place
        head, last = arrays.head[symbol], saved[symbol]
        dump_head(dump, symbol, arrays, words)
        dump_ring(dump, symbol, BOOK_KIND, head.books, arrays.books.links, words.books, BOOK_WORDS, last.books)
        dump_ring(dump, symbol, TRADE_KIND, head.trades, arrays.trades.links, words.trades, TRADE_WORDS, last.trades)
        dump_ring(dump, symbol, ID_KIND, head.ids, arrays.ids.links, words.ids, ID_WORDS, last.ids)
        arrays.dirty[symbol] &= ARRIVED
    return len(symbols)


@part
def next_block(pieces: StructArray, at: int, symbol: int, kind: int, block: int) -> int:
    """Place of a block among the pieces from `at` on, NONE when it is not there. Older ones are passed over."""
    while at < len(pieces) and pieces[at].symbol == symbol:
        piece = pieces[at]
        if piece.kind == kind and piece.block == block:
            return at
        if piece.kind > kind or (piece.kind == kind and piece.block > block):
            return NONE
        at += 1
    return NONE


@part
def begin_ring(ring: Struct) -> tuple[int, int]:
    """Empty a loaded ring up to its first live block: (first block, end)."""
    end = ring.head
    block = ring.block if ring.first != NONE else (end + PAGE - 1) // PAGE
    if ring.first != NONE:
        ring.head = block * PAGE
    ring.first = NONE
    ring.last = NONE
    ring.run = NONE
    ring.long_run = NONE
    return block, end


@part
def is_sound(ring: Struct) -> bool:
    """Whether a stored ring's numbers are such as a ring can have, far from where they would overflow."""
    sound: bool = 0 <= ring.block <= ring.head // PAGE + 1 and ring.head <= MOST_ELEMENTS
    return sound


@part
def head_is_sound(head: Struct) -> bool:
    """Whether what places and loops are made from lies within bounds; all else are numbers that only count."""
    rings: bool = is_sound(head.books) and is_sound(head.trades) and is_sound(head.ids)
    return rings and 0 <= head.segment <= head.books.head and 0 <= head.pages_at_book <= MOST_ELEMENTS


@part
def load_rings(values: Ints, pieces: StructArray, at: int, symbol: int, arrays: Arrays) -> tuple[int, int, int]:
    """Append all elements of a symbol's live blocks anew: (place after them, 0, 0), or (NONE, kind, block) at fault."""
    head = arrays.head[symbol]
    block, end = begin_ring(head.books)
    for b in range(block, (end + PAGE - 1) // PAGE):
        at = next_block(pieces, at, symbol, BOOK_KIND, b)
        count = min(PAGE, end - b * PAGE)
        if at == NONE or pieces[at].size != count * BOOK_WORDS:
            return NONE, BOOK_KIND, b
        for k in range(count):
            w = pieces[at].start + k * BOOK_WORDS
            doubles = values[w + 1 : w + 4].view(np.float64)
            append_book(arrays.books, head, values[w], doubles[0], doubles[1], doubles[2], values[w + 4])
    block, end = begin_ring(head.trades)
    for b in range(block, (end + PAGE - 1) // PAGE):
        at = next_block(pieces, at, symbol, TRADE_KIND, b)
        count = min(PAGE, end - b * PAGE)
        if at == NONE or pieces[at].size != count * TRADE_WORDS:
            return NONE, TRADE_KIND, b
        for k in range(count):
            w = pieces[at].start + k * TRADE_WORDS
            append_trade(arrays.trades, head, values[w], values[w + 1 : w + 2].view(np.float64)[0], values[w + 2])
    block, end = begin_ring(head.ids)
    for b in range(block, (end + PAGE - 1) // PAGE):
        at = next_block(pieces, at, symbol, ID_KIND, b)
        count = min(PAGE, end - b * PAGE)
        if at == NONE or pieces[at].size != count * ID_WORDS:
            return NONE, ID_KIND, b
        for k in range(count):
            w = pieces[at].start + k * ID_WORDS
            remember_id(arrays.ids, head, arrays.chains[symbol], values[w], values[w + 1])
    return at, 0, 0


@kernel
def load_symbols(
    values: Ints, pieces: StructArray, first: NDArray[np.intp], arrays: Arrays, words: Words, saved: StructArray
) -> tuple[int, int, int]:
    """Load the symbols whose heads are the pieces `first`: (symbol or NONE, kind, block) of what is damaged."""
    durations = arrays.closes.shape[1]
    fixed = HEAD_WORDS + durations * CLOSE_WORDS + 1
    for place in first:
        piece = pieces[place]
        symbol = piece.symbol
        start = piece.start
        if piece.size < fixed or piece.size != fixed + values[start + fixed - 1] * (BAR_WORDS + 1):
            return symbol, HEAD_KIND, 0
        words.head[symbol] = values[start : start + HEAD_WORDS]
        if not head_is_sound(arrays.head[symbol]):
            return symbol, HEAD_KIND, 0
        words.closes[symbol] = values[start + HEAD_WORDS : start + fixed - 1]
        for w in range(start + fixed, start + piece.size, BAR_WORDS + 1):
            if not 0 <= values[w] < 2 * durations:
                return symbol, HEAD_KIND, 0
            words.bars[symbol, values[w] * BAR_WORDS : (values[w] + 1) * BAR_WORDS] = values[w + 1 : w + 1 + BAR_WORDS]
        at, kind, block = load_rings(values, pieces, place, symbol, arrays)
        if at == NONE:
            return symbol, kind, block
        mark_saved(arrays.head[symbol], saved[symbol])
    return NONE, 0, 0


@part
def mark_saved(head: Struct, saved: Struct) -> None:
    """What was loaded is what the store holds."""
    saved.books.block = head.books.block
    saved.books.head = head.books.head
    saved.books.page = head.books.last
    saved.trades.block = head.trades.block
    saved.trades.head = head.trades.head
    saved.trades.page = head.trades.last
    saved.ids.block = head.ids.block
    saved.ids.head = head.ids.head
    saved.ids.page = head.ids.last


class Changes(NamedTuple):
    """What to write to a store: new values by key, and keys to delete."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]


_TAIL = np.dtype([("kind", "u1"), ("block", ">u8")])
"""What a key ends with."""


_pack_tail = struct.Struct(">BQ").pack


def key_prefix(exchange: str, symbol: str) -> bytes:
    """What all keys of a symbol begin with; no prefix is the beginning of another symbol's."""
    parts = [name.encode() for name in (exchange, symbol)]
    return b"".join(struct.pack(">H", len(part)) + part for part in parts)


def parse_prefix(prefix: bytes) -> tuple[str, str]:
    """(exchange, symbol) of a key's prefix. Raises `StateError` for what is none."""
    size = int.from_bytes(prefix[:2], "big")
    exchange, symbol = (part.decode(errors="replace") for part in (prefix[2 : 2 + size], prefix[4 + size :]))
    if key_prefix(exchange, symbol) != prefix:
        raise StateError(f"the state is damaged: it holds a key that begins with {prefix.hex()}", hint=RECOVERY)
    return exchange, symbol


def _damaged(key: tuple[str, str], kind: int, block: int) -> StateError:
    exchange, symbol = key
    return StateError(
        f"the state of {exchange} {symbol} is damaged: "
        f"its {KIND_NAMES[kind]} block {block} is missing or of a wrong size",
        hint=RECOVERY,
    )


class Snapshots:
    """Dumps and loads the symbols of one engine; knows what was dumped last."""

    def __init__(self) -> None:
        self._saved = np.zeros(0, SAVED)
        self._prefixes: list[bytes] = []
        self._dump = Dump(np.zeros(1 << 16, np.int64), np.zeros(1 << 12, PIECE), np.zeros(2, np.int64))

    def changes(self, arrays: Arrays, keys: list[tuple[str, str]]) -> Changes:
        """All that changed since the last call; the caller makes it durable or starts from what is durable."""
        self._know(arrays, keys)
        symbols = np.flatnonzero(arrays.dirty & CHANGED)
        changes = Changes([], [])
        place = 0
        while place < len(symbols):
            after = dump_symbols(symbols, place, arrays, Words.of(arrays), self._saved, self._dump)
            self._take_pieces(changes)
            if after == place:
                values, pieces, used = self._dump
                self._dump = Dump(np.zeros(2 * len(values), np.int64), np.zeros(2 * len(pieces), PIECE), used)
            place = after
        return changes

    def load(self, loaded: "Loaded", arrays: Arrays, keys: list[tuple[str, str]]) -> None:
        """Load symbols into their empty states; there must be pages and slots for all of them.

        Raises `StateError` that names the symbol and block of what is missing or of the wrong size.
        """
        self._know(arrays, keys)
        heads = np.flatnonzero(loaded.pieces["kind"] == HEAD_KIND)
        headless = np.setdiff1d(loaded.pieces["symbol"], loaded.pieces["symbol"][heads])
        if len(headless):
            raise _damaged(keys[headless[0]], HEAD_KIND, 0)
        if not len(heads):  # nothing is worth compiling for
            return
        symbol, kind, block = load_symbols(loaded.values, loaded.pieces, heads, arrays, Words.of(arrays), self._saved)
        if symbol != NONE:
            raise _damaged(keys[symbol], kind, block)

    def _know(self, arrays: Arrays, keys: list[tuple[str, str]]) -> None:
        self._prefixes += [key_prefix(*key) for key in keys[len(self._prefixes) :]]
        known = len(self._saved)
        if known < len(arrays.head):
            self._saved = np.concatenate((self._saved, np.zeros(len(arrays.head) - known, SAVED)))

    def _take_pieces(self, changes: Changes) -> None:
        words, pieces = self._dump.used.tolist()
        values = self._dump.values[:words].tobytes()
        for symbol, kind, block, start, size in self._dump.pieces[:pieces].tolist():
            key = self._prefixes[symbol] + _pack_tail(kind, block)
            if size == NONE:
                changes.deletes.append(key)
            else:
                changes.puts.append((key, values[start * WORD : (start + size) * WORD]))
        self._dump.used[:] = 0


class Loaded(NamedTuple):
    """Entries of a store as `load_symbols` takes them: values' words, and what they are."""

    values: Ints
    pieces: StructArray  # PIECE

    @classmethod
    def of(cls, entries: Iterable[tuple[bytes, bytes]], index: Callable[[str, str], int]) -> "Loaded":
        """From entries sorted by key; `index` gives a symbol's place."""
        keys, values = [], []
        for key, value in entries:
            keys.append(key)
            values.append(value)
        size = _TAIL.itemsize
        prefixes = [key[:-size] for key in keys]
        symbols = {prefix: index(*parse_prefix(prefix)) for prefix in dict.fromkeys(prefixes)}
        tails = np.frombuffer(b"".join([key[-size:] for key in keys]), _TAIL)
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        if len(broken := np.flatnonzero(lengths % WORD)):  # no whole number of words: damaged, and told as such
            values = [value[: len(value) // WORD * WORD] for value in values]
        sizes = lengths // WORD
        pieces = np.zeros(len(keys), PIECE)
        pieces["symbol"] = np.fromiter(map(symbols.__getitem__, prefixes), np.int64, len(keys))
        pieces["kind"] = tails["kind"]
        pieces["block"] = tails["block"]
        pieces["start"] = np.cumsum(sizes) - sizes
        pieces["size"] = sizes
        pieces["size"][broken] = NONE
        return cls(np.frombuffer(b"".join(values), np.int64), pieces)

    def pages(self, kind: int) -> int:
        """Blocks of a kind."""
        return int((self.pieces["kind"] == kind).sum())
