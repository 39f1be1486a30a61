"""The simulated market: its bytes repeat, its lines have the recorders' form, its statistics are a market's."""

import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import orjson
import pytest

from streamproc.errors import UsageError
from streamproc.simulate import DEFAULT_START_MS, Market, Simulation, generate
from streamproc.simulate.draws import (
    DECAY_Q24,
    QUANTILE_Q16,
    Draws,
    decay_q24,
    exponential_quantile,
    power_of_two,
    random_below,
    random_exponential,
    symbol_seeds,
)
from streamproc.simulate.listing import EXCHANGES, instrument_terms, instruments
from streamproc.simulate.text import put_datetime, put_decimal

SECONDS = 300
WATCHED = Market(symbols=5, seconds=SECONDS, seed=7)

Array = npt.NDArray[np.float64]
Key = tuple[str, str]


def whole(market: Market, **options: Any) -> bytes:
    return b"".join(generate(market, **options))


@cache
def watched_lines() -> list[bytes]:
    return whole(WATCHED).splitlines()


@cache
def watched_records() -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in watched_lines()]


class History(NamedTuple):
    """One symbol's ordinary stream as arrays."""

    times_ms: Array
    bids: Array
    asks: Array
    depths: Array
    trade_times_ms: Array
    signed_amounts: Array

    @property
    def mids(self) -> Array:
        return (self.bids + self.asks) / 2


@cache
def histories() -> dict[Key, History]:
    columns: dict[Key, tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for record in watched_records():
        books, trades = columns[record["exchange"], record["symbol"]]
        data = record["data"]
        if record["type"] == "orderbook":
            depth = sum(size for _, size in data["bids"] + data["asks"])
            books.append((data["timestamp"], data["bids"][0][0], data["asks"][0][0], depth))
        else:
            trades += [(t["timestamp"], t["amount"] if t["side"] == "buy" else -t["amount"]) for t in data]
    return {key: History(*np.array(books).T, *np.array(trades).T) for key, (books, trades) in columns.items()}


def by_symbol(records: Iterable[dict[str, Any]]) -> dict[Key, list[dict[str, Any]]]:
    found: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        found[record["exchange"], record["symbol"]].append(record)
    return found


def terms_of(market: Market) -> dict[Key, Any]:
    listed = instruments(market.symbols)
    return {
        (one.exchange.name, one.symbol): term
        for one, term in zip(listed, instrument_terms(listed, market), strict=True)
    }


class TestRepeats:
    def test_equal_markets_give_equal_bytes(self) -> None:
        market = Market(symbols=3, seconds=5, seed=11)
        assert whole(market) == whole(Market(symbols=3, seconds=5, seed=11))
        assert whole(market) != whole(Market(symbols=3, seconds=5, seed=12))

    @pytest.mark.parametrize(
        ("faults", "digest"),
        [
            (False, "bb6c31b2c99845df372f2c6ce2776b35e14b9d0493afb483a263eacd7604013b"),
            (True, "62f6f62aea18a57fef6940e81823ea890847be38a6a850399fa32aca78719cd8"),
        ],
    )
    def test_the_bytes_are_the_same_on_every_machine(self, faults: bool, digest: str) -> None:
        market = Market(symbols=7, seconds=30, levels=5, faults=faults)
        assert hashlib.sha256(whole(market)).hexdigest() == digest

    @pytest.mark.parametrize("faults", [False, True])
    @pytest.mark.parametrize("chunk_bytes", [1, 5_000, 300_000])
    def test_chunks_are_whole_lines_and_their_size_changes_nothing(self, faults: bool, chunk_bytes: int) -> None:
        market = Market(symbols=4, seconds=20, faults=faults)
        pieces = list(generate(market, chunk_bytes))
        assert all(piece.endswith(b"\n") for piece in pieces)
        assert b"".join(pieces) == whole(market)
        if not faults:
            longest_line = max(map(len, watched_lines()))
            assert max(map(len, pieces)) <= chunk_bytes + longest_line

    def test_seeds_count_by_their_lowest_64_bits(self) -> None:
        streams = [whole(Market(symbols=1, seconds=2, seed=seed)) for seed in (0, 1, -1, 2**64 + 1, 2**64 - 1)]
        assert len(set(streams[:3])) == 3
        assert streams[3:] == streams[1:3]

    def test_the_tables_do_not_hang_on_the_last_bit_of_a_logarithm(self) -> None:
        exact = [-math.log(1 - i / 1024) * 2**16 for i in range(len(QUANTILE_Q16))]
        exact += [math.exp(-i / 64) * 2**24 for i in range(len(DECAY_Q24))]
        rounded = [*QUANTILE_Q16, *DECAY_Q24]
        assert max(abs(a - b) for a, b in zip(exact, rounded, strict=True)) < 0.5 - 1e-5


class TestForm:
    def test_lines_are_the_json_that_python_writes(self) -> None:
        lines = whole(Market(symbols=140, seconds=5)).splitlines()
        assert len(lines) > 8_000
        for line in lines:
            assert json.dumps(json.loads(line), separators=(",", ":")).encode() == line

    def test_keys_are_those_of_ccxt_in_the_order_of_the_recorders(self) -> None:
        for record in watched_records()[:2_000]:
            assert list(record) == ["type", "exchange", "symbol", "data", "collected_at"]
            if record["type"] == "orderbook":
                assert list(record["data"]) == ["bids", "asks", "timestamp", "datetime", "nonce", "symbol"]
                assert record["data"]["symbol"] == record["symbol"]
            for trade in record["data"] if record["type"] == "trades" else ():
                assert " ".join(trade) == "id timestamp datetime symbol order type side takerOrMaker price amount cost"
                assert trade["symbol"] == record["symbol"]
                assert trade["cost"] == pytest.approx(trade["price"] * trade["amount"], rel=1e-14)

    def test_datetimes_tell_the_timestamps(self) -> None:
        for record in watched_records()[:2_000]:
            for stamped in [record["data"]] if record["type"] == "orderbook" else record["data"]:
                told = datetime.fromisoformat(stamped["datetime"])
                assert round(told.timestamp() * 1000) == stamped["timestamp"]

    def test_lines_come_in_order_of_arrival_after_a_small_varying_latency(self) -> None:
        arrivals = [record["collected_at"] for record in watched_records()]
        assert arrivals == sorted(arrivals)
        for records in by_symbol(watched_records()).values():
            books = [r for r in records if r["type"] == "orderbook"]
            latencies = [r["collected_at"] - r["data"]["timestamp"] for r in books]
            assert 1 <= min(latencies) < np.median(latencies) < max(latencies) < 2_000

    def test_times_and_numbers_of_a_symbol_go_forwards(self) -> None:
        for records in by_symbol(watched_records()).values():
            books = [r["data"] for r in records if r["type"] == "orderbook"]
            nonces = [book["nonce"] for book in books if book["nonce"] is not None]
            assert all(after - before >= 2 for before, after in itertools.pairwise(nonces))
            times = [r["data"]["timestamp"] if r["type"] == "orderbook" else r["data"][0]["timestamp"] for r in records]
            assert times == sorted(times)
            assert times[0] >= DEFAULT_START_MS
            assert times[-1] < DEFAULT_START_MS + SECONDS * 1000
            ids = [int(trade["id"]) for r in records if r["type"] == "trades" for trade in r["data"]]
            assert ids == list(range(ids[0], ids[0] + len(ids)))

    def test_the_start_is_a_parameter(self) -> None:
        first = orjson.loads(whole(Market(symbols=1, seconds=10, start_ms=4_000_000_000_000)).splitlines()[0])
        assert 4_000_000_000_000 <= first["collected_at"] < 4_000_000_010_000

    @pytest.mark.parametrize("decimals", range(0, 15))
    def test_decimals_are_written_as_json_writes_floats(self, decimals: int) -> None:
        out = np.zeros(64, dtype=np.uint8)
        draws = Draws(decimals)
        values = [1, 9, 10, 99, 100, 10**15] + [draws.bits() % 10 ** (1 + n % 15) + 1 for n in range(300)]
        for value in values:
            expected = json.dumps(float(Decimal(value).scaleb(-decimals)))
            if "e+" not in expected and value < 10**15:
                assert out[: written_decimal(out, value, decimals)].tobytes().decode() == expected

    def test_datetimes_are_right_on_every_day_of_a_century(self) -> None:
        out = np.zeros(64, dtype=np.uint8)
        moment = datetime(2001, 9, 9, 23, 59, 58, 7_000, tzinfo=UTC)
        while moment.year < 2100:
            end = written_datetime(out, round(moment.timestamp() * 1000))
            assert out[:end].tobytes().decode() == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            moment += timedelta(days=1, milliseconds=1_237)


@numba.njit
def written_decimal(out: Any, value: Any, decimals: Any) -> Any:
    return put_decimal(out, 0, value, decimals)


@numba.njit
def written_datetime(out: Any, time_ms: Any) -> Any:
    return put_datetime(out, 0, time_ms)


class TestListing:
    def test_the_first_symbols_are_the_well_known_ones_on_several_exchanges(self) -> None:
        listed = [(one.exchange.name, one.symbol) for one in instruments(6)]
        assert listed[0] == ("binance", "BTC/USDT")
        assert ("binance", "ETH/USDT") in listed
        assert {exchange for exchange, _ in listed} == {exchange.name for exchange in EXCHANGES}

    def test_names_differ_for_as_many_symbols_as_there_may_be(self) -> None:
        listed = instruments(100_000)
        assert len({(one.exchange.name, one.symbol) for one in listed}) == 100_000

    def test_ticks_prices_and_rates_differ(self) -> None:
        terms = instrument_terms(instruments(100), Market(symbols=100, seconds=1))
        for field in ("price_decimals", "size_decimals", "tick", "spread_ticks", "latency_us", "gap_ticks"):
            assert len(np.unique(terms[field])) > 1, field
        prices = terms["price"] / 10.0 ** terms["price_decimals"]
        assert prices.max() / prices.min() > 1e6
        assert terms["base_rate_q32"].max() > 2 * terms["base_rate_q32"].min()

    def test_ten_thousand_symbols_all_speak(self) -> None:
        simulation = Simulation(Market(symbols=10_000, seconds=1, levels=2))
        for _ in simulation:
            pass
        summary = simulation.summary()
        assert summary["books"] == pytest.approx(100_000, rel=0.02)
        assert summary["symbols"] > 9_900


class TestBooks:
    def test_sides_are_ordered_whole_ticks_never_crossed_and_full(self) -> None:
        market = Market(symbols=25, seconds=20, levels=20)
        terms = terms_of(market)
        for line in whole(market).splitlines():
            record = orjson.loads(line)
            if record["type"] != "orderbook":
                continue
            term = terms[record["exchange"], record["symbol"]]
            bids, asks = np.array(record["data"]["bids"]), np.array(record["data"]["asks"])
            assert bids.shape == asks.shape == (20, 2)
            assert (np.diff(bids[:, 0]) < 0).all()
            assert (np.diff(asks[:, 0]) > 0).all()
            assert bids[0, 0] < asks[0, 0]
            assert bids[-1, 0] > 0
            assert min(bids[:, 1].min(), asks[:, 1].min()) > 0
            units = np.concatenate((bids, asks))[:, 0] * 10.0 ** term["price_decimals"]
            assert np.abs(units - np.round(units)).max() < 1e-4
            assert (np.round(units).astype(int) % term["tick"] == 0).all()

    @pytest.mark.parametrize("levels", [1, 2, 400])
    def test_books_of_any_depth_move(self, levels: int) -> None:
        books = [
            orjson.loads(line)["data"]
            for line in whole(Market(1, 20, levels=levels)).splitlines()
            if b'"orderbook"' in line
        ]
        assert {len(book["bids"]) for book in books} == {len(book["asks"]) for book in books} == {levels}
        assert len({book["bids"][0][0] for book in books}) > 5

    def test_the_spread_is_whole_ticks_and_breathes(self) -> None:
        terms = terms_of(WATCHED)
        for key, history in histories().items():
            tick = terms[key]["tick"] * 10.0 ** -terms[key]["price_decimals"]
            spread = (history.asks - history.bids) / tick
            assert np.abs(spread - np.round(spread)).max() < 1e-3
            assert 1 <= round(spread.min()) < spread.mean() < 40
            assert np.quantile(spread, 0.95) >= 2 * np.quantile(spread, 0.2)
            thirds = [part.mean() for part in np.array_split(spread, 3)]
            assert max(thirds) < 2.5 * min(thirds), "the spread does not come back to its mean"

    def test_depth_breathes_about_a_mean(self) -> None:
        for history in histories().values():
            assert 0.15 < history.depths.std() / history.depths.mean() < 1.0
            thirds = [part.mean() for part in np.array_split(history.depths, 3)]
            assert max(thirds) < 2.5 * min(thirds)
            # It swings over seconds: neighbouring books are alike, distant ones are not.
            assert np.corrcoef(history.depths[1:], history.depths[:-1])[0, 1] > 0.8

    def test_prices_wander_about_as_much_as_real_ones(self) -> None:
        for history in histories().values():
            moves_bps = 1e4 * np.diff(np.log(per_second(history.times_ms, history.mids)))
            assert 0.3 < moves_bps.std() < 5

    def test_books_stay_dense_over_time(self) -> None:
        for records in by_symbol(watched_records()).values():
            reach = [
                r["data"]["asks"][-1][0] / r["data"]["asks"][0][0] - 1 for r in records if r["type"] == "orderbook"
            ]
            early, late = np.mean(reach[: len(reach) // 4]), np.mean(reach[-len(reach) // 4 :])
            assert late < 4 * early


def per_second(times_ms: Array, values: Array) -> Array:
    """The value that holds at each whole second."""
    seconds = DEFAULT_START_MS + 1000 * np.arange(1, SECONDS)
    return values[np.searchsorted(times_ms, seconds, side="right") - 1]


def counts_a_second(times_ms: Array) -> npt.NDArray[np.int64]:
    return np.bincount(((times_ms - DEFAULT_START_MS) // 1000).astype(int), minlength=SECONDS)


class TestArrivals:
    @pytest.mark.parametrize(
        ("symbols", "seconds", "rate_hz", "trade_rate_hz"),
        [(1, 600, 40.0, 10.0), (20, 100, 10.0, None), (10, 1_000, 0.5, 30.0)],
    )
    def test_mean_rates_are_those_asked_for(
        self, symbols: int, seconds: float, rate_hz: float, trade_rate_hz: float | None
    ) -> None:
        market = Market(symbols, seconds, levels=1, rate_hz=rate_hz, trade_rate_hz=trade_rate_hz)
        simulation = Simulation(market)
        for _ in simulation:
            pass
        summary = simulation.summary()
        assert summary["books"] / seconds / symbols == pytest.approx(rate_hz, rel=0.05)
        assert summary["trades"] / seconds / symbols == pytest.approx(trade_rate_hz or rate_hz / 2, rel=0.05)

    def test_no_trades_when_none_are_asked_for(self) -> None:
        assert b'"trades"' not in whole(Market(symbols=3, seconds=20, trade_rate_hz=0))

    def test_arrivals_cluster(self) -> None:
        """A Poisson process has a variance-to-mean ratio of 1."""
        for history in histories().values():
            for times_ms in (history.times_ms, history.trade_times_ms):
                counts = counts_a_second(times_ms)
                assert 1.3 < counts.var() / counts.mean() < 12

    def test_symbols_differ_in_rate(self) -> None:
        rates = [len(history.times_ms) / SECONDS for history in histories().values()]
        assert max(rates) > 1.5 * min(rates)


class TestTrades:
    def test_buying_lifts_the_mid_and_selling_presses_it(self) -> None:
        for history in histories().values():
            mids = per_second(history.times_ms, history.mids)
            second = ((history.trade_times_ms - DEFAULT_START_MS) // 1000).astype(int)
            flow = np.bincount(second, weights=history.signed_amounts, minlength=SECONDS)
            assert np.corrcoef(flow[1 : SECONDS - 1], np.diff(mids))[0, 1] > 0.3

    def test_sides_persist(self) -> None:
        signs = [np.sign(history.signed_amounts) for history in histories().values()]
        assert np.mean([np.corrcoef(sign[1:], sign[:-1])[0, 1] for sign in signs]) > 0.1
        assert abs(np.concatenate(signs).mean()) < 0.2

    def test_trades_take_the_best_levels_one_after_the_other(self) -> None:
        several = 0
        for records in by_symbol(watched_records()).values():
            for book, message in itertools.pairwise(records):
                if (book["type"], message["type"]) != ("orderbook", "trades"):
                    continue
                fills = message["data"]
                assert len({fill["side"] for fill in fills}) == 1
                levels = book["data"]["asks" if fills[0]["side"] == "buy" else "bids"][: len(fills)]
                assert [fill["price"] for fill in fills] == [price for price, _ in levels]
                assert [fill["amount"] for fill in fills[:-1]] == [size for _, size in levels[:-1]]
                assert fills[-1]["amount"] <= levels[-1][1]
                several += len(fills) > 1
        assert several > 100

    def test_a_level_that_was_taken_is_gone_from_the_next_book_more_often_than_not(self) -> None:
        gone = total = 0
        for records in by_symbol(watched_records()).values():
            for before, message, after in zip(records, records[1:], records[2:], strict=False):
                if [r["type"] for r in (before, message, after)] == ["orderbook", "trades", "orderbook"] and len(
                    message["data"]
                ) > 1:
                    side = "asks" if message["data"][0]["side"] == "buy" else "bids"
                    total += 1
                    gone += before["data"][side][0][0] not in [price for price, _ in after["data"][side]]
        assert total > 50
        assert gone / total > 0.5


class TestDraws:
    def test_quantiles_are_those_of_the_exponential_distribution(self) -> None:
        for p in (0.0, 0.1, 0.5, 0.9, 0.999, 0.9999, 0.9999999):
            assert quantile(int(p * 2**32)) / 2**16 == pytest.approx(-math.log(1 - p), abs=2e-4, rel=2e-3)
        assert quantile(2**32 - 1) / 2**16 < 40

    def test_decay_is_exponential(self) -> None:
        for elapsed, constant in [(0, 7), (1, 250_000), (100_000, 250_000), (3_999_999, 250_000), (4_000_000, 250_000)]:
            assert decay(elapsed, constant) / 2**24 == pytest.approx(math.exp(-elapsed / constant), abs=4e-5)

    def test_powers_of_two_are_exact_at_whole_exponents_and_monotone(self) -> None:
        assert [power(1_000, exponent << 16) for exponent in (-2, -1, 0, 1, 3)] == [250, 500, 1_000, 2_000, 8_000]
        powers = [power(10**6, exponent) for exponent in range(-(2 << 16), 2 << 16, 999)]
        assert powers == sorted(powers)

    def test_kernels_and_python_draw_the_same_sequence(self) -> None:
        states = symbol_seeds(42, 3)
        draws = Draws(0)
        draws._state = int(states[1])
        assert [below(states, 1, 1_000_000) for _ in range(50)] == [draws.below(1_000_000) for _ in range(50)]

    def test_exponential_draws_have_their_mean_and_spread(self) -> None:
        drawn = exponentials(symbol_seeds(1, 1), 100_000) / 2**16
        assert drawn.mean() == pytest.approx(1, rel=0.01)
        assert drawn.std() == pytest.approx(1, rel=0.02)
        assert (drawn > 3).mean() == pytest.approx(math.exp(-3), rel=0.05)

    def test_a_shuffle_keeps_every_item(self) -> None:
        deck = Draws(3).shuffled(list(range(100)))
        assert deck != sorted(deck) == list(range(100))


@numba.njit
def quantile(p: Any) -> Any:
    return exponential_quantile(p)


@numba.njit
def decay(elapsed: Any, constant: Any) -> Any:
    return decay_q24(elapsed, constant)


@numba.njit
def power(value: Any, exponent: Any) -> Any:
    return power_of_two(value, exponent)


@numba.njit
def below(states: Any, symbol: Any, bound: Any) -> Any:
    return random_below(states, symbol, bound)


@numba.njit
def exponentials(states: Any, count: Any) -> Any:
    drawn = np.empty(count)
    for i in range(count):
        drawn[i] = random_exponential(states, 0)
    return drawn


class TestUsage:
    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"symbols": 0}, "symbols"),
            ({"symbols": 100_001}, "symbols"),
            ({"seconds": 0}, "seconds"),
            ({"seconds": math.nan}, "seconds"),
            ({"seconds": 1e12}, "seconds"),
            ({"levels": 0}, "levels"),
            ({"symbols": 100_000, "levels": 101}, "symbols times levels"),
            ({"rate_hz": 0}, "rate_hz"),
            ({"rate_hz": math.inf}, "rate_hz"),
            ({"trade_rate_hz": -1}, "trade_rate_hz"),
            ({"start_ms": 0}, "start_ms"),
            ({"start_ms": 4_102_444_800_000}, "start_ms"),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused_with_what_can(self, wrong: dict[str, Any], named: str) -> None:
        with pytest.raises(UsageError, match=f"^{named} is ") as refused:
            Market(**{"symbols": 1, "seconds": 1.0} | wrong)
        assert refused.value.hint.startswith("give ")
