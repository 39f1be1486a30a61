"""A real S3 server, and a proxy that breaks connections to it."""

import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from obstore.store import S3Store

from tests.go_tools import VERSITYGW, built

START_SECONDS = 30.0
ACCESS_KEY, SECRET_KEY = "tests-access", "tests-secret-5e1f"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """An S3 server over a folder, each of whose folders is a bucket.

    Parameters
    ----------
    honest : keep what is needed to honour `If-None-Match: *`; without it is one of those that ignore it.
    """

    def __init__(self, folder: Path, honest: bool = True) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        sidecar = folder / "metadata"
        sidecar.mkdir()
        self._metadata = ["--sidecar", str(sidecar)] if honest else ["--nometa"]
        self.port = free_port()
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        flags = ["--port", f"127.0.0.1:{self.port}", "--quiet", "--keep-alive"]
        command = [str(built(VERSITYGW)), *flags, "posix", *self._metadata, str(self.data)]
        environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.port):
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """What it has worked."""
        assert self._process
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def bucket(self) -> "Bucket":
        """A new one."""
        name = f"b{uuid.uuid4().hex[:10]}"
        (self.data / name).mkdir()
        return Bucket(self, name)


class Bucket:
    """A bucket of a server."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self.name = name
        self.data = server.data / name
        """The objects, as files."""
        self.address = f"s3://{name}/some/prefix"

    def options(self, port: int = 0) -> dict[str, str]:
        """What `sink.storage` must hold; for another port than the server's own where one is given."""
        return {
            "endpoint": f"http://127.0.0.1:{port or self._server.port}",
            "region": "us-east-1",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "allow_http": "true",
        }

    def store(self) -> S3Store:
        """A plain client of the bucket."""
        options = {name: text for name, text in self.options().items() if name != "allow_http"}
        return S3Store(self.name, config=options, client_options={"allow_http": True})  # type: ignore[arg-type]


def answers(port: int) -> bool:
    """Whether something takes connections."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_server(folder: Path, honest: bool = True) -> Iterator[Server]:
    server = Server(folder, honest)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Cut:
    """What a proxy does to a connection: asked about each piece of a request, and each piece of an answer."""

    def request(self, connection: int, sent: bytes) -> bool:
        """Whether to break the connection instead of passing on what is sent now."""
        return False

    def answer(self, connection: int, request: bytes) -> bool:
        """Whether to break it instead of passing on the answer; `request` is what was sent since the last one."""
        return False


class Proxy:
    """A TCP proxy before a server, which breaks connections as it is told."""

    def __init__(self, port: int, cut: Cut) -> None:
        self._to = port
        self._cut = cut
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        number = 0
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                number += 1
                threading.Thread(target=self._connect, args=(client, number), daemon=True).start()

    def _connect(self, client: socket.socket, number: int) -> None:
        since = bytearray()

        def on_request(piece: bytes) -> bool:
            since.extend(piece)
            return self._cut.request(number, bytes(since))

        def on_answer(_: bytes) -> bool:
            sent = bytes(since)
            since.clear()
            return bool(sent) and self._cut.answer(number, sent)

        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            answers = threading.Thread(target=self._pass, args=(server, client, on_answer), daemon=True)
            answers.start()
            self._pass(client, server, on_request)
            answers.join()

    def _pass(self, source: socket.socket, target: socket.socket, breaks: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if breaks(piece):
                    self.cuts += 1
                    break
                target.sendall(piece)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_before(port: int, cut: Cut) -> Iterator[Proxy]:
    proxy = Proxy(port, cut)
    try:
        yield proxy
    finally:
        proxy.close()
