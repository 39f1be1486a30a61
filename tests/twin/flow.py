"""Section 4: what follows from a symbol's updates and trades, each window read from the lists of all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from .cells import Cells, finite, ratio
from .records import Book, total
from .settings import Settings, label, milliseconds
from .structure import best_imbalance, mid_price, spread


@dataclass(frozen=True)
class Update:
    """One valid book with what it is against the last valid one. Times in ms.

    `first` is the time of the symbol's first valid book since start or gap; updates that share it may be compared.
    """

    time: int
    book: Book
    first: int
    gap_ms: int | None
    log_return: float | None
    ofi_terms: tuple[float, ...] | None

    @property
    def mid(self) -> float:
        return mid_price(self.book)

    @property
    def spread(self) -> float:
        return spread(self.book)

    @property
    def relative_spread(self) -> float | None:
        return ratio(self.spread, self.mid)

    def is_tight(self, threshold: float) -> bool:
        return self.relative_spread is not None and self.relative_spread <= threshold

    @property
    def imbalance(self) -> float | None:
        return best_imbalance(self.book)


@dataclass(frozen=True)
class Fill:
    """One accepted trade: its own time, and that time made non-decreasing in arrival order (for windows)."""

    time: int
    window_time: int
    side: str | None
    price: float
    amount: float


def update_of(book: Book, time: int, last: Update | None, gap_reset_ms: int) -> Update:
    """The book against the last valid one; across more than `gap_reset` nothing is compared (section 2)."""
    if last is None:
        return Update(time, book, first=time, gap_ms=None, log_return=None, ofi_terms=None)
    gap_ms = time - last.time
    if gap_ms > gap_reset_ms:
        return Update(time, book, first=time, gap_ms=gap_ms, log_return=None, ofi_terms=None)
    step = log_quotient(mid_price(book), last.mid)
    return Update(time, book, last.first, gap_ms, log_return=step, ofi_terms=ofi_terms(book, last.book))


def log_quotient(now: float, then: float) -> float | None:
    """ln(now/then), the quotient first."""
    quotient = now / then
    return finite(math.log(quotient)) if quotient > 0 else None


def ofi_terms(now: Book, then: Book) -> tuple[float, ...]:
    """The signed sizes whose sum is e_n (Cont, Kukanov, Stoikov: arXiv 1011.6402), best level."""
    (bid, bid_size), (ask, ask_size) = now.bids[0], now.asks[0]
    (last_bid, last_bid_size), (last_ask, last_ask_size) = then.bids[0], then.asks[0]
    terms = []
    if bid >= last_bid:
        terms.append(bid_size)
    if bid <= last_bid:
        terms.append(-last_bid_size)
    if ask <= last_ask:
        terms.append(-ask_size)
    if ask >= last_ask:
        terms.append(last_ask_size)
    return tuple(terms)


def put_sum_of_terms(cells: Cells, column: str, updates: Iterable[Update]) -> None:
    """Σ e over the updates that have one; null with none."""
    with_terms = [update.ofi_terms for update in updates if update.ofi_terms is not None]
    terms = [term for of_update in with_terms for term in of_update]
    cells.put(column, total(terms) if with_terms else None, scale=total([abs(term) for term in terms]))


def returns_of(updates: Iterable[Update]) -> list[float]:
    """The returns that are not null."""
    return [update.log_return for update in updates if update.log_return is not None]


def since_gap(updates: Sequence[Update]) -> Iterator[Update]:
    """Updates of the present stretch without a gap, newest first."""
    return takewhile(lambda update: update.first == updates[-1].first, reversed(updates))


def later_than(edge: int, newest_first: Iterable[Update]) -> list[Update]:
    """Updates in (edge, now]; books of a symbol never go back in time, so the first at or before the edge ends it."""
    return list(takewhile(lambda update: update.time > edge, newest_first))


def put_update(cells: Cells, now: Update) -> None:
    """The columns of the present update alone."""
    cells.put("log_return", now.log_return)
    put_sum_of_terms(cells, "ofi", [now])
    cells.put("gap_ms", now.gap_ms)


def put_windows(cells: Cells, updates: Sequence[Update], fills: Sequence[Fill], settings: Settings) -> None:
    """The columns of every horizon at the last update; windows are (t - h, t]."""
    now = updates[-1]
    for horizon in settings.horizons:
        name, edge = f"{label(horizon)}s", now.time - milliseconds(horizon)
        window = later_than(edge, since_gap(updates))
        before = next((update for update in since_gap(updates) if update.time <= edge), None)
        cells.put(f"log_return_{name}", log_quotient(now.mid, before.mid) if before else None)
        put_returns(cells, name, returns_of(window))
        put_sum_of_terms(cells, f"ofi_{name}", window)
        put_trades(cells, name, fills, edge, now.time)
        cells.put(f"warm_{name}", now.first <= edge)  # t - first ≥ h


def put_returns(cells: Cells, name: str, returns: list[float]) -> None:
    """Sample standard deviation (null with fewer than 2) and Σ r² (null with none)."""
    deviation = None
    if len(returns) > 1:
        mean = total(returns) / len(returns)
        deviation = math.sqrt(total([(r - mean) ** 2 for r in returns]) / (len(returns) - 1))
    cells.put(f"realized_vol_{name}", deviation)
    cells.put(f"realized_var_{name}", total([r * r for r in returns]) if returns else None)


def put_trades(cells: Cells, name: str, fills: Sequence[Fill], edge: int, now: int) -> None:
    """Volume and imbalance of trades in (edge, now]; a trade later than now waits."""
    recent = takewhile(lambda fill: fill.window_time > edge, reversed(fills))
    window = [fill for fill in recent if fill.window_time <= now]
    buys = total([fill.amount for fill in window if fill.side == "buy"])
    sells = total([fill.amount for fill in window if fill.side == "sell"])
    cells.put(f"trade_vol_{name}", total([fill.amount for fill in window]) if fills else None)
    cells.put(f"tfi_{name}", ratio(buys - sells, buys + sells), scale=1)


def put_regime(cells: Cells, updates: Sequence[Update], settings: Settings) -> None:
    """The spread regime, and the share of (max(t - w, first), t] spent in "tight"."""
    now = updates[-1]
    threshold = settings.tight_spread_threshold
    cells.put("spread_regime", "tight" if now.is_tight(threshold) else "wide")
    start = max(now.time - milliseconds(settings.regime_window), now.first)
    tight_ms, until = 0, now.time
    for update in since_gap(updates):  # a regime lasts from its book to the next, cut at the window's edge
        if update.is_tight(threshold):
            tight_ms += until - max(update.time, start)
        until = update.time
        if until <= start:
            break
    cells.put(f"tight_frac_{label(settings.regime_window)}s", ratio(tight_ms, now.time - start))
