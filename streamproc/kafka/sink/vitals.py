"""What is told of a sink while it works: metrics, whether it is alive, whether it is ready."""

import time
from collections.abc import Callable, Iterator

from streamproc.kafka.sink.member import ROLES, Sink
from streamproc.observe.metrics import Sample, as_text

HUNG_SECONDS = 600.0
"""After so long within one turn of its loop a sink hangs: a store that does not answer is waited for, but not so."""


class Vitals:
    """A sink as others see it."""

    def __init__(self, member: Sink, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._member = member
        self._prefix = prefix
        self._clock = clock

    def metrics(self) -> bytes:
        """In Prometheus' text format."""
        return as_text(self._samples, self._member.commit_seconds)

    def ailing(self) -> str:
        """A loop or a partition that stands still is not alive."""
        if self._clock() - self._member.turned_at > HUNG_SECONDS:
            return "the sink hangs"
        return self._member.lags.stuck()

    def unready(self) -> str:
        """Ready is a sink that has joined, with partitions or without."""
        member = self._member
        return "" if member.partitions or member.lags.joined else "the group has not settled yet"

    def _samples(self) -> Iterator[Sample]:
        member, counts = self._member, self._member.counts
        yield Sample("streamproc_partitions", len(member.partitions), ("assigned",))
        yield from member.lags.samples()
        for partition in list(member.partitions.values()):
            labels = partition.source.topic, str(partition.source.partition)
            yield Sample("streamproc_sink_segment_age_seconds", round(partition.age, 3), labels)
        for role in ROLES:
            yield Sample("streamproc_sink_rows_total", counts[f"{role}_rows"], (f"{self._prefix}.{role}",))
        yield Sample("streamproc_sink_segments_total", counts["segments"])
