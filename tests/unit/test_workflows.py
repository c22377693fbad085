"""The workflows: what no linter knows about them. Who may start what, with which rights, and that nothing but ops decides."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.paths import ROOT

FOLDER = ROOT / ".github" / "workflows"
NAMES = ["ci", "deploy", "drift", "nightly", "preview"]
WRITES = {
    ("preview", "comment"): {"contents": "read", "pull-requests": "write"},
    ("preview", "preview"): {"contents": "read"},
    ("deploy", "deploy"): {"actions": "read", "contents": "read", "pull-requests": "write"},
    ("drift", "drift"): {"contents": "read", "issues": "write"},
    ("drift", "doctor"): {"contents": "read"},
    ("ci", "unit"): {"contents": "read"},
    ("ci", "all"): {"contents": "read"},
    ("nightly", "nightly"): {"contents": "read"},
}


def workflow(name: str) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    # YAML 1.1 takes the key "on" for true.
    document["on"] = document.pop(True)
    return document


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    return [(name, job, content) for name in NAMES for job, content in workflow(name)["jobs"].items()]


def test_no_workflow_is_left_out() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


def test_a_token_may_do_nothing_but_what_a_job_asks_for() -> None:
    assert [workflow(name)["permissions"] for name in NAMES] == [{}] * len(NAMES)
    assert {(name, job): content["permissions"] for name, job, content in jobs()} == WRITES
    # The branch's own code and a token that may write never meet.
    for name, job, content in jobs():
        checkout = content["steps"][0]
        own_code = "pull_request" in workflow(name)["on"] and "ref" not in checkout["with"]
        assert not (own_code and "write" in content["permissions"].values()), (name, job)
        assert checkout["with"]["persist-credentials"] is False


def test_every_action_is_pinned_and_named() -> None:
    for name in NAMES:
        used = [step["uses"] for _, content in workflow(name)["jobs"].items() for step in content["steps"] if "uses" in step]
        lines = re.findall(r"uses: .*", (FOLDER / f"{name}.yml").read_text())
        # At least the checkout; and what the pattern finds is all of them.
        assert lines
        assert [line.partition(" ")[2].partition(" ")[0] for line in lines] == used
        for line in lines:
            assert re.fullmatch(r"uses: actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_no_secret_and_no_text_of_a_stranger() -> None:
    for name in NAMES:
        text = (FOLDER / f"{name}.yml").read_text()
        assert "secrets" not in text
        assert "pull_request_target" not in text
    commands = [step["run"] for _, _, content in jobs() for step in content["steps"] if "run" in step]
    assert len(commands) >= len(WRITES)
    for command in commands:
        assert "${{" not in command
        # Commands of ops and the scripts; what they decide is tested as Python.
        assert "\n" not in command.strip()


def test_only_branches_of_a_private_repository_reach_the_host() -> None:
    on_host = {(name, job): content for name, job, content in jobs() if "self-hosted" in content["runs-on"]}
    assert sorted(on_host) == [("deploy", "deploy"), ("drift", "doctor"), ("drift", "drift"), ("preview", "preview")]
    preview = on_host["preview", "preview"]["if"]
    for clause in (
        "github.event.repository.private",
        "github.event.pull_request.head.repo.full_name == github.repository",
        "github.event.pull_request.user.type != 'Bot'",
    ):
        assert clause in preview.split(" && ")
    assert on_host["deploy", "deploy"]["if"] == "github.event.repository.private"
    assert workflow("deploy")["on"] == {"push": {"branches": ["main"]}}
    for job in ("doctor", "drift"):
        assert on_host["drift", job]["if"] == "github.ref == 'refs/heads/main'"
    for content in on_host.values():
        # One at a time; without the queue, a waiting deployment would be dropped for a newer preview.
        assert content["concurrency"] == {"group": "stack-prod", "queue": "max"}


def test_the_comment_is_posted_after_a_failure_as_well() -> None:
    comment = workflow("preview")["jobs"]["comment"]
    assert comment["if"] == "${{ !cancelled() && needs.preview.result != 'skipped' }}"
    upload = workflow("preview")["jobs"]["preview"]["steps"][-1]
    outcome = workflow("deploy")["jobs"]["deploy"]["steps"][-1]
    assert upload["if"] == outcome["if"] == "${{ !cancelled() }}"


@pytest.mark.parametrize(
    ("planted", "audit"),
    [
        ("run: echo ${{ github.event.pull_request.title }}", "template-injection"),
        ("uses: actions/checkout@v6", "unpinned-uses"),
    ],
)
def test_a_planted_mistake_fails_the_check(tmp_path: Path, planted: str, audit: str) -> None:
    file = tmp_path / "planted.yml"
    file.write_text(
        f"on: pull_request\npermissions: {{}}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - {planted}\n"
    )
    done = subprocess.run(["script/check-workflows", file], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert f"[{audit}]" in done.stdout
