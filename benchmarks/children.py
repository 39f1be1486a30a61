"""Programs under measurement: started as a user would start them, their log lines timed, their progress watched."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.kafka import Topics

END_SECONDS = 60.0
LOOK_SECONDS = 0.05
STALLED_SECONDS = 120.0
_RUNS = "runs from offset"


class Child:
    """A process whose stderr is read as it comes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.said: list[tuple[float, str]] = []
        """Lines of stderr, each with the time when it came."""
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def check(self) -> None:
        """Raises where it has ended."""
        if self.process.poll() is not None:
            told = "\n".join(line for _, line in self.said[-20:])
            raise RuntimeError(f"it ended with {self.process.returncode}: {self.process.args!r}\n{told}")

    def stop(self) -> str:
        """End it as a service manager does; what it printed."""
        self.process.send_signal(signal.SIGTERM)
        return self.result()

    def end(self) -> None:
        """The same of a program that does not end with 0 then, as Java's do not."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_SECONDS)

    def result(self) -> str:
        """What it printed, once it has ended well."""
        assert self.process.stdout is not None
        printed = self.process.stdout.read()
        self._reader.join(END_SECONDS)
        if self.process.wait(END_SECONDS):
            self.check()
        return printed

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()

    def running(self) -> dict[int, float]:
        """Of a member: the partitions that run, and since when."""
        lines = [(at, json.loads(line)["message"]) for at, line in list(self.said) if _RUNS in line]
        return {int(message.split()[1]): at for at, message in lines}

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append((time.monotonic(), line.rstrip()))


@contextmanager
def child(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Child]:
    """A process that does not outlive the block."""
    started = Child(command, environment)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()


def member_command(topics: Topics, folder: Path, **process: Any) -> list[str]:
    """`streamproc process` with its default configuration, but for what is given."""
    kafka = topics.settings.kafka
    given = {"kafka.bootstrap_servers": kafka.bootstrap_servers, "kafka.prefix": kafka.prefix}
    given |= {f"process.{name}": value for name, value in process.items()}
    flags = [flag for name, value in given.items() for flag in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "streamproc", "process", "--json", "--log-format", "json"]
    return [*command, "--member-id", folder.name, "--state", str(folder), *flags]


class Sample(NamedTuple):
    """What a group had committed at a time."""

    at: float
    offsets: list[int]

    @property
    def done(self) -> int:
        """Records in all."""
        return sum(self.offsets)


def watched(topics: Topics, group: str, end: int, alive: Callable[[], None]) -> list[Sample]:
    """The group's commits until it has committed so many records of the raw topic."""
    with topics.offsets_of(group) as committed:
        samples = [Sample(time.monotonic(), committed())]
        while samples[-1].done < end:
            time.sleep(LOOK_SECONDS)
            alive()
            now = Sample(time.monotonic(), committed())
            if now.done > samples[-1].done:
                samples.append(now)
            elif now.at - samples[-1].at > STALLED_SECONDS:
                raise RuntimeError(f"nothing was committed for {STALLED_SECONDS:.0f} s")
    return samples


def rate(samples: Sequence[Sample], first: int) -> float:
    """Records a second, from the first commit behind `first` records to the last commit but one.

    So no start-up counts, and no wait of the last commit for records that never come.
    """
    counted = [sample for sample in samples if sample.done >= first][: -1 if len(samples) > 4 else None]
    assert len(counted) > 1, "too few commits to measure by: give more books"
    return (counted[-1].done - counted[0].done) / (counted[-1].at - counted[0].at)


def until(condition: Callable[[], bool], alive: Callable[[], None] = lambda: None, seconds: float = 120) -> float:
    """Wait until something holds; when it did."""
    deadline = time.monotonic() + seconds
    while not condition():
        alive()
        if time.monotonic() > deadline:
            raise TimeoutError("it never came about")
        time.sleep(0.01)
    return time.monotonic()


def check_all(children: Sequence[Child]) -> None:
    """Raises where one of them has ended."""
    for one in children:
        one.check()
