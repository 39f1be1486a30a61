"""Secrets that are kept in files: read for each new client, and anew while it works."""

import base64
import binascii
import json
import logging
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from streamproc.config import KafkaConfig
from streamproc.config.secrets import remember
from streamproc.errors import StreamprocError, UsageError

CHECK_SECONDS = 5.0
"""A password that has changed is taken over after so long."""

OPAQUE_SECONDS = 60.0
"""A token that does not tell how long it is valid is read anew after so long."""

USERNAME, PASSWORD = "sasl.username", "sasl.password"

_logger = logging.getLogger("streamproc.kafka")


class TakesCredentials(Protocol):
    """A client of Kafka."""

    def set_sasl_credentials(self, username: str, password: str) -> None: ...


class WatchedConsumer(Consumer):
    """A consumer whose user name and password are taken over from their files as these change."""

    def close(self) -> None:
        """Leave the group."""
        _watch.forget(self)
        super().close()


class WatchedProducer(Producer):
    """The same of a producer."""


def secrets(kafka: KafkaConfig) -> dict[str, Any]:
    """Properties that files hold, and what gets a token where one is in a file.

    `UsageError` for a file that cannot be read.
    """
    found: dict[str, Any] = {name: _read(path, name) for name, path in kafka.property_files.items()}
    for name, value in (kafka.properties | found).items():
        remember(f"kafka.properties.{name}", value)
    for name, value in kafka.properties.items():
        if name.startswith("ssl.") and name.endswith(".location") and value != "probe" and not Path(value).exists():
            raise _unreadable(value, name, "there is no such file")
    if kafka.oauth_token_file is not None:
        token(kafka.oauth_token_file, "")  # librdkafka would wait for a good one
        found["oauth_cb"] = partial(token, kafka.oauth_token_file)
    return found


def _read(path: str, name: str) -> str:
    """Content of a file without the newline at its end."""
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"
        raise _unreadable(path, name, reason) from error


def _unreadable(path: str, name: str, reason: str) -> UsageError:
    return UsageError(
        f"the file that holds {name} cannot be read: {reason}",
        where=path,
        hint="see `streamproc config show` for where it is named, and who may read it",
    )


def token(path: str, _config: str) -> tuple[str, float, str, dict[str, str]]:
    """The token in a file, when it expires (s since 1970), and whose it is: as librdkafka asks for it.

    Raises `StreamprocError`, which librdkafka tells as an error of authentication.
    """
    text = _read(path, "kafka.oauth_token_file").strip()
    remember("kafka.properties.token", text)
    told = claims(text)
    expires_s = told.get("exp", time.time() + OPAQUE_SECONDS)
    if not isinstance(expires_s, int | float) or expires_s <= time.time():
        raise StreamprocError("the token has expired", where=path, hint="see what renews this file")
    return text, float(expires_s), str(told.get("sub", "")), {}


def claims(text: str) -> dict[str, Any]:
    """What a JWT says of itself, unverified, as that is up to the brokers; nothing of another token."""
    payload = text.split(".")[1] if text.count(".") == 2 else ""
    try:
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class CredentialsWatch:
    """Looks at the files of user names and passwords now and then, and tells clients of new ones.

    New connections then use them; those that stand go on.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._lock = threading.Lock()
        """Held while a client is told, so that none is closed meanwhile."""
        self._clients: weakref.WeakKeyDictionary[Any, tuple[KafkaConfig, tuple[str, str]]] = weakref.WeakKeyDictionary()
        self._thread: threading.Thread | None = None

    def add(self, client: TakesCredentials, kafka: KafkaConfig) -> None:
        """Watch the files of a client, where its user name or password comes from one."""
        if not kafka.property_files.keys() & {USERNAME, PASSWORD}:
            return
        with self._lock:
            self._clients[client] = kafka, _credentials(kafka)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="credentials", daemon=True)
                self._thread.start()

    def forget(self, client: TakesCredentials) -> None:
        """Before it is closed."""
        with self._lock:
            self._clients.pop(client, None)

    def look(self) -> None:
        """Tell clients what has changed."""
        with self._lock:
            for client, (kafka, known) in list(self._clients.items()):
                try:
                    now = _credentials(kafka)
                except UsageError as error:  # as while it is replaced
                    _logger.warning("%s; the former user name and password are kept", error)
                    continue
                if now != known:
                    client.set_sasl_credentials(*now)
                    self._clients[client] = kafka, now
                    _logger.info("new credentials are taken over from their files")

    def _work(self) -> None:
        while True:
            self._sleep(CHECK_SECONDS)
            self.look()


def _credentials(kafka: KafkaConfig) -> tuple[str, str]:
    """User name and password as they are now."""
    now = kafka.properties | secrets(kafka)
    return now.get(USERNAME, ""), now.get(PASSWORD, "")


_watch = CredentialsWatch()


def watch(client: AdminClient | WatchedConsumer | WatchedProducer, kafka: KafkaConfig) -> None:
    """Tell a client of new credentials as long as it lives."""
    _watch.add(client, kafka)
