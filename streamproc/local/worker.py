"""A worker: a process with a pipeline that does what its parent says, and ends when that ends."""

import fcntl
import os
import pickle
import select
import signal
import sys
import traceback
from itertools import chain
from multiprocessing.connection import Connection

from streamproc.local.orders import Answer, Call, Failed, Hired, SharedBytes, Take, Taken
from streamproc.local.pipeline import Pipeline


def serve(parent: Connection) -> None:
    """Take orders until the parent hangs up; an error of the work is told to it and is the end."""
    name = "a worker"
    try:
        hired: Hired = parent.recv()
        name = hired.name
        _work(parent, hired)
    except EOFError:
        return
    except Exception as error:
        parent.send(Failed(_portable(error, name)))
        _wait_for_the_end(parent)


def _work(parent: Connection, hired: Hired) -> None:
    pipeline = Pipeline(hired.settings, hired.staging, hired.stem)
    pipeline.restore(chain.from_iterable(iter(parent.recv, None)))
    lines = SharedBytes(hired.memory)
    while True:
        order: Take | Call = parent.recv()
        if isinstance(order, Take):
            data = lines.part(order.start, order.size)
            parent.send(Taken(pipeline.take(data, order.size)))
        else:
            parent.send(Answer(getattr(pipeline, order.method)(*order.arguments)))


def _portable(error: Exception, name: str) -> Exception:
    """The error with where it came from, in a form that reaches the parent for certain."""
    told = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in {name}:\n{told}")
    return error


def _wait_for_the_end(parent: Connection) -> None:
    """Swallow what is still said, for a parent that is talking meets the error only when it listens."""
    try:
        while True:
            parent.recv_bytes()
    except (EOFError, OSError):
        return


def end_with_parent(lifeline: int) -> None:
    """End this process as soon as the parent has hung up or is dead, whatever it is at.

    The kernel sees to it: when the other end of the pipe `lifeline` is closed it sends SIGIO, which ends a process
    even in the middle of compiled code. What was being written belongs to no commit; but it must not go on, for
    another run may have begun there.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # closed before
        sys.exit()


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    serve(Connection(int(sys.argv[1])))
