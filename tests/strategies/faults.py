"""What goes wrong with books and trades in real feeds; each fault changes a plain record in place."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from .market import SIZES, Record, once_in

# What goes wrong with a book: each changes a plain one in place.


def locked(record: Record, rng: Random) -> None:
    """Best bid = best ask, now and then with that price twice."""
    for _ in range(rng.choice([1, 1, 2])):
        record["data"]["asks"].insert(0, [record["data"]["bids"][0][0], rng.choice(SIZES)])


def crossed(record: Record, rng: Random) -> None:
    """Best bid > best ask."""
    data = record["data"]
    data["bids"], data["asks"] = data["asks"], data["bids"]


def one_sided(record: Record, rng: Random) -> None:
    """No level on one side or on both, or none that counts."""
    for side in rng.choice([["bids"], ["asks"], ["bids", "asks"]]):
        record["data"][side] = rng.choice([[], [[0, 1]], [[None, None, 3]]])


def unsorted(record: Record, rng: Random) -> None:
    """Levels in any order."""
    for side in ("bids", "asks"):
        rng.shuffle(record["data"][side])


def price_twice(record: Record, rng: Random) -> None:
    """A price that comes again, at once or at the end."""
    for side in rng.choice([["bids"], ["asks"], ["bids", "asks"]]):
        levels = record["data"][side]
        levels.insert(rng.choice([1, len(levels)]), [levels[0][0], rng.choice(SIZES)])


def levels_that_do_not_count(record: Record, rng: Random) -> None:
    """Levels to be dropped, also at the best price."""
    for side in ("bids", "asks"):
        levels = record["data"][side]
        price = levels[0][0]
        odd: list[Any] = [None, 0, -1, "x", "", "1e400", " 1", "01", True, [], {}, 1e-400, "0x1", "+1", "1.", "NaN"]
        for _ in range(rng.choice([1, 3])):
            level = rng.choice([[price, rng.choice(odd)], [rng.choice(odd), 1]])
            levels.insert(rng.randrange(len(levels) + 1), level)


def strings_for_numbers(record: Record, rng: Random) -> None:
    """Prices, sizes, times and the nonce as strings, in all forms of a JSON number."""
    data = record["data"]
    for side in ("bids", "asks"):
        data[side] = [[str(price), rng.choice([str(size), f"{size:.3e}"])] for price, size in data[side]]
    data["timestamp"], data["nonce"] = str(data["timestamp"]), str(data["nonce"])
    record["collected_at"] = str(record["collected_at"])


def longer_levels(record: Record, rng: Random) -> None:
    """Levels of three elements and more, mixed with two."""
    for side in ("bids", "asks"):
        for level in record["data"][side]:
            level.extend(rng.choice([[], [4], [1700000000.5, None], [None]]))


def odd_nonce(record: Record, rng: Random) -> None:
    """A nonce that is null, absent or none; those that come twice in this list would be duplicates if they counted."""
    odd = [None, None, 5.0, True, "", "5.5", 2**63, 2**63, 1 - 2**63, "9223372036854775807", "9223372036854775808", [1]]
    record["data"]["nonce"] = rng.choice(odd)
    if once_in(5, rng):
        del record["data"]["nonce"]


def odd_times(record: Record, rng: Random) -> None:
    """Times as floats and strings, null, absent, out of range, nonsense, on either clock."""
    for holder, key in ((record["data"], "timestamp"), (record, "collected_at")):
        time = holder[key]
        odd = [
            time,
            None,
            time + 0.75,
            str(time),
            f"{time}.9",
            0,
            -5,
            0.5,
            4102444800000,
            True,
            "soon",
            "",
            [time],
            1e300,
        ]
        holder[key] = rng.choice(odd)
    if once_in(3, rng):
        del record["collected_at"]
    elif once_in(3, rng):
        del record["data"]["timestamp"]


def no_times(record: Record, rng: Random) -> None:
    """Neither clock."""
    record["data"]["timestamp"], record["collected_at"] = rng.choice([(None, None), (0, "x"), ("", -1)])


def ahead(record: Record, rng: Random) -> None:
    """The exchange's clock runs ahead, just within what is allowed or beyond."""
    record["data"]["timestamp"] = record["collected_at"] + rng.choice([499, 500, 501, 1000, 1001, 60_001, 86_400_000])


def late(record: Record, rng: Random) -> None:
    """Earlier than what came before."""
    record["data"]["timestamp"] -= rng.choice([1, 100, 1000, 4000])


def strange_neighbours(record: Record, rng: Random) -> None:
    """Keys that nobody asked for, nested, long or large."""
    record["data"]["info"] = {"symbol": "x", "bids": None, "deep": json.loads("[" * 40 + "]" * 40)}
    record["received"] = [10**30, -0.0, 2**64 - 1, "\u2028 \x7f {[", {"": {}}]


BOOK_FAULTS: dict[str, Callable[[Record, Random], None]] = {
    "locked": locked,
    "crossed": crossed,
    "one_sided": one_sided,
    "unsorted": unsorted,
    "price_twice": price_twice,
    "levels_that_do_not_count": levels_that_do_not_count,
    "strings_for_numbers": strings_for_numbers,
    "longer_levels": longer_levels,
    "odd_nonce": odd_nonce,
    "odd_times": odd_times,
    "no_times": no_times,
    "ahead": ahead,
    "late": late,
    "strange_neighbours": strange_neighbours,
}


# What goes wrong with a trade


def odd_trade(trade: Record, record: Record, rng: Random) -> None:
    """One or two fields that are missing, of another kind or out of range."""
    time = trade["timestamp"]
    odd: dict[str, list[Any]] = {
        "id": [int(trade["id"]), None, "", 5, "5", 5.0, True, "ñ", 2**63, -3],
        "timestamp": [None, "x", str(time), time + 0.5, time - 900, time - 4000, time + 600, time + 61_000, 0],
        "side": [None, "BUY", "", "unknown", 1],
        "price": [None, 0, -1, str(trade["price"]), "x", True, "1e999", [], 5e-324],
        "amount": [None, 0, -0.5, str(trade["amount"]), "", False, 1e-400],
    }
    for _ in range(rng.choice([1, 1, 2])):
        key = rng.choice(list(odd))
        trade[key] = rng.choice(odd[key])
        if once_in(10, rng):
            del trade[key]
            break


def odd_trades(record: Record, rng: Random) -> None:
    """Some trades of the message are odd."""
    for trade in record["data"]:
        if not once_in(3, rng):
            odd_trade(trade, record, rng)
    if once_in(5, rng):
        record["collected_at"] = rng.choice([None, "", 0, record["collected_at"] + 0.5])


def trades_at_other_times(record: Record, rng: Random) -> None:
    """Trades behind or ahead of the books, within a message in any order."""
    for trade in record["data"]:
        trade["timestamp"] += rng.choice([-5000, -2000, -1000, -500, -100, 0, 30, 400, 501])


def no_trades(record: Record, rng: Random) -> None:
    """An empty message."""
    record["data"] = []


TRADE_FAULTS: dict[str, Callable[[Record, Random], None]] = {
    "odd_trades": odd_trades,
    "trades_at_other_times": trades_at_other_times,
    "no_trades": no_trades,
}
