"""The README: its commands work, its output is real, and a newcomer is through with it soon."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from streamproc import Processor
from tests.pages import ROOT, Block, blocks, is_make, matches, prose, walk

README = (ROOT / "README.md").read_text(encoding="utf-8")
WITH_KAFKA = "## With Kafka"
"""This section is done where the tests have a broker."""

WORDS_A_MINUTE = 200
MINUTES = 4


def block_after(text: str, language: str) -> Block:
    """The first block of a language after some words of the page."""
    line = README[: README.index(text)].count("\n") + 1
    return next(block for block in blocks(README) if block.language == language and block.line > line)


def test_every_block_works_and_prints_what_is_shown(tmp_path: Path) -> None:
    start, end = README.index(WITH_KAFKA), README.index("## Input")
    steps = list(walk(README[:start] + README[end:], tmp_path))
    assert {step.block.language for step in steps} == {"sh", "python"}
    for step in steps:
        if step.shown is not None:
            assert matches(step.printed, step.shown.text), f"line {step.shown.line}: printed\n{step.printed}"


def test_the_output_of_make_demo_is_real(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamproc", "demo", "--log-format", "text", "--set", "log.level=warning"]
    ended = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    printed = ended.stdout.replace(f"{shlex.quote(sys.executable)} -c", ".venv/bin/python -c")
    shown = block_after("`make demo` then prints", "console")
    assert matches(printed, shown.text), f"line {shown.line}: printed\n{printed}"


def test_the_two_commands_come_first_and_are_targets_of_the_makefile() -> None:
    first = blocks(README)[0]
    assert is_make(first)
    commands = [line.split("#")[0].split() for line in first.text.splitlines()]
    assert commands == [["make", "demo"], ["make", "test"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for _, target in commands:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert re.search(r"^demo:.*\n\t@\$\(BIN\)/streamproc demo$", makefile, re.MULTILINE), (
        "it no longer is what is shown"
    )


def test_the_records_shown_are_taken() -> None:
    shown = block_after("## Input", "json").text
    assert {json.loads(line)["type"] for line in shown.splitlines()} == {"orderbook", "trades"}
    processor = Processor()
    assert processor.feed(shown).rejected == []
    counts = processor.counts
    assert (counts["books"], counts["trades"], counts["invalid_books"], counts["bad_trades"]) == (1, 1, 0, 0)


@pytest.mark.parametrize("word", ["demo", "test"])
def test_the_first_paragraph_tells_what_it_is_for_before_any_command(word: str) -> None:
    first = README.split("\n\n")[1]
    assert len(first) > 300
    assert f"make {word}" not in first


def test_it_is_read_in_four_minutes() -> None:
    assert len(prose(README).split()) <= WORDS_A_MINUTE * MINUTES
