"""The files that people expect of a repository, where they repeat what is written elsewhere."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from ops import cli
from ops.observe.smoke import CHECKS
from ops.paths import ROOT
from tests.support.messages import tracked


def test_the_hooks_before_a_commit_are_the_first_steps_of_script_test() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    # A hook that gets the files of the commit, or is skipped without one that fits, would check less than script/test.
    assert all(hook["always_run"] and not hook["pass_filenames"] for hook in local["hooks"])
    hooks = [hook["entry"] for hook in local["hooks"]]
    checks, _, _ = (ROOT / "script" / "test").read_text().partition("if [[ $part == unit ]]")
    _, _, checks = checks.partition("\nstep 'ruff, mypy, shellcheck'\n")
    assert hooks == [line for line in checks.splitlines() if line and not line.startswith("step ")]
    assert len(hooks) == 5


def test_script_test_unit_says_which_programs_tests_are_left_out_without() -> None:
    skips = re.compile(r'skipif\(shutil\.which\("([^"]+)"\) is None')
    lane = [path for folder in ("unit", "property", "policy") for path in (ROOT / "tests" / folder).rglob("*.py")]
    needed = {name for path in lane for name in skips.findall(path.read_text())}
    (pairs,) = re.findall(r"\n  absent=\(\)\n  for pair in (.+); do\n", (ROOT / "script" / "test").read_text())
    assert {pair.partition(":")[0] for pair in pairs.split()} == needed


@pytest.mark.parametrize(
    ("script", "left_out", "program"),
    [("check-shell", "the shell scripts", "shellcheck"), ("check-workflows", "actionlint", "Go")],
)
def test_a_check_without_its_program_says_what_is_left_out(script: str, left_out: str, program: str, tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    workflow = tmp_path / "workflow.yml"
    head = "on: push\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n"
    workflow.write_text(f"{head}    steps:\n      - run: 'true'\n")
    files = [str(workflow)] if script == "check-workflows" else []
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    done = subprocess.run(
        [ROOT / "script" / script, *files], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{script}: {left_out} ")
    assert program in line


def test_whoever_changes_what_runs_on_a_host_needs_its_owner() -> None:
    lines = (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert rules[0] == ["*", "@OWNER/skyvern-host"]
    # Without an owner: what no program reads.
    assert rules[1:] == [["/docs/"], ["/*.md"]]


def test_renovate_reads_every_list_of_packages_with_hashes() -> None:
    settings = json.loads((ROOT / "renovate.json").read_text())
    managers = ("pip-compile", "pip_requirements")
    # Regular expressions are between slashes (docs.renovatebot.com/string-pattern-matching).
    patterns = [re.compile(pattern.strip("/")) for name in managers for pattern in settings[name]["managerFilePatterns"]]
    lists = {path.relative_to(ROOT).as_posix(): "--hash=" in path.read_text() for path in tracked("*requirements*.txt")}
    assert sum(lists.values()) > 6
    read = {name for name in lists if any(pattern.search(name) for pattern in patterns)}
    assert {name for name, hashed in lists.items() if hashed} - read == set()


def test_the_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", headings[1])


@pytest.mark.parametrize("folder", [ROOT / "docs", ROOT / "docs" / "ko"], ids=["English", "Korean"])
def test_the_index_has_a_line_for_every_page(folder: Path) -> None:
    index = (folder / "README.md").read_text()
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert len(pages) > 10
    assert pages <= set(re.findall(r"^- \[[^]]+\]\(([^)]+)\): .", index, re.MULTILINE))


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("hardware", "README.md"),
        ("ports", "docs/upkeep.md"),
        ("stop", "docs/upkeep.md"),
        ("uninstall", "docs/upkeep.md"),
        ("upgrade", "docs/upkeep.md"),
        ("where is my data", "docs/upkeep.md"),
    ],
)
def test_what_people_search_for_is_a_heading(words: str, page: str) -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert any(words in heading.lower() for heading in headings)


# The page about the stack file is made by the one, steps of the workflows by the other.
NOT_DAILY = {"configuration", "github"}


@pytest.mark.parametrize("page", ["README.md", "README.ko.md"])
def test_the_readme_has_every_command_and_the_number_of_checks(page: str) -> None:
    text = (ROOT / page).read_text()
    commands = get_command(cli.app).commands.keys()  # type: ignore[attr-defined]  # of a click group
    assert len(commands) > 20
    assert commands - NOT_DAILY == set(re.findall(r"^\$ ops ([a-z-]+)", text, re.MULTILINE))
    assert f"{len(CHECKS)} of {len(CHECKS)} checks green" in text
