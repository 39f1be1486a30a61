"""The demo, as a newcomer runs it: what it shows, that its lines work when pasted, and that it can be repeated."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamproc.demo import BARS_SHOWN, open_commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a newcomer's")


def demo(folder: Path) -> str:
    command = [sys.executable, "-m", "streamproc", "demo", "--quiet"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.fixture(scope="module")
def shown(folder: Path) -> str:
    return demo(folder)


def test_it_shows_features_and_bars_of_three_symbols(shown: str) -> None:
    features, bars = shown.split("The newest bars of 60 s")
    for table, rows in ((features, 1), (bars, BARS_SHOWN)):
        symbols = re.findall(r"^\w+ \S+/\S+", table, re.MULTILINE)
        assert len(set(symbols)) == 3
        assert len(symbols) == 3 * rows
        assert "\u2026" not in table, "a number is cut off"
    for column in ("mid", "spread", "imbal.", "OFI", "volat.", "volume"):
        assert column in features
    for column in ("open", "high", "low", "close", "volume", "books"):
        assert column in bars


@pytest.mark.parametrize("package", open_commands(Path()))
def test_a_printed_line_works_when_pasted(package: str, shown: str, folder: Path) -> None:
    (line,) = (line for line in shown.splitlines() if f"import {package};" in line)
    pasted = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert (pasted.returncode, pasted.stderr) == (0, "")
    assert ("USD" if package != "streamproc" else "imbalance_L1: double") in pasted.stdout


def test_a_second_demo_replaces_the_first_and_shows_the_same(shown: str, folder: Path) -> None:
    (folder / "demo" / "mine.txt").write_text("stays")
    assert demo(folder) == shown
    assert (folder / "demo" / "mine.txt").read_text() == "stays"
