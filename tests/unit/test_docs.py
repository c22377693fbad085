"""The English and the Korean pages have the same parts, and every link and every path in a page has a target.

Pages are compared by what does not depend on the language: headings, paragraphs, list items, tables, code, quoted reports and the
names in backticks. Not here: whether a sentence and its translation mean the same.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import takewhile, zip_longest
from pathlib import Path
from urllib.parse import unquote

import pytest

from ops.paths import ROOT

DOCS = ROOT / "docs"
KOREAN = DOCS / "ko"

PAGES = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md") if KOREAN not in path.parents)
PAIRS = [(ROOT / "README.md", ROOT / "README.ko.md"), *((DOCS / page, KOREAN / page) for page in PAGES)]

# Expected reports of other tests (golden), and what was installed into the checkout or left there by pytest.
_NOT_PAGES = {"golden", "node_modules"}


def _is_page(path: Path) -> bool:
    inside = path.relative_to(ROOT).parts
    return not _NOT_PAGES.intersection(inside) and not any(part.startswith(".") and part != ".github" for part in inside)


MARKDOWN = sorted(path for path in ROOT.rglob("*.md") if _is_page(path))

_FENCE = re.compile(r"\s*```(\w*)")
_HEADING = re.compile(r"(#{1,6}) (.+)")
_ITEM = re.compile(r"\s*([-*]|\d+\.) ")
_CELL_END = re.compile(r"(?<!\\)\|")
_CODE_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FOLDERS = "bin components docs images lab ops policy script site skyvern_provider tests tools windows .ci .github".split()
# As a page writes it from the top of the repository, in code font or not; a * stands for any text.
_PATH = re.compile(rf"(?<![\w./~-])(?:{'|'.join(map(re.escape, _FOLDERS))})/[\w./*-]*", re.ASCII)
# In no commit: what a build makes.
_MADE = {"site/dist"}


def parts(text: str) -> Iterator[tuple[str, str]]:
    """The parts of a page in order: the kind, and the text of it that is the same in both languages."""
    lines = iter([*text.splitlines(), ""])
    before = ""
    for line in lines:
        if fence := _FENCE.fullmatch(line):
            code = []
            for inner in lines:
                if inner.strip() == "```":
                    break
                code.append(_without_words(inner, language=fence[1]))
            yield f"code block ({fence[1] or 'no language'})", "\n".join(code)
        elif heading := _HEADING.fullmatch(line):
            yield "heading", heading[1]
        elif line.startswith(">"):
            yield "quoted line", line
        elif line.lstrip().startswith("|"):
            yield "table row", f"{len(_CELL_END.findall(line)) - 1} cells"
        elif _ITEM.match(line):
            yield "list item", ""
        elif line.strip() and not before.strip():
            yield "paragraph", ""
        before = line


def _without_words(line: str, *, language: str) -> str:
    """A line of code without its comment; of a diagram without its labels."""
    if language == "text":
        return line
    if language == "mermaid":
        line = re.sub(r"\(\(.*?\)\)|\(\[.*?\]\)|\[\(.*?\)\]|\[.*?\]", "[]", line)
        return re.sub(r"(--|-\.) .+? (-->|\.->)", r"\1\2", line)
    return re.sub(r"(^|\s+)# .*", "", line)


def names(text: str) -> set[str]:
    """The texts in backticks: commands, keys, files and messages, which a translation keeps."""
    return {" ".join(span.split()) for span in _CODE_SPAN.findall("\n".join(_prose(text)))}


def _prose(text: str) -> Iterator[str]:
    """The lines outside code blocks."""
    inside = False
    for line in text.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            yield line


def anchors(text: str) -> set[str]:
    """The ids that GitHub gives to the headings of a page."""
    seen: Counter[str] = Counter()
    ids = set()
    for line in _prose(text):
        if heading := _HEADING.fullmatch(line):
            shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[2]).lower()
            slug = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
            ids.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return ids


def links(path: Path) -> list[str]:
    """The targets of a page's relative links."""
    targets = _LINK.findall(_CODE_SPAN.sub("", "\n".join(_prose(path.read_text()))))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def broken_links(path: Path) -> list[str]:
    """The relative links of a page whose file or heading does not exist."""
    broken = []
    for target in links(path):
        file, _, anchor = unquote(target).partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in anchors(there.read_text())):
            broken.append(target)
    return broken


def paths(text: str) -> set[str]:
    """The paths of this repository that a page names."""
    return {path.rstrip(".") for path in _PATH.findall(text)} - _MADE


def files(path: str) -> list[Path]:
    """The file at a path, or those below it; none where it does not exist."""
    places = [place for found in ROOT.glob(path) for place in (found, *found.rglob("*"))]
    return [place for place in places if place.is_file()]


def gone(text: str) -> list[str]:
    """The paths of a page where nothing is."""
    return sorted(path for path in paths(text) if not files(path))


def wrong_places(rows: list[str]) -> list[str]:
    """The names in the last cell of a table's rows that are in none of the files beside them."""
    wrong = []
    for row in rows:
        cell = _CELL_END.split(row)[-2]
        texts = [file.read_text(errors="replace") for path in paths(cell) for file in files(path)]
        for name in _CODE_SPAN.findall(cell):
            word = rf"\b{re.escape(name.rpartition('.')[2])}\b"
            if not paths(name) and not any(re.search(word, text) for text in texts):
                wrong.append(name)
    return wrong


def first_difference(english: str, korean: str) -> str:
    """The first part that differs, in one line; empty if none does."""
    sides = list(parts(english)), list(parts(korean))
    headings = 0
    for ours, theirs in zip_longest(*sides, fillvalue=("the end", "")):
        if ours != theirs:
            return f"below heading {headings}: {' '.join(ours)!r} in English, {' '.join(theirs)!r} in Korean"
        headings += ours[0] == "heading"
    return ""


def test_every_page_exists_in_both_languages() -> None:
    assert len(PAGES) > 30
    assert sorted(path.relative_to(KOREAN) for path in KOREAN.rglob("*.md")) == PAGES


@pytest.mark.parametrize(("english", "korean"), PAIRS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_has_the_same_parts_in_both_languages(english: Path, korean: Path) -> None:
    difference = first_difference(english.read_text(), korean.read_text())
    assert not difference
    names_in_english, names_in_korean = names(english.read_text()), names(korean.read_text())
    assert names_in_korean == names_in_english


@pytest.mark.parametrize(("english", "korean"), PAIRS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_two_languages_link_to_each_other(english: Path, korean: Path) -> None:
    for path, other in ((english, korean), (korean, english)):
        there = {(path.parent / target).resolve() for target in _LINK.findall(path.read_text())}
        assert other in there, f"{path.name} has no link to its other language"


@pytest.mark.parametrize("korean", [korean for _, korean in PAIRS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_korean_page_links_to_korean_pages(korean: Path) -> None:
    targets = {(korean.parent / target.partition("#")[0]).resolve() for target in _LINK.findall(korean.read_text())}
    english = targets.intersection(page for page, translation in PAIRS if translation != korean)
    assert not english


def test_links_and_paths_are_found() -> None:
    assert {ROOT / "README.md", *(DOCS / page for page in PAGES)} <= set(MARKDOWN)
    assert sum(len(links(path)) for path in MARKDOWN) > 400
    assert sum(len(paths(path.read_text())) for path in MARKDOWN) > 250


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_has_a_target(path: Path) -> None:
    broken = broken_links(path)
    assert not broken


# What has changed names files as they were.
@pytest.mark.parametrize(
    "path", [path for path in MARKDOWN if path.name != "CHANGELOG.md"], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_path_that_a_page_names_exists(path: Path) -> None:
    assert gone(path.read_text()) == []


def test_the_page_about_the_rooms_names_where_things_are() -> None:
    text = (DOCS / "architecture.md").read_text()
    rows = [line for line in text[text.index("\n## Where is") :].splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) > 40
    assert len(paths(text)) > 80
    assert wrong_places(rows) == []


PAGE = """\
# Title

Words with `a name`.

| a | b |
| --- | --- |
| 1 | 2 |

- an item

```console
$ command   # words
```

```mermaid
a[words] -- more words --> b
```
"""


def test_words_may_differ() -> None:
    korean = PAGE.replace("words", "말").replace("Title", "제목").replace("an item", "항목").replace("Words with", "이름은")
    assert not first_difference(PAGE, korean)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Title", "## Title"),
        ("Words with `a name`.\n\n", ""),
        ("| 1 | 2 |\n", ""),
        ("| 1 | 2 |", "| 1 |"),
        ("- an item\n", ""),
        ("$ command", "$ another"),
        ("--> b", "--> c"),
        ("```console\n$ command   # words\n```\n", ""),
        ("more words --> b\n```\n", "more words --> b\n```\n\nA last word.\n"),
    ],
)
def test_a_part_may_not_differ(old: str, new: str) -> None:
    assert old in PAGE
    assert first_difference(PAGE, PAGE.replace(old, new))


def test_names_are_texts_in_backticks_outside_code_blocks() -> None:
    assert names("`one` and\n`two\nlines`\n```console\n$ `three`\n```\n") == {"one", "two lines"}


def test_anchors_are_those_of_github() -> None:
    page = "# A title\n## `ops status`: what runs?\n## 첫 실제 실행\n## Again\n## Again\n```\n# no title\n```\n"
    assert anchors(page) == {"a-title", "ops-status-what-runs", "첫-실제-실행", "again", "again-1"}


def test_a_link_without_a_target_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# There\n")
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](other.md) [b](other.md#there) [c](#here) [d](https://example.com) `[e](code.md)`\n")
    assert not broken_links(page)
    page.write_text("[a](gone.md) [b](other.md#gone) [c](#gone)\n")
    assert broken_links(page) == ["gone.md", "other.md#gone", "#gone"]


def test_a_path_to_nothing_is_found() -> None:
    page = "`ops/cli.py`, `ops/gone.py`, tests/gone/, `ops/observe/smoke/*_checks.py`, images/*/gone. `ops/cli.py`에서\n"
    page += "[a](../ops/gone.md) https://example.com/docs/gone `/var/lib/docs/gone` ~/ops/gone `site/dist` `docs/README.md`로\n"
    assert gone(page) == ["images/*/gone", "ops/gone.py", "tests/gone/"]


def test_a_name_beside_the_wrong_file_is_found() -> None:
    rows = [
        "| locks | `ops/stack/locks.py`: `release_locks`, `ops/cli.py` |",
        "| `any` | `ops/stack/`: `Stack.state`, `confirm` |",
    ]
    assert wrong_places(rows) == ["confirm"]


def test_every_row_of_the_security_model_names_a_test_that_exists() -> None:
    lines = (ROOT / "docs/security.md").read_text().splitlines()
    table = lines[lines.index("| --- | --- | --- | --- |") + 1 :]
    rows = list(takewhile(lambda line: line.startswith("|"), table))
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert len(named) == row.count("`tests/") > 0, row
        for file, name in named:
            assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"
