"""Publishing to a real broker: what arrives, under which key and time, and how it ends when it cannot."""

import gzip
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from streamproc.config import KafkaConfig, Settings
from streamproc.errors import DataError, StreamprocError, UsageError
from streamproc.kafka import client
from streamproc.kafka.client import BrokerError
from streamproc.kafka.names import Names
from streamproc.kafka.partitioner import partition_of
from streamproc.kafka.publish import publisher as publisher_module
from streamproc.kafka.publish.inputs import Inputs
from streamproc.kafka.publish.producer import TransactionalProducer
from streamproc.kafka.publish.transactions import FencedError
from streamproc.kafka.topics.check import TopicsError
from streamproc.local.inputs import Source
from tests.kafka.groups import eventually
from tests.kafka.publishing import (
    Notes,
    append,
    assert_published,
    background,
    key_of,
    lines_of,
    market,
    publish,
    published,
    records,
    with_publish,
    write,
)
from tests.kafka.topics import make_topics

PARTITIONS = 4


@pytest.fixture
def topics(settings: Settings) -> Names:
    """The topics of this test's prefix."""
    return make_topics(settings, PARTITIONS)


@pytest.fixture
def kafka(settings: Settings, topics: Names, tmp_path: Path) -> Settings:
    """Settings whose topics are there, and whose rejects go to the test's folder."""
    return with_publish(settings, rejects=str(tmp_path / "rejects"))


class TestWhatArrives:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_a_market_with_every_fault_arrives_byte_for_byte(self, kafka: Settings, tmp_path: Path, seed: int) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(market(60, faults=True, seed=seed))
        summary = publish(kafka, path)
        wanted = lines_of(path.read_bytes())
        found = assert_published(kafka, wanted)
        assert summary["lines"] == len(wanted)
        assert summary["bytes"] == sum(map(len, wanted))
        assert summary["records"] == len(found) == summary["segments"] + summary["unkeyed"]
        assert summary["unkeyed"] == sum(record.key is None for record in found) > 0
        assert summary["files"] == 1
        assert summary["rejected"] == {}
        assert len(found) < len(wanted) / 3

    def test_partitions_are_those_that_the_partitioner_tells(self, kafka: Settings, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        names = [f"S{k}é" * (1 + k % 7) for k in range(200)]
        path.write_bytes(b"".join(orjson.dumps({"exchange": "x", "symbol": name}) + b"\n" for name in names))
        publish(kafka, path)
        found = records(kafka)
        assert {record.key for record in found} == {f"x:{name}".encode() for name in names}
        for record in found:
            assert record.key is not None
            assert record.partition == partition_of(record.key, PARTITIONS)

    def test_records_bear_the_time_of_their_first_line(self, kafka: Settings, tmp_path: Path) -> None:
        before_ms = round(time.time() * 1000)
        times = [1_700_000_000_000, 1, 4_102_444_799_999, None, "nonsense"]
        path = tmp_path / "a.ndjson"
        path.write_bytes(
            b"".join(
                orjson.dumps({"exchange": "x", "symbol": f"S{k}", "collected_at": collected}) + b"\n{}\n"
                for k, collected in enumerate(times)
            )
        )
        publish(kafka, path)
        stamps = {record.key: record.timestamp for record in records(kafka) if record.key}
        assert [stamps[f"x:S{k}".encode()] for k in range(3)] == times[:3]
        for k in (3, 4):
            assert before_ms <= stamps[f"x:S{k}".encode()] <= before_ms + 60_000

    def test_segments_are_bounded(self, kafka: Settings, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(market(30))
        publish(with_publish(kafka, segment_bytes=4000), path)
        found = assert_published(kafka, lines_of(path.read_bytes()))
        assert all(len(record.value) <= 4000 for record in found)
        assert sum(len(record.value) for record in found) / len(found) > 2500

    def test_files_of_all_kinds_in_their_order(self, kafka: Settings, tmp_path: Path) -> None:
        lines = lines_of(market(40))
        parts = [b"".join(line + b"\n" for line in lines[k : k + 200]) for k in range(0, len(lines), 200)]
        for number, part in enumerate(parts):
            packed = number % 2 == 0
            (tmp_path / f"{number}.ndjson{'.gz' if packed else ''}").write_bytes(
                gzip.compress(part) if packed else part
            )
        summary = publish(kafka, tmp_path)
        assert summary["files"] == len(parts) > 2
        assert_published(kafka, lines)

    def test_a_line_that_is_too_long_is_kept_and_no_other(self, kafka: Settings, tmp_path: Path) -> None:
        good = lines_of(market(5))
        long = [b'{"exchange":"x","symbol":"A","n":%d,"pad":"%s"}' % (k, b"\xff" * (k * 4_300_000)) for k in (0, 1)]
        path = tmp_path / "a.ndjson"
        write(path, [*good[:10], *long, *good[10:]])
        warnings = Notes()
        summary = publish(kafka, path, progress=warnings)
        assert summary["rejected"] == {"too_long": 1}
        assert_published(kafka, [*good[:10], long[0], *good[10:]])
        (file,) = (tmp_path / "rejects").iterdir()
        (kept,) = map(orjson.loads, file.read_bytes().splitlines())
        assert kept["reason"] == "too_long"
        assert kept["origin"] == f"{path}:12"
        assert len(kept["raw_base64"]) > 4_300_000
        assert str(file) in warnings.said[0]

    def test_the_longest_line_that_is_not_too_long_arrives(self, kafka: Settings, tmp_path: Path) -> None:
        limit = 4_194_304 - 512
        frame = len(b'{"exchange":"x","symbol":"A","pad":""}')
        rng = os.urandom(limit).hex().encode()
        lines = [b'{"exchange":"x","symbol":"A","pad":"%s"}' % rng[: limit - frame + more] for more in (0, 1)]
        path = tmp_path / "a.ndjson"
        path.write_bytes(b"\n".join(lines))
        assert publish(kafka, path)["rejected"] == {"too_long": 1}
        assert_published(kafka, lines[:1])

    def test_a_second_time_there_is_nothing_to_do(self, kafka: Settings, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(market(10))
        publish(kafka, path)
        assert publish(kafka, path)["lines"] == 0
        other = with_publish(kafka, publisher_id="other")
        assert publish(other, path)["lines"] == len(lines_of(path.read_bytes()))

    def test_transactions_are_committed_when_they_hold_enough(
        self, kafka: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(publisher_module, "COMMIT_BYTES", 100_000)
        path = tmp_path / "a.ndjson"
        path.write_bytes(market(60))
        commits: list[int] = []
        commit = publisher_module.Publisher.commit

        def counted(publisher: publisher_module.Publisher) -> None:
            commits.append(publisher.tally.lines)
            commit(publisher)

        monkeypatch.setattr(publisher_module.Publisher, "commit", counted)
        local = kafka.local.model_copy(update={"chunk_bytes": 1 << 15})
        publish(kafka.model_copy(update={"local": local}), path)
        assert len(commits) > path.stat().st_size / 200_000
        assert_published(kafka, lines_of(path.read_bytes()))


def write_all(pipe: int, content: bytes) -> None:
    with os.fdopen(pipe, "wb") as file:
        file.write(content)


class TestStandardInput:
    @contextmanager
    def piped(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
        """The writing end of a pipe that is standard input."""
        reading, writing = os.pipe()
        monkeypatch.setattr(Inputs, "sources", lambda _: [Source("<stdin>", reading)])
        try:
            yield writing
        finally:
            os.close(reading)

    def test_all_of_it_arrives_the_unterminated_end_too(self, kafka: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        content = market(30).rstrip(b"\n")[:-20]
        with self.piped(monkeypatch) as pipe:
            writer = threading.Thread(target=write_all, args=(pipe, content))
            writer.start()
            summary = publish(kafka, "-")
            writer.join()
        assert_published(kafka, lines_of(content))
        assert summary["files"] == 1

    def test_lines_are_committed_while_more_is_waited_for(
        self, kafka: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = lines_of(market(2))
        with self.piped(monkeypatch) as pipe, background(kafka, "-") as publisher:
            os.write(pipe, b"".join(line + b"\n" for line in lines[:5]))
            eventually(lambda: len(published(kafka)) == 5)
            os.write(pipe, lines[5] + b"\n")
            eventually(lambda: len(published(kafka)) == 6)
            summary = publisher.end()
            os.close(pipe)
        assert summary["interrupted"]
        assert_published(kafka, lines[:6])

    def test_lines_that_come_one_by_one_within_the_delay_are_packed(
        self, kafka: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = [b'{"exchange":"x","symbol":"A","n":%d}' % k for k in range(10)]
        with self.piped(monkeypatch) as pipe, background(with_publish(kafka, segment_delay=2.0), "-") as publisher:
            for line in lines:
                os.write(pipe, line + b"\n")
                time.sleep(0.01)
            os.close(pipe)
            publisher.wait()
        (record,) = assert_published(kafka, lines)
        assert record.value == b"\n".join(lines)


class TestFollowing:
    def test_files_that_grow_and_appear_until_the_end_is_asked_for(self, kafka: Settings, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        lines = lines_of(market(20))
        with background(kafka, folder, follow=True) as publisher, (folder / "a.ndjson").open("ab", 0) as file:
            for line in lines[:100]:
                file.write(line + b"\n")
            eventually(lambda: len(published(kafka)) == 100)
            file.write(lines[100][:10])
            write(folder / "b.ndjson", lines[101:])
            eventually(lambda: len(published(kafka)) == len(lines) - 1)
            file.write(lines[100][10:] + b"\n")
            eventually(lambda: len(published(kafka)) == len(lines))
            summary = publisher.end()
        assert "interrupted" not in summary
        assert summary["lines"] == len(lines)
        assert summary["files"] == 2

    def test_a_file_that_is_not_there_yet_is_waited_for(self, kafka: Settings, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        with background(kafka, path, follow=True) as publisher:
            eventually(lambda: bool(publisher.progress.said))
            assert "does not exist: waiting for it" in publisher.progress.said[0]
            path.write_bytes(market(2))
            eventually(lambda: len(records(kafka)) > 0)
            publisher.end()
        assert_published(kafka, lines_of(path.read_bytes()))

    def test_it_goes_on_behind_what_was_published_once(self, kafka: Settings, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        lines = lines_of(market(20))
        write(path, lines[:50])
        publish(kafka, path)
        append(path, lines[50:])
        with background(kafka, path, follow=True) as publisher:
            eventually(lambda: len(published(kafka)) == len(lines))
            publisher.end()
        assert_published(kafka, lines)

    def test_standard_input_beside_files_is_refused(self, kafka: Settings, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="beside files"):
            publish(kafka, "-", tmp_path, follow=True)


def test_replay_takes_the_time_that_the_recording_took(kafka: Settings, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(market(8))
    times = [orjson.loads(line)["collected_at"] for line in lines_of(path.read_bytes())]
    started = time.monotonic()
    publish(kafka, path, speed=4)
    seconds = time.monotonic() - started
    assert (max(times) - times[0]) / 4000 <= seconds <= (max(times) - times[0]) / 4000 + 4
    assert_published(kafka, lines_of(path.read_bytes()))


class TestTwoOfOneName:
    def test_the_earlier_one_is_fenced_and_says_so_and_no_line_comes_twice(
        self, kafka: Settings, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.ndjson"
        lines = lines_of(market(30))
        with path.open("ab", 0) as file, background(kafka, path, follow=True) as earlier:
            file.writelines(line + b"\n" for line in lines[:100])
            eventually(lambda: len(published(kafka)) == 100)
            with background(kafka, path, follow=True) as later:
                file.writelines(line + b"\n" for line in lines[100:200])
                eventually(lambda: len(published(kafka)) == 200)
                file.writelines(line + b"\n" for line in lines[200:])
                eventually(lambda: earlier.error is not None, 60)
                eventually(lambda: len(published(kafka)) == len(lines))
                later.end()
            with pytest.raises(FencedError, match="another publisher of this name has begun") as told:
                earlier.wait()
        assert "--publisher-id" in told.value.hint
        assert_published(kafka, lines)

    def test_one_that_begins_while_the_earlier_one_commits_reads_anew_what_is_published(
        self, kafka: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.ndjson"
        lines = lines_of(market(30))
        begin = TransactionalProducer.begin
        producers: list[TransactionalProducer] = []
        overtaken = threading.Event()

        def begin_late(producer: TransactionalProducer) -> None:
            if producer not in producers:
                producers.append(producer)
                if len(producers) == 2:
                    file.writelines(line + b"\n" for line in lines[100:200])
                    eventually(lambda: len(published(kafka)) == 200)
                    overtaken.set()
            begin(producer)

        monkeypatch.setattr(TransactionalProducer, "begin", begin_late)
        with path.open("ab", 0) as file, background(kafka, path, follow=True) as earlier:
            file.writelines(line + b"\n" for line in lines[:100])
            eventually(lambda: len(published(kafka)) == 100)
            with background(kafka, path, follow=True) as later:
                assert overtaken.wait(20)
                file.writelines(line + b"\n" for line in lines[200:])

                def one_has_ended() -> bool:
                    lines.append(b'{"exchange":"x","symbol":"A","n":%d}' % len(lines))
                    file.write(lines[-1] + b"\n")
                    return earlier.error is not None or later.error is not None

                eventually(one_has_ended, 60)
                assert [type(one.error) for one in (earlier, later) if one.error] == [FencedError]
                eventually(lambda: len(published(kafka)) == len(lines))
        assert_published(kafka, lines)

    def test_those_of_two_names_do_not_disturb_each_other(self, kafka: Settings, tmp_path: Path) -> None:
        parts = lines_of(market(30, symbols=1)), lines_of(market(30, symbols=1, seed=9))
        paths = [tmp_path / f"{k}.ndjson" for k in range(2)]
        for path, lines in zip(paths, parts, strict=True):
            path.write_bytes(b"".join(line.replace(b'"binance"', b'"x"') + b"\n" for line in lines))
        settings = [with_publish(kafka, publisher_id=f"p{k}", commit_interval=0.01) for k in range(2)]
        with background(settings[0], paths[0]) as one, background(settings[1], paths[1]) as other:
            assert one.wait()["lines"] == len(parts[0])
            assert other.wait()["lines"] == len(parts[1])
        found = published(kafka)
        assert sorted(found) == sorted(line for path in paths for line in lines_of(path.read_bytes()))


class TestWhatCannotBe:
    def test_no_broker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "REACH_SECONDS", 1.0)
        path = tmp_path / "a.ndjson"
        path.write_bytes(market(1))
        with pytest.raises(BrokerError, match="cannot reach Kafka") as told:
            publish(Settings(kafka=KafkaConfig(bootstrap_servers="127.0.0.1:1")), path)
        assert "kafka.bootstrap_servers" in told.value.hint

    def test_missing_topics(self, settings: Settings, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(market(1))
        with pytest.raises(TopicsError, match="does not exist") as told:
            publish(settings, path)
        assert len(told.value.faults) == 2

    def test_inputs_that_are_not_there_are_told_before_kafka_is_asked(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="does not exist"):
            publish(Settings(kafka=KafkaConfig(bootstrap_servers="127.0.0.1:1")), tmp_path / "nothing")

    def test_a_topic_that_takes_less_than_it_did(self, kafka: Settings, topics: Names, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(market(2))
        with background(kafka, path, follow=True) as publisher:
            eventually(lambda: len(records(kafka)) > 0)
            entry = ConfigEntry("max.message.bytes", "1000", incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ConfigResource.Type.TOPIC, topics.raw, incremental_configs=[entry])
            admin = client.admin(kafka.kafka)
            admin.incremental_alter_configs([resource])[resource].result()
            time.sleep(0.5)
            with path.open("ab") as file:
                file.write(b'{"exchange":"x","symbol":"A","pad":"%s"}\n' % os.urandom(5000).hex().encode())
            with pytest.raises(BrokerError, match=r"cannot publish.*[Mm]essage size"):
                publisher.wait()
        assert_published(kafka, lines_of(path.read_bytes())[:-1])

    @pytest.mark.parametrize("follow", [False, True])
    def test_a_file_that_was_cut_keeps_back_nothing_that_comes_before_it(
        self, kafka: Settings, tmp_path: Path, follow: bool
    ) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        lines = lines_of(market(10))
        for name, part in (("a", lines[:50]), ("b", lines[50:100])):
            write(folder / f"{name}.ndjson", part)
        publish(kafka, folder)
        append(folder / "a.ndjson", lines[100:])
        os.truncate(folder / "b.ndjson", 5000)
        with pytest.raises(DataError, match=r"b\.ndjson: no longer holds"):
            publish(kafka, folder, follow=follow)
        found = published(kafka)
        assert sorted(found) == sorted(lines)

    def test_rejects_that_cannot_be_kept_end_it_before_the_commit(self, kafka: Settings, tmp_path: Path) -> None:
        path = tmp_path / "a.ndjson"
        path.write_bytes(market(1) + b"x" * 5_000_000 + b"\n")
        (tmp_path / "file").touch()
        with pytest.raises(StreamprocError, match="cannot write"):
            publish(with_publish(kafka, rejects=str(tmp_path / "file")), path)
        assert publish(kafka, path)["rejected"] == {"too_long": 1}
        assert_published(kafka, lines_of(path.read_bytes())[:-1])


def test_what_a_key_is_is_judged_by_the_tests_themselves() -> None:
    assert key_of(b'{"exchange":"x","symbol":"A"}') == b"x:A"
    assert key_of(b'{"exchange":"x"}') is None
