"""Pages of the documentation as a reader uses them: their blocks done in order in one folder, and what these print.

`sh` blocks are commands, `python` blocks programs, each complete in itself. A `console` block after one shows what it
prints, with `...` for what is left out: within a line, or for any number of lines where it stands alone. Numbers
are free to differ, for they are not what a page is about; words, columns and the number of lines are not.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LANGUAGES = frozenset({"sh", "python", "console", "json", "yaml", ""})
_FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,.:]*(?:e[+-]?\d+)?|\d+")
_RULE = re.compile(r"[─═╌╞╡┬┴┼┌┐└┘├┤╪-]{2,}")


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    line: int
    """Of its first line, in the page."""


class Step(NamedTuple):
    """A block that was done, what it printed, and what the page says that it prints; None: nothing."""

    block: Block
    printed: str
    shown: Block | None


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page's text."""
    return [
        Block(found["language"], found["text"], page.count("\n", 0, found.start("text")) + 1)
        for found in _FENCED.finditer(page)
    ]


def prose(page: str) -> str:
    """A page's text without its blocks."""
    return _FENCED.sub("", page)


def is_make(block: Block) -> bool:
    """Whether a block is of `make` commands, which set up an environment of their own."""
    return block.language == "sh" and all(line.startswith("make ") for line in block.text.splitlines())


def walk(page: str, folder: Path) -> Iterator[Step]:
    """Do the blocks of a page in order in `folder`; those of `make` are left out."""
    listed = blocks(page)
    for block, after in zip(listed, [*listed[1:], None], strict=True):
        if block.language in {"sh", "python"} and not is_make(block):
            shown = after if after is not None and after.language == "console" else None
            yield Step(block, (_shell if block.language == "sh" else _python)(block, folder), shown)


def shape(text: str) -> str:
    """What stays the same of a printed text when its numbers change."""
    lines = (" ".join(_RULE.sub("-", _NUMBER.sub("#", line)).split()) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def matches(printed: str, shown: str) -> bool:
    """Whether a text is of the shape that a page shows."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in shape(shown).splitlines()
    )
    return re.fullmatch(pattern, shape(printed)) is not None


def _shell(block: Block, folder: Path) -> str:
    _put_commands(folder / ".commands")
    environment = os.environ | {
        "PATH": f"{folder / '.commands'}:{os.environ['PATH']}",
        "COLUMNS": "80",
        "STREAMPROC_LOG__FORMAT": "text",  # as on a terminal
        "STREAMPROC_LOG__LEVEL": "warning",  # nothing of compiling or progress, which come or not
    }
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, f"the block on line {block.line} ends with {ended.returncode}:\n{ended.stdout}"
    return ended.stdout


def _put_commands(folder: Path) -> None:
    """The commands that an activated environment has, whether or not the tests' own is one."""
    folder.mkdir(exist_ok=True)
    for name, call in (("python", ""), ("streamproc", " -m streamproc")):
        script = folder / name
        if not script.exists():
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{call} "$@"\n')
            script.chmod(0o755)


def _python(block: Block, folder: Path) -> str:
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), warnings.catch_warnings():
        exec(compile(block.text, f"<block on line {block.line}>", "exec"), {"__name__": "__main__"})
    return printed.getvalue()
