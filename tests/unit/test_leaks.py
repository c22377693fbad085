"""docs/leaks.md: its commands are there, each secret that rotates is in it, and both languages say the same."""

import re

import pytest
from typer.main import get_command

from ops import cli
from ops.paths import ROOT
from ops.stack.impact import ROTATIONS

PAGES = ("docs/leaks.md", "docs/ko/leaks.md")


def commands(page: str) -> list[str]:
    """``ops`` commands of a page in their order, without options."""
    return re.findall(r"\bops ([a-z-]+(?: (?!-)[a-z-]+)?)", (ROOT / page).read_text())


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_there(page: str) -> None:
    known = set(get_command(cli.app).commands)  # type: ignore[attr-defined]  # a group, whatever its type says
    found = commands(page)
    assert len(found) > len(ROTATIONS)
    for command in found:
        word, _, argument = command.partition(" ")
        assert word in known
        assert word != "rotate" or argument in {*ROTATIONS, "all"}


@pytest.mark.parametrize("page", PAGES)
def test_every_secret_that_rotates_is_in_it(page: str) -> None:
    assert set(ROTATIONS) <= {command.removeprefix("rotate ") for command in commands(page)}


def test_both_languages_have_the_same_rows_and_commands() -> None:
    texts = [(ROOT / page).read_text() for page in PAGES]
    for pattern in (r"^(\|)", r"^\$ (.*?)(?: {2,}#|$)"):
        english, korean = (re.findall(pattern, text, re.MULTILINE) for text in texts)
        assert english == korean
        assert len(english) > len(ROTATIONS)
    assert commands(PAGES[0]) == commands(PAGES[1])


@pytest.mark.parametrize("page", PAGES)
def test_a_new_passphrase_is_set_in_every_project(page: str) -> None:
    # `pulumi stack ls` lists the stacks of one project.
    before_the_move, _, _ = (ROOT / page).read_text().partition("$ mv ~/.config/skyvern-stack/passphrase.new")
    others = [path.parent.name for path in ROOT.glob("*/Pulumi.yaml")]
    assert others
    for project in others:
        assert f"pulumi -C {project} stack change-secrets-provider passphrase" in before_the_move
