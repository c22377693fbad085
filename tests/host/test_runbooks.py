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
from urllib.parse import urlsplit

import pytest

from lab.workspace import copy_checkout, free_port
from ops.clients.docker import Docker
from tests.host import belongings, contents, programs
from tests.host.belongings import TITLE, Belongings
from tests.host.conftest import Checkout, as_person, remove_everything, site_of, sql
from tests.support import runbooks, shop
from tests.support.shop import Shop
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
def store() -> Iterator[Shop]:
    """Where the stack's runs log in."""
    with programs.internet() as address, shop.serving(address, **belongings.PERSON) as serving:
        yield serving


@pytest.fixture(scope="module")
def old(another: Callable[..., Checkout], daemon: Docker, store: Shop) -> Iterator[Checkout]:
    """A machine whose stack has a backup; whatever else is on the daemon goes."""
    remove_everything(daemon)
    (FOLDER / "repository").mkdir(parents=True)
    PASSPHRASE_FILE.write_text("a passphrase of the kit\n")
    machine = another()
    # The shop's address is this host's, which the firewall refuses.
    server = {"memory_mib": 3072, "drain_minutes": 1, "code_blocks": True, "allow": [f"host:{urlsplit(store.origin).port}"]}
    backup = {"type": "path", "path": str(FOLDER / "repository")}
    machine.write_stack("dev", port=free_port(), backup=backup, server=server)
    try:
        machine.run("script/up", "--yes", timeout_seconds=4500)
        yield machine
    finally:
        shutil.rmtree(FOLDER)


@pytest.fixture(scope="module")
def had(old: Checkout, store: Shop) -> Belongings:
    """What the person of that machine has."""
    with site_of(old) as target:
        return belongings.make(as_person(target), store)


def serves(machine: Checkout, key: str) -> bool:
    """Whether the stack has the workflow for the key of before."""
    with site_of(machine) as site:
        answer = site.http.get(f"{site.outputs.api_url}/api/v1/workflows", headers={"x-api-key": key})
    return answer.status_code == 200 and TITLE in answer.text


def test_the_runbooks_one_after_the_other(old: Checkout, another: Callable[..., Checkout], had: Belongings, store: Shop) -> None:
    """One test, because each begins with what the last one left, and a stack takes minutes."""

    def has_all(machine: Checkout, before: contents.Contents) -> None:
        """Every row and every file of the set, but schedules, which wait; and each thing works."""
        lost = before.lost_in(contents.read(machine, "dev"))
        print(*lost, sep="\n")
        # What a server that starts ends of its smoke runs is no one's loss, nor is the mark of the restore before.
        smoke = sql(machine, "SELECT organization_id FROM organizations WHERE organization_name LIKE 'Smoke%'")
        passing = ("workflow_schedules", smoke, "/.restore-")
        assert [one for one in lost if not any(text in one for text in passing)] == []
        with site_of(machine) as target:
            belongings.all_work(as_person(target), store, had)

    key = old.output("api_key")

    # To another machine
    kit, stop, now, stop_all, clone, bootstrap, restore, resume, _ = runbooks.commands("moving.md", "To another machine")
    assert clone.startswith("git clone")
    for command in (kit, stop, now):
        follow(old, command)
    moved = contents.read(old, "dev")
    follow(old, stop_all)
    assert old.names("container") == set()
    second = another(old.root / "dev-kit.asc")
    lose(old)
    follow(second, bootstrap)
    assert "schedules are paused" in follow(second, restore)
    has_all(second, moved)
    assert sql(second, SCHEDULES) == "아침|f"
    assert "아침: next at 20" in follow(second, resume)
    assert sql(second, SCHEDULES) == "아침|t"

    # The disk died
    follow(second, kit.replace("prod-kit", "other-kit"))
    before = contents.read_settled(second, "dev")
    follow(second, now)
    clone, bootstrap, restore, _, smoke, resume, new_kit, drill, *without_kit = runbooks.commands("backup.md", "The disk died")
    assert [line.split()[0] for line in without_kit] == ["script/up", "bin/ops"]
    third = another(second.root / "other-kit.asc")
    lose(second)
    follow(third, bootstrap)
    follow(third, restore.replace("prod-kit", "other-kit"))
    has_all(third, before)
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
