"""Plain English in what users read: messages, help, reports, the English pages, and the comments of stack files.

Words that a native reader stumbles over are found by pattern, each with the better word. Not here: comments, docstrings other
than a command's help, and what containers are given (Caddyfile, scripts), because its words are part of a plan.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.paths import ROOT
from tests.support.messages import texts, tracked

# Pattern, the better word, and a text that it has to find.
WORDS = (
    (r"(?<!there\s)\b(?:is|are|was|were)\s+no\s+(?!longer\b|more\b)[a-z]", "is not a …", '"foo" is no domain'),
    (r"\bin\s+clear\b", "in plain text", "the token travels in clear"),
    (r"\banew\b", "again, re-created, rotated", "the secret is made anew"),
    (r"\b(?:told|tells)\b", "reports, prints, shows, names", "the log tells which"),
    (r"\bof\s+(?:its|their)\s+own\b", "own, separate, dedicated", "a network of its own"),
    (r"\bnobody\b", "no one, the passive, or who it is", "nobody can be asked here"),
    (r"\b(?:some|any)body\b", "someone, anyone, or who it is", "somebody has changed it"),
    (r"\b(?:stands?|stood)\b(?![-\w])", "is, is stored, is used", "what stands in the state"),
    (r"\blies\b", "is, is stored", "a file that lies beside it"),
    (r"\bthe\s+way\s+(?:back|on)\b", "rollback, next step", "the way back to the last commit"),
    (r"\bin\s+no\s+state\b", "not in the state", "a container in no state"),
    (r"\botherwise\s+than\b", "different from", "otherwise than the state says"),
    (r"\bmend(?:s|ed|ing)?\b", "fix, correct", "mend the line"),
    (r"\bare\s+well\b", "healthy", "9 of 9 containers are well"),
    (r"\bshall\b", "is to, will, must", "the stack shall drive it"),
)
PATTERN = re.compile("|".join(f"({pattern})" for pattern, _, _ in WORDS), re.IGNORECASE)

CODE = ("__main__.py", "components", "ops", "policy", "lab")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "policy", "Pulumi.*.yaml")


def strange(text: str) -> Iterator[tuple[int, str]]:
    """The words that have a better one: (lines before it, what to write)."""
    for match in PATTERN.finditer(text):
        better = WORDS[match.lastindex - 1][1] if match.lastindex else ""
        yield text.count("\n", 0, match.start()), f'"{" ".join(match.group().split())}"; better: {better}'


def found_in(path: Path) -> list[str]:
    content = path.read_text()
    if path.suffix == ".py":
        places = [(line, what) for line, text in texts(ast.parse(content)) for _, what in strange(text)]
    else:
        places = [(before + 1, what) for before, what in strange(content)]
    return [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in places]


@pytest.mark.parametrize(("pattern", "better", "example"), WORDS, ids=[better for _, better, _ in WORDS])
def test_each_pattern_finds_its_example(pattern: str, better: str, example: str) -> None:
    assert re.search(pattern, example)
    assert [what.partition("better: ")[2] for _, what in strange(example)] == [better]


@pytest.mark.parametrize("text", ["there is no log", "There\nis no log", "is no longer there", "a stand-in", "the default is no"])
def test_plain_english_is_left_alone(text: str) -> None:
    assert not list(strange(text))


def test_what_a_user_may_see_of_a_module() -> None:
    module = '''
"""No secret lies here."""
@app.command()
def show() -> None:
    """Show what stands there."""
    def inner() -> None:
        """What nobody reads."""
    raise UserError(f"{path}: is no {kind}; it "
                    "lies there")
PROGRAM = """
# a program of its own
"""
NAMES = {"told": 1}
'''
    found = [what.partition(";")[0] for _, text in sorted(texts(ast.parse(module))) for _, what in strange(text)]
    assert found == ['"stands"', '"lies"']


def test_messages_help_and_reports_are_plain_english() -> None:
    modules = [path for path in tracked(*CODE) if path.suffix == ".py"]
    assert len(modules) > 100
    assert [line for path in modules for line in found_in(path)] == []


def test_scripts_are_plain_english() -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {what}"
        for path in tracked("script", "bin", "windows", ".github/workflows")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if not line.lstrip().startswith("#")
        for _, what in strange(line)
    ]
    assert lines == []


def test_english_pages_and_stack_files_are_plain_english() -> None:
    pages = [path for path in tracked(*PAGES) if path.suffix in {".md", ".yaml"} and "ko" not in path.parts]
    assert len(pages) > 20
    assert [line for path in pages for line in found_in(path)] == []
