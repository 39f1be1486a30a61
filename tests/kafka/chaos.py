"""Faults at random for as long as one likes: members and a broker that die and come back; then files like `run`'s.

`python -m tests.kafka.chaos --seed 1 --seconds 60`: what is done, and in which order, follows from the seed, and is
printed. Exit code 1, with what differs, when a row was lost, doubled or is another.
"""

import argparse
import itertools
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from streamproc.config import KafkaConfig, Settings, StateConfig
from streamproc.kafka import client
from streamproc.kafka.group import describe
from streamproc.kafka.names import Names
from streamproc.simulate import Market
from tests.broker import Broker
from tests.children import begin
from tests.kafka.against_run import differences, lines_of, run_on
from tests.kafka.brokers import running_broker
from tests.kafka.groups import (
    be_member,
    committed,
    eventually,
    key_of,
    rejects_of_run,
    rows_of_run,
    with_process,
)
from tests.kafka.sinks import hints_reach_the_end, running_sink, with_sink
from tests.kafka.topics import make_topics

MEMBERS, PARTITIONS = 3, 12
PROTOCOLS = ("consumer", "classic")
PHASE_SECONDS = 20.0
"""How long the group keeps a protocol."""
PATIENCE_SECONDS = 300.0
LINES_A_SECOND = 300


def say(what: str) -> None:
    """Tell what is done."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def be_logged_member(settings: Settings, log: Path) -> None:
    """Be a member whose log is a file, up to the error that ends it."""
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s")
    try:
        be_member(settings)
    except Exception:
        logging.exception("the end")
        raise SystemExit(1) from None


class Group:
    """Members in processes of their own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._running: dict[int, ForkServerProcess] = {}
        self._protocols = itertools.cycle(PROTOCOLS)
        self._protocol = ""

    def start_all(self) -> None:
        """Under the next protocol, as soon as nobody is left under the last one."""
        self._protocol = next(self._protocols)
        say(f"all members start: {self._protocol}")
        admin, group = client.admin(self._settings.kafka), Names(self._settings.kafka.prefix).process_group
        eventually(lambda: not describe(admin, group).members, PATIENCE_SECONDS)
        for number in range(MEMBERS):
            self._start(number)

    def stop_all(self) -> None:
        say("all members are asked to leave")
        for process in self._running.values():
            process.terminate()
        for number, process in self._running.items():
            process.join(PATIENCE_SECONDS)
            if process.exitcode:
                say(f"member {number} ended with {process.exitcode}")
        self._running.clear()

    def kill_all(self) -> None:
        """However they are."""
        for process in self._running.values():
            process.kill()
            process.join()

    def revive(self) -> None:
        """Start those again that have ended by themselves, as whoever looks after them would."""
        for number, process in self._running.items():
            if not process.is_alive():
                say(f"member {number} had ended with {process.exitcode}: again")
                self._start(number)

    def kill(self, number: int) -> None:
        self._running[number].kill()
        self._running[number].join()
        self._start(number)

    def stop(self, number: int) -> None:
        self._running[number].terminate()
        self._running[number].join(PATIENCE_SECONDS)
        self._start(number)

    def pause(self, number: int, seconds: float) -> None:
        pid = self._running[number].pid or 0
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    def _start(self, number: int) -> None:
        mine = with_process(
            self._settings,
            self._folder / str(number),
            commit_interval=0.1,
            commit_records=300,
            group_protocol=self._protocol,
        )
        self._running[number] = begin(be_logged_member, mine, self._folder / f"member-{number}.log")


class Feed:
    """Lines that come evenly until all have come; an outage holds them up."""

    def __init__(self, settings: Settings, lines: list[bytes]) -> None:
        self._settings, self._lines = settings, lines
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        producer = client.producer(self._settings.kafka, {})
        for place, line in enumerate(self._lines):
            producer.produce(Names(self._settings.kafka.prefix).raw, line, key_of(line))
            if place % LINES_A_SECOND == 0:
                producer.poll(0)
                time.sleep(1)
        while producer.flush(1):
            pass


def torment(chance: random.Random, group: Group, broker: Broker, until: float) -> None:
    """One fault after the other."""
    phase_ends = time.monotonic() + PHASE_SECONDS
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.5, 3))
        number, fault = chance.randrange(MEMBERS), chance.choices(("kill", "pause", "stop", "broker"), (5, 3, 2, 1))[0]
        seconds = chance.uniform(0.5, 10)
        group.revive()
        if fault == "kill":
            say(f"kill -9 of member {number}")
            group.kill(number)
        elif fault == "pause":
            say(f"member {number} stands still for {seconds:.1f} s")
            group.pause(number, seconds)
        elif fault == "stop":
            say(f"member {number} leaves and comes back")
            group.stop(number)
        else:
            say(f"kill -9 of the broker, back after {seconds / 4:.1f} s")
            broker.kill()
            time.sleep(seconds / 4)
            broker.start()
        if time.monotonic() >= phase_ends:
            group.stop_all()
            group.start_all()
            phase_ends = time.monotonic() + PHASE_SECONDS


def output_differences(output: Path, wanted: Path) -> list[str]:
    """What of rows and rejects is not as `run` has it."""
    found = differences("rejects", rejects_of_run(output), rejects_of_run(wanted))
    for stream in ("hf", "bars"):
        found += differences(stream, rows_of_run(output, stream), rows_of_run(wanted, stream))
    return found


def chaos(seed: int, seconds: float, folder: Path) -> list[str]:
    """What differs after so many seconds of faults."""
    chance = random.Random(seed)
    market = Market(symbols=24, seconds=seconds / 2, levels=5, rate_hz=12, seed=seed, faults=True)
    with running_broker(folder / "broker") as broker:
        kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers)
        settings = with_sink(Settings(kafka=kafka, state=StateConfig(bar_idle_close=None)), max_age=1, idle=1)
        make_topics(settings, PARTITIONS)
        lines = lines_of(market)[: int(seconds * LINES_A_SECOND)]
        say(f"{len(lines)} lines")
        group = Group(settings, folder)
        try:
            group.start_all()
            feed = Feed(settings, lines)
            torment(chance, group, broker, time.monotonic() + seconds)
            say("no more faults")
            feed.thread.join()
            group.revive()
            eventually(lambda: committed(settings) == len(lines), PATIENCE_SECONDS)
            group.stop_all()
        finally:
            group.kill_all()
        say("files are written")
        with running_sink(settings, folder / "out"):
            eventually(lambda: hints_reach_the_end(settings), PATIENCE_SECONDS)
        return output_differences(folder / "out", run_on(lines, settings, folder / "run"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    say(f"seed {given.seed}, {given.seconds:g} s")
    folder = Path(tempfile.mkdtemp(prefix="streamproc-chaos-"))
    found = chaos(given.seed, given.seconds, folder)
    for one in found:
        print(one)
    if found:
        say(f"differs; logs and data: {folder}")
        sys.exit(1)
    shutil.rmtree(folder)
    say("no row lost, doubled or changed")


if __name__ == "__main__":
    main()
