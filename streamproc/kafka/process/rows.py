"""Row words -> JSON records of the topics hf and bars."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.schema import NULL_INT, WORDS_BEFORE_COLUMNS, Stream, columns


class RowEncoder:
    """Rows of one stream as JSON objects with the columns of `schema.columns`, null for null."""

    def __init__(self, stream: Stream, config: StateConfig) -> None:
        listed = columns(stream, config)
        self._names = [column.name for column in listed]
        kinds = [column.kind for column in listed[2:]]
        self._doubles = _words(kinds, {"double"})
        self._ints = _words(kinds, {"int", "time"})
        self._bools = _words(kinds, {"bool"})
        self._enums = _words(kinds, {"string"})
        self._texts = [column.values for column in listed[2:] if column.kind == "string"]
        gathered = [*self._doubles, *self._ints, *self._bools, *self._enums]
        self._in_order = itemgetter(*np.argsort(gathered).tolist())

    def encode(self, words: NDArray[np.int64], keys: Sequence[tuple[str, str]]) -> Iterator[bytes]:
        """Each of the rows (n, width); `keys` are exchange and symbol by symbol index."""
        doubles = words.view(np.float64)[:, self._doubles].tolist()  # orjson writes NaN as null
        ints = words[:, self._ints].tolist()
        if len(words) and (words[:, self._ints] == NULL_INT).any():
            ints = [[None if value == NULL_INT else value for value in row] for row in ints]
        bools = (words[:, self._bools] == 1).tolist()
        enums = words[:, self._enums].tolist()
        for symbol, *parts in zip(words[:, 0].tolist(), doubles, ints, bools, enums, strict=True):
            exchange, name = keys[symbol]
            parts[3] = [texts[value] for texts, value in zip(self._texts, parts[3], strict=True)]
            values = self._in_order(parts[0] + parts[1] + parts[2] + parts[3])
            yield orjson.dumps(dict(zip(self._names, (exchange, name, *values), strict=True)))


def _words(kinds: Sequence[Any], wanted: set[str]) -> list[int]:
    return [WORDS_BEFORE_COLUMNS + place for place, kind in enumerate(kinds) if kind in wanted]
