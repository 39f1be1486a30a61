"""Offsets that someone has set elsewhere: a new generation, never silently."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streamproc.config import Settings
from streamproc.crash import EXIT_CODE
from streamproc.errors import StateError
from streamproc.kafka.names import Names
from streamproc.simulate import Market
from tests.children import exit_code
from tests.kafka.against_run import lines_of
from tests.kafka.groups import (
    be_member,
    committed,
    eventually,
    fill_raw,
    running_member,
    with_process,
)
from tests.kafka.replaying import first_of_lookback, generations, rows_of_lines
from tests.kafka.topics import make_topics


def set_offset(settings: Settings, offset: int) -> None:
    """As Kafka's own tool does, as soon as the group has forgotten its static members."""
    names = Names(settings.kafka.prefix)
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": names.process_group,
            "enable.auto.commit": False,
        }
    )

    def is_set() -> bool:
        try:
            consumer.commit(offsets=[TopicPartition(names.raw, 0, offset)], asynchronous=False)
        except KafkaException:
            return False
        return True

    try:
        eventually(is_set, seconds=30)
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=3, seconds=60, levels=3, rate_hz=6, seed=8))


@pytest.fixture
def done(settings: Settings, lines: list[bytes], tmp_path: Path) -> Settings:
    """One partition, all of it processed by a member that has left."""
    settings = settings.model_copy(
        update={"state": settings.state.model_copy(update={"horizons": (1.0, 5.0), "regime_window": 5.0})}
    )
    settings = with_process(settings, tmp_path / "state")
    make_topics(settings, partitions=1)
    fill_raw(settings, lines, timestamps=True)
    with running_member(settings):
        eventually(lambda: committed(settings) == len(lines))
    return settings


@pytest.mark.parametrize("fresh_disk", [False, True])
def test_offsets_set_back_begin_a_generation_warmed_up_on_the_look_back(
    fresh_disk: bool, done: Settings, lines: list[bytes], tmp_path: Path
) -> None:
    settings = with_process(done, tmp_path / ("other" if fresh_disk else "state"), lookback=10.0)
    at = len(lines) * 2 // 3
    set_offset(settings, at)
    with running_member(settings):
        eventually(lambda: 1 in generations(settings, "hf") and committed(settings) == len(lines))

    first = first_of_lookback(lines, at, 10_000)
    warmed = rows_of_lines(lines[first:], settings, tmp_path / "warmed")
    warm_up = rows_of_lines(lines[first:at], settings, tmp_path / "warm-up")
    for stream in ("hf", "bars"):
        assert sorted(generations(settings, stream)[1]) == sorted((warmed[stream] - warm_up[stream]).elements())


def test_a_member_killed_within_a_new_generation_goes_on_with_it(
    done: Settings, lines: list[bytes], tmp_path: Path
) -> None:
    settings = with_process(done, tmp_path / "state", commit_interval=0.05, commit_records=100)
    set_offset(settings, len(lines) // 2)
    assert exit_code(be_member, settings, crash_at="process.after_commit:2") == EXIT_CODE
    with running_member(settings):
        eventually(lambda: committed(settings) == len(lines))
    found = generations(settings, "hf")
    assert set(found) == {0, 1}
    assert len(found[1]) == len(set(found[1]))


def test_another_configuration_needs_a_new_generation(done: Settings, lines: list[bytes], tmp_path: Path) -> None:
    other = done.model_copy(update={"state": done.state.model_copy(update={"hf_emit_interval": 2.0})})
    with running_member(other) as member:
        error = member.fails()
    assert isinstance(error, StateError) and "another configuration" in error.message
    set_offset(other, 0)
    with running_member(other):
        eventually(lambda: committed(other) == len(lines))
    assert set(generations(other, "hf")) == {0, 1}


def test_an_offset_that_the_topic_no_longer_holds_is_told(done: Settings, lines: list[bytes]) -> None:
    set_offset(done, len(lines) + 1000)
    with running_member(done) as member:
        error = member.fails()
    assert isinstance(error, StateError) and f"offset {len(lines) + 1000} is to be read next" in error.message
