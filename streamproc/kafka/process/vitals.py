"""What is told of a member while it works: metrics, whether it is alive, whether it is ready."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from streamproc.kafka.process.member import Member
from streamproc.kafka.process.partition import Partition
from streamproc.observe.metrics import Sample, as_text

HUNG_SECONDS = 180.0
"""After so long within one turn of its loop a member hangs: no wait of ours lasts longer."""


class Vitals:
    """A member as others see it.

    Parameters
    ----------
    folder : its state's.
    stale_symbols : how many of the symbols that were silent for longest are named.
    """

    def __init__(
        self, member: Member, folder: Path, stale_symbols: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._member = member
        self._folder = folder
        self._stale_symbols = stale_symbols
        self._clock = clock

    def metrics(self) -> bytes:
        """In Prometheus' text format."""
        return as_text(self._samples, self._member.commit_seconds)

    def ailing(self) -> str:
        """Restoring is alive; a loop or a partition that stands still is not."""
        if self._clock() - self._member.turned_at > HUNG_SECONDS:
            return "the member hangs"
        return self._member.lags.stuck()

    def unready(self) -> str:
        """Ready is a member whose partitions all run; one that has joined and has none is so too."""
        standing = self._member.standing
        if standing.restoring or standing.refused:
            return f"{standing.restoring} partitions are being restored, {standing.refused} are refused"
        return "" if standing.assigned or self._member.lags.joined else "the group has not settled yet"

    def _samples(self) -> Iterator[Sample]:
        member, standing = self._member, self._member.standing
        for state, count in (
            ("assigned", standing.assigned),
            ("running", len(standing.running)),
            ("restoring", standing.restoring),
            ("refused", standing.refused),
        ):
            yield Sample("streamproc_partitions", count, (state,))
        for number, offsets in member.restoring.items():
            yield Sample("streamproc_restore_remaining_records", offsets, (str(number),))
        yield from member.lags.samples()
        yield Sample("streamproc_state_bytes", _bytes_in(self._folder))
        yield Sample("streamproc_symbols", sum(len(one.engine.symbols.keys) for one in standing.running))
        yield from self._stalest(standing.running)
        yield from self._counts()

    def _counts(self) -> Iterator[Sample]:
        counts = self._member.counts
        yield Sample("streamproc_records_total", counts["records"])
        yield Sample("streamproc_rows_total", counts["hf_rows"], ("hf",))
        yield Sample("streamproc_rows_total", counts["bar_rows"], ("bars",))
        yield Sample("streamproc_transactions_aborted_total", counts["aborted"])
        yield Sample("streamproc_state_rebuilds_total", counts["rebuilt"])
        if self._member.committed_at:
            yield Sample("streamproc_last_commit_timestamp_seconds", self._member.committed_at)
        for (name, labels), count in list(self._member.measured.items()):
            yield Sample(name, count, labels)

    def _stalest(self, running: list[Partition]) -> Iterator[Sample]:
        """Age of the last books of the symbols whose last ones are oldest."""
        found: list[tuple[float, tuple[str, str]]] = []
        for partition in running:
            keys = list(partition.engine.symbols.keys)
            times = partition.engine.last_times(len(keys))
            oldest = np.argsort(times)[: self._stale_symbols + int((times <= 0).sum())]
            found += [(float(times[one]), keys[one]) for one in oldest.tolist() if times[one] > 0]
        for t, key in sorted(found)[: self._stale_symbols]:
            yield Sample("streamproc_feed_staleness_seconds", round(time.time() - t / 1000, 3), key)


def _bytes_in(folder: Path) -> int:
    """Of the files below a folder; files come and go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total
