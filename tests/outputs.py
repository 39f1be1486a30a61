"""Outputs as tests compare them: all rows by stream, rejects as they came."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from streamproc.parquet.reader import read


class Output(NamedTuple):
    """Everything in an output that a reader sees."""

    hf: pa.Table
    bars: pa.Table
    rejects: Counter[tuple[str, str]]


def contents(output: Path) -> Output:
    """Rows in their order, and how often each text was rejected for each reason."""
    rejects: Counter[tuple[str, str]] = Counter()
    for file in sorted((output / "rejects").glob("*.ndjson")):
        for line in file.read_bytes().splitlines():
            reject: dict[str, Any] = orjson.loads(line)
            rejects[reject["reason"], str(reject.get("raw", reject.get("raw_base64")))] += 1
    return Output(read(str(output / "hf")), read(str(output / "bars")), rejects)


def assert_same(actual: Path, expected: Path) -> None:
    """Both outputs hold the same rows, bit for bit, and the same rejects."""
    left, right = contents(actual), contents(expected)
    for name in ("hf", "bars"):
        a, b = getattr(left, name), getattr(right, name)
        assert a.num_rows == b.num_rows, f"{name}: {a.num_rows} rows, not {b.num_rows}"
        assert a.equals(b), f"{name}: rows differ"
    assert left.rejects == right.rejects
