"""The command line: flags reach the functions behind the commands, and every end has its exit code and its words."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streamproc import cli
from streamproc.errors import DataError, UsageError
from streamproc.observe import logs

COMMANDS = (
    ["run"],
    ["watch"],
    ["simulate"],
    ["compact"],
    ["config", "show"],
    ["topics", "validate"],
    ["topics", "plan"],
    ["topics", "apply"],
    ["demo"],
)
SUMMARY = {
    "records": 1210,
    "books": 600,
    "trades": 500,
    "duplicates": 90,
    "rejected": {"late": 15, "malformed": 5},
    "invalid_books": 3,
    "late_events": 0,
    "duplicate_trades": 0,
    "bad_trades": 0,
    "hf_rows": 60,
    "bar_rows": 7,
    "symbols": 2,
    "bytes": 3_000_000,
    "seconds": 2.0,
}
SUM_LINE = "1,210 records = 600 books + 500 trades + 90 duplicates + 20 rejected"
RUN = ["run", "--input", "a.ndjson", "--output", "out"]

Fake = Callable[..., Any]


@pytest.fixture(autouse=True)
def _afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs.LOGGER, "handlers", [])
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts functions in the place of those that a command calls."""

    def put(module: str, **functions: Fake) -> None:
        stand_in = ModuleType(module)
        vars(stand_in).update(functions)
        monkeypatch.setitem(sys.modules, module, stand_in)

    return put


def end(*arguments: str) -> int:
    """Run the command line in this process; its exit code."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def raising(error: BaseException) -> Fake:
    def fake(*_: Any, **__: Any) -> Any:
        raise error

    return fake


class TestFlags:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_every_command_has_the_flags_of_every_command(
        self, command: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert end(*command, "--help") == 0
        shown = capsys.readouterr().out
        for flag in ("--config", "--set", "--json", "--quiet", "--help", "--log-format", "--debug"):
            assert f" {flag} " in shown

    def test_help_names_the_commands(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert end("--help") == 0
        listed = [line.split()[1] for line in capsys.readouterr().out.split("Commands")[1].splitlines() if "│ " in line]
        local, kafka = ["run", "watch", "simulate", "compact"], ["publish", "process", "replay", "status", "sink"]
        assert listed == [*local, *kafka, "demo", "config", "topics"]

    def test_run_with_all_flags(self, behind: Callable[..., None]) -> None:
        seen: dict[str, Any] = {}

        def run_files(inputs: list[str], output: Path, settings: Any, **options: Any) -> dict[str, Any]:
            seen.update(options, inputs=inputs, output=output, levels=settings.state.max_levels)
            return SUMMARY

        behind("streamproc.local.run", run_files=run_files)
        flags = ["--state", "st", "--flush", "--workers", "3", "--merge", "--overwrite", "--fresh"]
        assert end(*RUN, *flags, "--set", "state.max_levels=7", "--quiet") == 0
        seen.pop("progress"), seen.pop("stop")
        assert seen == {
            "inputs": ["a.ndjson"],
            "output": Path("out"),
            "levels": 7,
            "state": Path("st"),
            "flush": True,
            "workers": 3,
            "merge": True,
            "overwrite": True,
            "fresh": True,
        }

    def test_run_without_flags(self, behind: Callable[..., None]) -> None:
        seen: dict[str, Any] = {}

        def run_files(*_: Any, **options: Any) -> dict[str, Any]:
            seen.update(options)
            return SUMMARY

        behind("streamproc.local.run", run_files=run_files)
        assert end(*RUN) == 0
        assert (seen["state"], seen["workers"]) == (None, 1)
        assert not any(seen[flag] for flag in ("flush", "merge", "overwrite", "fresh"))

    @pytest.mark.parametrize(
        ("given", "spread"),
        [
            ("run --input a b --output o c", "run --input a --input b --output o c"),
            ("--input a - b --input c", "--input a --input - --input b --input c"),
            ("--input=a b --merge d", "--input=a --input b --merge d"),
            ("--input", "--input"),
            ("watch --output o", "watch --output o"),
            ("replay --partitions 0 3 --execute", "replay --partitions 0 --partitions 3 --execute"),
        ],
    )
    def test_paths_after_one_input(self, given: str, spread: str) -> None:
        assert cli.spread_inputs(given.split()) == spread.split()

    def test_watch(self, behind: Callable[..., None]) -> None:
        seen: list[Any] = []

        def watch_directory(directory: Path, output: Path, settings: Any, **options: Any) -> dict[str, Any]:
            seen.extend(
                [directory, output, settings.local.settle, options["state"], options["after"], options["fresh"]]
            )
            return SUMMARY

        behind("streamproc.local.watch", watch_directory=watch_directory)
        place = ["--input", "in", "--output", "out", "--state", "st"]
        assert end("watch", *place, "--after", "move:done", "--set", "local.settle=3") == 0
        assert seen == [Path("in"), Path("out"), 3.0, Path("st"), "move:done", False]
        assert end("watch", *place, "--after", "move:") == 2
        assert end("watch", *place, "--after", "burn") == 2

    def test_simulate_to_a_file_and_to_stdout(
        self, behind: Callable[..., None], capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        def simulate(market: dict[str, Any], out: io.BytesIO) -> dict[str, Any]:
            out.write(b"{}\n")
            return market

        def market(symbols: int, seconds: float, **options: Any) -> dict[str, Any]:
            return {"symbols": symbols, "seconds": seconds, **options}

        behind("streamproc.simulate", simulate=simulate, Market=market)
        size = ["simulate", "--symbols", "3", "--seconds", "1.5"]
        assert end(*size, "--rate", "4", "--levels", "5", "--seed", "9", "--faults", "--output", "m", "--json") == 0
        assert Path("m").read_bytes() == b"{}\n"
        expected = {"symbols": 3, "seconds": 1.5, "levels": 5, "rate_hz": 4.0, "seed": 9, "faults": True}
        assert json.loads(capfdbinary.readouterr().out) == expected
        assert end(*size) == 0
        assert capfdbinary.readouterr().out == b"{}\n"
        assert end(*size, "--json") == 2
        assert end(*size, "--output", "m.gz") == 2
        assert not Path("m.gz").exists()

    def test_compact(self, behind: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
        behind("streamproc.parquet.compact", compact=lambda directory, settings: {"folder": str(directory)})
        assert end("compact", "out", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"folder": "out"}


class TestWhatIsSaid:
    def test_json_stands_alone_on_stdout(self, behind: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
        behind("streamproc.local.run", run_files=lambda *_, **__: SUMMARY)
        assert end(*RUN, "--json") == 0
        said = capsys.readouterr()
        assert json.loads(said.out) == SUMMARY
        assert said.err == ""

    def test_summary_as_a_log_line_where_stderr_is_no_terminal(
        self, behind: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        behind("streamproc.local.run", run_files=lambda *_, **__: SUMMARY)
        assert end(*RUN) == 0
        said = capsys.readouterr()
        line = json.loads(said.err)
        assert (said.out, line["message"], line["hf_rows"], line["output"]) == ("", SUM_LINE, 60, "out")

    def test_summary_as_text(self, behind: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
        behind("streamproc.local.run", run_files=lambda *_, **__: SUMMARY)
        assert end(*RUN, "--log-format", "text") == 0
        lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
        assert lines[-3:] == [SUM_LINE, "2.0 s: 605 records/s, 1.5 MB/s", "output: out"]
        assert {"rejected 20", "late 15", "malformed 5", "invalid books 3", "feature rows 60"} <= set(lines)
        assert "late events 0" not in lines

    def test_quiet_leaves_only_warnings(self, behind: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
        def run_files(*_: Any, progress: Any, **__: Any) -> dict[str, Any]:
            progress.start(100)
            progress.advance(100, 1)
            progress.note("compiling")
            progress.warn("cut short", file="a.gz")
            return SUMMARY

        behind("streamproc.local.run", run_files=run_files)
        assert end(*RUN, "--quiet") == 0
        said = capsys.readouterr()
        line = json.loads(said.err)
        assert (said.out, line["level"], line["message"], line["file"]) == ("", "warning", "cut short", "a.gz")

    def test_config_show(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("config.yaml").write_text("state:\n  max_levels: 4\n")
        flags = ["--set", "kafka.properties.sasl.password=hunter2"]
        assert end("config", "show", *flags) == 0
        rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
        assert rows[0] == ["KEY", "VALUE", "FROM"]
        assert ["state.max_levels", "4", "config.yaml:2"] in rows
        assert ["kafka.properties.sasl.password", "***", "--set kafka.properties.sasl.password"] in rows
        assert end("config", "show", "--json", *flags) == 0
        assert json.loads(capsys.readouterr().out)["state.max_levels"] == {"value": 4, "from": "config.yaml:2"}

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert end("--version") == 0
        assert capsys.readouterr().out.startswith("streamproc 0.")


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code", "told"),
        [
            (
                DataError("is cut short", where="a.gz", hint="fetch it again"),
                1,
                ("a.gz", "is cut short", "fetch it again"),
            ),
            (UsageError("is not empty", where="out", hint="give --overwrite"), 2, ("out", "not empty", "--overwrite")),
            (PermissionError(13, "Permission denied", "out/hf"), 1, ("out/hf", "Permission denied", "check who may")),
            (OSError(28, "No space left on device", "out"), 1, ("out", "No space left", "free some space")),
            (KeyError("price"), 1, ("fault of the program", "KeyError: 'price'", "--debug")),
            (KeyboardInterrupt(), 130, ("interrupted",)),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
    )
    def test_what_where_and_what_to_do(
        self,
        error: BaseException,
        code: int,
        told: tuple[str, ...],
        behind: Callable[..., None],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        behind("streamproc.local.run", run_files=raising(error))
        for log_format in ("json", "text"):
            assert end(*RUN, "--json", "--log-format", log_format) == code
            said = capsys.readouterr()
            assert said.out == ""
            assert "Traceback" not in said.err
            for part in told:
                assert part in said.err
        assert end(*RUN, "--debug") == code
        assert "Traceback" in capsys.readouterr().err

    def test_faults_of_the_configuration_all_at_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("c.yaml").write_text("state:\n  max_levels: 0\n  horizon: 1\n")
        assert end(*RUN, "--config", "c.yaml", "--set", "log.level=loud") == 2
        told = capsys.readouterr().err
        for part in ("3 faults", "c.yaml:2: state.max_levels", "c.yaml:3: state.horizon", "--set log.level"):
            assert part in told

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["run"], "--input"),
            (["rnu"], "Did you mean 'run'?"),
            ([*RUN, "--workers", "0"], "--workers"),
            ([*RUN, "--worker", "1"], "--workers"),
            (["compact"], "DIR"),
            (["demo", "stray"], "stray"),
            (["run", "--config", "nowhere.yaml", *RUN[1:]], "nowhere.yaml"),
            ([], "Usage: streamproc"),
            (["config"], "Usage: streamproc config"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_wrong_usage(self, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert end(*arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert told in said.err
        assert "Traceback" not in said.err

    def test_a_reader_that_goes_away(self) -> None:
        command = [sys.executable, "-m", "streamproc", "config", "show"]
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=30)
        os.close(writer)
        assert (ended.returncode, ended.stderr) == (cli.BROKEN_PIPE, "")


class TestSignals:
    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    def test_run_cut_short_tells_the_signal(
        self, signum: signal.Signals, behind: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        def run_files(*_: Any, stop: Any, **__: Any) -> dict[str, Any]:
            assert not stop.requested
            os.kill(os.getpid(), signum)
            return {**SUMMARY, "interrupted": stop.requested}

        before = signal.getsignal(signum)
        behind("streamproc.local.run", run_files=run_files)
        assert end(*RUN, "--json") == 128 + signum
        assert json.loads(capsys.readouterr().out)["interrupted"] is True
        assert signal.getsignal(signum) == before

    def test_run_that_finished_all_the_same_is_done(self, behind: Callable[..., None]) -> None:
        def run_files(*_: Any, **__: Any) -> dict[str, Any]:
            os.kill(os.getpid(), signal.SIGTERM)
            return SUMMARY

        behind("streamproc.local.run", run_files=run_files)
        assert end(*RUN) == 0

    def test_watch_is_meant_to_be_stopped(self, behind: Callable[..., None]) -> None:
        def watch_directory(*_: Any, stop: Any, **__: Any) -> dict[str, Any]:
            os.kill(os.getpid(), signal.SIGTERM)
            return {**SUMMARY, "interrupted": stop.requested}

        behind("streamproc.local.watch", watch_directory=watch_directory)
        assert end("watch", "--input", "in", "--output", "out", "--state", "st") == 0

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    def test_the_second_signal_ends_at_once(self, signum: signal.Signals) -> None:
        program = """
import os, signal, sys
from streamproc.observe.stop import StopRequest
with StopRequest() as stop:
    os.kill(os.getpid(), int(sys.argv[1]))
    assert stop.requested and stop.signum == int(sys.argv[1])
    os.kill(os.getpid(), int(sys.argv[1]))
    print("still here")
"""
        command = [sys.executable, "-c", program, str(int(signum))]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert (ended.returncode, ended.stdout, ended.stderr) == (-signum, "", "")


class TestStart:
    def test_the_command_line_loads_nothing_heavy(self) -> None:
        program = (
            "import sys, streamproc.cli; "
            "print(sorted({'numba', 'numpy', 'pyarrow', 'rocksdict', 'orjson'} & set(sys.modules)))"
        )
        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
        assert loaded.stdout == "[]\n"

    def test_the_package_loads_its_names_when_used(self) -> None:
        program = (
            "import sys, streamproc; assert 'pydantic' not in sys.modules; "
            "assert streamproc.StateConfig().max_levels == 10; assert 'StateConfig' in dir(streamproc)"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=30)

    def test_an_unknown_name_of_the_package(self) -> None:
        import streamproc

        with pytest.raises(AttributeError, match="has no attribute 'Procesor'"):
            _ = streamproc.Procesor
