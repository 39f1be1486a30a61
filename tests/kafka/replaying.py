"""What tests of generations and replays share: members soon forgotten, rows by generation, what a look-back gives."""

from collections import Counter
from pathlib import Path

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streamproc.config import Settings
from streamproc.kafka import client
from streamproc.kafka.group import describe
from streamproc.kafka.names import Names
from tests.kafka.against_run import run_on
from tests.kafka.groups import canonical, collected_at, eventually, read_topic, rows_of_run, with_process


def limit_sessions(settings: Settings, session_ms: int) -> None:
    """From now on the group forgets members that have left, or are silent, after so long."""
    group = ConfigResource(ResourceType.GROUP, Names(settings.kafka.prefix).process_group)
    entry = ConfigEntry("consumer.session.timeout.ms", str(session_ms), incremental_operation=AlterConfigOpType.SET)
    group.add_incremental_config(entry)
    admin = client.admin(settings.kafka)  # which must outlive its answers
    for answer in admin.incremental_alter_configs([group]).values():
        answer.result(30)


def short_windows(settings: Settings, folder: Path) -> Settings:
    """Short windows, and short sessions, so that members that have left are soon forgotten."""
    limit_sessions(settings, 1500)
    state = settings.state.model_copy(update={"horizons": (1.0, 5.0), "regime_window": 5.0})
    return with_process(settings.model_copy(update={"state": state}), folder, lookback=10.0)


def without_members(settings: Settings) -> None:
    """Wait until the sessions of the members that have left are over."""
    admin = client.admin(settings.kafka)
    group = Names(settings.kafka.prefix).process_group
    eventually(lambda: not describe(admin, group).members, seconds=30)


def generations(settings: Settings, stream: str) -> dict[int, list[bytes]]:
    """Rows by generation, as canonical JSON without it."""
    found: dict[int, list[bytes]] = {}
    for message in read_topic(settings, getattr(Names(settings.kafka.prefix), stream)):
        generation, row = canonical(message.value() or b"")
        found.setdefault(generation, []).append(row)
    return found


def first_of_lookback(lines: list[bytes], at: int, lookback_ms: int) -> int:
    """The first line received no earlier than the look-back before line `at`."""
    times = [collected_at(line) for line in lines]
    return next(place for place, t in enumerate(times) if t >= times[at] - lookback_ms)


def rows_of_lines(lines: list[bytes], settings: Settings, folder: Path) -> dict[str, Counter[bytes]]:
    """What `run` makes of lines."""
    output = run_on(lines, settings, folder)
    return {stream: rows_of_run(output, stream) for stream in ("hf", "bars")}
