"""What is told of a publisher while it works."""

from collections.abc import Iterator

from streamproc.kafka.publish.publisher import Publisher
from streamproc.observe.metrics import Sample, as_text


class Vitals:
    """A publisher as others see it: it waits for brokers as long as it takes, so it is alive while it runs."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def metrics(self) -> bytes:
        """In Prometheus' text format."""
        return as_text(self._samples)

    def ailing(self) -> str:
        """Never: it ends where waiting is no use."""
        return ""

    def unready(self) -> str:
        """Never: it is told of once it has begun."""
        return ""

    def _samples(self) -> Iterator[Sample]:
        yield Sample("streamproc_published_lines_total", self._publisher.committed_lines)
        yield Sample("streamproc_published_bytes_total", self._publisher.committed_bytes)
