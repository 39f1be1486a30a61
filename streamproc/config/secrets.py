"""Keep secrets off screens and out of logs: known by the keys they stand under, and from then on by their values."""

import json
import re

MASK = "***"
MAPS = ("kafka.properties.", "sink.storage.")
"""Settings that others name, with secrets among them."""

SHORTEST = 6
"""Characters of a secret that is looked for in texts: a shorter one would be found in ordinary words."""

SECRET_KEY = re.compile(r"pass(?:word|wd|phrase)|secret|token|key|jaas|credential|oauthbearer\.config", re.IGNORECASE)
PLACE = re.compile(r"\.(?:location|url|type|name)$", re.IGNORECASE)
"""What a key ends with whose value says where a secret is, and is none."""

_USER_INFO = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_ASSIGNMENT = re.compile(r"((?:password|passwd|secret|token|access_key|api_?key)\s*[=:]\s*)[^\s;,&]+", re.IGNORECASE)

_known: set[str] = set()


def is_secret(key: str) -> bool:
    """Whether a setting's dotted key tells that its value is a secret."""
    return key.startswith(MAPS) and SECRET_KEY.search(key) is not None and PLACE.search(key) is None


def masked(key: str, value: str) -> str:
    """The value as it may be shown: all of it hidden under a telling key, else the credentials within it."""
    if is_secret(key):
        return MASK
    return _ASSIGNMENT.sub(rf"\g<1>{MASK}", _USER_INFO.sub(MASK, value))


def remember(key: str, value: str) -> None:
    """Have `hidden` hide the value from now on, or what of it is a secret."""
    secrets = [value] if is_secret(key) else _USER_INFO.findall(value)
    for secret in secrets:
        lines = [line.strip() for line in secret.splitlines()]  # of a key in PEM: a log tells single ones
        for text in {secret, *lines}:
            if len(text) >= SHORTEST and not text.startswith("-----"):
                _known.update(_written(text))


def _written(text: str) -> tuple[str, ...]:
    """A text as it stands in texts, in JSON and in Python's."""
    json_texts = json.dumps(text), json.dumps(text, ensure_ascii=False)
    return text, *(quoted[1:-1] for quoted in (*json_texts, repr(text))), repr(text.encode())[2:-1]


def hidden(text: str) -> str:
    """A text without the secrets that are known."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
