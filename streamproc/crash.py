"""Named crash points: where a test may kill the process for real, to see that nothing is lost or doubled.

`STREAMPROC_CRASH_AT=name` ends the process at the first passing of that point, `name:k` at the k-th, as `kill -9`
would: no
handlers, no flushing. Without the variable a point is one look-up in a dictionary.
"""

import os

EXIT_CODE = 137

_armed = os.environ.get("STREAMPROC_CRASH_AT", "")
_name, _, _count = _armed.partition(":")
_passings = {_name: int(_count or 1)} if _name else {}


def crash_point(name: str) -> None:
    """End the process here if this point is armed and passed for the last allowed time."""
    if name not in _passings:
        return
    _passings[name] -= 1
    if _passings[name] == 0:
        os._exit(EXIT_CODE)
