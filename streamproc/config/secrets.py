"""Keep secrets off screens and out of logs."""

import re

MASK = "***"
_SECRET_KEY = re.compile(r"pass(?:word|wd|phrase)|secret|token|key|jaas|credential|oauthbearer\.config", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_ASSIGNMENT = re.compile(r"((?:password|passwd|secret|token|access_key|api_?key)\s*[=:]\s*)[^\s;,&]+", re.IGNORECASE)


def masked(key: str, value: str) -> str:
    """The value as it may be shown: all of it hidden under a telling key, else the credentials within it."""
    if key.startswith("kafka.properties.") and _SECRET_KEY.search(key):
        return MASK
    return _ASSIGNMENT.sub(rf"\g<1>{MASK}", _USER_INFO.sub(MASK, value))
