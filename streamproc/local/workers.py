"""Several pipelines in processes of their own, and the one parent that reads, deals out lines and commits.

The parent looks at the raw bytes of each chunk once, puts every worker's lines together into memory that all of them
see, and tells each where its lines are. There is room for a few chunks; the parent waits for the oldest before it takes
its place, so that workers need not pause and memory stays bounded. What they reject comes back in the order of the
chunk's lines. A worker stages its own files and never touches the store.
"""

import os
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, cycle
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamproc.config import Settings
from streamproc.engine import Engine, Rejected
from streamproc.engine.kernels import process
from streamproc.errors import StreamprocError
from streamproc.jit import is_compiled
from streamproc.local.crew import Alone, Crew, Done
from streamproc.local.merge import MergedChunk
from streamproc.local.orders import Call, Failed, Hired, SharedBytes, Take, Taken
from streamproc.local.pipeline import Pipeline, Tally
from streamproc.local.route import Router
from streamproc.local.sources import Chunk
from streamproc.observe.stop import SIGNALS
from streamproc.parquet.writer import Pending
from streamproc.state.snapshot import Changes, parse_prefix

SLOTS = 4
"""Chunks under way at a time."""

ENTRIES_AT_ONCE = 1024
"""State entries in a message: some hundred kilobytes."""

PATIENCE_SECONDS = 5.0
"""How long a worker may take to end when it is told to."""

Entry = tuple[bytes, bytes]


def hire(workers: int, settings: Settings, staging: Path, stem: str, state: Iterable[Entry]) -> Crew:
    """A crew of `workers` pipelines that stage under `staging` and go on from `state`."""
    if workers == 1:
        pipeline = Pipeline(settings, staging, stem)
        pipeline.restore(state)
        return Alone(pipeline)
    if not is_compiled(process):
        Engine(settings.state).feed(b"\n")  # once, and not in every worker
    team = Team(workers, settings.local.chunk_bytes)
    try:
        team.start(settings, staging, stem)
        team.restore(state)
    except BaseException:
        team.close()
        raise
    return team


class Worker:
    """A worker's process, seen from the parent."""

    def __init__(self, name: str, shared: SharedBytes) -> None:
        self._name = name
        self.owed: deque[tuple[Ticket, NDArray[np.int64]]] = deque()
        """Chunks of which it has lines, the oldest first, with the numbers of these lines."""
        self.connection, connection = Pipe()
        lifeline, self._lifeline = Pipe(duplex=False)
        with connection, lifeline:
            self._process = _start(connection.fileno(), lifeline.fileno(), shared.descriptor)

    def send(self, order: Any) -> None:
        """Tell it something. `StreamprocError` when it is dead."""
        try:
            self.connection.send(order)
        except OSError:
            raise self._gone() from None

    def receive(self) -> Any:
        """The next thing it says. Its own error when it has failed, `StreamprocError` when it is dead."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        if isinstance(said, Failed):
            raise said.error
        return said

    def hang_up(self) -> None:
        """Let it end, whatever it is at."""
        self.connection.close()
        self._lifeline.close()

    def end(self) -> int:
        """Wait until it has ended, dead or hung up on; its exit code."""
        try:
            return self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _gone(self) -> StreamprocError:
        code = self.end()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return StreamprocError(
            f"{self._name} {how} in the middle of the work",
            where=f"process {self._process.pid}",
            hint="if memory was short use fewer workers; run the command again, with --state it goes on where it was",
        )


def _start(connection: int, lifeline: int, memory: int) -> "subprocess.Popen[bytes]":
    """Start a worker's process. It inherits that SIGINT and SIGTERM are blocked: what they mean is up to the parent."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "streamproc.local.worker", str(connection), str(lifeline)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
            pass_fds=(connection, lifeline, memory),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Ticket:
    """A chunk under way."""

    chunk: Chunk | MergedChunk
    waiting: int = 0
    """Workers that have lines of it."""
    rejected: list[Rejected] = field(default_factory=list)

    def done(self) -> Done:
        """The chunk with its rejects in the order of its lines."""
        return Done(self.chunk, sorted(self.rejected, key=lambda rejected: rejected.line))


class Team:
    """The crew of several; see `Crew`."""

    def __init__(self, workers: int, chunk_bytes: int) -> None:
        self._count = workers
        self._workers: list[Worker] = []
        self._router = Router(workers)
        self._slot_bytes = chunk_bytes
        self._shared = SharedBytes()
        self._shared.grow(SLOTS * chunk_bytes)
        self._under_way: deque[Ticket] = deque()
        self._slots = cycle(range(SLOTS))

    def start(self, settings: Settings, staging: Path, stem: str) -> None:
        """Start the processes. Together they keep as many rows as one would."""
        rows = -(-settings.sink.buffer_rows // self._count)
        settings = settings.model_copy(update={"sink": settings.sink.model_copy(update={"buffer_rows": rows})})
        for index in range(self._count):
            name = f"worker {index + 1} of {self._count}"
            self._workers.append(Worker(name, self._shared))
            self._workers[-1].send(Hired(name, settings, staging, _stem(stem, index), self._shared.descriptor))

    def restore(self, state: Iterable[Entry]) -> None:
        """Deal stored state to the owners of the symbols."""
        batches: list[list[Entry]] = [[] for _ in self._workers]
        prefix, owner = b"", 0
        for entry in state:
            if not prefix or not entry[0].startswith(prefix):
                prefix = _prefix(entry[0])
                owner = self._router.owner(*parse_prefix(prefix))
            batches[owner].append(entry)
            if len(batches[owner]) == ENTRIES_AT_ONCE:
                self._workers[owner].send(batches[owner])
                batches[owner] = []
        for worker, batch in zip(self._workers, batches, strict=True):
            worker.send(batch)
            worker.send(None)

    def take(self, chunk: Chunk | MergedChunk) -> Iterator[Done]:
        """Deal out a chunk, when there is room for it."""
        if chunk.size > self._slot_bytes:
            yield from self.drain()
            self._slot_bytes = 1 << (chunk.size - 1).bit_length()
            self._shared.grow(SLOTS * self._slot_bytes)
        yield from self._done(SLOTS - 1)
        self._deal(chunk)

    def drain(self) -> Iterator[Done]:
        """Wait for the rest."""
        return self._done(0)

    def flush(self) -> None:
        """Close all open bars."""
        self._ask_all("flush")

    def close_idle(self, now_ms: int, caught_up: bool) -> None:
        """See `Crew.close_idle`."""
        self._ask_all("pass_time", now_ms, caught_up)

    def finish(self) -> list[Pending]:
        """Everything since `begin` as durable files."""
        return list(chain.from_iterable(self._ask_all("finish")))

    def begin(self, stem: str) -> None:
        """Begin the next commit."""
        self._ask([Call("begin", (_stem(stem, index),)) for index in range(self._count)])

    def changes(self) -> Iterable[Changes]:
        """State changed since the last call."""
        return self._ask_all("changes")

    def tally(self) -> Tally:
        """What was done so far."""
        return sum(self._ask_all("tally"), Tally(Counter(), Counter()))

    def close(self) -> None:
        """Hang up and wait until all have ended."""
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self._shared.close()

    def _done(self, most: int) -> Iterator[Done]:
        """Wait until at most so many chunks are under way; those that are done by then, in their order."""
        while self._under_way and (len(self._under_way) > most or not self._under_way[0].waiting):
            if self._under_way[0].waiting:
                self._listen()
            else:
                yield self._under_way.popleft().done()

    def _deal(self, chunk: Chunk | MergedChunk) -> None:
        data = np.frombuffer(chunk.data, np.uint8)
        data.flags.writeable = False  # one array type, one compiled kernel
        start = next(self._slots) * self._slot_bytes
        ticket = Ticket(chunk)
        self._under_way.append(ticket)
        shares = self._router.deal(data, chunk.size, chunk.lines, self._shared.part(start, self._slot_bytes))
        for worker, share in zip(self._workers, shares, strict=True):
            if share.size:
                ticket.waiting += 1
                worker.owed.append((ticket, share.lines))
                worker.send(Take(start + share.start, share.size))

    def _listen(self) -> None:
        """Hear all who have something to say, at least one."""
        said = wait([worker.connection for worker in self._workers if worker.owed])
        for worker in self._workers:
            if worker.connection in said:
                self._settle(worker, worker.receive())

    def _settle(self, worker: Worker, taken: Taken) -> None:
        ticket, lines = worker.owed.popleft()
        ticket.waiting -= 1
        ticket.rejected += [rejected._replace(line=int(lines[rejected.line])) for rejected in taken.rejected]

    def _ask_all(self, method: str, *arguments: Any) -> list[Any]:
        return self._ask([Call(method, arguments)] * self._count)

    def _ask(self, calls: list[Call]) -> list[Any]:
        """Make a call to each; their answers. All work at the same time."""
        for worker, call in zip(self._workers, calls, strict=True):
            worker.send(call)
        return [self._answer(worker) for worker in self._workers]

    def _answer(self, worker: Worker) -> Any:
        """The answer of a worker, after what it says of chunks before that."""
        while isinstance(said := worker.receive(), Taken):
            self._settle(worker, said)
        return said.value


def _stem(stem: str, index: int) -> str:
    return f"{stem}-w{index:02d}"


def _prefix(key: bytes) -> bytes:
    """What the keys of a symbol's state begin with: two texts, each after its length."""
    end = 0
    for _ in range(2):
        end += 2 + int.from_bytes(key[end : end + 2], "big")
    return key[:end]
