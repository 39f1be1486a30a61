"""Topics: what their files may ask for, how they come about on a real broker, and what a start refuses."""

import json
import logging
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from streamproc import cli
from streamproc.config import KafkaConfig, Settings
from streamproc.errors import StreamprocError, UsageError
from streamproc.kafka import client as kafka_client
from streamproc.kafka.client import BrokerError, admin
from streamproc.kafka.topics import (
    ROLES,
    Change,
    Topic,
    apply,
    check_topics,
    default_folder,
    plan,
    read_files,
    rehearse,
    with_replication,
)
from streamproc.kafka.topics.apply import RefusedError
from streamproc.kafka.topics.check import TopicsError
from streamproc.kafka.topics.cluster import holds_records, read_topics
from streamproc.kafka.topics.files import SHIPPED, TopicFilesError
from streamproc.kafka.topics.plan import changes
from streamproc.observe import logs
from tests.broker import Broker, free_ports
from tests.kafka.topics import make_topics, wanted_topics

ROOT = Path(__file__).parent.parent.parent
MAXIMUM = "9223372036854775807"
BEFORE, AFTER = "message.timestamp.before.max.ms", "message.timestamp.after.max.ms"


@pytest.fixture
def brokers(settings: Settings) -> Iterator[AdminClient]:
    client = admin(settings.kafka)
    yield client
    made = [name for name in client.list_topics(timeout=10).topics if name.startswith(f"{settings.kafka.prefix}.")]
    if made:
        client.delete_topics(made)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's own copy of the files."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "own"))


def edit(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")


def line_of(path: Path, part: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if part in line)


def faults(folder: Path) -> list[str]:
    with pytest.raises(TopicFilesError) as caught:
        read_files(folder, "streamproc")
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.faults]


def alter(brokers: AdminClient, topic: str, setting: str, value: str | None) -> None:
    """Set a topic's setting behind the program's back; None takes it away."""
    operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
    entry = ConfigEntry(setting, value or "", incremental_operation=operation)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for answer in brokers.incremental_alter_configs([resource]).values():
        answer.result()
    deadline = time.monotonic() + 10
    while not is_set(brokers, topic, setting, value):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_set(brokers: AdminClient, topic: str, setting: str, value: str | None) -> bool:
    """Whether the broker shows it: it does a moment after it has accepted it."""
    found = read_topics(brokers, {"it": topic})["it"]
    if value is None:
        return setting in found.inherited
    return setting not in found.inherited and found.config[setting] == value


def write_record(settings: Settings, topic: str) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    producer.produce(topic, b"line", b"key")
    assert producer.flush(10) == 0


def told(changes: list[Change]) -> list[tuple[str, str, str | None, str]]:
    return [(change.role, change.what, change.now, change.wanted) for change in changes]


class TestTheFilesThatShip:
    def test_they_ask_for_the_six_topics(self) -> None:
        topics = read_files(SHIPPED, "streamproc")
        assert [*topics] == [*ROLES]
        assert {topic.name for topic in topics.values()} == {f"streamproc.{role}" for role in ROLES}
        assert {role: topic.partitions for role, topic in topics.items()} == dict.fromkeys(ROLES, 12) | {"publish": 1}

    def test_their_settings(self) -> None:
        for role, topic in read_files(SHIPPED, "streamproc").items():
            assert topic.replicas == 3
            assert topic.config["min.insync.replicas"] == "2"
            assert topic.config["message.timestamp.type"] == "CreateTime"
            assert topic.config[BEFORE] == topic.config[AFTER] == MAXIMUM
            compacted = role in {"state", "publish"}
            assert topic.config["cleanup.policy"] == ("compact" if compacted else "delete")
            assert topic.config.get("retention.ms") == (None if compacted else "-1")

    def test_a_raw_record_and_its_headers_fit_into_the_dead_letters(self) -> None:
        topics = read_files(SHIPPED, "streamproc")
        assert topics["raw"].max_message_bytes == 4 * 2**20 < topics["dlq"].max_message_bytes

    def test_they_are_those_at_the_top_of_the_sources(self) -> None:
        assert SHIPPED.resolve() == ROOT / "topics"
        assert {path.stem for path in SHIPPED.iterdir()} == {*ROLES}

    def test_each_begins_with_what_it_is(self) -> None:
        firsts = {path.read_text(encoding="utf-8").splitlines()[0] for path in SHIPPED.iterdir()}
        assert len(firsts) == len(ROLES)
        assert all(first.startswith("# ") and first.endswith(".") for first in firsts)

    def test_a_wheel_brings_them(self, tmp_path: Path) -> None:
        sources = tmp_path / "sources"
        sources.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, sources)
        for name in ("streamproc", "topics"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, sources / name, symlinks=True, ignore=ignored)
        build = f"import setuptools.build_meta as b; b.build_wheel({str(tmp_path)!r})"
        subprocess.run([sys.executable, "-c", build], cwd=sources, check=True, capture_output=True)
        (wheel,) = tmp_path.glob("*.whl")
        packed = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".yaml")]
        assert sorted(packed) == sorted(f"streamproc/kafka/topics/default/{role}.yaml" for role in ROLES)

    def test_they_serve_where_there_are_no_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert default_folder() == SHIPPED
        (tmp_path / "topics").mkdir()
        assert default_folder() == Path("topics")


class TestNames:
    def test_the_prefix_takes_the_place_of_the_one_written(self) -> None:
        assert read_files(SHIPPED, "desk.a")["raw"].name == "desk.a.raw"

    def test_files_may_bear_the_prefix_themselves(self, folder: Path) -> None:
        edit(folder, "raw.yaml", "name: streamproc.raw", "name: desk.raw")
        assert read_files(folder, "desk")["raw"].name == "desk.raw"
        assert faults(folder)[0].startswith("raw.yaml:5: metadata.name: must be one of streamproc.raw, ")

    def test_topic_name_goes_before_the_resource_name(self, folder: Path) -> None:
        edit(folder, "hf.yaml", "name: streamproc.hf", "name: rows")
        edit(folder, "hf.yaml", "spec:", "spec:\n  topicName: streamproc.hf")
        assert read_files(folder, "streamproc")["hf"].name == "streamproc.hf"


FAULTS = [
    ("raw", "type: CreateTime", "type: LogAppendTime", "message.timestamp.type: must be CreateTime, found LogAppend"),
    ("dlq", f'{BEFORE}: "{MAXIMUM}"', f"{BEFORE}: 1", f"{BEFORE}: must be {MAXIMUM}, found 1: "),
    ("bars", f'{AFTER}: "{MAXIMUM}"', f"{AFTER}: 3600000", f"{AFTER}: must be {MAXIMUM}, found 3600000: "),
    ("hf", f'    {AFTER}: "{MAXIMUM}"\n', "", f"{AFTER}: is missing, must be {MAXIMUM}: "),
    ("hf", "cleanup.policy: delete", "cleanup.policy: compact", "cleanup.policy: must be delete, found compact: "),
    ("state", "cleanup.policy: compact", "cleanup.policy: delete", "cleanup.policy: must be compact, found delete: "),
    ("publish", "policy: compact", "policy: [compact, delete]", "policy: must be compact, found compact,delete: "),
    ("bars", "    retention.ms: -1\n", "", "retention.ms: is missing, must be -1: "),
    ("dlq", "bytes: 5242880", "bytes: 4194304", "max.message.bytes: must be more than 4194304, found 4194304: "),
    ("dlq", "    max.message.bytes: 5242880", "    #", "max.message.bytes: is missing, must be more than 4194304: "),
    ("raw", "    max.message.bytes: 4194304\n", "", "max.message.bytes: is missing, must be a number of bytes: "),
    ("state", "partitions: 12", "partitions: 13", "spec.partitions: must be 12, as streamproc.raw has, found 13: "),
    ("hf", "replicas: 3", "replicas: 2", "spec.replicas: must be at least 3, found 2: "),
    ("hf", "in.insync.replicas: 2", "in.insync.replicas: 1", "min.insync.replicas: must be at least 2, found 1: "),
    ("hf", "in.insync.replicas: 2", "in.insync.replicas: 4", "min.insync.replicas: must be at most 3, found 4: "),
    ("hf", "    min.insync.replicas: 2\n", "", "min.insync.replicas: is missing, must be 2: "),
    ("hf", "io/v1", "io/v1beta2", "apiVersion: must be 'kafka.strimzi.io/v1', found \"kafka.strimzi.io/v1beta2\""),
    ("hf", "kind: KafkaTopic", "kind: Topic", "kind: must be 'KafkaTopic', found \"Topic\""),
    ("hf", "kind: KafkaTopic\n", "", "kind: is missing"),
    ("hf", "name: streamproc.hf", "name: Streamproc_HF", "metadata.name: String should match pattern"),
    (
        "hf",
        "name: streamproc.hf",
        "name: streamproc.hff",
        "metadata.name: must be one of streamproc.raw, streamproc.hf",
    ),
    ("hf", "    strimzi.io/cluster: kafka", "    app: x", "metadata.labels.strimzi.io/cluster: is missing"),
    ("hf", "partitions: 12", "partitions: 0", "spec.partitions: must be greater than or equal to 1, found 0"),
    ("hf", "partitions: 12", "partitions: twelve", 'spec.partitions: must be a whole number, found "twelve"'),
    ("hf", "partitions: 12", "partition: 12", "spec.partition: unknown key"),
    ("hf", "partitions: 12", "partition: 12", "spec.partitions: is missing"),
    ("hf", "config:", "config: 5\n  x:", "spec.config: must hold keys and values, found 5"),
    (
        "hf",
        "retention.ms: -1",
        "retention.mss: -1",
        "retention.mss: no setting of a topic; did you mean `retention.ms`?",
    ),
    ("hf", "retention.ms: -1", "retention.ms: 7d", "retention.ms: must be a whole number, found 7d"),
    ("hf", "retention.ms: -1", "retention.ms: 1_000", "retention.ms: must be a whole number, found 1_000"),
    ("hf", "retention.ms: -1", "retention.ms:", "retention.ms: must be a number or text, found null"),
    ("hf", "retention.ms: -1", "retention.ms: {a: 1}", 'retention.ms: must be a number or text, found {"a": 1}'),
    ("hf", "replicas: 3", "partitions: 3", "spec.partitions: given twice, first on line"),
    ("hf", "replicas: 3", "replicas: *three", "aliases are not supported"),
]


class TestFaultsOfFiles:
    @pytest.mark.parametrize(("role", "old", "new", "message"), FAULTS, ids=[fault[3][:60] for fault in FAULTS])
    def test_each_is_told_with_its_place(self, folder: Path, role: str, old: str, new: str, message: str) -> None:
        edit(folder, f"{role}.yaml", old, new)
        found = faults(folder)
        (told,) = (fault for fault in found if message in fault)
        if "is missing" not in message:
            line = line_of(folder / f"{role}.yaml", new.splitlines()[0])
            assert told.startswith(f"{role}.yaml:{line}: ")

    def test_a_missing_setting_is_told_where_settings_stand(self, folder: Path) -> None:
        edit(folder, "hf.yaml", "    retention.ms: -1\n", "")
        (fault,) = faults(folder)
        assert fault.startswith(
            f"hf.yaml:{line_of(folder / 'hf.yaml', 'config:')}: spec.config.retention.ms: is missing"
        )

    def test_all_are_told_at_once_in_the_order_of_their_places(self, folder: Path) -> None:
        edit(folder, "state.yaml", "cleanup.policy: compact", "cleanup.policy: delete")
        edit(folder, "state.yaml", "partitions: 12", "partitions: 6")
        edit(folder, "dlq.yaml", "5242880", "5")
        edit(folder, "dlq.yaml", "retention.ms: -1", "retention.mss: -1")
        (folder / "publish.yaml").unlink()
        keys = [fault.split(": ")[:2] for fault in faults(folder)]
        assert [(where.split(":")[0], key) for where, key in keys if where.endswith(tuple("0123456789"))] == [
            ("dlq.yaml", "spec.config.retention.ms"),
            ("dlq.yaml", "spec.config.max.message.bytes"),
            ("dlq.yaml", "spec.config.retention.mss"),
            ("state.yaml", "spec.partitions"),
            ("state.yaml", "spec.config.cleanup.policy"),
        ]
        assert f"{folder}: holds no file of the topic streamproc.publish" in faults(folder)

    def test_no_yaml(self, folder: Path) -> None:
        edit(folder, "hf.yaml", "replicas: 3", "replicas: [3")
        (fault,) = faults(folder)
        assert fault.startswith(f"hf.yaml:{line_of(folder / 'hf.yaml', 'config:')}: no valid YAML: ")

    def test_empty_file(self, folder: Path) -> None:
        (folder / "hf.yaml").write_text("# nothing\n")
        assert faults(folder) == [f"hf.yaml:1: {key}: is missing" for key in ("apiVersion", "kind", "metadata", "spec")]

    def test_not_utf8(self, folder: Path) -> None:
        (folder / "hf.yaml").write_bytes(b"\xff")
        assert faults(folder) == ["hf.yaml: is not UTF-8"]

    def test_two_files_of_one_topic(self, folder: Path) -> None:
        shutil.copy(folder / "hf.yaml", folder / "hf2.yml")
        assert faults(folder) == [f"hf2.yml:5: metadata.name: the same topic as in {folder}/hf.yaml"]

    def test_a_folder_without_files(self, tmp_path: Path) -> None:
        assert len(faults(tmp_path)) == len(ROLES)

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no such folder of topics"):
            read_files(tmp_path / "none", "streamproc")

    def test_a_limit_in_time_is_the_users_choice(self, folder: Path) -> None:
        edit(folder, "hf.yaml", "retention.ms: -1", "retention.ms: 86400000")
        assert read_files(folder, "streamproc")["hf"].config["retention.ms"] == "86400000"


class TestReplication:
    @pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
    def test_one_replica_may_be_missing(self, replicas: int, in_sync: str) -> None:
        for topic in with_replication(read_files(SHIPPED, "streamproc"), replicas).values():
            assert (topic.replicas, topic.config["min.insync.replicas"]) == (replicas, in_sync)


class TestDifferences:
    """Without brokers: of one topic and its file."""

    @staticmethod
    def of(now: Mapping[str, str], wanted: Mapping[str, str]) -> list[Change]:
        found, asked = (Topic("t.hf", 4, 1, config) for config in (now, wanted))
        return list(changes({"hf": asked}, {"hf": found}, lambda topic: False))

    @pytest.mark.parametrize(
        ("setting", "now", "wanted"),
        [
            ("min.cleanable.dirty.ratio", "0.2", "0.20"),
            ("cleanup.policy", "compact,delete", "delete,compact"),
            ("preallocate", "false", "False"),
        ],
    )
    def test_the_same_in_other_words_is_none(self, setting: str, now: str, wanted: str) -> None:
        assert self.of({setting: now}, {setting: wanted}) == []

    @pytest.mark.parametrize(
        ("setting", "now", "wanted", "lowers"),
        [
            ("retention.ms", "-1", "1000", True),
            ("retention.ms", "1000", "-1", False),
            ("max.message.bytes", "8", "4", True),
            ("min.insync.replicas", "1", "2", False),
            ("segment.bytes", "8", "4", False),
        ],
    )
    def test_what_takes_something_away_is_marked(self, setting: str, now: str, wanted: str, lowers: bool) -> None:
        (change,) = self.of({setting: now}, {setting: wanted})
        assert change.lowers is lowers

    def test_what_the_file_does_not_speak_of_is_left_alone(self) -> None:
        assert self.of({"retention.bytes": "7", "segment.bytes": "9"}, {"segment.bytes": "9"}) == []


class TestApply:
    def test_the_topics_are_made_and_nothing_is_left_to_do(self, settings: Settings, brokers: AdminClient) -> None:
        wanted = with_replication(read_files(SHIPPED, settings.kafka.prefix), 1)
        assert [change.what for change in plan(brokers, wanted)] == ["create"] * 6
        done = apply(brokers, wanted)
        assert [change.topic for change in done] == [topic.name for topic in wanted.values()]
        assert plan(brokers, wanted) == []
        assert apply(brokers, wanted) == []
        found = check_topics(brokers, settings.kafka, ROLES)
        for role, topic in wanted.items():
            assert (found[role].partitions, found[role].replicas) == (topic.partitions, 1)
            assert topic.config.items() <= found[role].config.items()

    def test_rehearsing_makes_nothing(self, settings: Settings, brokers: AdminClient) -> None:
        wanted = wanted_topics(settings)
        rehearse(brokers, wanted, plan(brokers, wanted))
        assert len(plan(brokers, wanted)) == 6

    def test_more_replicas_than_brokers_are_refused(self, settings: Settings, brokers: AdminClient) -> None:
        wanted = read_files(SHIPPED, settings.kafka.prefix)
        for act in (lambda: rehearse(brokers, wanted, plan(brokers, wanted)), lambda: apply(brokers, wanted)):
            with pytest.raises(BrokerError, match="Unable to replicate") as caught:
                act()
            assert "--replication" in caught.value.hint

    def test_a_setting_that_drifted_is_set_again(
        self, settings: Settings, brokers: AdminClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        names = make_topics(settings)
        wanted = wanted_topics(settings)
        alter(brokers, names.state, "cleanup.policy", "delete")
        alter(brokers, names.raw, "max.message.bytes", "8388608")
        alter(brokers, names.raw, "retention.bytes", "123456789")
        alter(brokers, names.hf, "retention.ms", None)
        expected = [
            ("raw", "max.message.bytes", "8388608", "4194304"),
            ("hf", "retention.ms", "604800000", "-1"),
            ("state", "cleanup.policy", "delete", "compact"),
        ]
        assert told(plan(brokers, wanted)) == expected
        with caplog.at_level(logging.WARNING, "streamproc.kafka"):
            assert told(apply(brokers, wanted)) == expected
        assert caplog.messages == [f"{names.raw}: max.message.bytes is lowered from 8388608 to 4194304"]
        assert plan(brokers, wanted) == []
        assert check_topics(brokers, settings.kafka, {"raw"})["raw"].config["retention.bytes"] == "123456789"

    def test_partitions_are_added_to_empty_topics(self, settings: Settings, brokers: AdminClient) -> None:
        make_topics(settings, partitions=2)
        make_topics(settings, partitions=3)
        found = check_topics(brokers, settings.kafka, ROLES)
        assert {role: topic.partitions for role, topic in found.items()} == dict.fromkeys(ROLES, 3) | {"publish": 1}

    @pytest.mark.parametrize(
        ("filled", "refused"),
        [("hf", ["hf"]), ("bars", ["bars"]), ("raw", ["raw", "state"]), ("state", ["raw", "state"]), ("dlq", [])],
    )
    def test_partitions_are_not_added_where_keys_would_move(
        self, settings: Settings, brokers: AdminClient, filled: str, refused: list[str]
    ) -> None:
        names = make_topics(settings, partitions=2)
        write_record(settings, getattr(names, filled))
        planned = plan(brokers, wanted_topics(settings, partitions=3))
        assert [change.role for change in planned if change.refused] == refused
        assert [change.role for change in planned] == ["raw", "hf", "bars", "dlq", "state"]
        for change in planned:
            if change.refused:
                assert f"{settings.kafka.prefix}.{filled} holds records" in change.refused
                assert "publish the input again" in change.refused

    def test_a_partition_whose_leader_is_not_ready_is_waited_for(
        self, settings: Settings, brokers: AdminClient
    ) -> None:
        names = make_topics(settings, partitions=2)
        write_record(settings, names.hf)
        topic = check_topics(brokers, settings.kafka, {"hf"})["hf"]
        asked = []

        class Moving:
            """Brokers that have just moved the partition's leader."""

            def list_offsets(self, partitions: Mapping[Any, Any]) -> Any:
                asked.append(partitions)
                if len(asked) > 1:
                    return brokers.list_offsets(dict(partitions))
                refused: Future[Any] = Future()
                refused.set_exception(KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)))
                return dict.fromkeys(partitions, refused)

        assert holds_records(Moving(), topic)  # type: ignore[arg-type]
        assert len(asked) == 3

    def test_where_one_change_is_refused_none_is_made(self, settings: Settings, brokers: AdminClient) -> None:
        names = make_topics(settings, partitions=2)
        write_record(settings, names.hf)
        alter(brokers, names.raw, "retention.ms", "5")
        wanted = wanted_topics(settings, partitions=3)
        before = plan(brokers, wanted)
        with pytest.raises(RefusedError, match=rf"{names.hf}: partitions 2 -> 3: {names.hf} holds records"):
            apply(brokers, wanted)
        assert plan(brokers, wanted) == before

    def test_partitions_are_never_taken_away(self, settings: Settings, brokers: AdminClient) -> None:
        make_topics(settings, partitions=3)
        with pytest.raises(RefusedError, match=r"never takes partitions away: set spec\.partitions to 3"):
            apply(brokers, wanted_topics(settings, partitions=2))

    def test_replicas_are_not_moved(self, settings: Settings, brokers: AdminClient) -> None:
        make_topics(settings)
        wanted = with_replication(wanted_topics(settings), 3)
        with pytest.raises(RefusedError, match=r"replicas 1 -> 3: .*--replication 1 keeps them"):
            apply(brokers, wanted)

    def test_several_at_once(self, settings: Settings, brokers: AdminClient) -> None:
        wanted = wanted_topics(settings)
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(apply, admin(settings.kafka), wanted) for _ in range(4)]:
                done.result()
        assert plan(brokers, wanted) == []

    def test_a_topic_that_another_makes_meanwhile_is_altered(self, settings: Settings, brokers: AdminClient) -> None:
        wanted = wanted_topics(settings)

        class Overtaken:
            """The brokers, where another client makes a topic of other settings just before."""

            def __getattr__(self, name: str) -> Any:
                return getattr(brokers, name)

            def create_topics(self, new: list[NewTopic], **options: Any) -> Any:
                other = NewTopic(wanted["raw"].name, 2, 1, config={"retention.ms": "7"})
                brokers.create_topics([other])[other.topic].result()
                return brokers.create_topics(new, **options)

        done = apply(Overtaken(), wanted)  # type: ignore[arg-type]
        assert ("raw", "partitions", "2", "4") in told(done)
        assert ("raw", "retention.ms", "7", "-1") in told(done)
        assert plan(brokers, wanted) == []

    def test_what_the_brokers_take_and_do_not_show_ends(self, settings: Settings, brokers: AdminClient) -> None:
        make_topics(settings)
        wanted = wanted_topics(settings)
        wanted["hf"] = wanted["hf"]._replace(config={**wanted["hf"].config, "retention.bytes": "7"})

        class Forgetful:
            """Brokers that accept settings and keep none."""

            def __getattr__(self, name: str) -> Any:
                return getattr(brokers, name)

            def incremental_alter_configs(self, resources: Any, **_: Any) -> Any:
                return brokers.incremental_alter_configs(resources, validate_only=True)

        with pytest.raises(StreamprocError, match="still differ"):
            apply(Forgetful(), wanted, sleep=lambda _: None)  # type: ignore[arg-type]


BROKEN = [
    ("raw", "message.timestamp.type", "LogAppendTime", "CreateTime"),
    ("hf", BEFORE, "3600000", MAXIMUM),
    ("raw", AFTER, "3600000", MAXIMUM),
    ("state", "cleanup.policy", "delete", "compact"),
    ("publish", "cleanup.policy", "compact,delete", "compact"),
    ("bars", "cleanup.policy", "compact", "delete"),
    ("dlq", "max.message.bytes", "4194304", "more than 4194304"),
    ("raw", "min.insync.replicas", "2", "at most 1"),
]


class TestCheck:
    def test_it_tells_of_the_topics(self, settings: Settings, brokers: AdminClient) -> None:
        names = make_topics(settings, partitions=3)
        found = check_topics(brokers, settings.kafka, {"state", "raw"})
        assert {role: topic.name for role, topic in found.items()} == {"raw": names.raw, "state": names.state}
        assert {(topic.partitions, topic.replicas) for topic in found.values()} == {(3, 1)}
        assert found["raw"].max_message_bytes == 4 * 2**20
        assert found["raw"].id != found["state"].id
        assert found["raw"].id == check_topics(brokers, settings.kafka, {"raw"})["raw"].id

    @pytest.mark.parametrize(("role", "setting", "value", "wanted"), BROKEN, ids=[case[1] for case in BROKEN])
    def test_a_setting_that_breaks_a_rule_is_refused(
        self, settings: Settings, brokers: AdminClient, role: str, setting: str, value: str, wanted: str
    ) -> None:
        make_topics(settings, partitions=1)
        alter(brokers, f"{settings.kafka.prefix}.{role}", setting, value)
        with pytest.raises(TopicsError) as caught:
            check_topics(brokers, settings.kafka, ROLES)
        (fault,) = caught.value.faults
        assert fault.startswith(f"  {settings.kafka.prefix}.{role}: {setting} is {value}, must be {wanted}: ")
        assert "streamproc topics apply" in caught.value.hint
        check_topics(brokers, settings.kafka, {*ROLES} - {role})

    def test_a_limit_in_time_that_nobody_chose_is_refused(self, settings: Settings, brokers: AdminClient) -> None:
        names = make_topics(settings, partitions=1)
        alter(brokers, names.raw, "retention.ms", None)
        with pytest.raises(TopicsError, match=rf"{names.raw}: retention.ms is 604800000, must be -1: by event time"):
            check_topics(brokers, settings.kafka, {"raw"})
        alter(brokers, names.raw, "retention.ms", "604800000")
        assert check_topics(brokers, settings.kafka, {"raw"})["raw"].config["retention.ms"] == "604800000"

    def test_missing_topics_and_others_are_told_at_once(self, settings: Settings, brokers: AdminClient) -> None:
        topics = {role: f"{settings.kafka.prefix}.{role}" for role in ("raw", "state")}
        for answer in brokers.create_topics([NewTopic(topics["raw"], 2, 1), NewTopic(topics["state"], 3, 1)]).values():
            answer.result()
        with pytest.raises(TopicsError) as caught:
            check_topics(brokers, settings.kafka, {"raw", "state", "dlq"})
        told = [fault.strip().removeprefix(f"{settings.kafka.prefix}.") for fault in caught.value.faults]
        assert [fault.split(",")[0] for fault in told] == [
            "dlq does not exist",
            f"raw: {AFTER} is 3600000",
            "raw: retention.ms is 604800000",
            f"state: {AFTER} is 3600000",
            "state: cleanup.policy is delete",
            "state: partitions is 3",
        ]
        assert "topics plan" in caught.value.hint
        assert caught.value.exit_code == 1

    def test_no_role_is_guessed(self, settings: Settings, brokers: AdminClient) -> None:
        with pytest.raises(ValueError, match="not in tuple"):
            check_topics(brokers, settings.kafka, {"rows"})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker where whatever is not denied is permitted."""
    rights = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    broker = Broker(tmp_path_factory.mktemp("guarded"), properties=rights)
    broker.start()
    try:
        yield broker.bootstrap_servers
    finally:
        broker.stop()


def deny(brokers: AdminClient, topic: str, operation: AclOperation) -> None:
    everyone = ("User:*", "*")
    kinds = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL)
    denied = AclBinding(*kinds, *everyone, operation, AclPermissionType.DENY)
    others = AclBinding(*kinds, *everyone, AclOperation.ALL, AclPermissionType.ALLOW)
    for answer in brokers.create_acls([denied, others]).values():
        answer.result()


class TestWithoutRights:
    def test_settings_that_may_not_be_read(self, guarded: str, caplog: pytest.LogCaptureFixture) -> None:
        settings = Settings(kafka=KafkaConfig(bootstrap_servers=guarded, prefix="unread"))
        brokers = admin(settings.kafka)
        names = make_topics(settings, partitions=3)
        deny(brokers, names.raw, AclOperation.DESCRIBE_CONFIGS)
        with caplog.at_level(logging.WARNING, "streamproc.kafka"):
            found = check_topics(brokers, settings.kafka, ROLES)
        assert [*caplog.messages] == [
            f"the settings of {names.raw} may not be read, and are taken to be right: "
            "grant this user DescribeConfigs on them"
        ]
        assert (found["raw"].partitions, found["raw"].max_message_bytes) == (3, 4 * 2**20)
        assert found["raw"].id
        with pytest.raises(StreamprocError, match=f"{names.raw}: the settings of the topic may not be read"):
            plan(brokers, wanted_topics(settings, partitions=3))

    def test_a_topic_that_may_not_be_seen(self, guarded: str) -> None:
        settings = Settings(kafka=KafkaConfig(bootstrap_servers=guarded, prefix="unseen"))
        brokers = admin(settings.kafka)
        names = make_topics(settings, partitions=1)
        deny(brokers, names.dlq, AclOperation.DESCRIBE)
        with pytest.raises(
            BrokerError, match=f"{names.dlq}: cannot look at the topic: .*authorization failed"
        ) as caught:
            check_topics(brokers, settings.kafka, ROLES)
        assert caught.value.hint == f"grant this user Describe on the topic {names.dlq}: see docs/security.md"


class Ended:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def topics_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ended]:
    """Runs `streamproc topics ...` in this process."""
    monkeypatch.setattr(logs.LOGGER, "handlers", [])
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, kafka: KafkaConfig | None = None) -> Ended:
        flags = ["--log-format", "text"]
        if kafka:
            flags += [
                "--set",
                f"kafka.bootstrap_servers={kafka.bootstrap_servers}",
                "--set",
                f"kafka.prefix={kafka.prefix}",
            ]
        with pytest.raises(SystemExit) as caught:
            cli.main(["topics", *arguments, *flags])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ended(int(caught.value.code or 0), printed.out, printed.err)

    return run


class TestCommands:
    def test_validate(self, topics_command: Callable[..., Ended]) -> None:
        ended = topics_command("validate")
        assert ended.code == 0
        assert ended.out.splitlines()[0].split()[:4] == ["TOPIC", "PARTITIONS", "REPLICAS", "CLEANUP"]
        assert ended.out.splitlines()[1].split() == [
            "streamproc.raw",
            "12",
            "3",
            "delete",
            "unlimited",
            "4,194,304",
            "bytes",
        ]
        listed = json.loads(topics_command("validate", "--json").out)
        assert [topic["topic"] for topic in listed] == [f"streamproc.{role}" for role in ROLES]

    def test_validate_with_faults(self, topics_command: Callable[..., Ended], folder: Path) -> None:
        edit(folder, "hf.yaml", "replicas: 3", "replicas: 1")
        edit(folder, "raw.yaml", "CreateTime", "LogAppendTime")
        ended = topics_command("validate", "--topics", str(folder))
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("error: the files of the topics have 3 faults\n")
        assert f"{folder}/hf.yaml:10: spec.replicas: must be at least 3, found 1: " in ended.err
        assert f"{folder}/raw.yaml:13: spec.config.message.timestamp.type: must be CreateTime, found Log" in ended.err

    def test_plan_and_apply(self, topics_command: Callable[..., Ended], settings: Settings) -> None:
        prefix = settings.kafka.prefix
        single = ("--replication", "1")
        planned = topics_command("plan", *single, kafka=settings.kafka)
        assert planned.code == 0
        assert planned.out.splitlines()[0].split() == ["TOPIC", "CHANGE", "NOW", "WANTED"]
        assert planned.out.splitlines()[1].split() == [f"{prefix}.raw", "create", "12", "partitions,", "1", "replica"]
        applied = topics_command("apply", *single, kafka=settings.kafka)
        assert (applied.code, applied.out) == (0, planned.out)
        for command in ("plan", "apply"):
            again = topics_command(command, *single, kafka=settings.kafka)
            assert (again.code, again.out) == (0, "nothing to do: the topics are as their files ask\n")
        assert topics_command("apply", *single, "--quiet", kafka=settings.kafka).out == ""

    def test_plan_as_json(self, topics_command: Callable[..., Ended], settings: Settings, brokers: AdminClient) -> None:
        names = make_topics(settings, partitions=12)
        alter(brokers, names.raw, "max.message.bytes", "4194305")
        ended = topics_command("plan", "--json", "--replication", "1", kafka=settings.kafka)
        assert json.loads(ended.out) == {
            "created": 0,
            "altered": 1,
            "refused": 0,
            "changes": [
                {
                    "topic": names.raw,
                    "change": "max.message.bytes",
                    "now": "4194305",
                    "wanted": "4194304",
                    "lowers": True,
                    "refused": None,
                }
            ],
        }

    @pytest.mark.parametrize("command", ["plan", "apply"])
    def test_refusals_fail(self, topics_command: Callable[..., Ended], settings: Settings, command: str) -> None:
        names = make_topics(settings, partitions=13)
        ended = topics_command(command, "--replication", "1", kafka=settings.kafka)
        assert ended.code == 1
        refused = f"{names.raw}: partitions 13 -> 12: Kafka never takes partitions away"
        assert f"error: these changes are not made, so nothing is:\n  {refused}" in ended.err
        assert ("refused" in ended.out) == (command == "plan")

    def test_too_few_brokers(self, topics_command: Callable[..., Ended], settings: Settings) -> None:
        ended = topics_command("apply", kafka=settings.kafka)
        assert ended.code == 1
        assert "cannot create the topic: Unable to replicate" in ended.err
        assert "hint: " in ended.err

    @pytest.mark.parametrize("command", ["plan", "apply"])
    def test_no_broker(
        self, topics_command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        monkeypatch.setattr(kafka_client, "REACH_SECONDS", 0.5)
        nobody = f"127.0.0.1:{free_ports(1)[0]}"
        ended = topics_command(command, kafka=KafkaConfig(bootstrap_servers=nobody))
        assert (ended.code, ended.out) == (1, "")
        assert f"error: {nobody}: cannot reach Kafka: " in ended.err
        assert "hint: is Kafka running there? check kafka.bootstrap_servers" in ended.err

    def test_no_replicas_are_no_replication(self, topics_command: Callable[..., Ended]) -> None:
        assert topics_command("plan", "--replication", "0").code == 2
