"""The README's section on Kafka, line by line."""

from pathlib import Path

import pytest

from streamproc.config import Settings
from tests.pages import ROOT, matches, walk


def test_every_block_works_and_prints_what_is_shown(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another broker and prefix than a reader has."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    section = page[page.index("## With Kafka") : page.index("## Input")]
    mine = section.replace("localhost:9092", settings.kafka.bootstrap_servers).replace(
        '"streamproc.hf"', f'"{settings.kafka.prefix}.hf"'
    )
    monkeypatch.setenv("STREAMPROC_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    monkeypatch.setenv("STREAMPROC_KAFKA__PREFIX", settings.kafka.prefix)
    steps = list(walk(mine, tmp_path))
    assert [step.block.language for step in steps] == ["sh", "python", "python"]
    for step in steps:
        if step.shown is not None:
            printed = step.printed.replace(settings.kafka.prefix, "streamproc")
            assert matches(printed, step.shown.text), f"line {step.shown.line}: printed\n{printed}"
    assert list((tmp_path / "from-kafka" / "hf").rglob("*.parquet"))
    assert steps[-1].printed == "True\n"
