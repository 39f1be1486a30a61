"""Section 6: bars, each from the list of its own events."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .cells import Cells, ratio
from .flow import Fill, Update, put_sum_of_terms, returns_of
from .records import total
from .settings import milliseconds


@dataclass(eq=False)
class Bar:
    """One bar [start, end) in ms of one duration in seconds, with all that fell in it while it was open."""

    duration: float
    start: int
    updates: list[Update] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    invalid_books: int = 0

    @property
    def end(self) -> int:
        return self.start + milliseconds(self.duration)

    @property
    def is_written(self) -> bool:
        """A bar is written when it holds a valid book or a trade."""
        return bool(self.updates or self.fills)


@dataclass(frozen=True)
class Closing:
    """What a bar's row says beyond what fell in the bar.

    `has_traded`: the symbol has had an accepted trade by the time the bar closes, the closing record included.
    """

    exchange: str
    symbol: str
    has_traded: bool
    late_events: int
    reason: str


def bar_row(bar: Bar, closing: Closing) -> dict[str, Any]:
    """The bar's row, with its `_scale`."""
    cells = Cells()
    cells.put("exchange", closing.exchange)
    cells.put("symbol", closing.symbol)
    cells.put("timestamp", bar.start)
    cells.put("bar_end", bar.end)
    cells.put("duration", float(bar.duration))
    cells.put("generation", 0)
    put_prices(cells, bar)
    put_volumes(cells, bar, has_traded=closing.has_traded)
    put_book_means(cells, bar)
    put_sum_of_terms(cells, "sum_ofi", bar.updates)
    returns = returns_of(bar.updates)
    cells.put("realized_variance", total([r * r for r in returns]) if returns else None)
    cells.put("count", len(bar.updates))
    cells.put("invalid_books", bar.invalid_books)
    cells.put("late_events", closing.late_events)
    cells.put("bar_reason", closing.reason)
    edges = [bar.start, *(update.time for update in bar.updates), bar.end]
    cells.put("max_gap_ms", max(later - earlier for earlier, later in pairwise(edges)))
    return cells.row()


def put_prices(cells: Cells, bar: Bar) -> None:
    """Open, high, low and close of the mid; null without a valid book."""
    mids = [update.mid for update in bar.updates]
    cells.put("open", mids[0] if mids else None)
    cells.put("high", max(mids) if mids else None)
    cells.put("low", min(mids) if mids else None)
    cells.put("close", mids[-1] if mids else None)


def put_volumes(cells: Cells, bar: Bar, *, has_traded: bool) -> None:
    """Volumes are 0 when the stream carries trades but none fell in, null while it has carried none."""
    sides = {
        "volume": [fill.amount for fill in bar.fills],
        "buy_volume": [fill.amount for fill in bar.fills if fill.side == "buy"],
        "sell_volume": [fill.amount for fill in bar.fills if fill.side == "sell"],
    }
    for column, amounts in sides.items():
        cells.put(column, total(amounts) if has_traded else None)
    cells.put("trade_count", len(bar.fills))
    cells.put("vwap", ratio(total([fill.price * fill.amount for fill in bar.fills]), total(sides["volume"])))


def put_book_means(cells: Cells, bar: Bar) -> None:
    """Spreads and imbalance over the valid books in the bar; null with none."""
    spreads = [update.spread for update in bar.updates]
    largest_mid = max((update.mid for update in bar.updates), default=0.0)
    cells.put("mean_spread", mean(spreads), scale=largest_mid)
    cells.put("min_spread", min(spreads, default=None), scale=largest_mid)
    cells.put("max_spread", max(spreads, default=None), scale=largest_mid)
    cells.put("mean_relative_spread", mean([update.relative_spread for update in bar.updates]), scale=1)
    cells.put("mean_imbalance_L1", mean([update.imbalance for update in bar.updates]), scale=1)


def mean(values: list[float] | list[float | None]) -> float | None:
    """Their mean; null with none, or where one of them is null."""
    known = [value for value in values if value is not None]
    return total(known) / len(known) if known and len(known) == len(values) else None
