"""Every command that a message, docs/troubleshooting.md or the README's "Removing a stack" names is followed by a test.

Whether a test really follows it is for who reads the test; here is that none was forgotten and that each test exists.
"""

import re
from collections.abc import Collection, Iterator, Mapping

import pytest

from ops.paths import ROOT
from tests.support import cures, messages

PRODUCT = ("__main__.py", "bin", "components", "ops", "policy", "script", "skyvern_provider")
_WHY = ("names: ", "open: ", "outside: ")


def entries() -> Iterator[tuple[str, str]]:
    """Where an entry is, and the tests of it or why there is none."""
    for place, parts in cures.MESSAGES.items():
        yield from ((f"{place}: {part}", value) for part, value in parts.items())
    yield from cures.TROUBLESHOOTING.items()
    yield from cures.REMOVING.items()


def missing_tests(value: str) -> list[str]:
    """The tests of an entry that do not exist."""
    if value.startswith(_WHY):
        return []
    wrong = []
    for test in value.split():
        file, _, name = test.partition("::")
        path = ROOT / "tests" / file
        if not path.is_file() or not re.search(rf"^ *def {name}\(", path.read_text(), re.MULTILINE):
            wrong.append(test)
    return wrong


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stack …: is down; script/up --stack … starts it", True),
        ("run: sudo chown -R …: …", True),
        ("try `ssh … docker version`", True),
        ("in WSL: wsl --shutdown in Windows", True),
        ("ops restore: nothing was changed", False),
        ("ops restore: nothing was changed; bin/ops backup now keeps it", True),
        ("pulumi preview: exit …; correct what its messages name", False),
        ("the docker daemon does not answer", False),
        ("/usr/bin/docker start", False),
    ],
)
def test_a_message_that_names_a_command_is_known(text: str, named: bool) -> None:
    assert messages.names_a_command(text) is named


def parts_of(text: str, parts: Mapping[str, str], texts: Collection[str]) -> list[str]:
    """The entries of a text of a module: itself, or what is in it and is no other text of that module."""
    return [text] if text in parts else [part for part in parts if part in text and part not in texts]


def test_every_message_that_names_a_command_has_its_test() -> None:
    found: dict[str, set[str]] = {}
    for place, text in messages.with_commands(*PRODUCT):
        found.setdefault(place, set()).add(text)
    assert sum(map(len, found.values())) > 200
    taken: dict[tuple[str, str], list[str]] = {}
    for place, texts in found.items():
        for text in texts:
            parts = parts_of(text, cures.MESSAGES.get(place, {}), texts)
            missing = "write a test that follows the command, and its name into tests/support/cures.py"
            assert len(parts) == 1, f"{place}: {text!r} has the entries {parts}; {missing}"
            taken.setdefault((place, parts[0]), []).append(text)
    # One entry for each text, and none that outlives its message.
    assert {entry: texts for entry, texts in taken.items() if len(texts) > 1} == {}
    assert {(place, part) for place, parts in cures.MESSAGES.items() for part in parts} == set(taken)


def test_every_test_of_an_entry_exists() -> None:
    assert {place: wrong for place, value in entries() if (wrong := missing_tests(value))} == {}
    assert missing_tests("unit/test_cures.py::test_that_does_not_exist") == ["unit/test_cures.py::test_that_does_not_exist"]


def rows(text: str) -> list[str]:
    """The first cells of the only table of a page."""
    table = [line for line in text.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", line)[1].strip() for line in table[2 if table[1].startswith("| ---") else 1 :]]


def test_every_row_of_the_troubleshooting_page_has_its_test() -> None:
    found = rows((ROOT / "docs/troubleshooting.md").read_text())
    assert len(found) > 40
    fitting = {row: [part for part in cures.TROUBLESHOOTING if part in row] for row in found}
    assert [row for row, parts in fitting.items() if len(parts) != 1] == []
    assert set(cures.TROUBLESHOOTING) == {part for parts in fitting.values() for part in parts}


def test_every_command_of_removing_a_stack_has_its_test() -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("\n## Removing a stack\n")[2].partition("\n## ")[0]
    commands = [re.sub(r"\s+# .*", "", line) for line in re.findall(r"^\$ (.*)$", section, re.MULTILINE)]
    assert commands == list(cures.REMOVING)
