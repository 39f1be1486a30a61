"""The settings beside ``state:``; they decide how the work is done, never what a number means."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from streamproc.config.state import Seconds, StateConfig

PARTITIONINGS = (("exchange", "symbol", "date"), ("exchange", "date"))


def _known_partitioning(keys: tuple[str, ...]) -> tuple[str, ...]:
    if keys not in PARTITIONINGS:
        known = " or ".join(f"[{', '.join(choice)}]" for choice in PARTITIONINGS)
        raise PydanticCustomError("partitioning", "must be {known}", {"known": known})
    return keys


def _as_text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool | int | float) else value


PlainText = Annotated[str, Field(strict=True), BeforeValidator(_as_text, json_schema_input_type=str | float | bool)]
"""A text that needs no quotes where it looks like a number or truth value."""


class Section(BaseModel):
    """A section of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class SinkConfig(Section):
    """How rows become Parquet files (section ``sink:``)."""

    partition_by: Annotated[tuple[str, ...], AfterValidator(_known_partitioning)] = Field(
        default=("exchange", "symbol", "date"),
        description="Folders of the output; [exchange, date] for thousands of symbols.",
    )
    buffer_rows: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=65_536,
        description="Rows of a stream kept in memory before they are written.",
    )
    row_group_rows: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=16_384,
        description="Most rows in a row group.",
    )
    compression_level: Annotated[int, Field(strict=True, ge=1, le=22)] = Field(
        default=1,
        description="Level of the zstd compression, 1 to 22.",
    )
    buffer_bytes: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=128 * 2**20,
        description="Bytes that `sink` keeps in memory before it commits the partitions that hold most of them.",
    )
    segment_rows: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=50_000,
        description="Rows of a topic's partition after which `sink` commits them.",
    )
    segment_files: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=1_000,
        description="Files that they would make after which `sink` commits them.",
    )
    max_age: Seconds = Field(
        default=60.0,
        description="Seconds after the first of them was read when `sink` commits them at the latest.",
    )
    idle: Seconds = Field(
        default=10.0,
        description="Seconds without a new one after which `sink` commits them.",
    )
    format: Literal["parquet", "delta"] = Field(
        default="parquet",
        description="What `sink` makes of hf and bars: `parquet` files for any reader, or `delta`, Delta Lake tables.",
    )
    storage: dict[str, PlainText] = Field(
        default={},
        repr=False,
        description="Options of the object store that `sink` writes to, handed to obstore as they are.",
    )
    member_id: Annotated[str, Field(strict=True, pattern=r"^[a-zA-Z0-9._-]{1,100}$")] | None = Field(
        default=None,
        description="Name under which Kafka lists a `sink` among its group; null: `streamproc`.",
    )
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        default="auto",
        description="How several sinks share the partitions, see `process.group_protocol`.",
    )


class LocalConfig(Section):
    """How files are read and work is committed (section ``local:``)."""

    commit_interval: Seconds = Field(
        default=1.0,
        description="`watch` commits at least every so many seconds.",
    )
    chunk_bytes: Annotated[int, Field(strict=True, ge=1024, le=2**30)] = Field(
        default=4 * 2**20,
        description="Bytes read at a time, 1024 to 2^30; a longer line is read whole all the same.",
    )
    settle: Seconds = Field(
        default=10.0,
        description="Seconds that a file must be unchanged before `watch --after` deletes or moves it.",
    )


class KafkaConfig(Section):
    """How to reach the brokers (section ``kafka:``)."""

    bootstrap_servers: Annotated[str, Field(strict=True, min_length=1)] = Field(
        default="localhost:9092",
        description="Brokers to begin with, host:port, comma-separated.",
    )
    prefix: Annotated[str, Field(strict=True, pattern=r"^[a-zA-Z0-9._-]{1,100}$")] = Field(
        default="streamproc",
        description="What the names of topics, consumer groups and transactional ids begin with.",
    )
    properties: dict[str, PlainText] = Field(
        default={},
        repr=False,
        description="Client properties, handed to librdkafka as they are.",
    )
    property_files: dict[str, Annotated[str, Field(strict=True, min_length=1)]] = Field(
        default={},
        description="Files that hold values of such properties, as `sasl.password`, before those of `properties`. Read "
        "for each new client; a new user name or password is taken over while it works.",
    )
    oauth_token_file: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        default=None,
        description="File that holds a token for SASL/OAUTHBEARER, a JWT; read anew before it expires. null: none.",
    )


class PublishConfig(Section):
    """How lines become records (section ``publish:``)."""

    publisher_id: Annotated[str, Field(strict=True, pattern=r"^[a-zA-Z0-9._-]{1,100}$")] = Field(
        default="publisher",
        description="Whose progress is gone on with: a name for each of several publishers that run at the same time.",
    )
    segment_bytes: Annotated[int, Field(strict=True, ge=1, le=2**24)] = Field(
        default=64 * 2**10,
        description="Lines of a key that come together are packed into one record up to so many bytes.",
    )
    segment_delay: Seconds = Field(
        default=0.05,
        description="A line waits at most so long for others of its key.",
    )
    commit_interval: Seconds = Field(
        default=0.5,
        description="Lines and the progress of their files are committed together at least every so many seconds.",
    )
    rejects: Annotated[str, Field(strict=True, min_length=1)] = Field(
        default="rejects",
        description="Folder for lines that are longer than the topic takes.",
    )


class ProcessConfig(Section):
    """How a member of the group works (section ``process:``)."""

    state: Annotated[str, Field(strict=True, min_length=1)] = Field(
        default="state",
        description="Folder of the member's state. A copy of what the changelog holds: losing it costs time only.",
    )
    member_id: Annotated[str, Field(strict=True, pattern=r"^[a-zA-Z0-9._-]{1,100}$")] | None = Field(
        default=None,
        description="Name of the member, one for each running process; null: made once and kept in the state's folder.",
    )
    commit_interval: Seconds = Field(
        default=0.25,
        description="Rows, state and offsets are committed together every so many seconds; less often while there is "
        "more to take than can be, so that commits take a quarter of the time at most.",
    )
    commit_records: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=200_000,
        description="And after so many records.",
    )
    lookback: Seconds | None = Field(
        default=None,
        description="A new generation is warmed up on so many seconds of earlier records; null: the longest of "
        "horizons and regime window, + the longest bar + gap_reset.",
    )
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        default="auto",
        description="`consumer` (KIP-848), `classic` (cooperative-sticky), `auto`: the former where brokers have it.",
    )


class LogConfig(Section):
    """What is said on stderr while the program works (section ``log:``)."""

    format: Literal["auto", "json", "text"] = Field(
        default="auto",
        description="`json`, `text`, or `auto`: text on a terminal, else JSON lines.",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least severe that is said: `debug`, `info`, `warning` or `error`.",
    )


class ObserveConfig(Section):
    """How the programs that work with Kafka can be watched (section ``observe:``)."""

    port: Annotated[int, Field(strict=True, ge=0, le=65_535)] | None = Field(
        default=None,
        description="Where /metrics, /livez and /readyz are served over HTTP; null: nowhere.",
    )
    host: str = Field(
        default="0.0.0.0",
        description="On which address.",
    )
    stale_symbols: Annotated[int, Field(strict=True, ge=0)] = Field(
        default=20,
        description="How many symbols the metric of feeds' staleness names: those silent for longest.",
    )


class Settings(Section):
    """All settings, one attribute a section."""

    state: StateConfig = Field(
        default=StateConfig(),
        description="What the numbers mean. A stored state is refused under other values.",
    )
    sink: SinkConfig = Field(default=SinkConfig(), description="How rows become Parquet files.")
    local: LocalConfig = Field(default=LocalConfig(), description="How files are read and work is committed.")
    kafka: KafkaConfig = Field(default=KafkaConfig(), description="How to reach the brokers.")
    publish: PublishConfig = Field(default=PublishConfig(), description="How lines become records.")
    process: ProcessConfig = Field(default=ProcessConfig(), description="How a member of the group works.")
    log: LogConfig = Field(default=LogConfig(), description="What is said on stderr while the program works.")
    observe: ObserveConfig = Field(default=ObserveConfig(), description="How the program can be watched.")

    @property
    def lookback_ms(self) -> int:
        """What `process.lookback` says, or stands for."""
        if self.process.lookback is not None:
            return round(self.process.lookback * 1000)
        state = self.state
        longest = max(state.regime_window_ms, state.horizons_ms[-1])
        return longest + state.bar_durations_ms[-1] + state.gap_reset_ms
