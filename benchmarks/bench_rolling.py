"""A rolling restart under load: three members, one after the other ended by SIGTERM and started again on its disk.

Idle is the longest time in which a partition's committed offset did not move, although its books kept coming: 5,000 a
second over 500 symbols, a commit each 250 ms. The rows are counted afterwards.
"""

import shutil
import sys
import threading
import time
from contextlib import ExitStack

from benchmarks.bench_process import check_output
from benchmarks.children import LOOK_SECONDS, Child, child, member_command, until
from benchmarks.kafka import PARTITIONS, Topics, broker
from benchmarks.measure import SCRATCH, tell
from benchmarks.raw_topic import Filled, books, market, produce_paced

FOLDER = SCRATCH / "members-rolling"
MEMBERS, SYMBOLS = 3, 500
START_SECONDS, STAY_SECONDS = 30.0, 5.0
"""For all members to have their partitions; between a member's return and the next one's end."""


class Watch:
    """The longest time in which each partition stood still, while `on`."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._ended = threading.Event()
        self.on = False
        self.idle = [0.0] * PARTITIONS
        self.offsets = [0] * PARTITIONS
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        moved_at = [time.monotonic()] * PARTITIONS
        with self._topics.offsets_of(self._topics.names.process_group) as committed:
            while not self._ended.wait(LOOK_SECONDS):
                found, now = committed(), time.monotonic()
                for number in range(PARTITIONS):
                    if not self.on or found[number] != self.offsets[number]:
                        moved_at[number] = now
                    self.idle[number] = max(self.idle[number], now - moved_at[number])
                self.offsets = found


def idle_seconds(servers: str, seconds: float) -> float:
    """Of the partition that stood still for longest."""
    topics = Topics(servers)
    shutil.rmtree(FOLDER, ignore_errors=True)
    paced = list(books(market(SYMBOLS, seconds)))
    filled: list[Filled] = []
    load = threading.Thread(target=lambda: filled.append(produce_paced(topics, paced, lambda _message, _at: None)))
    watch = Watch(topics)

    def started(stack: ExitStack, number: int) -> Child:
        return stack.enter_context(child(member_command(topics, FOLDER / f"member-{number}")))

    def running(members: list[Child]) -> int:
        return len({number for one in members for number in one.running()})

    with ExitStack() as stack:
        members = [started(stack, number) for number in range(MEMBERS)]
        until(lambda: running(members) == PARTITIONS and all(one.running() for one in members))
        load.start()
        until(lambda: min(watch.offsets) > 0)
        time.sleep(STAY_SECONDS)
        watch.on = True
        for number in range(MEMBERS):
            members[number].stop()
            members[number] = started(stack, number)
            until(lambda back=members[number]: bool(back.running()))  # type: ignore[misc]
            time.sleep(STAY_SECONDS)
        watch.on = False
        assert load.is_alive(), "the load ended too soon: give more seconds"
        load.join()
        until(lambda: sum(watch.offsets) == filled[0].records)
        for one in members:
            one.stop()
    watch.close()
    check_output(topics, filled[0])
    topics.delete()
    return max(watch.idle)


def main(seconds: float) -> None:
    """Measure once: it is three restarts of four partitions each."""
    with broker() as servers:
        idle = idle_seconds(servers, seconds)
    shutil.rmtree(FOLDER, ignore_errors=True)
    tell("process: rolling restart of 3 members, longest that a partition stood still, s", idle, "<= 5", "absolute")


if __name__ == "__main__":
    main(60 if "--quick" in sys.argv else 90)
