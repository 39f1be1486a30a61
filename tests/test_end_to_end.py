"""The commands as a shell runs them: simulate, run, and what their ends look like from outside."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STREAMPROC = [sys.executable, "-m", "streamproc"]
COUNTS = ("records", "books", "trades", "duplicates", "rejected", "invalid_books", "duplicate_trades", "bad_trades")


def streamproc(*arguments: str | Path, cwd: Path, code: int = 0, stdin: bytes = b"") -> tuple[str, str]:
    """Run a command; its stdout and stderr, after looking at its exit code."""
    command = [*STREAMPROC, *map(str, arguments)]
    ended = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, check=False, timeout=300)
    out, err = ended.stdout.decode(), ended.stderr.decode()
    assert ended.returncode == code, err
    assert "Traceback" not in err
    return out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("end to end")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    """A market with faults in `m.ndjson`, and what `simulate` says that `run` must count in it."""
    size = ("--symbols", "3", "--seconds", "30", "--faults", "--seed", "5")
    out, _ = streamproc("simulate", *size, "--output", "m.ndjson", "--json", cwd=folder)
    counts: dict[str, Any] = json.loads(out)["expected"]
    return counts


def test_run_counts_what_simulate_made(folder: Path, expected: dict[str, Any]) -> None:
    out, _ = streamproc("run", "--input", "m.ndjson", "--output", "out", "--flush", "--json", cwd=folder)
    summary = json.loads(out)
    assert {name: summary[name] for name in COUNTS} == {name: expected[name] for name in COUNTS}
    assert sum(summary["rejected"].values()) > 0
    assert summary["records"] == summary["books"] + summary["trades"] + summary["duplicates"] + sum(
        summary["rejected"].values()
    )
    rejects = b"".join(file.read_bytes() for file in (folder / "out" / "rejects").glob("*.ndjson"))
    assert rejects.count(b"\n") == sum(summary["rejected"].values())


def test_stdin_gives_the_same_counts(folder: Path, expected: dict[str, Any]) -> None:
    market = (folder / "m.ndjson").read_bytes()
    out, _ = streamproc("run", "--input", "-", "--output", "piped", "--json", cwd=folder, stdin=market)
    summary = json.loads(out)
    assert {name: summary[name] for name in COUNTS} == {name: expected[name] for name in COUNTS}


def test_an_output_that_is_there_is_not_touched_unless_asked(folder: Path, expected: dict[str, Any]) -> None:
    run = ("run", "--input", "m.ndjson", "--output", "twice", "--quiet")
    streamproc(*run, cwd=folder)
    files = sorted((folder / "twice").rglob("*.parquet"))
    _, err = streamproc(*run, cwd=folder, code=2)
    assert "twice" in err
    assert "--overwrite" in err
    assert sorted((folder / "twice").rglob("*.parquet")) == files
    streamproc(*run, "--overwrite", cwd=folder)
    assert expected["records"] > 0


def test_an_input_that_is_not_there(folder: Path) -> None:
    command = [*STREAMPROC, "run", "--input", "nowhere.ndjson", "--output", "none"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode in {1, 2}
    assert "nowhere.ndjson" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (folder / "none").exists()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_cut_short_by_a_signal(signum: signal.Signals, code: int, folder: Path, expected: dict[str, Any]) -> None:
    market = (folder / "m.ndjson").read_bytes()
    command = [*STREAMPROC, "run", "--input", "-", "--output", f"cut-{code}", "--json"]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            for round_number in range(200):
                child.stdin.write(market)  # more than a pipe holds: the child has begun to read
                if round_number == 2:
                    child.send_signal(signum)
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        out, err = child.stdout.read(), child.stderr.read()
        assert child.wait(60) == code, err
    summary = json.loads(out)
    assert summary["interrupted"] is True
    assert summary["records"] >= expected["records"]
    assert b"Traceback" not in err
