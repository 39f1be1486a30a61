"""What is measured: the one list of metrics, and how values become Prometheus' text."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Measure(NamedTuple):
    """A metric as users know it. A counter's name ends with ``_total``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


disable_created_metrics()  # type: ignore[no-untyped-call]

_PARTITION = ("topic", "partition")

MEASURES = (
    Measure("streamproc_lag_records", "gauge", _PARTITION, "Offsets that wait to be read, of committed records."),
    Measure("streamproc_lag_seconds", "gauge", _PARTITION, "How long the oldest of these has been there, at least."),
    Measure(
        "streamproc_unstable_records",
        "gauge",
        _PARTITION,
        "Offsets behind the last stable one: held back by a transaction that is open.",
    ),
    Measure(
        "streamproc_partitions",
        "gauge",
        ("state",),
        "Partitions: assigned, and of these running, restoring or refused.",
    ),
    Measure(
        "streamproc_restore_remaining_records", "gauge", ("partition",), "Offsets of the changelog still to be read."
    ),
    Measure("streamproc_state_bytes", "gauge", (), "Size of the state folder."),
    Measure("streamproc_symbols", "gauge", (), "Symbols of the partitions that run."),
    Measure(
        "streamproc_feed_staleness_seconds",
        "gauge",
        ("exchange", "symbol"),
        "Age of a symbol's last book, for the stalest ones: as many as observe.stale_symbols says.",
    ),
    Measure("streamproc_last_commit_timestamp_seconds", "gauge", (), "When the last commit was made, Unix time."),
    Measure("streamproc_records_total", "counter", (), "Records read and committed."),
    Measure("streamproc_books_total", "counter", (), "Order books, invalid ones among them."),
    Measure("streamproc_trades_total", "counter", (), "Trade messages."),
    Measure("streamproc_duplicates_total", "counter", (), "Books that came twice."),
    Measure("streamproc_rows_total", "counter", ("stream",), "Rows written to hf and bars."),
    Measure("streamproc_rejects_total", "counter", ("reason",), "Lines that became dead letters."),
    Measure("streamproc_invalid_books_total", "counter", ("flag",), "Books that say nothing of a price."),
    Measure("streamproc_late_events_total", "counter", (), "Books and trades that came after their bar was closed."),
    Measure("streamproc_transactions_aborted_total", "counter", (), "Transactions whose input was taken again."),
    Measure("streamproc_state_rebuilds_total", "counter", (), "Partitions whose state was read anew."),
    Measure("streamproc_commit_seconds", "histogram", (), "How long a member's commits take."),
    Measure(
        "streamproc_sink_segment_age_seconds",
        "gauge",
        _PARTITION,
        "How long the oldest row that is in no file waits.",
    ),
    Measure("streamproc_sink_rows_total", "counter", ("topic",), "Rows and dead letters brought into files."),
    Measure("streamproc_sink_segments_total", "counter", (), "Segments committed."),
    Measure("streamproc_sink_commit_seconds", "histogram", (), "How long a sink's commits take."),
    Measure("streamproc_published_lines_total", "counter", (), "Lines published and committed."),
    Measure("streamproc_published_bytes_total", "counter", (), "Bytes of these."),
)

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BY_NAME = {measure.name: measure for measure in MEASURES}


class Sample(NamedTuple):
    """A value of a metric, with its labels' values."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


class Samples(Collector):
    """Gauges and counters as they are when somebody asks."""

    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """Families in the order of `MEASURES`."""
        by_name: dict[str, list[Sample]] = defaultdict(list)
        for sample in self._samples():
            by_name[sample.name].append(sample)
        for measure in MEASURES:
            if measure.name in by_name:
                family = _family(measure)
                for sample in by_name[measure.name]:
                    family.add_metric(sample.labels, sample.value)
                yield family


def _family(measure: Measure) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    return kind(measure.name, measure.help, labels=measure.labels)


def histogram(name: str) -> Histogram:
    """A histogram of seconds, of that name in `MEASURES`."""
    return Histogram(name, _BY_NAME[name].help, buckets=BUCKETS, registry=None)


def as_text(samples: Callable[[], Iterable[Sample]], *histograms: Histogram) -> bytes:
    """Gauges, counters and histograms in Prometheus' text format."""
    registry = CollectorRegistry()
    for collector in (Samples(samples), *histograms):
        registry.register(collector)
    return generate_latest(registry)


_PAGE = """# Metrics and health

With `observe.port` set, `process`, `sink` and `publish` serve three pages over HTTP on `observe.host`:

| page | what it says |
|---|---|
| `/livez` | 503 with the reason when the program hangs, or a partition stands still, else 200: start it again |
| `/readyz` | 503 with the reason until all assigned partitions are worked on, else 200 |
| `/metrics` | the metrics below, for Prometheus |

A partition stands still when it has not moved for three minutes though there is something to read, and a broker to
read it from. A member that restores state is alive and not ready; one that refuses a partition is so too, and stops a
rollout.

Values are gathered when somebody asks; only lags are noted each second. Lag counts offsets, markers of transactions
among them. Counters count what was committed, since the program's start.

| metric | kind | labels | what it says |
|---|---|---|---|
"""


def page() -> str:
    """The metrics' page of the documentation."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |\n"
        for one in MEASURES
    ]
    return _PAGE + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")
