"""State through a store: an engine that goes on from it gives the same bits, and nothing damaged is ever used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.config import StateConfig
from streamproc.engine import Batch, Engine
from streamproc.errors import StateError
from streamproc.schema import LINE_WORD, SYMBOL_WORD
from streamproc.state.layout import PAGE
from tests.engine_rows import Store, Words, chunk, restored, written
from tests.strategies import book_line, configs, long_stream, random_config, random_stream, streams, trades_line

Key = tuple[str, str]
AFTER_ORIGIN = max(SYMBOL_WORD, LINE_WORD) + 1
T = 1_700_000_000_000


class Rows:
    """Row words by stream and symbol, without those that say where a row came from."""

    def __init__(self) -> None:
        self._words: dict[tuple[str, Key], list[Words]] = defaultdict(list)

    def keep(self, batch: Batch, keys: Sequence[Key]) -> None:
        for stream, words in (("hf", batch.hf), ("bars", batch.bars)):
            for symbol in np.unique(words[:, SYMBOL_WORD]):
                rows = words[words[:, SYMBOL_WORD] == symbol, AFTER_ORIGIN:]
                self._words[stream, keys[symbol]].append(rows.copy())

    def bits(self) -> dict[tuple[str, Key], tuple[int, bytes]]:
        """Number of rows and all their bits."""
        joined = {key: np.concatenate(words) for key, words in self._words.items()}
        return {key: (len(words), words.tobytes()) for key, words in joined.items()}


def whole(config: StateConfig, lines: Sequence[bytes]) -> Rows:
    """One engine, one call."""
    rows, engine = Rows(), Engine(config)
    rows.keep(engine.feed(chunk(lines)), engine.symbols.keys)
    rows.keep(engine.flush(), engine.symbols.keys)
    return rows


def pieces_of(lines: Sequence[bytes], cuts: Sequence[int]) -> list[Sequence[bytes]]:
    places = [0, *sorted(cut % (len(lines) + 1) for cut in cuts), len(lines)]
    return [lines[start:stop] for start, stop in pairwise(places)]


def restarted(config: StateConfig, lines: Sequence[bytes], cuts: Sequence[int], deletes: bool = True) -> Rows:
    """A fresh engine for each piece, and a last one that flushes. Without `deletes` what is dead stays in the store."""
    rows, store = Rows(), Store()
    for piece in [*pieces_of(lines, cuts), None]:
        engine = restored(config, store)
        assert engine.changes() == ([], [])
        batch = engine.flush() if piece is None else engine.feed(chunk(piece))
        rows.keep(batch, engine.symbols.keys)
        dead = dict(store)
        written(engine, store)
        if not deletes:
            store = Store(dead | store)
    return rows


def in_one_go(config: StateConfig, lines: Sequence[bytes], cuts: Sequence[int]) -> Rows:
    """One engine, several calls, changes taken between them."""
    rows, engine, store = Rows(), Engine(config), Store()
    for piece in pieces_of(lines, cuts):
        rows.keep(engine.feed(chunk(piece)), engine.symbols.keys)
        written(engine, store)
    rows.keep(engine.flush(), engine.symbols.keys)
    return rows


def check_cuts(config: StateConfig, lines: Sequence[bytes], cuts: Sequence[int]) -> int:
    """Compare; the number of rows."""
    expected = whole(config, lines).bits()
    assert in_one_go(config, lines, cuts).bits() == expected
    assert restarted(config, lines, cuts).bits() == expected
    return sum(rows for rows, _ in expected.values())


# The same bits


@settings(max_examples=60)
@given(config=configs(), lines=streams(), cuts=st.lists(st.integers(0, 100), max_size=8))
def test_cuts(config: dict[str, Any], lines: list[bytes], cuts: list[int]) -> None:
    check_cuts(StateConfig(**config), lines, cuts)


def test_a_restart_after_every_line() -> None:
    config = StateConfig(**random_config(4))
    lines = random_stream(4, 150)
    assert check_cuts(config, lines, range(len(lines))) > 50


@pytest.mark.parametrize("seed", range(6))
def test_cuts_of_streams_with_all_faults(seed: int) -> None:
    rng, lines = Random(seed), random_stream(100 + seed, 1200)
    check_cuts(StateConfig(**random_config(100 + seed)), lines, [rng.randrange(1201) for _ in range(6)])


LONG = StateConfig(horizons=(1, 20, 3600), hf_emit_interval=1, bar_durations=(1, 60), regime_window=100)


@pytest.mark.parametrize(
    ("steps_ms", "gap_reset"),
    [((10,), 3600), ((10, 11, 40), 3600), ((10,) * 2000 + (9000,), 5), ((5,) * 60 + (700,), 0.5), ((0, 0, 1), 1)],
    ids=["even", "uneven", "few gaps", "many gaps", "crowded"],
)
def test_cuts_of_long_windows(steps_ms: tuple[int, ...], gap_reset: float) -> None:
    config = LONG.model_copy(update={"gap_reset": gap_reset})
    rng, lines = Random(1), long_stream(2, 12_000, symbols=3, steps_ms=steps_ms)
    assert check_cuts(config, lines, [rng.randrange(len(lines)) for _ in range(8)]) >= 20


def test_cuts_of_a_window_that_holds_long_runs() -> None:
    """The horizon holds 56,000 books: a long run, which is 32 runs of 32 pages of 32, and more."""
    config = StateConfig(horizons=(1, 800), hf_emit_interval=10, bar_durations=(10,), gap_reset=800)
    lines = long_stream(3, 120_000, steps_ms=(10,))
    assert check_cuts(config, lines, [40_000, 66_001, 66_002, 95_000]) > 200


def test_cuts_of_dense_and_sparse_symbols() -> None:
    """One symbol's window holds runs of pages, the others' pages come and go beside them."""
    config = StateConfig(horizons=(1, 30), hf_emit_interval=3, bar_durations=(10,), gap_reset=30)
    lines = long_stream(5, 40_000, symbols=4, steps_ms=(5,), first_share=0.6, trade_share=0.4)
    assert check_cuts(config, lines, [9_000, 21_000, 33_333]) > 200


def test_cuts_at_every_place_of_a_page() -> None:
    config = StateConfig(horizons=(0.1, 0.7), hf_emit_interval=0, bar_durations=(0.5,), bar_grace=0.1, gap_reset=0.2)
    lines = long_stream(9, 400, steps_ms=(10,) * 50 + (210,), trade_share=0.4)
    expected = whole(config, lines).bits()
    for first in range(PAGE):
        assert restarted(config, lines, range(first, len(lines), PAGE)).bits() == expected


def test_cuts_while_many_trades_wait() -> None:
    """Trades later than the last book, more than the 65,536 from where on some may be dropped."""
    config = StateConfig(horizons=(1, 60), hf_emit_interval=0, gap_reset=600)
    lines = [book_line("s0", T, 1, 1, 2, 1)]
    for i in range(300):
        trades = [(1000 * i + k, T + 1 + 250 * i + k // 4, "buy", 1, 1) for k in range(1000)]
        lines.append(trades_line("s0", T + 250 * i, trades))
    lines += [book_line("s0", T + ms, 1, 1, 2, 1) for ms in (300, 30_000, 75_000, 75_001)]
    assert check_cuts(config, lines, [1, 60, 64, 66, 67, 68, 200, 301, 302, 303]) > 5


def test_dead_blocks_that_stay_in_the_store_do_not_matter() -> None:
    config = LONG.model_copy(update={"horizons": (1.0, 2.0), "gap_reset": 3.0, "regime_window": 2.0})
    lines = long_stream(5, 6000, symbols=2, steps_ms=(10,) * 700 + (4000,))
    cuts = [500, 1000, 1500, 2500, 2600, 4000, 5999]
    assert restarted(config, lines, cuts, deletes=False).bits() == whole(config, lines).bits()


def test_ids_are_remembered_through_a_store() -> None:
    store = Store()
    for first in range(0, 3000, 100):
        engine = restored(StateConfig(), store)
        engine.feed(chunk([trades_line("s0", T, [(i, T, "buy", 1, 1) for i in range(first, first + 100)])]))
        written(engine, store)
    for id_, known in ((2999, True), (3000 - 1024, True), (3000 - 1025, False), (0, False)):
        engine = restored(StateConfig(), store)
        engine.feed(chunk([trades_line("s0", T, [(id_, T, "buy", 1, 1)])]))
        assert engine.counts["duplicate_trades"] == known, id_


def test_flushed_bars_stay_closed_through_a_store() -> None:
    config = StateConfig(bar_durations=(1, 60), hf_emit_interval=0)
    engine, store = Engine(config), Store()
    engine.feed(chunk([book_line("s0", T + 100, 1, 1, 2, 1)]))
    assert len(engine.flush().bars) == 2
    written(engine, store)
    engine = restored(config, store)
    assert len(engine.feed(chunk([book_line("s0", T + 1200, 1, 1, 2, 1)])).bars) == 0
    assert engine.counts["late_events"] == 1  # of the minute
    written(engine, store)
    engine = restored(config, store)
    assert engine.open_bars == 1
    assert len(engine.flush().bars) == 1


# What a snapshot costs


def test_only_what_changed_is_written() -> None:
    config = StateConfig(horizons=(1, 60), hf_emit_interval=0)
    lines = long_stream(1, 4000, symbols=2)
    engine, store = Engine(config), Store()
    engine.feed(chunk(lines[:2000]))
    assert written(engine, store) > 50_000
    assert engine.changes() == ([], [])
    engine.feed(chunk([line for line in lines[2000:2040] if b'"s0"' in line][:4]))
    changes = engine.changes()
    assert not changes.deletes
    assert {key[: len(b"\0\1x\0\2s0")] for key, _ in changes.puts} == {b"\0\1x\0\2s0"}
    assert sum(len(value) for _, value in changes.puts) < 8000
    assert len(changes.puts) < 10


def test_a_store_does_not_grow_with_the_stream() -> None:
    config = StateConfig(horizons=(1,), regime_window=1, gap_reset=1, hf_emit_interval=0)
    engine, store, sizes = Engine(config), Store(), []
    lines = long_stream(1, 30_000)
    for first in range(0, len(lines), 1500):
        engine.feed(chunk(lines[first : first + 1500]))
        written(engine, store)
        sizes.append(sum(map(len, store.values())))
    assert max(sizes[5:]) < 1.2 * sizes[4]
    assert len(engine.arrays.books.links) < 40


def test_nothing_is_lost_when_the_room_for_a_dump_grows() -> None:
    config = StateConfig(horizons=(3600,), hf_emit_interval=0)
    lines = long_stream(1, 60_000, symbols=40)
    engine, store = Engine(config), Store()
    engine.feed(chunk(lines))
    written(engine, store)
    assert len(store) > 40 * 20
    assert restarted(config, lines, [30_000]).bits() == whole(config, lines).bits()


# Damage


@pytest.fixture(scope="module")
def stored() -> tuple[StateConfig, Store]:
    """Two symbols with open bars, several blocks of each ring, the last ones partly filled."""
    config = StateConfig(horizons=(1, 5), hf_emit_interval=0)
    engine, store = Engine(config), Store()
    engine.feed(chunk(long_stream(6, 900, symbols=2)))
    written(engine, store)
    assert engine.open_bars > 4
    return config, store


def refused(config: StateConfig, store: Mapping[bytes, bytes], key: bytes) -> None:
    """Restoring must name the symbol of the key."""
    with pytest.raises(StateError) as caught:
        restored(config, store)
    symbol = "s0" if b"s0" in key else "s1"
    kind = ("head", "books", "trades", "trade ids")[key[-9]]
    block = int.from_bytes(key[-8:], "big")
    assert f"the state of x {symbol} is damaged: its {kind} block {block} " in str(caught.value)
    assert caught.value.hint


def test_an_undamaged_store_is_taken(stored: tuple[StateConfig, Store]) -> None:
    config, store = stored
    engine = restored(config, store)
    assert engine.counts["symbols"] == 2
    assert {key[-9] for key in store} == {0, 1, 2, 3}


def test_a_missing_value_is_named(stored: tuple[StateConfig, Store]) -> None:
    config, store = stored
    for key in store:
        refused(config, {other: value for other, value in store.items() if other != key}, key)


@pytest.mark.parametrize("lost", [1, 7, 8, 24, 40, 192, 1_000_000])
def test_a_value_cut_short_is_named(lost: int, stored: tuple[StateConfig, Store]) -> None:
    config, store = stored
    for key, value in store.items():
        refused(config, store | {key: value[: max(0, len(value) - lost)]}, key)


@pytest.mark.parametrize("more", [1, 7, 8, 24, 40, 192, 512])
def test_a_value_too_long_is_named(more: int, stored: tuple[StateConfig, Store]) -> None:
    config, store = stored
    for key, value in store.items():
        refused(config, store | {key: value + bytes(more)}, key)


def test_a_value_without_one_of_its_open_bars_is_named(stored: tuple[StateConfig, Store]) -> None:
    config, store = stored
    for key, value in store.items():
        if key[-9] == 0:
            refused(config, store | {key: value[: -8 * 24]}, key)


def test_an_older_value_of_a_block_is_named(stored: tuple[StateConfig, Store]) -> None:
    """As a store that lost a part of a commit would have it."""
    config, store = stored
    engine, older = Engine(config), Store()
    engine.feed(chunk(long_stream(6, 900, symbols=2)[:800]))
    written(engine, older)
    stale = [key for key in store if key in older and older[key] != store[key] and key[-9] != 0]
    assert len(stale) > 2
    for key in stale:
        refused(config, store | {key: older[key]}, key)


@pytest.mark.parametrize("key", [b"", b"x", bytes(8), bytes(9), b"\0\5x" + bytes(9), b"\0\1\xff\0\1y" + bytes(9)])
def test_a_key_that_is_none_is_named(key: bytes, stored: tuple[StateConfig, Store]) -> None:
    config, store = stored
    with pytest.raises(StateError, match="key that begins with"):
        restored(config, store | {key: bytes(8)})
