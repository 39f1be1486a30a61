"""How far behind a consumer is, from what librdkafka tells of its partitions each second."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from streamproc.observe.metrics import Sample

Place = tuple[str, int]
"""Topic and partition."""

INTERVAL_MS = 1_000
STUCK_SECONDS = 180.0
"""Longer than any wait of ours for a broker."""
MOST_ENDS = 10_000


class _Known:
    """What is known of one partition's end."""

    def __init__(self, now: float) -> None:
        self.end = self.stable = 0
        self.news: deque[tuple[float, int]] = deque(maxlen=MOST_ENDS)
        """When the stable end was seen to move, and where to; those that are not reached yet."""
        self.position = -1
        self.moved_at = now
        """When it last moved, or had no need to."""


class Lags:
    """Lag by partition.

    Parameters
    ----------
    positions : up to where each partition that is worked on has been read, transactions' markers counted.
    """

    def __init__(
        self, positions: Callable[[], Mapping[Place, int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._positions = positions
        self._clock = clock
        self._known: dict[Place, _Known] = {}
        self.joined = False
        """Whether the group has settled, with partitions for this consumer or without."""

    @property
    def properties(self) -> dict[str, Any]:
        """What a consumer needs to be told of here."""
        return {"statistics.interval.ms": INTERVAL_MS, "stats_cb": self.take}

    def take(self, text: str) -> None:
        """Statistics of librdkafka, as JSON."""
        told, now, positions = orjson.loads(text), self._clock(), self._positions()
        self.joined = told.get("cgrp", {}).get("join_state") == "steady"
        is_reached = any(broker["state"] == "UP" for broker in told["brokers"].values())
        known = {}
        for place, position in positions.items():
            partition = told["topics"].get(place[0], {}).get("partitions", {}).get(str(place[1]))
            known[place] = self._known.get(place) or _Known(now)
            if partition is not None:
                self._note(known[place], partition["hi_offset"], partition["ls_offset"], now)
            self._pass(known[place], position, is_reached, now)
        self._known = known

    def _note(self, known: _Known, end: int, stable: int, now: float) -> None:
        if stable > known.stable:
            known.news.append((now, stable))
        known.end, known.stable = max(end, 0), max(stable, 0)

    def _pass(self, known: _Known, position: int, is_reached: bool, now: float) -> None:
        while known.news and known.news[0][1] <= position:
            known.news.popleft()
        if position != known.position or position >= known.stable or not is_reached:
            known.moved_at = now
        known.position = position

    def samples(self) -> Iterator[Sample]:
        """Lag in offsets and seconds, and what open transactions hold back."""
        now = self._clock()
        for (topic, number), known in list(self._known.items()):
            labels = topic, str(number)
            oldest = next(iter(list(known.news)), None)
            yield Sample("streamproc_lag_records", max(0, known.stable - known.position), labels)
            yield Sample("streamproc_lag_seconds", round(now - oldest[0], 3) if oldest else 0, labels)
            yield Sample("streamproc_unstable_records", max(0, known.end - known.stable), labels)

    def stuck(self) -> str:
        """Which partitions have not moved for long although there is something to read; "" where all do."""
        now = self._clock()
        places = [place for place, known in list(self._known.items()) if now - known.moved_at > STUCK_SECONDS]
        return ", ".join(f"{topic}[{number}] stands still" for topic, number in places)
