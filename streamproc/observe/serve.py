"""Metrics and health over HTTP, for Prometheus and Kubernetes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from streamproc.config import ObserveConfig
from streamproc.errors import UsageError

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Observed(Protocol):
    """What is told of a program. Asked from other threads than the one that works."""

    def metrics(self) -> bytes:
        """Metrics in Prometheus' text format."""

    def ailing(self) -> str:
        """Why the program is to be started again; "" where it works."""

    def unready(self) -> str:
        """Why it does not do all its work yet; "" where it does."""


@contextmanager
def serving(config: ObserveConfig, observed: Observed) -> Iterator[None]:
    """Serve `/metrics`, `/livez` and `/readyz` meanwhile, where a port is set. `UsageError` where it cannot be had."""
    if config.port is None:
        yield
        return
    try:
        server = ThreadingHTTPServer((config.host, config.port), _handler(observed))
    except OSError as error:
        raise UsageError(
            f"cannot listen there: {error.strerror}",
            where=f"{config.host}:{config.port}",
            hint="choose another observe.port",
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="observe", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(observed: Observed) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, observed.metrics())
            elif path in {"/livez", "/readyz"}:
                why = observed.ailing() if path == "/livez" else observed.unready()
                self._answer(503 if why else 200, f"{why or 'ok'}\n".encode())
            else:
                self._answer(404, b"/metrics, /livez and /readyz are here\n")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A probe each second is no news."""

    return Handler
