"""Imports go one way: a room of the package knows only the rooms before it in the list of docs/design.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "streamproc"


def listed_rooms() -> list[str]:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    found = re.search(r"imports go downwards in this order:\s*([\w,\s]+)\.", design)
    assert found, "docs/design.md no longer tells the order of imports"
    return re.findall(r"\w+", found[1])


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    """All modules but the two that stand above the rooms: `__init__` re-exports lazily, `__main__` calls the cli."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) not in {"__init__", "__main__"}]


def imported_rooms(source: str, rooms: list[str]) -> Iterator[tuple[int, str]]:
    """Line and room of every import of the package's own, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, inner = name.partition(".")
            room = inner.split(".")[0]
            if package == "streamproc" and room in rooms:
                yield node.lineno, room


def violations(room: str, source: str, rooms: list[str]) -> list[str]:
    known = rooms[: rooms.index(room) + 1]
    return [
        f"line {line}: {room} imports {other}" for line, other in imported_rooms(source, rooms) if other not in known
    ]


def test_the_list_is_of_the_rooms_there_are() -> None:
    assert sorted(listed_rooms()) == sorted({room_of(module) for module in modules()})


@pytest.mark.parametrize("module", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(module: Path) -> None:
    assert violations(room_of(module), module.read_text(encoding="utf-8"), listed_rooms()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import streamproc.cli",
        "from streamproc.cli import main",
        "from streamproc import cli",
        "def f():\n    from streamproc.cli import main",
    ],
)
def test_a_wrong_import_would_be_seen(source: str) -> None:
    assert len(violations("errors", source, ["errors", "cli"])) == 1
    assert violations("cli", source, ["errors", "cli"]) == []
