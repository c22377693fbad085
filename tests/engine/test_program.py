"""The program behind the real engine, as far as no Docker daemon is needed: plans, and what a wrong stack file does."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.machine import engine, environment
from ops.paths import ROOT

pytestmark = pytest.mark.timeout(1800)

GOOD = """\
config:
  skyvern:images:
    source: packages
  skyvern:host:
    docker_host: unix:///run/nobody-listens-here.sock
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with a backend of its own."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Pulumi.yaml", "__main__.py"):
        shutil.copy2(ROOT / name, folder / name)
    for name in ("components", "images", "site", "skyvern_provider"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "state").mkdir()
    return folder


def pulumi(project: Path, stack_file: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``pulumi ARGUMENTS`` on the stack dev with the given text as its file."""
    engine.ensure_engine(None, print)
    (project / "Pulumi.dev.yaml").write_text(stack_file)
    variables = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI")},
        **environment.for_engine(),
        "PULUMI_BACKEND_URL": f"file://{project / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "a test's own",
    }
    return subprocess.run(
        ["pulumi", *arguments],
        cwd=project,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def encrypted(project: Path) -> str:
    """The good stack file with what ``pulumi stack init`` adds to it."""
    done = pulumi(project, GOOD, "stack", "init", "dev")
    assert done.returncode == 0, done.stderr
    return (project / "Pulumi.dev.yaml").read_text()


def test_every_mistake_is_one_line_and_nothing_is_touched(project: Path, encrypted: str) -> None:
    wrong = encrypted.replace("docker_host: unix:///run/nobody-listens-here.sock", "docker_host: tcp://10.0.0.1:2375\n    prt: 1")
    done = pulumi(project, wrong, "up", "--yes", "--skip-preview", "-s", "dev")
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert 'Pulumi.dev.yaml: host.docker_host: "tcp://10.0.0.1:2375" is a TCP socket' in printed
    assert "Pulumi.dev.yaml: host.prt: unknown key; write `port`" in printed
    assert "Traceback" not in printed
    assert "unhandled error" not in printed
    exported = pulumi(project, encrypted, "stack", "export", "-s", "dev").stdout
    assert "docker:index" not in exported
    assert "random:index" not in exported


def test_an_llm_key_in_plain_text_is_refused_and_an_encrypted_one_is_taken(project: Path, encrypted: str) -> None:
    secret = "sk-a-key-of-a-person-1234567890"
    plain = encrypted.replace("config:", f"config:\n  skyvern:llm:\n    provider: openai\n    api_key: {secret}", 1)
    refused = pulumi(project, plain, "preview", "-s", "dev")
    assert refused.returncode != 0
    assert "llm.api_key: is in plain text" in refused.stdout + refused.stderr
    assert secret not in refused.stdout + refused.stderr

    chosen = encrypted.replace("config:", "config:\n  skyvern:llm:\n    provider: openai", 1)
    done = pulumi(project, chosen, "config", "set", "--secret", "--path", "llm.api_key", secret, "-s", "dev")
    assert done.returncode == 0, done.stderr
    stack_file = (project / "Pulumi.dev.yaml").read_text()
    assert secret not in stack_file
    planned = pulumi(project, stack_file, "preview", "--diff", "-s", "dev")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert secret not in planned.stdout + planned.stderr
    # Nobody named the policy pack; the environment of script/env did. That the key is a secret of Pulumi it has seen.
    assert "skyvern-host@v" in planned.stdout
    assert "[mandatory]" not in planned.stdout


def test_a_postgresql_elsewhere_is_planned_without_a_database_of_the_stack(project: Path, encrypted: str) -> None:
    password = "correct-horse-battery"
    url = f"postgresql://boss:{password}@db.example.com:6432/postgres?sslmode="
    plain = encrypted.replace("config:", f"config:\n  skyvern:database:\n    url: {url}verify-full", 1)
    refused = pulumi(project, plain, "preview", "-s", "dev")
    assert refused.returncode != 0
    assert "Pulumi.dev.yaml: database.url: is in plain text" in refused.stdout + refused.stderr

    for mode, code in (("require", False), ("verify-full", True)):
        done = pulumi(project, encrypted, "config", "set", "--secret", "--path", "database.url", f"{url}{mode}", "-s", "dev")
        assert done.returncode == 0, done.stderr
        planned = pulumi(project, (project / "Pulumi.dev.yaml").read_text(), "preview", "--diff", "-s", "dev")
        printed = planned.stdout + planned.stderr
        assert (planned.returncode == 0) is code, printed
        assert password not in refused.stdout + refused.stderr + printed
        assert ("Pulumi.dev.yaml: database.url: does not say sslmode=verify-full" in printed) is not code
    assert "[mandatory]" not in planned.stdout
    names = set(re.findall(r'name *: "(skyvern-dev-[\w-]+)"', planned.stdout))
    assert {"skyvern-dev-roles", "skyvern-dev-database"} <= names
    assert not {"skyvern-dev-postgres", "skyvern-dev-postgres-socket", "skyvern-dev-data"} & names


def test_a_daemon_that_does_not_answer_is_named(project: Path, encrypted: str) -> None:
    done = pulumi(project, encrypted, "up", "--yes", "--skip-preview", "-s", "dev")
    assert done.returncode != 0
    assert "unix:///run/nobody-listens-here.sock" in done.stdout + done.stderr


def test_automations_are_planned_before_there_is_a_server(project: Path, encrypted: str) -> None:
    (project / "automations").mkdir()
    file = project / "automations" / "daily.yaml"
    blocks = "blocks: [{block_type: wait, label: settle, wait_sec: 2}]"
    file.write_text(f"workflow:\n  title: Daily\n  workflow_definition:\n    parameters: []\n    {blocks}\n")
    chosen = encrypted.replace("config:", "config:\n  skyvern:automations:\n    files: [daily]", 1)
    planned = pulumi(project, chosen, "preview", "-s", "dev")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "skyvern:index:Workflow skyvern-automations-daily create" in planned.stdout
    file.write_text(file.read_text().replace("wait_sec", "wait_secs"))
    refused = pulumi(project, chosen, "preview", "-s", "dev")
    assert refused.returncode != 0
    assert "automations/daily.yaml:5: blocks.settle.wait_secs: unknown key; write `wait_sec`" in refused.stdout + refused.stderr
