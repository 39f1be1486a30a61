"""A sink gives the files that `run` gives, whatever dies whenever."""

from pathlib import Path

import pytest

from streamproc.config import Settings
from streamproc.crash import EXIT_CODE
from streamproc.kafka.sink import chain
from streamproc.local.run import process_files
from streamproc.simulate import Market, generate
from tests.children import begin
from tests.kafka.groups import eventually
from tests.kafka.sinks import be_sink, hints_reach_the_end, in_another_group, outgoing, produce, running_sink, with_sink
from tests.kafka.topics import make_topics
from tests.outputs import assert_same

MARKET = Market(symbols=6, seconds=40, levels=5, rate_hz=6, seed=5, faults=True)
PROMPT = {"max_age": 0.3, "idle": 0.3}


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
    process_files(
        [str(folder / "lines.ndjson")], folder / "out", settings=Settings(state={"bar_idle_close": None}), flush=False
    )
    return folder / "out"


def test_a_sink_gives_what_run_gives(settings: Settings, lines: list[bytes], whole: Path, tmp_path: Path) -> None:
    make_topics(settings)
    produce(settings, [*outgoing(settings, lines)], transactions=3)
    mine = with_sink(settings, **PROMPT)
    with running_sink(mine, tmp_path / "out") as summary:
        eventually(lambda: hints_reach_the_end(settings))
    assert_same(tmp_path / "out", whole)
    assert summary["segments"] >= 3


POINTS = [
    "sink.after_genesis",
    "sink.after_draft_folder",
    "sink.after_write",
    "sink.after_put",
    "sink.after_draft:14",
    "sink.after_link:14",
    "sink.after_record",
    "sink.after_record:2",
    "sink.after_rename",
    "sink.after_rename:2",
    "sink.after_publish",
    "sink.after_checkpoint",
    "sink.after_hint",
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_of_a_segment(
    point: str, settings: Settings, lines: list[bytes], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topics(settings)
    records = [*outgoing(settings, lines)]
    produce(settings, records[: len(records) // 2])
    mine = with_sink(settings, **PROMPT)
    killed = begin(be_sink_with_short_walks, mine, tmp_path / "out", crash_at=point)
    produce(settings, records[len(records) // 2 :])  # while it works, so that segments follow one another
    killed.join(60)
    assert killed.exitcode == EXIT_CODE
    in_another_group(monkeypatch)
    with running_sink(mine, tmp_path / "out"):
        eventually(lambda: hints_reach_the_end(settings))
    assert_same(tmp_path / "out", whole)


def be_sink_with_short_walks(settings: Settings, output: Path) -> None:
    """A sink that makes a checkpoint after every segment."""
    chain.CHECKPOINT_RECORDS = 1
    be_sink(settings, output)
