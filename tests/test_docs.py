"""The documentation: its commands work, its links lead somewhere, and it speaks of nothing that is not there."""

import ast
import functools
import importlib
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main

from streamproc import cli, load_settings
from streamproc.config.load import OTHER_VARIABLES, SECTIONS
from streamproc.engine.output import REASONS
from tests.pages import LANGUAGES, PAGES, ROOT, Block, blocks, is_make, matches, prose, walk

TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
GUIDE, TROUBLESHOOTING = TEXTS["docs/guide.md"], TEXTS["docs/troubleshooting.md"]
WRITTEN = ("README.md", "docs/guide.md", "docs/troubleshooting.md")
"""Pages written by hand for users."""

SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "streamproc").rglob("*.py")}
ERRORS = frozenset({"StreamprocError", "UsageError", "DataError", "StateError"})
PROMISES = re.compile(r"\b(will be|not yet|coming soon|planned|roadmap|todo|in the future|upcoming)\b", re.IGNORECASE)
FOREIGN = re.compile(r"\b(helm|strimzi|kubernetes)\b", re.IGNORECASE)

every_written_page = pytest.mark.parametrize("page", WRITTEN)


def inline_code(page: str) -> list[str]:
    return [found[2].strip() for found in re.finditer(r"(`+)(.+?)\1", prose(page))]


def shell_lines(page: str) -> list[str]:
    return [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]


def table_rows(page: str, heading: str) -> Iterator[list[str]]:
    """Cells of the rows of the first table after some words."""
    lines = page[page.index(heading) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


class TestTheGuide:
    def test_every_block_works_and_prints_what_is_shown(self, tmp_path: Path) -> None:
        wrong = [
            f"line {step.shown.line}: printed\n{step.printed}"
            for step in walk(GUIDE, tmp_path)
            if step.shown is not None and not matches(step.printed, step.shown.text)
        ]
        assert not wrong, "\n".join(wrong)

    def test_its_configuration_is_valid(self, tmp_path: Path) -> None:
        (shown,) = (block for block in blocks(GUIDE) if block.language == "yaml")
        (tmp_path / "config.yaml").write_text(shown.text)
        assert load_settings(tmp_path / "config.yaml") != load_settings(environ={})

    def test_the_table_of_the_summary_has_the_fields_of_the_summary(self) -> None:
        shown = next(block.text for block in blocks(GUIDE) if block.text.startswith('{"records"'))
        fields = [name.strip("`") for name, _ in table_rows(GUIDE, "| field of `run`'s summary")]
        assert fields == [*json.loads(shown), "interrupted"]

    def test_all_reasons_of_rejects_are_explained(self) -> None:
        named = re.findall(r'Reject\("(\w+)"', "\n".join(SOURCES.values()))
        listed = [reason.strip("`") for reason, _ in table_rows(GUIDE, "| reason | the record |")]
        assert sorted(listed) == sorted({*named, *REASONS})


class TestBlocks:
    @pytest.mark.parametrize("page", TEXTS)
    def test_every_block_is_of_a_language_that_has_a_meaning(self, page: str) -> None:
        assert {block.language for block in blocks(TEXTS[page])} <= LANGUAGES
        assert len(re.findall(r"^```", TEXTS[page], re.MULTILINE)) == 2 * len(blocks(TEXTS[page]))

    @every_written_page
    def test_everything_shown_as_printed_comes_from_the_block_before(self, page: str) -> None:
        listed: list[Block | None] = [None, *blocks(TEXTS[page])]
        for before, block in pairwise(listed):
            if block is not None and block.language == "console":
                assert before is not None, block.line
                assert before.language in {"sh", "python"}, block.line

    @pytest.mark.parametrize(
        ("printed", "shown", "same"),
        [
            ("books  1,234\nrate 0.5 s", "books 7\nrate 12.25 s", True),
            ("books 1", "trades 1", False),
            ("a 1\nb 2", "a 1", False),
            ("a 1\nb 2\nc 3", "a 1\n...", True),
            ("a 1\nb 2\nc 3", "...\nc 3", True),
            ('{"reason":"late"}', '{"reason":"..."}', True),
            ("x_1 -2.5e-05", "x_9 3", True),
            ("True", "False", False),
        ],
    )
    def test_what_counts_as_the_same_print(self, printed: str, shown: str, same: bool) -> None:
        assert matches(printed, shown) is same


class TestWhatIsNamedIsThere:
    @pytest.mark.parametrize("page", TEXTS)
    def test_links(self, page: str) -> None:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[page])):
            assert not target.startswith("http"), target
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            assert file.exists(), f"{page}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {slug(heading) for heading in headings}, f"{page}: {target}"

    @every_written_page
    def test_commands(self, page: str) -> None:
        there = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
        codes = [*inline_code(TEXTS[page]), *shell_lines(TEXTS[page])]
        named = {name for code in codes for name in re.findall(r"(?:^|\| |^\S+=\S+ )streamproc ([a-z]+)", code)}
        assert named <= set(there)

    @every_written_page
    def test_flags(self, page: str) -> None:
        group = typer.main.get_command(cli.app)
        commands = [*group.commands.values()]  # type: ignore[attr-defined]
        commands += [one for name in ("config", "topics") for one in group.commands[name].commands.values()]  # type: ignore[attr-defined]
        there = {flag for command in commands for parameter in command.params for flag in parameter.opts}
        codes = [*inline_code(TEXTS[page]), *shell_lines(TEXTS[page])]
        named = {flag for code in codes for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)}
        assert named
        assert named <= there | {"--help"}

    @every_written_page
    def test_keys_and_variables(self, page: str) -> None:
        there = {f"{section}.{key}" for section, model in SECTIONS.items() for key in model.model_fields}
        sections = "|".join(SECTIONS)
        named = set(re.findall(rf"(?<![\w./])(?:{sections})\.[a-z]\w+", TEXTS[page]))
        assert named - {"state.json"} <= there
        variables = {f"STREAMPROC_{key.replace('.', '__').upper()}" for key in there} | {*OTHER_VARIABLES}
        example = {"STREAMPROC_SECTION__KEY", "STREAMPROC_"}
        assert set(re.findall(r"STREAMPROC_\w*", TEXTS[page])) <= variables | example

    @every_written_page
    def test_make_targets(self, page: str) -> None:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        there = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
        makes = [line for block in blocks(TEXTS[page]) if is_make(block) for line in block.text.splitlines()]
        codes = [*inline_code(TEXTS[page]), *makes]
        assert {found[1] for code in codes if (found := re.match(r"make (\w+)", code))} <= there

    @every_written_page
    def test_names_of_the_library(self, page: str) -> None:
        for code in inline_code(TEXTS[page]):
            if re.fullmatch(r"streamproc(\.\w+)+", code):
                module, _, name = code.rpartition(".")
                assert hasattr(importlib.import_module(module), name), code

    @every_written_page
    def test_words_of_the_code(self, page: str) -> None:
        source = "\n".join(SOURCES.values())
        words = {code for code in inline_code(TEXTS[page]) if re.fullmatch(r"[a-z]\w*_[\w{}]+", code)}
        assert words
        assert {word for word in words if word not in source} == set()

    @every_written_page
    def test_nothing_is_promised_and_nothing_foreign_is_told(self, page: str) -> None:
        assert PROMISES.findall(TEXTS[page]) == []
        assert FOREIGN.findall(TEXTS[page]) == []


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def template(node: ast.expr) -> str | None:
    """A text of the sources with `…` for each of its parts that differ; None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{\w+\}", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join((template(part) or "…") if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def first_line(text: str) -> str:
    return text.split("\n", maxsplit=1)[0]


@functools.cache
def pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("…"))))


def same_message(one: str, other: str) -> bool:
    return pattern(one).fullmatch(other) is not None or pattern(other).fullmatch(one) is not None


def says_something(text: str) -> bool:
    return len(re.findall(r"\w", text)) > 4


def raised_messages() -> Iterator[str]:
    """The messages of all errors that a user can meet, and of the warnings of broken streams."""
    for path, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                warning = node.func.id == "Fault" and path.name == "decompress.py"
                text = template(node.args[0]) if node.func.id in ERRORS or warning else None
                if text is not None and says_something(text):
                    yield first_line(text)


def all_texts() -> set[str]:
    nodes = (node for source in SOURCES.values() for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr))
    return {first_line(text) for node in nodes if (text := template(node)) is not None and says_something(text)}


def explained_messages() -> list[str]:
    tables = TROUBLESHOOTING.split("## Results that surprise\n")[0]
    rows = (line.split(" | ")[0] for line in tables.splitlines() if line.startswith("| `"))
    return [code for row in rows for code in inline_code(row)]


class TestTroubleshooting:
    def test_every_error_that_a_user_can_meet_is_explained(self) -> None:
        explained = explained_messages()
        raised = set(raised_messages())
        assert len(raised) > 50
        missing = {text for text in raised if not any(same_message(text, known) for known in explained)}
        assert not missing, "explain them in docs/troubleshooting.md"

    def test_every_message_that_is_explained_exists(self) -> None:
        texts = all_texts()
        unknown = [text for text in explained_messages() if not any(same_message(text, known) for known in texts)]
        assert not unknown

    def test_no_message_is_explained_twice_in_a_section(self) -> None:
        for section in TROUBLESHOOTING.split("\n## ")[1:]:
            rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
            assert len(rows) == len(set(rows))
