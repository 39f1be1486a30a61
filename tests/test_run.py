"""`run` over what recorders really write: books and trades apart, odd bytes, lines of any length, unfinished ends."""

import base64
import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamproc.config import Settings, StateConfig
from streamproc.local.run import process_files
from streamproc.parquet.reader import read
from streamproc.simulate import Market, generate
from tests.outputs import assert_same
from tests.twin import Twin, compare_streams

SETTINGS = Settings(state=StateConfig(bar_idle_close=None))
RECORDINGS = sorted((Path(__file__).parents[2] / "shared" / "data").glob("*.ndjson.gz"))
"""Recorded traffic, where a folder of it lies beside the checkout."""


def book(t: int, **extra: Any) -> bytes:
    """A line with a valid book."""
    data = {"bids": [[9.0, 1.0], [8.5, 2.0]], "asks": [[11.0, 1.0]], "timestamp": t, "nonce": t, **extra}
    return orjson.dumps({"type": "orderbook", "exchange": "x", "symbol": "A/B", "data": data, "collected_at": t})


def run(folder: Path, content: bytes, name: str = "a.ndjson", **how: Any) -> dict[str, Any]:
    """The summary of a run over one file."""
    (folder / name).write_bytes(content)
    summary = process_files([str(folder / name)], folder / "out", settings=SETTINGS, overwrite=True, **how)
    rejected = sum(summary["rejected"].values())
    assert summary["records"] == summary["books"] + summary["trades"] + summary["duplicates"] + rejected
    assert rejected == contents_rejected(folder / "out")
    return summary


def contents_rejected(output: Path) -> int:
    """Lines in the files of rejects."""
    return sum(file.read_bytes().count(b"\n") for file in (output / "rejects").glob("*.ndjson"))


def test_books_and_trades_recorded_apart_are_merged(tmp_path: Path) -> None:
    lines = b"".join(generate(Market(symbols=2, seconds=20, levels=3, seed=2))).splitlines(keepends=True)
    (tmp_path / "whole.ndjson").write_bytes(b"".join(lines))
    for kind in (b"orderbook", b"trades"):
        part = [line for line in lines if b'"type":"' + kind + b'"' in line]
        (tmp_path / f"{kind.decode()}.ndjson").write_bytes(b"".join(part))
    process_files([str(tmp_path / "whole.ndjson")], tmp_path / "expected", settings=SETTINGS)
    parts = [str(tmp_path / "orderbook.ndjson"), str(tmp_path / "trades.ndjson")]
    merged = process_files(parts, tmp_path / "merged", settings=SETTINGS, merge=True)
    apart = process_files(parts, tmp_path / "apart", settings=SETTINGS)
    assert_same(tmp_path / "merged", tmp_path / "expected")
    assert merged["late_events"] == 0
    assert apart["late_events"] > 0, "one after the other is what merging is for"


@pytest.mark.parametrize(
    "long",
    [
        book(2000, note="x" * 50_000_000),
        book(2000)[:-1] + b" " * 50_000_000 + b"}",
        b'{"type":"' + b"x" * 50_000_000,
        b"\xff" * 50_000_000,
    ],
    ids=["valid", "blanks", "unfinished", "no text"],
)
def test_a_line_of_50_megabytes(long: bytes, tmp_path: Path) -> None:
    summary = run(tmp_path, b"\n".join((book(1000), long, book(3000), b"")))
    assert summary["records"] == 3
    assert summary["books"] + sum(summary["rejected"].values()) == 3
    assert read(str(tmp_path / "out" / "hf")).num_rows == summary["books"]


def test_a_book_of_200_000_levels(tmp_path: Path) -> None:
    bids = [[1.0 - k * 1e-6, 1.0] for k in range(200_000)]
    line = orjson.dumps(
        {
            "type": "orderbook",
            "exchange": "x",
            "symbol": "A/B",
            "data": {"bids": bids, "asks": [[1.5, 2.0]], "timestamp": 2000},
        }
    )
    summary = run(tmp_path, b"\n".join((book(1000), line, book(3000), b"")))
    assert summary["books"] == 3
    rows = read(str(tmp_path / "out" / "hf")).to_pylist()
    assert rows[1]["bid_price_L1"] == 1.0
    assert rows[1]["bid_reach_bps"] == pytest.approx(1e4 * (1.25 - 0.800001) / 1.25)


def test_ends_blanks_marks_and_carriage_returns(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + book(1000) + b"\r\n\r\n  \t\n" + book(2000) + b"\r\n\n" + book(3000)
    summary = run(tmp_path, content)
    assert (summary["records"], summary["books"]) == (3, 3)


def test_rejects_carry_reason_place_and_every_byte(tmp_path: Path) -> None:
    bad = [
        b'{"type":"orderbook"',
        b'\xff\xfe{"a":1}',
        b"[1]",
        b'{"type":"ticker","exchange":"x","symbol":"y","data":1}',
    ]
    summary = run(tmp_path, b"\n".join((book(2000), *bad, book(1000), book(2000), b"")))
    rejects = [
        json.loads(line) for file in (tmp_path / "out" / "rejects").iterdir() for line in file.read_text().splitlines()
    ]
    assert [reject["reason"] for reject in rejects] == ["malformed", "malformed", "malformed", "ignored_type", "late"]
    assert [reject["origin"] for reject in rejects] == [f"{tmp_path / 'a.ndjson'}:{line}" for line in (2, 3, 4, 5, 6)]
    assert [
        reject["raw"].encode() if "raw" in reject else base64.b64decode(reject["raw_base64"]) for reject in rejects
    ] == [*bad, book(1000)]
    assert all(reject["detail"] for reject in rejects)
    assert summary["duplicates"] == 1


def test_an_unfinished_last_line(tmp_path: Path) -> None:
    assert run(tmp_path, book(1000) + b"\n" + book(2000))["books"] == 2, "a whole object needs no newline"
    cut = run(tmp_path, book(1000) + b"\n" + book(2000)[:-3])
    assert cut["rejected"] == {"malformed": 1}, "no more can come without a state"


def test_open_bars_are_told_and_not_written_without_flush(tmp_path: Path) -> None:
    summary = run(tmp_path, book(1000) + b"\n", flush=False)
    assert (summary["open_bars"], summary["bar_rows"]) == (4, 0)
    flushed = run(tmp_path, book(1000) + b"\n")
    assert (flushed["open_bars"], flushed["bar_rows"]) == (0, 4)


def test_an_input_without_any_row_leaves_a_readable_summary(tmp_path: Path) -> None:
    summary = run(tmp_path, b"\n\n")
    assert summary["records"] == 0


if RECORDINGS:

    def test_recorded_traffic_equals_the_twin(tmp_path: Path) -> None:
        twin = Twin({"bar_idle_close": None})
        for path in RECORDINGS:
            for line in gzip.decompress(path.read_bytes()).splitlines():
                twin.feed(line)
        twin.flush()
        summary = process_files([str(path) for path in RECORDINGS], tmp_path / "out", settings=SETTINGS)
        assert summary["records"] == twin.counts["records"] > 0
        assert summary["rejected"] == {}
        for stream, expected in (("hf", twin.hf), ("bars", twin.bars)):
            assert not compare_streams(plain_rows(tmp_path / "out" / stream), expected)


def plain_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows as the twin writes them: times as integer ms."""
    rows = read(str(folder)).to_pylist()
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return round(value.timestamp() * 1000) if isinstance(value, datetime) else value
