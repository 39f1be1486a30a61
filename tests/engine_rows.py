"""The engine as tests look at it: words as rows of plain Python, calls as those of the twin, its state as a dict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.engine import Batch, Engine, Rejected
from streamproc.schema import NULL_INT, SYMBOL_WORD, WORDS_BEFORE_COLUMNS, Column, Stream, columns

Words = NDArray[np.int64]
Row = dict[str, Any]
Store = dict[bytes, bytes]


def plain_value(column: Column, word: int, number: float) -> Any:
    """A word as Python has it: None for null. What is not finite stays so, for a comparison to see it."""
    if column.kind == "double":
        return None if math.isnan(number) else number
    if word == NULL_INT:
        return None
    if column.kind == "string":
        return column.values[word]
    return bool(word) if column.kind == "bool" else word


def rows_of(stream: Stream, config: StateConfig, words: Words, keys: Sequence[tuple[str, str]]) -> list[Row]:
    """Row words as column -> value."""
    listed = columns(stream, config)[WORDS_BEFORE_COLUMNS:]
    rows = []
    for ints, doubles in zip(words.tolist(), words.view(np.float64).tolist(), strict=True):
        exchange, symbol = keys[ints[SYMBOL_WORD]]
        row: Row = {"exchange": exchange, "symbol": symbol}
        for place, column in enumerate(listed, start=WORDS_BEFORE_COLUMNS):
            row[column.name] = plain_value(column, ints[place], doubles[place])
        rows.append(row)
    return rows


def chunk(lines: Iterable[bytes]) -> bytes:
    """Lines as a source gives them."""
    return b"".join(line + b"\n" for line in lines)


@dataclass
class EngineRows:
    """An engine that keeps all that came out of it.

    Attributes: `hf_words`, `bar_words`, as they came; `keys`, the symbols by the rows' first word.
    """

    config: Mapping[str, Any]
    engine: Engine = field(init=False)
    hf_words: list[Words] = field(default_factory=list)
    bar_words: list[Words] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(StateConfig(**self.config))

    def feed(self, line: bytes) -> None:
        """Take one line."""
        self.feed_lines([line])

    def feed_lines(self, lines: Iterable[bytes]) -> None:
        """Take lines in one call."""
        self.keep(self.engine.feed(chunk(lines)))

    def flush(self) -> None:
        """Close all open bars."""
        self.keep(self.engine.flush())

    def keep(self, batch: Batch) -> None:
        """Keep a batch, whose words are good for one call only."""
        self.hf_words.append(batch.hf.copy())
        self.bar_words.append(batch.bars.copy())
        self.rejected += batch.rejected

    @property
    def hf(self) -> list[Row]:
        return self._rows("hf", self.hf_words)

    @property
    def bars(self) -> list[Row]:
        return self._rows("bars", self.bar_words)

    def _rows(self, stream: Stream, batches: Sequence[Words]) -> list[Row]:
        keys = self.engine.symbols.keys
        return [row for words in batches for row in rows_of(stream, self.engine.config, words, keys)]

    @property
    def counts(self) -> dict[str, Any]:
        """As the twin has them."""
        engine = self.engine
        return {**engine.counts, "rejected": dict(engine.reasons), "open_bars": engine.open_bars}

    @property
    def rejects(self) -> list[tuple[str, bytes]]:
        return [(rejected.reason, rejected.raw) for rejected in self.rejected]


def written(engine: Engine, store: Store) -> int:
    """Write an engine's changes to a store; how many bytes of values that took."""
    changes = engine.changes()
    for key in changes.deletes:
        del store[key]
    store.update(changes.puts)
    return sum(len(value) for _, value in changes.puts)


def restored(config: StateConfig, store: Mapping[bytes, bytes]) -> Engine:
    """A fresh engine that goes on from a store."""
    engine = Engine(config)
    engine.restore(sorted(store.items()))
    return engine
