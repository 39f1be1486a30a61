"""The pages that all symbols share: every one in one ring or free, links and sums those of the ring's own pages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from streamproc.config import StateConfig
from streamproc.engine import Engine
from streamproc.state.layout import FREE, LEFT, NONE, PAGE, Pool
from tests.engine_rows import Store, chunk, restored, written
from tests.strategies import long_stream, random_config, random_stream

RUN = PAGE * PAGE
SUMMED = {"r": "r", "e": "ofi", "amount": "volume"}
"""Fields of points, and of the sums they are added up in."""


def pages_of(ring: np.void, pool: Pool) -> list[int]:
    """Live pages of a ring in their order."""
    pages, page = [], int(ring["first"])
    while page != NONE:
        pages.append(page)
        page = int(pool.links[page, 0])
    return pages


def check_ring(ring: np.void, pool: Pool) -> list[int]:
    """Links and sums of a ring; its pages."""
    pages, first = pages_of(ring, pool), int(ring["block"])
    last = (int(ring["head"]) + PAGE - 1) // PAGE - 1
    if not pages:
        assert ring["head"] == 0
        return pages
    assert len(pages) == last - first + 1
    assert pages[-1] == ring["last"]
    for level, (span, name) in enumerate(((PAGE, "run"), (RUN, "long_run")), start=1):
        begin = last // span * span
        assert ring[name] == (pages[begin - first] if begin >= first else NONE)
        for start in range(-(-first // span) * span, last + 1, span):
            following = start + span - first
            assert pool.links[pages[start - first], level] == (pages[following] if following < len(pages) else NONE)
            if (start + span) * PAGE <= ring["head"]:
                check_sums(pages[start - first : following], pool, level)
    for page in pages[: -1 if ring["head"] % PAGE else None]:
        check_sums([page], pool, 0)
    return pages


def check_sums(pages: list[int], pool: Pool, level: int) -> None:
    """Sums that the first of the pages carries for all of them."""
    points, sums = pool.points[pages], pool.sums[pages[0], level]
    for field in set(SUMMED) & set(points.dtype.names or ()):
        terms = [term for term in points[field].ravel().tolist() if not math.isnan(term)]
        expected, scale = math.fsum(terms), math.fsum(map(abs, terms))
        assert abs(sums[SUMMED[field]] - expected) <= 1e-13 * scale


def free_pages(pool: Pool) -> list[int]:
    pages, page = [], int(pool.free[FREE])
    for _ in range(int(pool.free[LEFT])):
        pages.append(page)
        page = int(pool.links[page, 0])
    return pages


def check_pages(engine: Engine) -> None:
    for name in ("books", "trades"):
        pool: Pool = getattr(engine.arrays, name)
        live = [page for head in engine.arrays.head for page in check_ring(head[name], pool)]
        assert sorted(live + free_pages(pool)) == list(range(len(pool.links)))


STREAMS: dict[str, dict[str, Any]] = {
    "dense and sparse symbols": {"symbols": 4, "first_share": 0.6, "steps_ms": (5,)},
    "few gaps": {"symbols": 2, "steps_ms": (10,) * 3000 + (40_000,)},
    "many gaps": {"symbols": 2, "steps_ms": (10,) * 200 + (40_000,)},
    "crowded": {"steps_ms": (0, 0, 0, 1)},
}


@pytest.mark.parametrize("name", STREAMS)
def test_pages_of_long_streams(name: str) -> None:
    config = StateConfig(horizons=(1, 30), hf_emit_interval=3, gap_reset=30)
    lines, engine, store = long_stream(5, 40_000, trade_share=0.4, **STREAMS[name]), Engine(config), Store()
    for first in range(0, len(lines), 4000):
        engine.feed(chunk(lines[first : first + 4000]))
        check_pages(engine)
        written(engine, store)
    engine = restored(config, store)
    check_pages(engine)
    engine.feed(chunk(long_stream(5, 45_000, trade_share=0.4, **STREAMS[name])[40_000:]))
    check_pages(engine)


@pytest.mark.parametrize("seed", range(3))
def test_pages_of_streams_with_all_faults(seed: int) -> None:
    engine, lines = Engine(StateConfig(**random_config(seed))), random_stream(seed, 1500)
    for first in range(0, len(lines), 300):
        engine.feed(chunk(lines[first : first + 300]))
        check_pages(engine)
