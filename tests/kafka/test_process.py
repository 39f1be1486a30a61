"""A member of the group gives what `run` gives on the same lines."""

from pathlib import Path

import pytest

from streamproc.config import Settings
from streamproc.crash import EXIT_CODE
from streamproc.simulate import Market
from tests.children import exit_code
from tests.kafka.against_run import assert_topics_as_run, lines_of
from tests.kafka.groups import (
    be_member,
    committed,
    eventually,
    fill_raw,
    running_member,
    with_process,
)
from tests.kafka.topics import make_topics


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Lines of a market with every fault."""
    return lines_of(Market(symbols=6, seconds=40, levels=5, rate_hz=6, seed=5, faults=True))


def test_a_member_gives_what_run_gives(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    make_topics(settings)
    count = fill_raw(settings, lines)
    with running_member(with_process(settings, tmp_path / "state")):
        eventually(lambda: committed(settings) == count)
    assert_topics_as_run(settings, run_output)


def test_members_come_and_go_while_records_come(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    """Each start after the first goes on from another member's changelog, or from its own folder."""
    make_topics(settings)
    members = [with_process(settings, tmp_path / name, commit_interval=0.05) for name in ("a", "b", "c")]
    third = len(lines) // 3
    filled = fill_raw(settings, lines[:third])
    with running_member(members[0]):
        eventually(lambda: committed(settings) > third // 2)
        with running_member(members[1]):
            filled += fill_raw(settings, lines[third : 2 * third])
            with running_member(members[2]):
                eventually(lambda: committed(settings) == filled)
    filled += fill_raw(settings, lines[2 * third :])
    with running_member(members[2]):
        eventually(lambda: committed(settings) == filled)
    assert_topics_as_run(settings, run_output)


def test_a_lost_disk_is_restored_from_the_changelog(
    settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    make_topics(settings)
    filled = 0
    for number, start in enumerate(range(0, len(lines), len(lines) // 3)):
        filled += fill_raw(settings, lines[start : start + len(lines) // 3])
        with running_member(with_process(settings, tmp_path / str(number), member_id="same")):
            eventually(lambda filled=filled: committed(settings) == filled)  # type: ignore[misc]
    assert_topics_as_run(settings, run_output)


POINTS = ["process.after_produce", "process.after_commit", "process.after_store", "process.after_store:2"]


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_of_a_commit(
    point: str, protocol: str, settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path
) -> None:
    make_topics(settings)
    half = len(lines) // 2
    filled = fill_raw(settings, lines[:half])
    mine = with_process(settings, tmp_path / "state", commit_interval=0.2, group_protocol=protocol)
    assert exit_code(be_member, mine, crash_at=point) == EXIT_CODE
    filled += fill_raw(settings, lines[half:])
    with running_member(mine):
        eventually(lambda: committed(settings) == filled)
    assert_topics_as_run(settings, run_output)
