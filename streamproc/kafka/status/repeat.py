"""Looking once, and again and again."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

from streamproc.config import Settings
from streamproc.errors import StreamprocError
from streamproc.kafka.status.look import Looker, Status
from streamproc.observe.stop import StopRequest

SETTLE_SECONDS = 2.0
"""Between two looks. An ordinary transaction has ended by then, and a partition that works has committed."""


def _pause_s(settings: Settings) -> float:
    longest = max(settings.process.commit_interval, settings.publish.commit_interval)
    return max(SETTLE_SECONDS, 2 * longest)


def status(settings: Settings, sleep: Callable[[float], None] = time.sleep) -> Status:
    """How the members and topics are. Where something seems to stand still, a second look tells whether it does.

    Raises `TopicsError` where the topics raw or state are missing, `BrokerError` for what Kafka refuses.
    """
    with closing(Looker(settings)) as looker:
        found = looker.look()
        if found.unsettled:
            sleep(_pause_s(settings))
            found = looker.look()
    return found


def watch(
    settings: Settings, stop: StopRequest, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Status | StreamprocError]:
    """Looks until stopped; once the first has succeeded, an error in place of a look that fails."""
    with closing(Looker(settings)) as looker:
        yield looker.look()
        while not stop.requested:
            if not _paused(_pause_s(settings), stop, sleep):
                return
            try:
                found: Status | StreamprocError = looker.look()
            except StreamprocError as error:
                found = error
            yield found


def _paused(seconds: float, stop: StopRequest, sleep: Callable[[float], None]) -> bool:
    """Wait; False when stopped meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if stop.requested:
            return False
        sleep(0.1)
    return True
