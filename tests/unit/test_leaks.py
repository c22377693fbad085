"""docs/leaks.md: its commands are there, each secret that rotates is in it, and both languages say the same."""

import re

import pytest
from typer.main import get_command

from ops import cli
from ops.paths import ROOT
from ops.rotate import ROTATIONS

PAGES = ("docs/leaks.md", "docs/ko/leaks.md")


def commands(page: str) -> list[str]:
    """``ops`` commands of a page in their order, without options."""
    return re.findall(r"\bops ([a-z-]+(?: (?!-)[a-z-]+)?)", (ROOT / page).read_text())


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_there(page: str) -> None:
    known = set(get_command(cli.app).commands)  # type: ignore[attr-defined]  # a group, whatever its type says
    for command in commands(page):
        word, _, argument = command.partition(" ")
        assert word in known
        assert word != "rotate" or argument in {*ROTATIONS, "all"}


@pytest.mark.parametrize("page", PAGES)
def test_every_secret_that_rotates_is_in_it(page: str) -> None:
    assert set(ROTATIONS) <= {command.removeprefix("rotate ") for command in commands(page)}


def test_both_languages_have_the_same_rows_and_commands() -> None:
    english, korean = ((ROOT / page).read_text() for page in PAGES)
    assert len(re.findall(r"^\|", english, re.MULTILINE)) == len(re.findall(r"^\|", korean, re.MULTILINE))
    assert re.findall(r"^\$ (.*?)(?: {2,}#|$)", english, re.MULTILINE) == re.findall(
        r"^\$ (.*?)(?: {2,}#|$)", korean, re.MULTILINE
    )
    assert commands(PAGES[0]) == commands(PAGES[1])
