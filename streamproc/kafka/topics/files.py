"""Files that ask for topics, in the form of Strimzi's `KafkaTopic`: read and checked, without any broker."""

import difflib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamproc.config import document
from streamproc.config.load import dotted
from streamproc.errors import Fault, UsageError
from streamproc.kafka.topics.rules import ROLES, Breach, Topic, breaches, whole_number

SHIPPED = Path(__file__).parent / "default"
"""The files that come with the package: the folder `topics` of the sources."""

OWN_FOLDER = Path("topics")
"""Where a user's own files are looked for."""

WRITTEN_PREFIX = "streamproc"
"""What the names in the files begin with, whatever `kafka.prefix` is; that one is taken too."""

REPLICAS = 3
IN_SYNC_REPLICAS = 2
"""At least so many: one broker may be lost without losing a record or having to stop."""

NUMBERS = frozenset(
    {
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.zstd.level",
        "delete.retention.ms",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "index.interval.bytes",
        "local.retention.bytes",
        "local.retention.ms",
        "max.compaction.lag.ms",
        "max.message.bytes",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
    }
)
"""A topic's settings that are whole numbers (Apache Kafka 4.1, `TopicConfig`)."""

OTHERS = frozenset(
    {
        "cleanup.policy",
        "compression.type",
        "follower.replication.throttled.replicas",
        "leader.replication.throttled.replicas",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "preallocate",
        "remote.log.copy.disable",
        "remote.log.delete.on.disable",
        "remote.storage.enable",
        "unclean.leader.election.enable",
    }
)
"""The others."""

_WORD = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_Count = Annotated[int, Field(strict=True, ge=1)]


class _Labels(BaseModel):
    model_config = ConfigDict(extra="allow")
    cluster: Annotated[str, Field(strict=True, min_length=1, alias="strimzi.io/cluster")]


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: Annotated[str, Field(strict=True, pattern=rf"^{_WORD}(\.{_WORD})*$", max_length=253)]
    labels: _Labels


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")
    topic_name: Annotated[str | None, Field(strict=True, pattern=r"^[a-zA-Z0-9._-]{1,249}$", alias="topicName")] = None
    partitions: _Count
    replicas: _Count
    config: dict[str, Any]


class _KafkaTopic(BaseModel):
    model_config = ConfigDict(extra="forbid")
    api: Annotated[Literal["kafka.strimzi.io/v1"], Field(alias="apiVersion")]
    kind: Literal["KafkaTopic"]
    metadata: _Metadata
    spec: _Spec


class TopicFilesError(UsageError):
    """Files of topics with faults: all of them at once, in the order of their places."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        noun = "fault" if len(faults) == 1 else "faults"
        lines = [f"the files of the topics have {len(faults)} {noun}", *(f"  {fault}" for fault in faults)]
        super().__init__("\n".join(lines), hint="docs/topics.md tells what each topic must be, and why")
        self.args = (faults,)
        self.faults = tuple(faults)


class _Asked(NamedTuple):
    """A topic that a file asks for, and where."""

    topic: Topic
    file: Path
    lines: Mapping[document.Path, int]

    def fault(self, path: document.Path, message: str) -> Fault:
        return _fault(self.file, self.lines, path, message)


def default_folder() -> Path:
    """`./topics` if it is there, else the files that ship."""
    return OWN_FOLDER if OWN_FOLDER.is_dir() else SHIPPED


def read_files(folder: Path, prefix: str) -> dict[str, Topic]:
    """The six topics by role, as the files of a folder ask for them.

    Parameters
    ----------
    folder : of `*.yaml`, one topic each.
    prefix : `kafka.prefix`, which takes the place of `streamproc` in their names.

    Raises
    ------
    TopicFilesError : with every fault at once: of form, of a topic's settings, and of the topics beside each other.
    """
    if not folder.is_dir():
        raise UsageError("there is no such folder of topics", where=str(folder), hint="give another --topics DIR")
    faults: list[Fault] = []
    asked: dict[str, _Asked] = {}
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    read = [_read_file(file, prefix, faults) for file in files]
    for found in filter(None, read):
        role = found.topic.name.removeprefix(f"{prefix}.")
        if role in asked:
            faults.append(found.fault(("metadata", "name"), f"the same topic as in {asked[role].file}"))
        asked.setdefault(role, found)
    if None not in read:
        faults += _missing(folder, asked)
    faults += _broken(asked)
    if faults:
        raise TopicFilesError(sorted(faults, key=_place))
    return {role: asked[role].topic for role in ROLES}


def with_replication(topics: Mapping[str, Topic], replicas: int) -> dict[str, Topic]:
    """The same topics with so many replicas, of which one may be missing where there are several."""
    changed = {}
    for role, topic in topics.items():
        in_sync = min(int(topic.config["min.insync.replicas"]), max(1, replicas - 1))
        config = {**topic.config, "min.insync.replicas": str(in_sync)}
        changed[role] = topic._replace(replicas=replicas, config=config)
    return changed


def _read_file(file: Path, prefix: str, faults: list[Fault]) -> _Asked | None:
    """The topic of a file whose form is right; all that is wrong with it goes to the faults."""
    try:
        read = document.parse(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        faults.append(Fault(str(file), "", f"cannot be read: {error.strerror}"))
        return None
    except UnicodeDecodeError:
        faults.append(Fault(str(file), "", "is not UTF-8"))
        return None
    if read.flaws:
        faults += [_fault(file, {flaw.path: flaw.line}, flaw.path, flaw.message) for flaw in read.flaws]
        return None
    try:
        given = _KafkaTopic.model_validate(read.values if read.values is not None else {})
    except ValidationError as error:
        faults += [_fault(file, read.lines, item["loc"], _expected(item)) for item in error.errors(include_url=False)]
        return None
    name = given.spec.topic_name or given.metadata.name
    key = ("spec", "topicName") if given.spec.topic_name else ("metadata", "name")
    role = _role(name, prefix)
    if role is None:
        known = ", ".join(f"{WRITTEN_PREFIX}.{role}" for role in ROLES)
        faults.append(_fault(file, read.lines, key, f"must be one of {known}, found {name}"))
        return None
    config = dict(_settings(given.spec.config, file, read.lines, faults))
    topic = Topic(f"{prefix}.{role}", given.spec.partitions, given.spec.replicas, config)
    return _Asked(topic, file, read.lines)


def _role(name: str, prefix: str) -> str | None:
    for known in (prefix, WRITTEN_PREFIX):
        role = name.removeprefix(f"{known}.")
        if role != name and role in ROLES:
            return role
    return None


def _settings(
    config: Mapping[str, Any], file: Path, lines: Mapping[document.Path, int], faults: list[Fault]
) -> Iterator[tuple[str, str]]:
    """Settings as Kafka takes them: texts."""
    for name, value in config.items():
        path = ("spec", "config", name)
        text = _as_text(value)
        if name not in NUMBERS | OTHERS:
            close = difflib.get_close_matches(name, NUMBERS | OTHERS, n=1)
            proposed = f"; did you mean `{close[0]}`?" if close else ""
            faults.append(_fault(file, lines, path, f"no setting of a topic{proposed}"))
        elif text is None:
            faults.append(_fault(file, lines, path, f"must be a number or text, found {json.dumps(value)}"))
        elif name in NUMBERS and whole_number(text) is None:
            faults.append(_fault(file, lines, path, f"must be a whole number, found {text}"))
        yield name, text or ""


def _as_text(value: Any) -> str | None:
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return str(value)
        case list() if all(isinstance(item, str) for item in value):
            return ",".join(value)
    return None


def _missing(folder: Path, asked: Collection[str]) -> Iterator[Fault]:
    for role in ROLES:
        if role not in asked:
            yield Fault(str(folder), "", f"holds no file of the topic {WRITTEN_PREFIX}.{role}")


def _broken(asked: Mapping[str, _Asked]) -> Iterator[Fault]:
    for found in asked.values():
        yield from _replication(found)
    for breach in breaches({role: found.topic for role, found in asked.items()}):
        path = ("spec", "partitions") if breach.setting == "partitions" else ("spec", "config", breach.setting)
        yield asked[breach.role].fault(path, _told(breach))


def _replication(found: _Asked) -> Iterator[Fault]:
    why = "one broker may be lost; `--replication` is for clusters that have fewer"
    if found.topic.replicas < REPLICAS:
        yield found.fault(("spec", "replicas"), f"must be at least {REPLICAS}, found {found.topic.replicas}: {why}")
    in_sync = found.topic.config.get("min.insync.replicas")
    if in_sync is None:
        yield found.fault(("spec", "config", "min.insync.replicas"), f"is missing, must be {IN_SYNC_REPLICAS}: {why}")
    elif (number := whole_number(in_sync)) is not None and number < IN_SYNC_REPLICAS:
        message = f"must be at least {IN_SYNC_REPLICAS}, found {in_sync}: acknowledged records could be lost"
        yield found.fault(("spec", "config", "min.insync.replicas"), message)


def _told(breach: Breach) -> str:
    if breach.value is None:
        return f"is missing, must be {breach.wanted}: {breach.why}"
    return f"must be {breach.wanted}, found {breach.value}: {breach.why}"


def _fault(file: Path, lines: Mapping[document.Path, int], path: document.Path, message: str) -> Fault:
    at = path
    while at and at not in lines:
        at = at[:-1]
    return Fault(f"{file}:{lines.get(at, 1)}", dotted(path), message)


def _expected(error: Any) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "unknown key"
        case "dict_type" | "model_type":
            expected = "must hold keys and values"
        case "int_type":
            expected = "must be a whole number"
        case _:
            expected = str(error["msg"]).replace("Input should be", "must be")
    return f"{expected}, found {json.dumps(error['input'], default=str)}"


def _place(fault: Fault) -> tuple[str, int]:
    file, _, line = fault.where.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (fault.where, 0)
