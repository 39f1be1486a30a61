"""Rows of a topic, JSON, as words: what `process.rows.RowEncoder` writes, read back bit for bit."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.kafka.sink.decimal import powers_of_five
from streamproc.kafka.sink.scan import PADDING, Template, scan_rows
from streamproc.schema import LINE_WORD, NULL_INT, SYMBOL_WORD, WORDS_BEFORE_COLUMNS, Column, Stream, columns, width

Key = tuple[str, str]


class RefusedError(Exception):
    """A record that is no row of this configuration; its place among those that were given, and why."""

    def __init__(self, place: int, why: str) -> None:
        super().__init__(why)
        self.place = place
        self.why = why


class Symbols:
    """Indices of exchange and symbol, in the order in which they were met."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.by_text: dict[bytes, int] = {}
        """By the text of a row up to the end of its symbol."""
        self._known: dict[Key, int] = {}

    def index(self, key: Key) -> int:
        """The index, a new one where the symbol is new."""
        known = self._known.setdefault(key, len(self.keys))
        if known == len(self.keys):
            self.keys.append(key)
        return known


class RowReader:
    """Reads the rows of one stream."""

    def __init__(self, stream: Stream, config: StateConfig) -> None:
        self._columns = columns(stream, config)
        self._names = frozenset(column.name for column in self._columns)
        self._width = width(stream, config)
        self._template = Template.of(self._columns)
        self._powers = powers_of_five()

    def read(self, values: Sequence[bytes], symbols: Symbols) -> NDArray[np.int64]:
        """Words (n, width) of rows, see `streamproc.schema`; word 0 is the index in `symbols`.

        Raises `RefusedError` for what is no row of this configuration.
        """
        words = np.empty((len(values), self._width), np.int64)
        data = b"\n".join(values) + PADDING
        starts = np.cumsum([0, *(len(value) + 1 for value in values)])
        key_ends = np.empty(len(values), np.int64)
        scan_rows(np.frombuffer(data, np.uint8), starts, self._template, self._powers, words, key_ends)
        known = symbols.by_text
        for place, (start, key_end) in enumerate(zip(starts.tolist(), key_ends.tolist(), strict=False)):
            index = known.get(data[start:key_end]) if key_end >= 0 else None
            if index is not None:
                words[place, SYMBOL_WORD] = index
                continue
            try:
                index = self._read(values[place], words[place], symbols)
            except ValueError as error:
                raise RefusedError(place, str(error)) from error
            if key_end >= 0:
                known[data[start:key_end]] = index
        return words

    def _read(self, value: bytes, words: NDArray[np.int64], symbols: Symbols) -> int:
        """One row into its words; its symbol's index."""
        try:
            row = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"no JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError("no JSON object")
        if row.keys() != self._names:
            raise ValueError(self._other_columns(row))
        doubles = words.view(np.float64)
        for i, column in enumerate(self._columns[2:], WORDS_BEFORE_COLUMNS):
            if column.kind == "double":
                doubles[i] = _double(column, row[column.name])
            else:
                words[i] = _word(column, row[column.name])
        exchange, symbol = (_text(column, row[column.name]) for column in self._columns[:2])
        words[SYMBOL_WORD] = symbols.index((exchange, symbol))
        words[LINE_WORD] = 0
        return int(words[SYMBOL_WORD])

    def _other_columns(self, row: Iterable[str]) -> str:
        missing, unknown = sorted(self._names.difference(row)), sorted(set(row) - self._names)
        parts = [
            f"{len(names)} columns {what}, such as {names[0]}"
            for what, names in (("are missing", missing), ("are unknown", unknown))
            if names
        ]
        return ", ".join(parts)


def _double(column: Column, value: Any) -> float:
    if value is None and column.nullable:
        return np.nan
    if type(value) not in {float, int}:
        raise _unfit(column, value)
    return float(value)


def _word(column: Column, value: Any) -> int:
    if value is None and column.nullable:
        return NULL_INT
    if column.kind == "string":
        if value not in column.values:
            raise _unfit(column, value)
        return column.values.index(value)
    if type(value) is not (bool if column.kind == "bool" else int) or not NULL_INT < value < 2**63:
        raise _unfit(column, value)
    return int(value)


def _text(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise _unfit(column, value)
    return value


def _unfit(column: Column, value: Any) -> ValueError:
    return ValueError(f"{column.name} is {orjson.dumps(value).decode()[:100]}")
