"""Levels and sides of a book: other forms of numbers, levels to be dropped, odd orders, odd books, wrong shapes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from streamproc.simulate.faults.fault import (
    BOOK_ACCEPTED,
    BOOK_INVALID,
    MALFORMED,
    Edit,
    Fault,
    Outcome,
    Record,
    book_fault,
    data,
    envelope,
    no_data,
    verbatim,
)

LevelOf = Callable[[float, float], tuple[str, int | None, Any]]
"""From the best bid and ask: the side, the place (None: last) and the level itself."""

NO_NUMBERS: dict[str, Any] = {
    "null": None,
    "zero": 0,
    "negative": -1.5,
    "negative_zero": -0.0,
    "word": "n/a",
    "empty_string": "",
    "string_zero": "0.0",
    "string_negative": "-1.5",
    "string_padded": " 1.5",
    "string_plus": "+1.5",
    "string_leading_zero": "01.5",
    "string_no_leading_digit": ".5",
    "string_hexadecimal": "0x10",
    "string_underscore": "1_0",
    "string_nan": "NaN",
    "string_infinity": "Infinity",
    "string_beyond_double": "1e999",
    "boolean": True,
}
"""What is no finite number above 0."""

_DROPPED_LEVELS = {
    **{f"size_{form}": (0, value) for form, value in NO_NUMBERS.items()},
    **{f"price_{form}": (1, value) for form, value in NO_NUMBERS.items()},
}

_NO_SIDES: dict[str, Any] = {"null": None, "object": {}, "string": "[]", "number": 0, "boolean": False}
_NO_LEVELS: dict[str, Any] = {
    "empty": [],
    "of_1": [61855.36],
    "null": None,
    "number": 61855.36,
    "string": "61855.36",
    "object": {"price": 61855.36, "size": 1.0},
}
_NO_BOOKS: dict[str, Any] = {"null": None, "array": [], "string": "{}", "number": 0, "boolean": True}


def _each(change: Callable[[list[list[Any]]], list[Any]], *sides: str) -> Edit:
    """Replace these sides of the book (both when none is named) by what `change` makes of them."""

    def edit(record: Record) -> None:
        book = record["data"]
        for side in sides or ("bids", "asks"):
            book[side] = change(book[side])

    return edit


def _mixed_threes(levels: list[list[Any]]) -> list[Any]:
    return [[*level, None] if number % 2 else level for number, level in enumerate(levels)]


def _other_forms(levels: list[list[Any]]) -> list[Any]:
    """The same numbers, written in ways that JSON allows."""
    return [[verbatim(f"{price:.30f}E+0"), verbatim(f"{size:.17e}")] for price, size in levels]


def _additional(name: str, outcome: Outcome, level_of: LevelOf) -> Fault:
    """A book with one more level."""

    def edit(record: Record) -> None:
        book = record["data"]
        side, place, level = level_of(book["bids"][0][0], book["asks"][0][0])
        book[side].insert(len(book[side]) if place is None else place, level)

    return book_fault(name, edit, outcome)


def _last_ask(level: Any, _bid: float, _ask: float) -> tuple[str, int | None, Any]:
    return "asks", None, level


def _to_be_dropped(name: str, keeps: int, value: Any) -> Fault:
    """A level on top of the bids of which one part is no number; element `keeps` is a good one."""
    return _additional(name, BOOK_ACCEPTED, lambda bid, _ask: ("bids", 0, [bid, value] if keeps == 0 else [value, 1.5]))


LEVEL_FAULTS = (
    book_fault("numbers_as_strings", _each(lambda side: [[str(part) for part in level] for level in side])),
    book_fault("prices_as_strings", _each(lambda side: [[repr(price), size] for price, size in side], "asks")),
    book_fault("numbers_in_other_forms", _each(_other_forms)),
    book_fault("levels_of_3", _each(lambda side: [[*level, 7] for level in side])),
    book_fault("levels_of_3_mixed", _each(_mixed_threes)),
    book_fault("levels_of_3_strings", _each(lambda side: [[*level, "1723161600.123456"] for level in side], "bids")),
    *(_to_be_dropped(name, *parts) for name, parts in _DROPPED_LEVELS.items()),
    _additional("integer_beyond_64_bits", BOOK_ACCEPTED, lambda _bid, _ask: ("asks", None, [10**25, 1.5])),
    book_fault("unsorted", _each(lambda side: side[::-1])),
    book_fault("unsorted_one_side", _each(lambda side: side[1:] + side[:1], "asks")),
    _additional("duplicate_price", BOOK_ACCEPTED, lambda bid, _ask: ("bids", 0, [bid, 0.5])),
    _additional("duplicate_price_apart", BOOK_ACCEPTED, lambda _bid, ask: ("asks", None, [ask, 0.5])),
    _additional("duplicate_price_string", BOOK_ACCEPTED, lambda bid, _ask: ("bids", 1, [str(bid), "0.5"])),
    _additional("locked", BOOK_ACCEPTED, lambda bid, _ask: ("asks", 0, [bid, 0.5])),
    _additional("locked_string", BOOK_ACCEPTED, lambda _bid, ask: ("bids", 0, [str(ask), 0.5])),
    _additional("crossed_by_dropped_level", BOOK_ACCEPTED, lambda _bid, ask: ("bids", 0, [2 * ask, 0])),
    _additional("crossed", BOOK_INVALID, lambda bid, _ask: ("asks", 0, [bid / 2, 0.5])),
    _additional("crossed_unsorted", BOOK_INVALID, lambda _bid, ask: ("bids", None, [2 * ask, 0.5])),
    book_fault("bids_empty", data(bids=[]), BOOK_INVALID),
    book_fault("asks_empty", data(asks=[]), BOOK_INVALID),
    book_fault("both_empty", data(bids=[], asks=[]), BOOK_INVALID),
    book_fault("bids_all_dropped", _each(lambda side: [[price, 0] for price, _ in side], "bids"), BOOK_INVALID),
    book_fault("both_all_dropped", _each(lambda side: [[None, size] for _, size in side]), BOOK_INVALID),
)

SHAPE_FAULTS = (
    *(book_fault(f"bids_{form}", data(bids=value), MALFORMED) for form, value in _NO_SIDES.items()),
    *(book_fault(f"asks_{form}", data(asks=value), MALFORMED) for form, value in _NO_SIDES.items()),
    book_fault("bids_absent", no_data("bids"), MALFORMED),
    book_fault("asks_absent", no_data("asks"), MALFORMED),
    *(_additional(f"level_{form}", MALFORMED, partial(_last_ask, value)) for form, value in _NO_LEVELS.items()),
    *(book_fault(f"book_data_{form}", envelope(data=value), MALFORMED) for form, value in _NO_BOOKS.items()),
)
