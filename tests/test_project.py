"""The project's own files agree with each other."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import streamproc

ROOT = Path(__file__).parent.parent
PIN = re.compile(r'([a-z0-9][a-z0-9.-]*)==([0-9][a-z0-9.]*)(?: ; python_version < "3\.\d+")?')
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "yarn.lock", "pylock.toml"}
INDEX_ADDRESS = re.compile(r"\b(?:index-url|find-links|trusted-host)\b|https?://\S*(?:/simple\b|py" r"pi|pythonhosted)")


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        described: dict[str, Any] = tomllib.load(file)["project"]
    return described


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}  # type: ignore[index]


def pins(file: str) -> dict[str, str]:
    found = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        pin = PIN.fullmatch(line)
        assert pin, f"{file}: {line!r} is no pin"
        found[normal(pin[1])] = pin[2]
    return found


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_the_version_is_one() -> None:
    assert project()["version"] == streamproc.__version__ == metadata.version("streamproc")


def test_the_console_script_leads_to_the_command_line() -> None:
    (script,) = (found for found in metadata.entry_points(group="console_scripts") if found.name == "streamproc")
    assert script.value == project()["scripts"]["streamproc"]
    assert callable(script.load())


def test_pins_cover_what_the_project_asks_for() -> None:
    described = project()
    direct = names(described["dependencies"])
    assert direct <= set(pins("requirements.txt"))
    assert names(described["optional-dependencies"]["dev"]) | direct <= set(pins("requirements-dev.txt"))


def test_both_pin_files_agree() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_pins_hold_what_their_packages_need(file: str) -> None:
    pinned = pins(file)
    for name in pinned:
        for needed in metadata.requires(name) or []:
            if ";" not in needed:
                assert normal(re.match(r"[\w.-]+", needed)[0]) in pinned, f"{name} needs {needed}"  # type: ignore[index]


def test_the_package_imports_exactly_what_it_declares() -> None:
    imported: set[str] = set()
    for path in (ROOT / "streamproc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add("backports.zstd" if node.module == "backports" else node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"streamproc", "compression"}
    homes = metadata.packages_distributions()
    assert {normal(homes.get(name, [name])[0]) for name in foreign} == names(project()["dependencies"])


def test_no_lock_file_and_no_index_address_is_in_git() -> None:
    for path in tracked():
        assert path.name not in LOCK_FILES, path
        if path.is_file() and path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not INDEX_ADDRESS.search(text), path


def test_the_licence_is_there_in_full() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert project()["license"] == "Apache-2.0"
