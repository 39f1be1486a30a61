"""What a broker's port has to say of TLS, where librdkafka tells only that a connection failed."""

import socket
import ssl
from collections.abc import Iterator, Mapping

ANSWER_SECONDS = 3.0
PORT = 9092
"""Where none is given."""


def why_not_trusted(servers: str, properties: Mapping[str, str]) -> str:
    """What is wrong with the certificate of the first of the servers that has such a one; "" where that is not clear.

    Parameters
    ----------
    servers : host:port, comma-separated.
    properties : librdkafka's, of which those count that say whom to trust.
    """
    try:
        context = ssl.create_default_context(
            cafile=properties.get("ssl.ca.location"), cadata=properties.get("ssl.ca.pem")
        )
    except (OSError, ValueError):
        return ""
    for place in _places(servers):
        try:
            _shake_hands(context, place)
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        except OSError:
            continue
    return ""


def speaks_tls(servers: str) -> bool:
    """Whether the first of the servers that answers does so in TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for place in _places(servers):
        try:
            _shake_hands(context, place)
            return True
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")
        except OSError:
            continue
    return False


def _places(servers: str) -> Iterator[tuple[str, int]]:
    for server in servers.split(","):
        host, _, port = server.strip().rpartition("://")[2].rpartition(":")
        if not host or not port.isdecimal():
            yield (port or host).strip("[]"), PORT
        else:
            yield host.strip("[]"), int(port)


def _shake_hands(context: ssl.SSLContext, place: tuple[str, int]) -> None:
    with (
        socket.create_connection(place, timeout=ANSWER_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=place[0]),
    ):
        pass
