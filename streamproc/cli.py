"""The command line: each command parses its flags, calls one function and prints what it returns."""

import contextlib
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NoReturn

import typer
from rich.console import Console
from typer import Argument, Option

from streamproc import __version__
from streamproc.config.load import Loaded, load
from streamproc.errors import UsageError
from streamproc.observe import logs
from streamproc.observe.progress import BarProgress, LogProgress, Progress, QuietProgress
from streamproc.observe.report import tell_error, tell_summary
from streamproc.observe.stop import StopRequest

if TYPE_CHECKING:
    from streamproc.config import Settings
    from streamproc.kafka.topics import Topic

BROKEN_PIPE = 141
"""What a shell reports of a program whose reader went away."""

EVERY_COMMAND = "Every command"

PIPED_WIDTH = 200
"""Of tables that no terminal shows."""

app = typer.Typer(
    name="streamproc",
    help="Order-book streams in; features and bars out, as Parquet.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="The settings in force.")
app.add_typer(config_app, name="config")
topics_app = typer.Typer(help="The topics in Kafka.")
app.add_typer(topics_app, name="topics")


def _switch(name: str, text: str, panel: str | None = None) -> Any:
    return Option(name, metavar="", help=text, rich_help_panel=panel)


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """The flags that every command has, and what follows from them."""

    config: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Configuration file.",
            show_default="./config.yaml if there",
            rich_help_panel=EVERY_COMMAND,
        ),
    ] = None
    overrides: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set one key, such as state.max_levels=20. Repeatable.",
            rich_help_panel=EVERY_COMMAND,
        ),
    ] = None
    as_json: Annotated[bool, _switch("--json", "Print the summary as JSON on stdout.", EVERY_COMMAND)] = False
    quiet: Annotated[bool, _switch("--quiet", "Say nothing but warnings and errors.", EVERY_COMMAND)] = False
    log_format: Annotated[
        Literal["auto", "json", "text"] | None,
        Option(help="Lines on stderr: auto is text on a terminal, else JSON.", rich_help_panel=EVERY_COMMAND),
    ] = None
    debug: Annotated[bool, _switch("--debug", "Show the traceback of an error.", EVERY_COMMAND)] = False

    @functools.cached_property
    def loaded(self) -> Loaded:
        """The settings with their origins."""
        flags = [f"log.format={self.log_format}"] if self.log_format else []
        return load(self.config, [*(self.overrides or ()), *flags])

    @property
    def settings(self) -> "Settings":
        return self.loaded.settings

    def settings_with(self, given: Mapping[str, object]) -> "Settings":
        """The settings with those of a command's own flags that were given."""
        flags = [f"{key}={value}" for key, value in given.items() if value is not None]
        return load(self.config, [*(self.overrides or ()), *flags]).settings

    @functools.cached_property
    def console(self) -> Console:
        """Stderr."""
        return Console(stderr=True)

    @property
    def _line_format(self) -> logs.Format:
        chosen = self.settings.log.format
        if chosen == "auto":
            return "text" if self.console.is_terminal else "json"
        return chosen

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Log lines as configured, and the progress that suits stderr."""
        level = self.settings.log.level
        logs.configure(self._line_format, "warning" if self.quiet and level != "error" else level, self.console)
        progress: Progress = LogProgress()
        if self.quiet:
            progress = QuietProgress()
        elif self._line_format == "text" and self.console.is_terminal:
            progress = BarProgress(self.console)
        try:
            yield progress
        finally:
            progress.finish()

    def finish(self, summary: Mapping[str, Any], output: Path | str | None = None) -> None:
        """Print the summary: with --json to stdout, else to stderr."""
        if self.as_json:
            print_out(json.dumps(summary))
        elif not self.quiet:
            tell_summary(summary, output, self.console, as_log=self._line_format == "json")

    def show(self, value: Mapping[str, Any], table: Any) -> None:
        """Print what a command was asked for on stdout: as JSON with --json, else the table."""
        if self.as_json:
            print_out(json.dumps(value))
            return
        out = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
        with out.capture() as captured:
            out.print(table)
        print_out("\n".join(line.rstrip() for line in captured.get().splitlines()))

    def show_again(self, values: Iterable[tuple[Mapping[str, Any], Any]]) -> None:
        """The same of one value after another, on a terminal each in the place of the one before."""
        if self.as_json or not sys.stdout.isatty():
            for value, table in values:
                self.show(value, table)
            return
        from rich.live import Live

        with Live(console=Console(), auto_refresh=False, vertical_overflow="visible") as live:
            for _, table in values:
                live.update(table, refresh=True)


def command(group: typer.Typer, name: str) -> Callable[[Callable[..., None]], None]:
    """Register a function as a command: it gets an Invocation, its users the flags of one beside the function's own."""

    def register(function: Callable[..., None]) -> None:
        every = inspect.signature(Invocation).parameters
        own = list(inspect.signature(function).parameters.values())[1:]

        @functools.wraps(function)
        def wrapper(**flags: Any) -> None:
            invocation = Invocation(**{flag: flags.pop(flag) for flag in every})
            with errors_told(invocation.debug):
                function(invocation, **flags)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *every.values())]
        vars(wrapper)["__signature__"] = inspect.Signature(parameters)
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        group.command(name)(wrapper)

    return register


@contextlib.contextmanager
def errors_told(debug: bool) -> Iterator[None]:
    """End the process with what went wrong on stderr and the exit code that belongs to it."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, typer.Exit):
            raise
        sys.exit(tell_error(_from_typer(error), debug))


def print_out(text: str) -> None:
    """Print to stdout; a reader that has gone away ends the process quietly."""
    with reader_may_leave():
        print(text, flush=True)


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Around writes to stdout: a closed pipe is no error, and not to be met again when the interpreter ends."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def _from_typer(error: BaseException) -> BaseException:
    if not isinstance(error, typer.TyperException):
        return error
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "streamproc"
    message = error.format_message().replace("Input should be", "must be")
    return UsageError(message, hint=f"see `{path} --help`")


SPREAD = ("--input", "--partitions")
"""Flags after which several values may stand."""


def spread_inputs(arguments: Sequence[str]) -> list[str]:
    """``--input a b`` as ``--input a --input b``, so that a shell's glob can stand after one ``--input``."""
    spread: list[str] = []
    collecting = ""
    for argument in arguments:
        if argument.startswith("-") and argument != "-":
            collecting = next((flag for flag in SPREAD if argument.partition("=")[0] == flag), "")
        elif collecting and spread[-1] != collecting:
            spread.append(collecting)
        spread.append(argument)
    return spread


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    given = spread_inputs(sys.argv[1:] if arguments is None else arguments)
    with errors_told(debug="--debug" in given):
        sys.exit(app(args=given, prog_name="streamproc", standalone_mode=False) or 0)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_out(f"streamproc {__version__}")
        raise typer.Exit


def _help_alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        with contextlib.redirect_stdout(sys.stderr):  # typer prints it itself
            context.get_help()
        raise typer.Exit(UsageError.exit_code)


config_app.callback(invoke_without_command=True)(_help_alone)
topics_app.callback(invoke_without_command=True)(_help_alone)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[
        bool, Option("--version", metavar="", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    _help_alone(context)


Inputs = Annotated[
    list[str],
    Option(
        "--input", metavar="PATH...", help="Files, folders, globs, or - for stdin: .ndjson, .jsonl, plain, .gz, .zst."
    ),
]
Output = Annotated[Path, Option("--output", metavar="DIR", help="Folder of hf/, bars/ and rejects/.")]
Fresh = Annotated[bool, _switch("--fresh", "Start afresh, although the state is of another configuration.")]


@command(app, "run")
def run(
    call: Invocation,
    inputs: Inputs,
    output: Output,
    state: Annotated[
        Path | None, Option(metavar="DIR", help="Go on where the run before with this state ended.")
    ] = None,
    flush: Annotated[bool, _switch("--flush", "Close the bars that are open at the end of the input.")] = False,
    workers: Annotated[int, Option(min=1, metavar="N", help="Processes among which the symbols are spread.")] = 1,
    merge: Annotated[bool, _switch("--merge", "Interleave the inputs by collected_at.")] = False,
    overwrite: Annotated[bool, _switch("--overwrite", "Replace what is in the output folder.")] = False,
    fresh: Fresh = False,
) -> None:
    """Turn recorded files into features and bars."""
    settings = call.settings
    from streamproc.local.run import run_files

    with StopRequest() as stop, call.progress() as progress:
        summary = run_files(
            inputs,
            output,
            settings,
            state=state,
            flush=flush,
            workers=workers,
            merge=merge,
            overwrite=overwrite,
            fresh=fresh,
            progress=progress,
            stop=stop,
        )
    call.finish(summary, output)
    _exit_if_cut_short(summary, stop)


def _exit_if_cut_short(summary: Mapping[str, Any], stop: StopRequest) -> None:
    if summary.get("interrupted") and stop.signum is not None:
        raise typer.Exit(128 + stop.signum)


def _checked_after(after: str) -> str:
    if after in {"keep", "delete"} or after.removeprefix("move:") not in {after, ""}:
        return after
    raise typer.BadParameter(f"{after!r} is none of keep, delete, move:DIR")


@command(app, "watch")
def watch(
    call: Invocation,
    directory: Annotated[Path, Option("--input", metavar="DIR", help="Folder in which files appear and grow.")],
    output: Output,
    state: Annotated[Path, Option(metavar="DIR", help="Where the work is remembered across restarts.")],
    after: Annotated[
        str,
        Option(
            metavar="keep|delete|move:DIR",
            callback=_checked_after,
            help="What becomes of a file that is taken in and has stopped growing.",
        ),
    ] = "keep",
    fresh: Fresh = False,
) -> None:
    """Follow a folder: take in files as they appear and grow, until stopped."""
    settings = call.settings
    from streamproc.local.watch import watch_directory

    with StopRequest() as stop, call.progress() as progress:
        summary = watch_directory(
            directory, output, settings, state=state, after=after, fresh=fresh, progress=progress, stop=stop
        )
    call.finish(summary, output)


@contextlib.contextmanager
def _simulated_file(output: str) -> Iterator[BinaryIO]:
    if output == "-":
        with reader_may_leave():
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    if output.endswith((".gz", ".zst")):
        raise UsageError(
            "simulate writes plain NDJSON", where=output, hint="write to - and pipe that through gzip or zstd"
        )
    with open(output, "wb") as file:
        yield file


@command(app, "simulate")
def simulate(
    call: Invocation,
    symbols: Annotated[int, Option(metavar="N", help="Number of symbols.")],
    seconds: Annotated[float, Option(metavar="S", help="Length in event time.")],
    levels: Annotated[int, Option(metavar="L", help="Price levels a side.")] = 20,
    rate: Annotated[float, Option(metavar="HZ", help="Books a second and symbol, on average.")] = 10.0,
    seed: Annotated[int, Option(metavar="K", help="The same seed gives the same bytes.")] = 0,
    faults: Annotated[bool, _switch("--faults", "Mix in every fault that real streams have.")] = False,
    output: Annotated[str, Option(metavar="FILE|-", help="File, or - for stdout.")] = "-",
) -> None:
    """Make up order books and trades that look like a market's, as NDJSON."""
    from streamproc.simulate import Market
    from streamproc.simulate import simulate as simulate_market

    if call.as_json and output == "-":
        raise UsageError("--json and --output - both want stdout", hint="give --output FILE")
    market = Market(symbols, seconds, levels=levels, rate_hz=rate, seed=seed, faults=faults)
    with call.progress(), _simulated_file(output) as out:
        summary = simulate_market(market, out)
    call.finish(summary, None if output == "-" else Path(output))


@command(app, "compact")
def compact(
    call: Invocation, directory: Annotated[Path, Argument(metavar="DIR", help="An output folder of run or watch.")]
) -> None:
    """Merge the small files of an output into large ones."""
    settings = call.settings
    from streamproc.parquet.compact import compact as compact_output

    with call.progress():
        summary = compact_output(directory, settings)
    call.finish(summary, directory)


@command(config_app, "show")
def config_show(call: Invocation) -> None:
    """Print every setting with where its value came from, secrets masked."""
    from streamproc.config.show import as_text, shown

    rows = shown(call.loaded)
    if call.as_json:
        print_out(json.dumps({row.key: {"value": row.value, "from": row.origin} for row in rows}))
        return
    table = [("KEY", "VALUE", "FROM"), *((row.key, as_text(row.value), row.origin) for row in rows)]
    wide_key, wide_value = (max(len(line[column]) for line in table) for column in (0, 1))
    print_out("\n".join(f"{key:{wide_key}}  {value:{wide_value}}  {origin}" for key, value, origin in table))


TopicFiles = Annotated[
    Path | None,
    Option("--topics", metavar="DIR", help="Folder of the topics' files.", show_default="./topics if there, or ours"),
]
Replication = Annotated[
    int | None, Option(min=1, metavar="N", help="Replicas of each topic, instead of what its file asks for.")
]


def _wanted_topics(call: Invocation, folder: Path | None, replication: int | None = None) -> "dict[str, Topic]":
    from streamproc.kafka.topics import default_folder, read_files, with_replication

    topics = read_files(folder or default_folder(), call.settings.kafka.prefix)
    return with_replication(topics, replication) if replication else topics


@command(topics_app, "validate")
def topics_validate(call: Invocation, folder: TopicFiles = None) -> None:
    """Check the topics' files, without a broker."""
    from streamproc.kafka.topics.show import topics_object, topics_table

    topics = _wanted_topics(call, folder)
    print_out(json.dumps(topics_object(topics)) if call.as_json else topics_table(topics))


@command(topics_app, "plan")
def topics_plan(call: Invocation, folder: TopicFiles = None, replication: Replication = None) -> None:
    """Show what `apply` would create and alter, and whether the brokers would take it."""
    wanted = _wanted_topics(call, folder, replication)
    from streamproc.kafka.client import admin
    from streamproc.kafka.topics import plan, rehearse
    from streamproc.kafka.topics.show import changes_object, changes_table

    with call.progress():
        client = admin(call.settings.kafka)
        changes = plan(client, wanted)
        print_out(json.dumps(changes_object(changes)) if call.as_json else changes_table(changes))
        rehearse(client, wanted, changes)


@command(topics_app, "apply")
def topics_apply(call: Invocation, folder: TopicFiles = None, replication: Replication = None) -> None:
    """Create the topics that are missing and alter settings that differ. Nothing is deleted."""
    wanted = _wanted_topics(call, folder, replication)
    from streamproc.kafka.client import admin
    from streamproc.kafka.topics import apply
    from streamproc.kafka.topics.show import changes_object, changes_table

    with call.progress():
        changes = apply(admin(call.settings.kafka), wanted)
    if call.as_json or not call.quiet:
        print_out(json.dumps(changes_object(changes)) if call.as_json else changes_table(changes))


@command(app, "publish")
def publish(
    call: Invocation,
    inputs: Inputs,
    follow: Annotated[bool, _switch("--follow", "Go on with files that grow and appear, until stopped.")] = False,
    speed: Annotated[
        float | None,
        Option(min=1e-6, metavar="X", help="Times the pace of the recording.", show_default="as fast as it goes"),
    ] = None,
    publisher_id: Annotated[
        str | None, Option(metavar="ID", help="Whose progress to go on with.", show_default="publish.publisher_id")
    ] = None,
) -> None:
    """Publish recorded lines to the raw topic, each exactly once."""
    settings = call.settings_with({"publish.publisher_id": publisher_id})
    from streamproc.kafka.publish import publish_files

    with StopRequest() as stop, call.progress() as progress:
        summary = publish_files(inputs, settings, follow=follow, speed=speed, progress=progress, stop=stop)
    call.finish(summary)
    _exit_if_cut_short(summary, stop)


@command(app, "process")
def process(
    call: Invocation,
    member_id: Annotated[
        str | None,
        Option(metavar="ID", help="Name of this member.", show_default="process.member_id, or one kept with the state"),
    ] = None,
    state: Annotated[
        Path | None, Option(metavar="DIR", help="Folder of this member's state.", show_default="process.state")
    ] = None,
) -> None:
    """Be a member of the group that turns the raw topic into features and bars, until stopped."""
    settings = call.settings_with({"process.member_id": member_id, "process.state": state})
    from streamproc.kafka.process import process as be_member

    with StopRequest() as stop, call.progress():
        summary = be_member(settings, stop)
    call.finish(summary)


@command(app, "replay")
def replay(
    call: Invocation,
    to_datetime: Annotated[
        str | None, Option(metavar="T", help="To the first record from then on: 2024-08-09T12:00:00.000, UTC.")
    ] = None,
    by_duration: Annotated[
        str | None, Option(metavar="D", help="To the first record from so long ago on: PnDTnHnMnS.")
    ] = None,
    to_earliest: Annotated[bool, _switch("--to-earliest", "To the first record that there is.")] = False,
    to_latest: Annotated[bool, _switch("--to-latest", "Behind the last record.")] = False,
    to_offset: Annotated[int | None, Option(metavar="N", help="To an offset.")] = None,
    shift_by: Annotated[int | None, Option(metavar="N", help="By so many offsets, back where negative.")] = None,
    partitions: Annotated[
        list[str] | None, Option(metavar="N...", help="These only.", show_default="all partitions")
    ] = None,
    execute: Annotated[bool, _switch("--execute", "Do it; without this, it is only shown.")] = False,
) -> None:
    """Have a stretch of the raw topic processed again, or skipped, as a new generation."""
    settings = call.settings
    from streamproc.kafka.replay import as_object, as_table, numbers_of, target_of
    from streamproc.kafka.replay import replay as plan_replay

    target = target_of(
        to_datetime=to_datetime,
        by_duration=by_duration,
        to_earliest=to_earliest,
        to_latest=to_latest,
        to_offset=to_offset,
        shift_by=shift_by,
    )
    with call.progress():
        plan = plan_replay(settings, target, partitions=numbers_of(partitions or ()), execute=execute)
    call.show(as_object(plan), as_table(plan))


@command(app, "status")
def status(
    call: Invocation, again: Annotated[bool, _switch("--watch", "Look again and again, until stopped.")] = False
) -> None:
    """Show members, lag, generations, dead letters and what stands still."""
    settings = call.settings
    from streamproc.kafka.status import as_object, as_tables, watch
    from streamproc.kafka.status import status as look

    with call.progress():
        if not again:
            found = look(settings)
            call.show(as_object(found), as_tables(found))
            return
        with StopRequest() as stop:
            call.show_again((as_object(found), as_tables(found)) for found in watch(settings, stop))


@command(app, "sink")
def sink(
    call: Invocation,
    output: Annotated[
        str, Option(metavar="DIR|s3://BUCKET/PREFIX", help="Folder of hf/, bars/ and rejects/, or an object store.")
    ],
    member_id: Annotated[
        str | None, Option(metavar="ID", help="Name under which Kafka lists this sink.", show_default="sink.member_id")
    ] = None,
) -> None:
    """Write features, bars and rejects from the topics to Parquet, each exactly once, until stopped."""
    settings = call.settings_with({"sink.member_id": member_id})
    from streamproc.kafka.sink import sink as be_sink

    with StopRequest() as stop, call.progress():
        summary = be_sink(settings, output, stop)
    call.finish(summary, output)


@command(app, "demo")
def demo(
    call: Invocation,
    output: Annotated[Path, Option(metavar="DIR", help="Folder for the demo's files; replaced if there.")] = Path(
        "demo"
    ),
) -> None:
    """Simulate two minutes of three symbols, run them, and show what comes out."""
    settings = call.settings
    from streamproc.demo import run_demo

    with StopRequest() as stop, call.progress() as progress:
        result = run_demo(settings, output, progress=progress, stop=stop)
    call.finish(result.summary, output)
    _exit_if_cut_short(result.summary, stop)
    if not call.as_json:
        with reader_may_leave():
            result.show()
