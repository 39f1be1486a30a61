"""A full disk and folders that cannot be written to: a member ends with the reason, loses nothing, goes on later."""

import ctypes
import os
import resource
import signal
import sys
import uuid
from pathlib import Path

import pytest

from streamproc.config import KafkaConfig, Settings
from streamproc.errors import StreamprocError
from streamproc.simulate import Market
from streamproc.store import rocks
from tests.children import exit_code
from tests.kafka.against_run import assert_topics_as_run, lines_of, process_up_to
from tests.kafka.groups import be_member, fill_raw, with_process
from tests.kafka.topics import make_topics

PARTITIONS = 2
STOPPED = 9
"""Exit code of a member that ended with a reason."""
CAPABILITY_VERSION, CAP_DAC_OVERRIDE = 0x20080522, 1
"""Of Linux, see capset(2)."""


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=6, seconds=30, levels=5, rate_hz=6, seed=23))


@pytest.fixture(scope="module", autouse=True)
def compiled(bootstrap: str, lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """All kernels of a member, before there is no room to keep them."""
    kafka = KafkaConfig(bootstrap_servers=bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}")
    settings = with_process(Settings(kafka=kafka), tmp_path_factory.mktemp("compiled"))
    make_topics(settings, PARTITIONS)
    process_up_to(settings, fill_raw(settings, lines[:1_000]))


def be_member_with_reason(settings: Settings, told: Path) -> None:
    """Be a member, and leave the error that ends it in a file."""
    try:
        be_member(settings)
    except StreamprocError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        told.write_text(str(error))
        sys.exit(STOPPED)


def be_member_on_a_full_disk(settings: Settings, told: Path, largest_bytes: int) -> None:
    """Files that may not grow beyond a limit stand for the disk: the system refuses the write that would."""
    rocks._WRITE_BUFFER_BYTES = 65_536  # which are brought to disk soon
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, resource.RLIM_INFINITY))
    be_member_with_reason(settings, told)


def be_member_bound_by_permissions(settings: Settings, told: Path) -> None:
    """As one whom the permissions of files bind; root may do without them, if it has that capability."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        header, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
        assert libc.capget(header, sets) == 0
        sets[0] &= ~(1 << CAP_DAC_OVERRIDE)
        assert libc.capset(header, sets) == 0
    be_member_with_reason(settings, told)


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A file for the reason."""
    return tmp_path / "told"


@pytest.mark.parametrize("largest_bytes", [0, 300, 4_000])
def test_a_full_disk_ends_a_member_and_loses_nothing(
    largest_bytes: int, settings: Settings, lines: list[bytes], run_output: Path, told: Path, tmp_path: Path
) -> None:
    """The least limit stops the member's name, a larger one its state, at the start or after some commits."""
    mine = with_process(settings, tmp_path / "state", commit_interval=0.05, commit_records=200)
    make_topics(settings, PARTITIONS)
    half = len(lines) // 2
    fill_raw(settings, lines[:half])
    assert exit_code(be_member_on_a_full_disk, mine, told, largest_bytes) == STOPPED
    reason = told.read_text()
    assert ("cannot write" in reason or "cannot be read or written" in reason) and str(tmp_path / "state") in reason
    process_up_to(mine, half + fill_raw(settings, lines[half:]))
    assert_topics_as_run(settings, run_output)


def test_a_read_only_folder_ends_a_member_and_loses_nothing(
    settings: Settings, lines: list[bytes], run_output: Path, told: Path, tmp_path: Path
) -> None:
    """One in which a member has worked before."""
    state = tmp_path / "state"
    mine = with_process(settings, state, commit_interval=0.05)
    make_topics(settings, PARTITIONS)
    half = len(lines) // 2
    process_up_to(mine, fill_raw(settings, lines[:half]))
    folders = [state, *(path for path in state.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    filled = half + fill_raw(settings, lines[half:])
    assert exit_code(be_member_bound_by_permissions, mine, told) == STOPPED
    assert "ermission denied" in told.read_text() and str(state) in told.read_text()
    for folder in folders:
        folder.chmod(0o755)
    process_up_to(mine, filled)
    assert_topics_as_run(settings, run_output)


def test_a_file_in_the_place_of_a_store_ends_a_member_and_loses_nothing(
    settings: Settings, lines: list[bytes], run_output: Path, told: Path, tmp_path: Path
) -> None:
    mine = with_process(settings, tmp_path / "state", commit_interval=0.05)
    make_topics(settings, PARTITIONS)
    filled = fill_raw(settings, lines)
    (tmp_path / "state").write_bytes(b"")
    assert exit_code(be_member_with_reason, mine, told) == STOPPED
    assert "cannot write" in told.read_text() and str(tmp_path / "state") in told.read_text()
    (tmp_path / "state").unlink()
    process_up_to(mine, filled)
    assert_topics_as_run(settings, run_output)
