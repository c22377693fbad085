"""The runbooks of docs/moving.md and docs/backup.md, by the commands that the pages have, to their end.

Another machine is another copy of the project with another home, and the daemon without anything of the stack; dev stands for
prod, whose public parts need accounts. Where a command asks a person, the answer is added to it.
Not here: "A workflow was deleted" (tests/host/test_backup.py).
"""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lab.workspace import copy_checkout, free_port
from ops.clients.docker import Docker
from tests.host.conftest import Checkout, as_person, remove_everything, site_of
from tests.support import runbooks
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.timeout(3600), pytest.mark.nightly]

# Not below /tmp, which the stack file refuses: it is emptied.
FOLDER = Path("/srv") / f"skyvern-test-runbooks-{os.getpid()}"
PASSPHRASE_FILE = FOLDER / "passphrase"
# What a person types.
ANSWERS: Mapping[str, str] = {
    "bin/ops backup kit": f"--passphrase-file {PASSPHRASE_FILE}",
    "bin/ops restore": f"--yes --passphrase-file {PASSPHRASE_FILE}",
    "bin/ops resume": "--yes",
    "bin/ops rotate": "--yes",
}
SCHEDULES = "SELECT name, enabled FROM workflow_schedules ORDER BY name"
TITLE = "매일 보고서"


def follow(machine: Checkout, command: str, **words: str) -> str:
    """A command of the page on a machine: what it printed. words: what the page's own words stand for."""
    line = command.replace("prod", "dev")
    for word, value in words.items():
        line = line.replace(word, shlex.quote(value))
    line = next((f"{line} {answer}" for begin, answer in ANSWERS.items() if line.startswith(begin)), line)
    # The page's docker is that of the machine.
    environment = {**machine.environment, **({"DOCKER_HOST": machine.docker.host} if line.startswith("docker ") else {})}
    done = replace(machine, environment=environment).run("bash", "-c", line, timeout_seconds=3000)
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def sql(machine: Checkout, statement: str) -> str:
    psql = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "skyvern", "-c", statement)
    return machine.docker.run("exec", "skyvern-dev-roles", *psql).strip()


def lose(machine: Checkout) -> None:
    """The machine's disk: whatever it has of the stack; the repository is on another one."""
    docker = machine.docker
    docker.run("rm", "--force", "--volumes", *docker.run("ps", "--all", "--quiet").split())
    docker.run("volume", "rm", "--force", *docker.run("volume", "ls", "--quiet").split())
    for name in machine.names("network"):
        docker.run("network", "rm", name)
    shutil.rmtree(machine.root)
    shutil.rmtree(machine.environment["HOME"])


@pytest.fixture(scope="module")
def another(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Checkout]:
    """A machine with nothing but Docker, a clone and the kit; the clone as a person makes it from the page's first line."""

    def made(*kit: Path) -> Checkout:
        base = tmp_path_factory.mktemp("another")
        (base / "home").mkdir()
        copy_checkout(base / "clone")
        for file in kit:
            shutil.copy(file, base / "clone")
        return replace(checkout, root=base / "clone", environment={**checkout.environment, "HOME": str(base / "home")})

    return made


@pytest.fixture(scope="module")
def old(another: Callable[..., Checkout], daemon: Docker) -> Iterator[Checkout]:
    """A machine whose stack has a backup, a workflow with a schedule, and a file; whatever else is on the daemon goes."""
    remove_everything(daemon)
    (FOLDER / "repository").mkdir(parents=True)
    PASSPHRASE_FILE.write_text("a passphrase of the kit\n")
    machine = another()
    machine.write_stack("dev", port=free_port(), backup={"type": "path", "path": str(FOLDER / "repository")})
    try:
        machine.run("script/up", "--yes", timeout_seconds=4500)
        with site_of(machine) as target:
            site = as_person(target)
            blocks = [{"block_type": "wait", "label": "wait", "wait_sec": 1}]
            definition = {"title": TITLE, "workflow_definition": {"parameters": [], "blocks": blocks}}
            made = site.api("POST", "/v1/workflows", body={"json_definition": definition})
            workflow = made.json()["workflow_permanent_id"]
            schedule = {"cron_expression": "0 9 * * 1-5", "timezone": "Asia/Seoul", "name": "아침", "enabled": True}
            assert site.api("POST", f"/v1/workflows/{workflow}/schedules", body=schedule).status_code == 200
        yield machine
    finally:
        shutil.rmtree(FOLDER)


def serves(machine: Checkout, key: str) -> bool:
    """Whether the stack has the workflow for the key of before."""
    with site_of(machine) as site:
        answer = site.http.get(f"{site.outputs.api_url}/api/v1/workflows", headers={"x-api-key": key})
    return answer.status_code == 200 and TITLE in answer.text


def test_the_runbooks_one_after_the_other(old: Checkout, another: Callable[..., Checkout]) -> None:
    """One test, because each begins with what the last one left, and a stack takes minutes."""
    key = old.output("api_key")

    # To another machine
    kit, stop, now, stop_all, clone, bootstrap, restore, resume, _ = runbooks.commands("moving.md", "To another machine")
    assert clone.startswith("git clone")
    for command in (kit, stop, now, stop_all):
        follow(old, command)
    assert old.names("container") == set()
    second = another(old.root / "dev-kit.asc")
    lose(old)
    follow(second, bootstrap)
    assert "schedules are paused" in follow(second, restore)
    assert serves(second, key)
    assert sql(second, SCHEDULES) == "아침|f"
    assert "아침: next at 20" in follow(second, resume)
    assert sql(second, SCHEDULES) == "아침|t"

    # The disk died
    follow(second, kit.replace("prod-kit", "other-kit"))
    follow(second, now)
    clone, bootstrap, restore, _, smoke, resume, new_kit, drill, *without_kit = runbooks.commands("backup.md", "The disk died")
    assert [line.split()[0] for line in without_kit] == ["script/up", "bin/ops"]
    third = another(second.root / "other-kit.asc")
    lose(second)
    follow(third, bootstrap)
    follow(third, restore.replace("prod-kit", "other-kit"))
    assert serves(third, key)
    follow(third, smoke)
    follow(third, resume)
    follow(third, new_kit, FILE=str(FOLDER / "new-kit.asc"))
    assert "backup.drilled" in follow(third, drill)
    assert (FOLDER / "new-kit.asc").stat().st_size > 1000

    # The PC was stolen: on another machine as above, and then with new keys.
    *_, rotate = runbooks.commands("backup.md", "The PC was stolen")
    follow(third, rotate)
    assert not serves(third, key)
    wait_for(lambda: serves(third, third.output("api_key")), seconds=120, pause=2)
