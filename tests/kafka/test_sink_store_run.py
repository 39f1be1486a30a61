"""Whole sinks that write to an object store, or Delta tables: the rows of `run`, whatever dies."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from streamproc import read
from streamproc.config import Settings
from streamproc.crash import EXIT_CODE
from streamproc.simulate import Market
from tests.children import begin
from tests.kafka.against_run import lines_of
from tests.kafka.groups import eventually
from tests.kafka.sinks import be_sink, hints_reach_the_end, in_another_group, outgoing, produce, running_sink, with_sink
from tests.kafka.topics import make_topics
from tests.outputs import contents
from tests.s3 import SECRET_KEY, Bucket, Server, running_server

pytestmark = pytest.mark.go

PROMPT = {"max_age": 0.3, "idle": 0.3, "segment_rows": 60}


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Lines of a market with every fault."""
    return lines_of(Market(symbols=4, seconds=30, levels=5, rate_hz=6, seed=5, faults=True))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(server: Server) -> Bucket:
    return server.bucket()


def assert_as_run(address: str, options: dict[str, str], rejects: Path, run_output: Path) -> None:
    """An output holds the rows of `run`, bit for bit, and the same rejects."""
    wanted = contents(run_output)
    for stream in ("hf", "bars"):
        found = read(f"{address}/{stream}", storage=options)
        assert found.equals(getattr(wanted, stream)), f"{stream}: {len(found)} rows"
    met: Counter[tuple[str, str]] = Counter()
    for file in rejects.glob("*.ndjson"):
        for reject in map(orjson.loads, file.read_bytes().splitlines()):
            met[reject["reason"], str(reject.get("raw", reject.get("raw_base64")))] += 1
    assert met == wanted.rejects


@pytest.mark.parametrize("table_format", ["parquet", "delta"])
@pytest.mark.parametrize("point", ["", "sink.after_record:2", "sink.after_hint"])
def test_a_sink_that_is_killed_and_one_that_goes_on(
    point: str,
    table_format: str,
    settings: Settings,
    lines: list[bytes],
    run_output: Path,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At a step, or by `kill -9` somewhere in its work."""
    make_topics(settings)
    records = [*outgoing(settings, lines)]
    produce(settings, records[: len(records) // 2])
    mine = with_sink(settings, **PROMPT, storage=bucket.options(), format=table_format)
    killed = begin(be_sink, mine, bucket.address, crash_at=point)
    assert killed.pid is not None
    if point:
        killed.join(60)
    else:
        eventually(lambda: any((bucket.data / "some/prefix").glob("*/exchange=*")))
        os.kill(killed.pid, signal.SIGKILL)
        killed.join(10)
    assert killed.exitcode == (EXIT_CODE if point else -signal.SIGKILL)
    in_another_group(monkeypatch)
    with running_sink(mine, bucket.address):
        produce(settings, records[len(records) // 2 :])
        eventually(lambda: hints_reach_the_end(settings))
    assert_as_run(bucket.address, bucket.options(), bucket.data / "some/prefix/rejects", run_output)


def test_two_sinks_with_the_same_partitions(
    settings: Settings, lines: list[bytes], run_output: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes itself for the owner of all."""
    make_topics(settings)
    mine = with_sink(settings, **(PROMPT | {"segment_rows": 20}), storage=bucket.options())
    rival = begin(be_sink, mine, bucket.address)
    eventually(lambda: any(bucket.data.rglob("_genesis")))  # it works, and ends by SIGTERM
    in_another_group(monkeypatch)
    try:
        with running_sink(mine, bucket.address):
            produce(settings, [*outgoing(settings, lines)])
            eventually(lambda: hints_reach_the_end(settings))
    finally:
        rival.terminate()
        rival.join(30)
    assert rival.exitcode == 0
    assert_as_run(bucket.address, bucket.options(), bucket.data / "some/prefix/rejects", run_output)


def test_delta_tables_in_a_folder(settings: Settings, lines: list[bytes], run_output: Path, tmp_path: Path) -> None:
    make_topics(settings)
    produce(settings, [*outgoing(settings, lines)], transactions=2)
    mine = with_sink(settings, **PROMPT, format="delta")
    output = tmp_path / "out"
    with running_sink(mine, f"file://{output}"):
        eventually(lambda: hints_reach_the_end(settings))
    assert_as_run(str(output), {}, output / "rejects", run_output)


def test_wrong_credentials_end_the_command_with_a_sentence(settings: Settings, bucket: Bucket) -> None:
    make_topics(settings)
    options = bucket.options() | {"secret_access_key": "wrong-" + SECRET_KEY}
    given = [f"--set=sink.storage.{name}={text}" for name, text in options.items()]
    kafka = [f"--set=kafka.{name}={getattr(settings.kafka, name)}" for name in ("bootstrap_servers", "prefix")]
    command = [sys.executable, "-m", "streamproc", "sink", "--output", bucket.address, *kafka, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "the object store says: SignatureDoesNotMatch" in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET_KEY not in done.stdout + done.stderr
