"""A member of the group gives what `run` gives on the same lines."""

from pathlib import Path

import pytest

from streamproc.config import Settings
from streamproc.local.run import process_files
from streamproc.simulate import Market, generate
from tests.kafka.groups import (
    committed,
    dead_letters,
    eventually,
    fill_raw,
    rejects_of_run,
    rows_of,
    rows_of_run,
    running_member,
    with_process,
)
from tests.kafka.topics import make_topics

MARKET = Market(symbols=6, seconds=40, levels=5, rate_hz=6, seed=5, faults=True)


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Lines of a market with every fault; what splits lines or is none is left out."""
    market = b"".join(generate(MARKET)).removeprefix(b"\xef\xbb\xbf")
    return [line for line in market.split(b"\n") if line.strip()]


@pytest.fixture(scope="module")
def whole(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `run` makes of them."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "lines.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    config = Settings(state={"bar_idle_close": None})
    process_files([str(folder / "lines.ndjson")], folder / "out", settings=config, flush=False)
    return folder / "out"


def assert_as_run(settings: Settings, whole: Path) -> None:
    for stream in ("hf", "bars"):
        assert rows_of(settings, stream) == rows_of_run(whole, stream)
    assert dead_letters(settings) == rejects_of_run(whole)


def test_a_member_gives_what_run_gives(settings: Settings, lines: list[bytes], whole: Path, tmp_path: Path) -> None:
    make_topics(settings)
    count = fill_raw(settings, lines)
    with running_member(with_process(settings, tmp_path / "state")):
        eventually(lambda: committed(settings) == count)
    assert_as_run(settings, whole)
