"""What tests of faults share: lines, what `run` makes of them, and both held against each other."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from streamproc.config import Settings
from streamproc.local.run import process_files
from streamproc.simulate import Market, generate
from tests.kafka.groups import (
    committed,
    dead_letters,
    eventually,
    rejects_of_run,
    rows_of,
    rows_of_run,
    running_member,
)

T = TypeVar("T")

PATIENCE_SECONDS = 120


def lines_of(market: Market) -> list[bytes]:
    """Lines of a market, those left out that split a line or are none."""
    text = b"".join(generate(market)).removeprefix(b"\xef\xbb\xbf")
    return [line for line in text.split(b"\n") if line.strip()]


def run_on(lines: Sequence[bytes], settings: Settings, folder: Path) -> Path:
    """The output of `run` on lines."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lines.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    process_files([str(folder / "lines.ndjson")], folder / "out", settings=settings, flush=False)
    return folder / "out"


def differences(what: str, found: Counter[T], wanted: Counter[T]) -> list[str]:
    """How many are lost and too many, and some of them; nothing where there are none."""
    lost, added = wanted - found, found - wanted
    if not lost and not added:
        return []
    examples = [f"  {how}: {one!r}" for how, which in (("lost", lost), ("too many", added)) for one in [*which][:3]]
    return [f"{what}: {lost.total()} lost, {added.total()} too many", *examples]


def row_differences(settings: Settings, output: Path) -> list[str]:
    """What rows of the topics are not as `run` has them."""
    return [
        told
        for stream in ("hf", "bars")
        for told in differences(stream, rows_of(settings, stream), rows_of_run(output, stream))
    ]


def assert_topics_as_run(settings: Settings, output: Path) -> None:
    """The topics hold the rows and the rejects of `run`, each as often."""
    assert row_differences(settings, output) == []
    assert differences("dead letters", dead_letters(settings), rejects_of_run(output)) == []


def process_up_to(settings: Settings, count: int) -> None:
    """Be a member until the group's offsets add up to a count of records."""
    with running_member(settings):
        eventually(lambda: committed(settings) == count, seconds=PATIENCE_SECONDS)
