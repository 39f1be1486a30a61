"""Programs that tests need and that come as Go modules: built once, of a pinned version, and kept between runs.

`python -m tests.go_tools` builds them, for whoever wants that done before.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

BUILD_SECONDS = 1800


class GoTool(NamedTuple):
    """A program of a Go module."""

    package: str
    version: str
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the program is called."""
        last = self.package.rpartition("/")[2]
        return self.package.split("/")[-2] if last.startswith("v") and last[1:].isdigit() else last


VERSITYGW = GoTool("github.com/versity/versitygw/cmd/versitygw", "v1.8.0", ("-ldflags=-s -w",))
"""An S3 server. Older ones let two writers that come together both create an object, in spite of `If-None-Match: *`."""


def tools_folder() -> Path:
    """Where built programs are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "streamproc" / "tools"


def built(tool: GoTool) -> Path:
    """The program, built now where it is not there yet; who comes meanwhile waits."""
    folder = tools_folder() / f"{tool.name}-{tool.version}"
    program = folder / tool.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(tool, program)
    return program


def _build(tool: GoTool, program: Path) -> None:
    if shutil.which("go") is None:
        raise RuntimeError(f"{tool.name} is built from source: install Go 1.24 or newer, or put it at {program}")
    beside = program.parent / "new"
    environment = os.environ | {"GOBIN": str(beside), "CGO_ENABLED": "0", "GOFLAGS": "-p=2"}
    command = ["nice", "-n", "15", "go", "install", "-trimpath", *tool.flags, f"{tool.package}@{tool.version}"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if ended.returncode:
        raise RuntimeError(f"{tool.name} {tool.version} cannot be built:\n{ended.stderr}")
    (beside / tool.name).replace(program)
    beside.rmdir()


if __name__ == "__main__":
    sys.stdout.write(f"{built(VERSITYGW)}\n")
