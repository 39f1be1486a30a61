"""The one list of output columns.

Everything that knows columns takes them from here: the words of a row as kernels write them, the Arrow schema of the
files, the JSON Schema of the topic records and `docs/columns.md` (`python -m streamproc.schema > docs/columns.md`).

A row's words: word 0 the symbol's index, word 1 the line in its chunk that caused the row, then the columns in this
order without `exchange` and `symbol`. Names with braces stand for a family: one column a level, band or horizon.
"""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streamproc.config import StateConfig

COLUMNS_VERSION = 1
NULL_INT = -(2**63)
SYMBOL_WORD = 0
LINE_WORD = 1
WORDS_BEFORE_COLUMNS = 2

Stream = Literal["hf", "bars"]
Kind = Literal["double", "int", "bool", "time", "string"]

REGIMES = ("wide", "tight")
BAR_REASONS = ("time", "idle", "flush")

ONE_SIDED, EMPTY, CROSSED, LOCKED, UNSORTED = 1, 2, 4, 8, 16
"""Bits of `book_flags`."""


@dataclass(frozen=True)
class Column:
    """A column: its name, type, unit, formula and, where it is not plain arithmetic, where the formula is from."""

    name: str
    kind: Kind
    unit: str
    formula: str
    source: str = ""
    nullable: bool = True
    values: tuple[str, ...] = ()

    @property
    def arrow_type(self) -> pa.DataType:
        return {
            "double": pa.float64(),
            "int": pa.int64(),
            "bool": pa.bool_(),
            "time": pa.timestamp("ms", tz="UTC"),
            "string": pa.string(),
        }[self.kind]

    @property
    def json_type(self) -> dict[str, Any]:
        names = {"double": "number", "int": "integer", "bool": "boolean", "time": "integer", "string": "string"}
        name = names[self.kind]
        described: dict[str, Any] = {"type": [name, "null"] if self.nullable else name}
        if self.values:
            described["enum"] = [*self.values, None] if self.nullable else list(self.values)
        return described | {"description": f"{self.formula} [{self.unit}]" if self.unit else self.formula}


_KEY = (
    Column("exchange", "string", "", "exchange as it came", nullable=False),
    Column("symbol", "string", "", "symbol as it came", nullable=False),
)

_STOIKOV = "S. Stoikov, The micro-price, 2018, sec. 1 (weighted mid)"
_OFI = "R. Cont, A. Kukanov, S. Stoikov, The price impact of order book events, arXiv 1011.6402, eq. 4"
_RV = "T. Andersen et al., Modeling and forecasting realized volatility, 2003"
_HERFINDAHL = "Herfindahl-Hirschman index"

HF_FIXED = (
    Column("timestamp", "time", "ms", "event time of the book", nullable=False),
    Column("collected_at", "time", "ms", "receive time of the book"),
    Column("latency_ms", "int", "ms", "collected_at - timestamp; null unless exchange_clock"),
    Column(
        "exchange_clock",
        "bool",
        "",
        "whether the event time is the exchange's own (else it is collected_at)",
        nullable=False,
    ),
    Column("nonce", "int", "", "the exchange's sequence number"),
    Column("generation", "int", "", "0 until a replay", nullable=False),
    Column("best_bid", "double", "price", "b_1"),
    Column("best_ask", "double", "price", "a_1"),
    Column("mid_price", "double", "price", "(b_1 + a_1) / 2"),
    Column("spread", "double", "price", "a_1 - b_1"),
    Column("relative_spread", "double", "ratio", "spread / mid_price"),
    Column("microprice", "double", "price", "(b_1 qa_1 + a_1 qb_1) / (qb_1 + qa_1)", _STOIKOV),
    Column("microprice_drift", "double", "price", "microprice - mid_price"),
    Column("imbalance_L1", "double", "ratio", "(qb_1 - qa_1) / (qb_1 + qa_1)"),
    Column("bid_reach_bps", "double", "bps", "1e4 |p - mid| / mid of the deepest bid received"),
    Column("ask_reach_bps", "double", "bps", "the same of the deepest ask"),
    Column(
        "bid_50pct_depth_levels",
        "int",
        "levels",
        "smallest k with q_1 + .. + q_k >= half the size of the top max_levels bids",
    ),
    Column("ask_50pct_depth_levels", "int", "levels", "the same of the asks"),
    Column(
        "bid_concentration",
        "double",
        "ratio",
        "sum of (q_i / Q)^2 over the top max_levels bids, Q their sum",
        _HERFINDAHL,
    ),
    Column("ask_concentration", "double", "ratio", "the same of the asks", _HERFINDAHL),
    Column("vwap_bid_5", "double", "price", "size-weighted price of the top 5 bids"),
    Column("vwap_ask_5", "double", "price", "size-weighted price of the top 5 asks"),
    Column("vwap_spread", "double", "price", "vwap_ask_5 - vwap_bid_5"),
    Column(
        "smart_bid_depth",
        "double",
        "size",
        "sum of q_i exp(-k |p_i - mid| / mid) over the top 50 bids, k = smart_depth_decay",
    ),
    Column("smart_ask_depth", "double", "size", "the same of the asks"),
    Column("smart_depth_imbalance", "double", "ratio", "(bid - ask) / (bid + ask) of the smart depths"),
    Column(
        "lambda_proxy",
        "double",
        "price/size",
        "spread / volume of both sides within the first of bands_bps (not Kyle's lambda)",
    ),
    Column(
        "amihud_proxy",
        "double",
        "price/size",
        "spread / volume of both sides within the second of bands_bps (not Amihud's ratio)",
    ),
    Column("bid_slope", "double", "price/size", "|p_5 - p_1| / (q_1 + .. + q_5); null with fewer than 5 levels"),
    Column("ask_slope", "double", "price/size", "the same of the asks"),
    Column("book_flags", "int", "bits", "1 one-sided, 2 empty, 4 crossed, 8 locked, 16 unsorted", nullable=False),
    Column("log_return", "double", "ratio", "ln(mid_n / mid_{n-1}); null for the first valid book and across a gap"),
    Column(
        "ofi", "double", "size", "order-flow imbalance of this update at the best level; null as log_return is", _OFI
    ),
    Column("gap_ms", "int", "ms", "time since the symbol's last valid book"),
    Column(
        "spread_regime",
        "string",
        "",
        "tight when relative_spread <= tight_spread_threshold",
        nullable=False,
        values=REGIMES,
    ),
    Column(
        "tight_frac_{w}s", "double", "ratio", "share of the time in the last {w} s since start or gap spent in tight"
    ),
    Column("updates", "int", "books", "valid books since the previous row, this one included", nullable=False),
    Column("invalid_books", "int", "books", "invalid books since the previous row", nullable=False),
)

HF_LEVEL = (
    Column("bid_price_L{i}", "double", "price", "i-th best bid"),
    Column("bid_size_L{i}", "double", "size", "size at the i-th best bid"),
    Column("ask_price_L{i}", "double", "price", "i-th best ask"),
    Column("ask_size_L{i}", "double", "size", "size at the i-th best ask"),
)

HF_BAND = (
    Column("bid_vol_band_{lo}_{hi}bps", "double", "size", "size of all bids with {lo} <= 1e4 |p - mid| / mid < {hi}"),
    Column("ask_vol_band_{lo}_{hi}bps", "double", "size", "the same of the asks"),
    Column("imb_band_{lo}_{hi}bps", "double", "ratio", "(bid - ask) / (bid + ask) of the band; null when both are 0"),
)

HF_HORIZON = (
    Column("log_return_{h}s", "double", "ratio", "ln(mid_t / last valid mid at or before t - {h} s)"),
    Column(
        "realized_vol_{h}s", "double", "ratio", "sample standard deviation (n - 1) of log_return over (t - {h} s, t]"
    ),
    Column("realized_var_{h}s", "double", "ratio", "sum of log_return^2 over (t - {h} s, t]", _RV),
    Column("ofi_{h}s", "double", "size", "sum of ofi over (t - {h} s, t]", _OFI),
    Column("trade_vol_{h}s", "double", "size", "sum of trade amounts over (t - {h} s, t]; null before the first trade"),
    Column("tfi_{h}s", "double", "ratio", "(buy - sell) / (buy + sell) of the trades over (t - {h} s, t]"),
    Column(
        "warm_{h}s",
        "bool",
        "",
        "whether (t - {h} s, t] lies after the first valid book since start or gap",
        nullable=False,
    ),
)

BAR_FIXED = (
    Column("timestamp", "time", "ms", "start of the bar", nullable=False),
    Column("bar_end", "time", "ms", "end of the bar, exclusive", nullable=False),
    Column("duration", "double", "s", "length of the bar", nullable=False),
    Column("generation", "int", "", "0 until a replay", nullable=False),
    Column("open", "double", "price", "first mid_price in the bar"),
    Column("high", "double", "price", "highest mid_price"),
    Column("low", "double", "price", "lowest mid_price"),
    Column("close", "double", "price", "last mid_price"),
    Column("volume", "double", "size", "sum of trade amounts; null when the symbol has had no trade yet"),
    Column("buy_volume", "double", "size", "the same of buys"),
    Column("sell_volume", "double", "size", "the same of sells"),
    Column("trade_count", "int", "trades", "trades in the bar", nullable=False),
    Column("vwap", "double", "price", "sum of price times amount / volume; null without trades"),
    Column("mean_spread", "double", "price", "mean spread of the valid books"),
    Column("min_spread", "double", "price", "smallest spread"),
    Column("max_spread", "double", "price", "largest spread"),
    Column("mean_relative_spread", "double", "ratio", "mean relative_spread of the valid books"),
    Column("mean_imbalance_L1", "double", "ratio", "mean imbalance_L1 of the valid books"),
    Column(
        "sum_ofi", "double", "size", "sum of ofi over the updates whose later book is in the bar; null with none", _OFI
    ),
    Column("realized_variance", "double", "ratio", "sum of log_return^2, same rule", _RV),
    Column("count", "int", "books", "valid books in the bar", nullable=False),
    Column("invalid_books", "int", "books", "invalid books in the bar", nullable=False),
    Column(
        "late_events",
        "int",
        "events",
        "books and trades that fell in closed bars of this duration since its last written bar",
        nullable=False,
    ),
    Column("bar_reason", "string", "", "what closed the bar", nullable=False, values=BAR_REASONS),
    Column(
        "max_gap_ms",
        "int",
        "ms",
        "longest time without a valid book inside the bar, its edges included",
        nullable=False,
    ),
)


def shortest(number: float) -> str:
    """The shortest decimal of a configured number as column names carry it: 5.0 -> "5", 0.5 -> "0.5"."""
    return np.format_float_positional(number, trim="-")


def word(stream: Stream, name: str) -> int:
    """Position in a row's words of a column that every configuration has."""
    columns = HF_FIXED if stream == "hf" else BAR_FIXED
    return WORDS_BEFORE_COLUMNS + [column.name for column in columns].index(name)


LEVELS_WORD = WORDS_BEFORE_COLUMNS + len(HF_FIXED)
"""Where an hf row's levels begin; bands follow them, horizons follow the bands."""

BAR_WIDTH = WORDS_BEFORE_COLUMNS + len(BAR_FIXED)


class RowBuffer(NamedTuple):
    """Rows (n, width), seen as doubles and as ints; how many there are stands in the engine's counts."""

    doubles: NDArray[np.float64]
    ints: NDArray[np.int64]
    counts: NDArray[Any]

    @classmethod
    def of(cls, words: NDArray[np.int64], counts: NDArray[Any]) -> "RowBuffer":
        """A buffer over words."""
        return cls(words.view(np.float64), words, counts)


def bands_word(levels: int) -> int:
    """Where an hf row's bands begin."""
    return LEVELS_WORD + len(HF_LEVEL) * levels


def horizons_word(levels: int, bands: int) -> int:
    """Where an hf row's horizons begin."""
    return bands_word(levels) + len(HF_BAND) * bands


def width(stream: Stream, config: StateConfig) -> int:
    """Words of a row."""
    return WORDS_BEFORE_COLUMNS + len(columns(stream, config)) - len(_KEY)


def _named(column: Column, **values: str) -> Column:
    def fill(text: str) -> str:
        for key, value in values.items():
            text = text.replace("{" + key + "}", value)
        return text

    return replace(column, name=fill(column.name), formula=fill(column.formula))


def _hf_columns(config: StateConfig) -> Iterator[Column]:
    yield from _KEY
    for column in HF_FIXED:
        yield _named(column, w=shortest(config.regime_window))
    for i in range(1, config.max_levels + 1):
        for column in HF_LEVEL:
            yield _named(column, i=str(i))
    for lo, hi in zip((0.0, *config.bands_bps), config.bands_bps, strict=False):
        for column in HF_BAND:
            yield _named(column, lo=shortest(lo), hi=shortest(hi))
    for horizon in config.horizons:
        for column in HF_HORIZON:
            yield _named(column, h=shortest(horizon))


@functools.cache
def columns(stream: Stream, config: StateConfig) -> tuple[Column, ...]:
    """All columns of a stream under a configuration, `exchange` and `symbol` first."""
    return tuple(_hf_columns(config)) if stream == "hf" else _KEY + BAR_FIXED


@functools.cache
def arrow_schema(stream: Stream, config: StateConfig) -> pa.Schema:
    """Arrow schema of a stream's rows; its metadata tells the columns' version, the configuration and its hash."""
    return pa.schema(
        [pa.field(column.name, column.arrow_type, nullable=column.nullable) for column in columns(stream, config)],
        metadata={
            "streamproc.columns": str(COLUMNS_VERSION),
            "streamproc.config": config.canonical(),
            "streamproc.config_hash": config.hash,
        },
    )


def json_schema(stream: Stream, config: StateConfig) -> dict[str, Any]:
    """JSON Schema (2020-12) of a stream's topic records."""
    listed = columns(stream, config)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"streamproc.{stream}",
        "type": "object",
        "properties": {column.name: column.json_type for column in listed},
        "required": [column.name for column in listed],
        "additionalProperties": False,
    }


def _table(listed: tuple[Column, ...]) -> Iterator[str]:
    yield "| column | type | unit | null | what it is | source |"
    yield "|---|---|---|---|---|---|"
    for column in listed:
        formula = column.formula.replace("|", "\\|")
        kind = {"time": "timestamp[ms, UTC]", "int": "int64"}.get(column.kind, column.kind)
        null = "yes" if column.nullable else "no"
        yield f"| `{column.name}` | {kind} | {column.unit} | {null} | {formula} | {column.source} |"


_INTRODUCTION = """\
# Columns

Made from `streamproc/schema.py` (`make docs`). b_i, a_i, p_i, q_i: the i-th best price and size, from 1. Times are UTC;
in topics they are integer milliseconds. An unknown value is null, never 0 and never NaN. `{i}`, `{lo}_{hi}`, `{h}`,
`{w}` stand for each level, band, horizon and the regime window of the configuration.
"""


def reference() -> str:
    """The text of `docs/columns.md`."""
    lines = [
        _INTRODUCTION,
        "## `hf`: feature rows",
        "",
        *_table((*_KEY, *HF_FIXED, *HF_LEVEL, *HF_BAND, *HF_HORIZON)),
        "",
        "## `bars`",
        "",
        *_table((*_KEY, *BAR_FIXED)),
        "",
        "## JSON Schema of the topic records under the default configuration",
        "",
    ]
    streams: tuple[Stream, ...] = ("hf", "bars")
    for stream in streams:
        schema = json.dumps(json_schema(stream, StateConfig()), indent=1)
        lines += [f"`streamproc.{stream}`:", "", "```json", schema, "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference(), end="")
