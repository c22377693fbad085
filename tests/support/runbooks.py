"""The commands of a page's section, as a person would copy them."""

import re

from ops.paths import ROOT

_PROGRAMS = ("bin/ops ", "script/", "git ", "docker ", "pulumi ")


def section(page: str, heading: str) -> str:
    """The text of ``docs/PAGE`` below a heading, until the next one of its level or above; AssertionError without it."""
    text = (ROOT / "docs" / page).read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/{page} has no section {heading}"
    return found[2]


def commands(page: str, heading: str) -> list[str]:
    """In their order: lines after a prompt, without their comments, and what else is code and begins with a program of ours."""
    found = []
    for prompt, code in re.findall(r"^\$ (.*)$|`([^`\n]+)`", section(page, heading), re.MULTILINE):
        line = re.sub(r"\s+# .*", "", prompt).strip() or code
        if line.startswith(_PROGRAMS):
            found.append(line)
    assert found, f"docs/{page}: {heading}: has no commands"
    return found
