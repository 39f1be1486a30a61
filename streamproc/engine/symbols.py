"""Which symbol a record is of: a hash table over the bytes of exchange and symbol, looked up by kernels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamproc.jit import Bytes, Ints, StructArray, kernel, load_u8, part

UNKNOWN = -1

NAME = np.dtype(
    [
        ("hash", "i8"),
        ("start", "i8"),  # where its text begins,
        ("split", "i8"),  # where its exchange ends and its symbol begins,
        ("end", "i8"),
    ]
)


class Names(NamedTuple):
    """The table as kernels see it. N symbols."""

    slots: Ints  # a symbol or UNKNOWN
    names: StructArray  # (N,) NAME
    text: Bytes


@part
def _hashed(data: Bytes, start: int, size: int, seed: int) -> int:
    value = seed
    for k in range(size):
        value = (value ^ load_u8(data, start + k)) * 0x100000001B3
    return value ^ ((value >> 32) & 0xFFFFFFFF)


@kernel
def name_hash(data: Bytes, exchange: int, exchange_size: int, symbol: int, symbol_size: int) -> int:
    """64-bit FNV-1a hash of a name, the two parts kept apart."""
    seed = _hashed(data, exchange, exchange_size, 0x4BF29CE484222325) + exchange_size
    return _hashed(data, symbol, symbol_size, seed)


@part
def _same(data: Bytes, start: int, size: int, text: Bytes, at: int, end: int) -> bool:
    if size != end - at:
        return False
    k = 0
    while k < size and data[start + k] == text[at + k]:
        k += 1
    return k == size


@kernel
def find(names: Names, data: Bytes, exchange: int, exchange_size: int, symbol: int, symbol_size: int) -> int:
    """Index of the symbol whose name lies in the data, or `UNKNOWN`."""
    mask = len(names.slots) - 1
    hashed = name_hash(data, exchange, exchange_size, symbol, symbol_size)
    slot = hashed & mask
    while names.slots[slot] != UNKNOWN:
        s = names.slots[slot]
        name = names.names[s]
        if (
            name.hash == hashed
            and _same(data, exchange, exchange_size, names.text, name.start, name.split)
            and _same(data, symbol, symbol_size, names.text, name.split, name.end)
        ):
            return int(s)
        slot = (slot + 1) & mask
    return UNKNOWN


@kernel
def _place(slots: Ints, names: StructArray, count: int) -> None:
    mask = len(slots) - 1
    for s in range(count):
        slot = names[s].hash & mask
        while slots[slot] != UNKNOWN:
            slot = (slot + 1) & mask
        slots[slot] = s


class SymbolTable:
    """Symbols by index, in the order in which they were first seen."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, str]] = []
        self.names = Names(slots=np.full(16, UNKNOWN, np.int64), names=np.zeros(8, NAME), text=np.zeros(64, np.uint8))

    def index(self, exchange: str, symbol: str) -> int:
        """Index of a symbol, a new one where it is not known yet."""
        name = exchange.encode() + symbol.encode()
        text = np.frombuffer(name, np.uint8)
        split = len(exchange.encode())
        found = int(find(self.names, text, 0, split, split, len(text) - split))
        return found if found != UNKNOWN else self._add(exchange, symbol, text, split)

    def _add(self, exchange: str, symbol: str, text: NDArray[np.uint8], split: int) -> int:
        index = len(self.keys)
        begin = int(self.names.names[index - 1]["end"]) if index else 0
        end = begin + len(text)
        self._make_room(end)
        names = self.names
        hashed = name_hash(text, 0, split, split, len(text) - split)
        names.names[index] = hashed, begin, begin + split, end
        names.text[begin:end] = text
        self.keys.append((exchange, symbol))
        slot = hashed & (len(names.slots) - 1)
        while names.slots[slot] != UNKNOWN:
            slot = (slot + 1) & (len(names.slots) - 1)
        names.slots[slot] = index
        return index

    def _make_room(self, bytes_needed: int) -> None:
        names = self.names
        count = len(self.keys)
        if bytes_needed > len(names.text):
            names = names._replace(text=np.resize(names.text, 2 * bytes_needed))
        if count == len(names.names):
            slots = np.full(4 * count, UNKNOWN, np.int64)
            _place(slots, names.names, count)
            names = names._replace(slots=slots, names=np.resize(names.names, 2 * count))
        self.names = names
