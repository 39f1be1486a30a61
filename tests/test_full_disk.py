"""A full disk and places that cannot be written to: a run ends with the reason, loses nothing, goes on later."""

import subprocess
import sys
from pathlib import Path

import pytest

from streamproc.errors import DataError
from tests.outputs import assert_same
from tests.test_one_meaning import go_on, market, pieces_of, whole

__all__ = ["market", "whole"]  # fixtures

STARVED = """
import resource, signal, sys
from pathlib import Path
from streamproc.errors import StreamprocError
from tests.test_one_meaning import go_on
limit = int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    go_on(Path(sys.argv[1]))
except StreamprocError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
"""Files that may not grow beyond a limit stand for the disk: the system refuses the write that would."""


@pytest.mark.parametrize("limit", [300, 12_000, 40_000, 120_000])
def test_a_full_disk_ends_a_run_and_loses_nothing(limit: int, market: bytes, whole: Path, tmp_path: Path) -> None:
    """A small limit stops the state's first file, a larger one its log or a file of rows after some commits."""
    (tmp_path / "in").mkdir()
    codes = []
    for last, piece in enumerate(pieces_of(market, 2, 6)):
        with (tmp_path / "in" / "a.ndjson").open("ab") as file:
            file.write(piece)
        command = [sys.executable, "-c", STARVED, str(tmp_path), str(limit)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
        codes.append(done.returncode)
        assert done.returncode == 0 or ("cannot" in done.stderr and "Traceback" not in done.stderr), done
        go_on(tmp_path, flush=bool(last))
    assert_same(tmp_path / "out", whole)
    assert 1 in codes


@pytest.mark.parametrize("stream", ["hf", "bars", "rejects"])
def test_a_commit_whose_files_cannot_move_is_published_later(
    stream: str, market: bytes, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ndjson").write_bytes(market)
    (tmp_path / "out").mkdir()
    in_the_way = tmp_path / "out" / stream
    in_the_way.write_bytes(b"")
    with pytest.raises(DataError, match="cannot write"):
        go_on(tmp_path)
    assert [path for path in (tmp_path / "out" / "_pending").rglob("*.*") if stream in path.parts]
    in_the_way.unlink()
    go_on(tmp_path, flush=True)
    assert_same(tmp_path / "out", whole)
