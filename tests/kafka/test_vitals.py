"""What is told of programs at work: metrics, whether they are alive, whether they are ready."""

import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamproc.config import ObserveConfig, Settings
from streamproc.errors import UsageError
from streamproc.kafka import lag
from streamproc.kafka.lag import Lags
from streamproc.observe.metrics import MEASURES, page
from streamproc.observe.serve import serving
from streamproc.simulate import Market
from tests.broker import free_ports
from tests.kafka.against_run import lines_of
from tests.kafka.groups import committed, eventually, fill_raw, running_member, with_process
from tests.kafka.publishing import background
from tests.kafka.sinks import hints_reach_the_end, outgoing, produce, running_sink, with_sink
from tests.kafka.topics import make_topics

DOCS = Path(__file__).parents[2] / "docs"


def observed(settings: Settings) -> tuple[Settings, str]:
    """Settings with a free port, and its address."""
    [port] = free_ports(1)
    given = settings.observe.model_copy(update={"port": port, "host": "127.0.0.1"})
    return settings.model_copy(update={"observe": given}), f"http://127.0.0.1:{port}"


def asked(url: str) -> tuple[int, str]:
    """Status and text; 0 where nobody listens yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def metrics_at(url: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by name and the labels' values, in the order of the labels' names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(asked(f"{url}/metrics")[1])
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=6, seconds=20, levels=5, rate_hz=6, seed=29, faults=True))


def test_a_member_tells_what_it_has_done(settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
    settings, url = observed(with_process(settings, tmp_path / "state", commit_interval=0.05))
    raw = make_topics(settings, partitions=3).raw
    fill_raw(settings, lines)
    with running_member(settings):
        eventually(lambda: committed(settings) == len(lines))
        eventually(lambda: asked(f"{url}/readyz")[0] == 200)
        assert asked(f"{url}/livez") == (200, "ok\n")
        assert asked(f"{url}/")[0] == 404
        eventually(lambda: metrics_at(url).get(("streamproc_lag_records", ("2", raw))) == 0)
        eventually(lambda: all(not value for name, value in metrics_at(url).items() if "lag" in name[0]))
        found = metrics_at(url)
    done = {name: value for (name, labels), value in found.items() if not labels}
    by_label: dict[str, float] = {}
    for (name, _), value in found.items():
        by_label[name] = by_label.get(name, 0) + value
    assert done["streamproc_records_total"] == len(lines)
    rejected = by_label["streamproc_rejects_total"]
    parts = ("books", "trades", "duplicates")
    assert sum(done[f"streamproc_{part}_total"] for part in parts) + rejected == len(lines)
    assert rejected and by_label["streamproc_invalid_books_total"] and "streamproc_late_events_total" in done
    assert found["streamproc_rows_total", ("hf",)] and found["streamproc_rows_total", ("bars",)]
    assert found["streamproc_partitions", ("running",)] == found["streamproc_partitions", ("assigned",)] == 3
    assert by_label["streamproc_unstable_records"] == 0
    assert done["streamproc_symbols"] >= 6 and done["streamproc_state_bytes"] > 1000
    assert abs(done["streamproc_last_commit_timestamp_seconds"] - time.time()) < 60
    assert done["streamproc_commit_seconds_count"] >= 1
    stale = [value for (name, _), value in found.items() if name == "streamproc_feed_staleness_seconds"]
    assert 6 <= len(stale) <= settings.observe.stale_symbols and min(stale) > 0
    names = {name.removesuffix("_count").removesuffix("_sum").removesuffix("_bucket") for name, _ in found}
    assert names <= {measure.name for measure in MEASURES}


def test_restoring_is_alive_and_not_ready(
    settings: Settings, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamproc.kafka.process.takeover import TakeOver

    settings, url = observed(with_process(settings, tmp_path / "state"))
    make_topics(settings, partitions=1)
    fill_raw(settings, lines)
    take, found = TakeOver.take, []

    def take_slowly(take_over: TakeOver, number: int) -> object:
        eventually(lambda: "1 partitions are being restored" in asked(f"{url}/readyz")[1])
        found.append(asked(f"{url}/livez"))
        return take(take_over, number)

    monkeypatch.setattr(TakeOver, "take", take_slowly)
    with running_member(settings):
        eventually(lambda: asked(f"{url}/readyz") == (200, "ok\n"))
    assert found == [(200, "ok\n")]


def test_a_sink_and_a_publisher_tell_what_they_have_done(
    settings: Settings, lines: list[bytes], tmp_path: Path
) -> None:
    settings, url = observed(with_sink(settings, idle=0.2))
    names = make_topics(settings)
    rows = [*outgoing(settings, lines)]
    produce(settings, rows, transactions=1)
    with running_sink(settings, tmp_path / "out"):
        eventually(lambda: hints_reach_the_end(settings))
        eventually(lambda: asked(f"{url}/readyz")[0] == 200)
        assert asked(f"{url}/livez") == (200, "ok\n")
        eventually(lambda: metrics_at(url).get(("streamproc_lag_records", ("0", names.hf))) == 0)
        found = metrics_at(url)
    for topic in (names.hf, names.bars, names.dlq):
        assert found["streamproc_sink_rows_total", (topic,)] == sum(row.topic == topic for row in rows)
        assert found["streamproc_sink_segment_age_seconds", ("0", topic)] == 0
    assert found["streamproc_sink_segments_total", ()] == found["streamproc_sink_commit_seconds_count", ()] > 0

    settings, url = observed(settings)
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with background(settings, path, follow=True) as publisher:
        published = "streamproc_published_lines_total", ()
        eventually(lambda: metrics_at(url).get(published) == len(lines))
        assert asked(f"{url}/readyz") == asked(f"{url}/livez") == (200, "ok\n")
        publisher.end()


def test_a_port_that_is_taken_is_told() -> None:
    class Nobody:
        def metrics(self) -> bytes:
            return b""

        def ailing(self) -> str:
            return ""

        unready = ailing

    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = ObserveConfig(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(UsageError, match="cannot listen there"), serving(config, Nobody()):
            pass


class Told:
    """A consumer's statistics, made up."""

    def __init__(self) -> None:
        self.position = 0
        self.seconds = 0.0
        self.lags = Lags(lambda: {("raw", 0): self.position}, lambda: self.seconds)

    def at(self, seconds: float, position: int, stable: int, end: int, state: str = "UP") -> dict[str, float]:
        self.seconds, self.position = seconds, position
        partition = {"hi_offset": end, "ls_offset": stable}
        told = {
            "brokers": {"one": {"state": state}},
            "topics": {"raw": {"partitions": {"0": partition}}},
            "cgrp": {"join_state": "steady"},
        }
        self.lags.take(orjson.dumps(told).decode())
        return {sample.name.removeprefix("streamproc_"): sample.value for sample in self.lags.samples()}


def test_lag_in_seconds_is_the_age_of_the_oldest_that_waits() -> None:
    told = Told()
    assert told.at(0, 0, 0, 0) == {"lag_records": 0, "lag_seconds": 0, "unstable_records": 0}
    assert told.at(10, 0, 100, 100)["lag_seconds"] == 0
    assert told.at(20, 0, 200, 250) == {"lag_records": 200, "lag_seconds": 10, "unstable_records": 50}
    assert told.at(30, 100, 200, 250) == {"lag_records": 100, "lag_seconds": 10, "unstable_records": 50}
    assert told.at(31, 200, 200, 250)["lag_seconds"] == 0


def test_a_partition_that_stands_still_is_stuck_unless_brokers_are_away() -> None:
    told = Told()
    told.at(0, 5, 10, 10)
    told.at(lag.STUCK_SECONDS - 1, 5, 10, 10)
    assert told.lags.stuck() == ""
    told.at(lag.STUCK_SECONDS + 1, 5, 10, 10)
    assert told.lags.stuck() == "raw[0] stands still"
    told.at(lag.STUCK_SECONDS + 2, 6, 10, 10)
    assert told.lags.stuck() == ""
    told.at(3 * lag.STUCK_SECONDS, 6, 10, 10, state="DOWN")
    assert told.lags.stuck() == ""
    told.at(6 * lag.STUCK_SECONDS, 10, 10, 10)
    told.at(9 * lag.STUCK_SECONDS, 10, 10, 10)
    assert told.lags.stuck() == "" and told.lags.joined


def test_the_page_of_metrics_is_that_of_the_code() -> None:
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == page()
