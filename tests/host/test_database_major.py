"""Another major of PostgreSQL on a stack with data: it comes, goes back, survives a kill, and a broken one leaves the old one.

The old one is Debian 12's PostgreSQL 15, in place of the 17 of this project.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.workspace import free_port
from ops.clients import git
from ops.observe.smoke.site import Site, client_for
from ops.stack.outputs import parse
from tests.host.conftest import Checkout, as_person, kill_when, make_workflow

pytestmark = [pytest.mark.timeout(4800), pytest.mark.nightly]

STACK = "major"
# Without the runs, because a smoke run adds some.
CONTENT = """
SELECT version_num FROM alembic_version;
SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM workflows t WHERE deleted_at IS NULL;
SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM credentials t;
"""
# Off, so that nothing but the test decides when it has fired.
SCHEDULE = """
INSERT INTO workflow_schedules (workflow_schedule_id, organization_id, workflow_permanent_id, cron_expression, timezone, enabled,
  created_at, modified_at)
SELECT 'wfs_1', organization_id, workflow_permanent_id, '0 0 1 1 *', 'UTC', false, '2020-01-01', '2020-01-01'
FROM workflows WHERE workflow_permanent_id = '{workflow}'
"""
FIRED = """
INSERT INTO workflow_runs (workflow_run_id, workflow_id, workflow_permanent_id, organization_id, status, workflow_schedule_id,
  created_at, modified_at)
SELECT 'wr_1', workflow_id, workflow_permanent_id, organization_id, 'completed', 'wfs_1', now() at time zone 'UTC',
  now() at time zone 'UTC'
FROM workflows WHERE workflow_permanent_id = '{workflow}'
"""
BOOKWORM = (
    r"printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm\nComponents: main\nSigned-By: "
    r"/usr/share/keyrings/debian-archive-keyring.gpg\n' > /etc/apt/sources.list.d/bookworm.sources"
)


@dataclass(frozen=True)
class Majors:
    """A checkout with three commits: of the old major, of the project's own, and of one whose browsers do not start."""

    checkout: Checkout
    commits: dict[str, str]

    def git(self, *arguments: str) -> str:
        names = ("-c", "user.name=a test", "-c", "user.email=test@example.com")
        return git.run(self.checkout.root, *names, *arguments).strip()

    def commit(self, name: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", name)
        self.commits[name] = self.git("rev-parse", "HEAD")

    def check_out(self, name: str) -> None:
        # Not over the stack file, which has got its salt.
        self.git("checkout", "--quiet", "--detach", self.commits[name])

    def run(self, *command: str, check: bool = True) -> tuple[int, str]:
        done = self.checkout.run(*command, check=check, timeout_seconds=3600)
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    def up(self, *, check: bool = True) -> tuple[int, str]:
        return self.run("script/up", "--stack", STACK, check=check)

    def upgrade(self, *flags: str, check: bool = True) -> tuple[int, str]:
        return self.run("bin/ops", "upgrade-database", "-s", STACK, "--yes", *flags, check=check)

    def sql(self, statement: str) -> str:
        command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "skyvern", "-c", statement)
        return self.checkout.docker.run("exec", f"skyvern-{STACK}-roles", *command).strip()

    def major(self) -> int:
        return int(self.sql("SHOW server_version_num")) // 10000

    def kept(self) -> set[str]:
        return {name for name in self.checkout.names("volume") if name.startswith(f"skyvern-{STACK}-postgres-upgrade-")}

    @contextlib.contextmanager
    def site(self) -> Iterator[Site]:
        outputs = parse(STACK, self.checkout.pulumi(f"stack output --json --show-secrets -s {STACK}").stdout)
        with client_for(outputs) as client:
            yield as_person(Site(outputs, client, self.checkout.docker))

    def make_workflow(self, title: str) -> str:
        with self.site() as site:
            return make_workflow(site, title)

    def answers(self, workflow: str) -> bool:
        with self.site() as site:
            return site.api("GET", f"/v1/workflows/{workflow}").status_code == 200


@pytest.fixture(scope="module")
def majors(checkout: Checkout) -> Iterator[Majors]:
    """The stack runs the old major."""
    root = checkout.root
    shutil.rmtree(root / ".git", ignore_errors=True)
    git.run(root, "init", "--quiet")
    checkout.write_stack(STACK, port=free_port())
    found = Majors(checkout, {})
    found.commit("new")
    folder = root / "images/postgres"
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("17", "15").replace("&& apt-get -o", f"&& {BOOKWORM} \\\n && apt-get -o", 1))
    found.commit("old")
    found.check_out("new")
    dockerfile = root / "images/server/Dockerfile"
    break_it = "echo 'exit 1' > /usr/local/lib/skyvern/sandboxed"
    dockerfile.write_text(f"{dockerfile.read_text()}USER 0:0\nRUN {break_it}\nUSER 10001:10001\n")
    found.commit("broken")
    found.check_out("old")
    found.up()
    try:
        yield found
    finally:
        checkout.pulumi(f"state unprotect --all --yes -s {STACK}", check=False)
        checkout.pulumi(f"destroy --yes --skip-preview -s {STACK}", check=False)
        checkout.pulumi(f"stack rm --yes {STACK}", check=False)
        for name in found.kept():
            checkout.docker.run("volume", "rm", "--force", name)
        found.git("checkout", "--quiet", "--force", "--detach", found.commits["new"])
        shutil.rmtree(root / ".git")
        (root / f"Pulumi.{STACK}.yaml").unlink()


@pytest.fixture(scope="module")
def workflow(majors: Majors) -> str:
    """A person's; its id."""
    return majors.make_workflow("before")


def test_the_new_major_comes_with_the_data_and_the_old_one_comes_back(majors: Majors, workflow: str) -> None:
    assert majors.major() == 15
    majors.sql(SCHEDULE.format(workflow=workflow))
    rows = majors.sql(CONTENT)
    majors.check_out("new")
    code, printed = majors.up(check=False)
    assert code == 1
    assert "nothing was changed: its data is of PostgreSQL 15, and 17 of this checkout does not start on that" in printed
    assert f"run bin/ops upgrade-database -s {STACK}" in printed
    assert majors.major() == 15
    _, printed = majors.upgrade()
    assert "Skyvern has served a copy of the data in the new PostgreSQL" in printed
    assert "tables are equal" in printed
    assert "PostgreSQL 17 serves; the cluster of 15 as it was at " in printed
    assert majors.major() == 17
    assert majors.sql("SHOW data_checksums") == "on"
    assert majors.sql(CONTENT) == rows
    assert majors.answers(workflow)
    assert len(majors.kept()) == 1
    # The next up is a plain one, and there is nothing left to do.
    majors.checkout.pulumi(f"preview -s {STACK} --expect-no-changes")
    code, printed = majors.upgrade(check=False)
    assert (code, "is already of PostgreSQL 17" in printed) == (1, True)
    newer = majors.make_workflow("after")
    # A schedule of before whose tick has run since.
    majors.sql(FIRED.format(workflow=workflow))
    _, printed = majors.upgrade("--undo")
    assert "PostgreSQL 15 serves with its data of" in printed
    assert "(1 runs, 1 workflows that came after are lost)" in printed
    assert majors.major() == 15
    assert majors.sql(CONTENT) == rows
    assert majors.answers(workflow)
    assert not majors.answers(newer)
    assert majors.sql("SELECT modified_at > '2026-01-01' FROM workflow_schedules") == "t"


def test_killed_during_the_switch_the_next_up_ends_it(majors: Majors, workflow: str, tmp_path: Path) -> None:
    """SIGKILL for the command and what it runs, when the old containers go."""
    majors.check_out("new")
    rows = majors.sql(CONTENT)
    log = tmp_path / "upgrade.log"
    kill_when(majors.checkout, log, "make way for 17", "bin/ops", "upgrade-database", "-s", STACK, "--yes")
    _, printed = majors.up()
    assert "the upgrade of PostgreSQL 15 to 17 was interrupted, and goes on" in printed
    assert majors.major() == 17
    assert majors.sql(CONTENT) == rows
    assert majors.answers(workflow)
    note = Path(majors.checkout.environment["HOME"]) / f".config/skyvern-stack/database-{STACK}.json"
    assert json.loads(note.read_text())["step"] == "served"
    majors.upgrade("--undo")
    assert majors.major() == 15
    assert majors.sql(CONTENT) == rows


def test_a_new_one_on_which_skyvern_does_not_work_leaves_the_old_one_serving(majors: Majors, workflow: str) -> None:
    majors.check_out("broken")
    rows = majors.sql(CONTENT)
    code, printed = majors.upgrade(check=False)
    assert code == 1
    assert (
        "PostgreSQL 15 serves again with its data of before: the upgrade to 17 failed: smoke: "
        in printed.strip().splitlines()[-1]
    )
    assert majors.major() == 15
    assert majors.sql(CONTENT) == rows
    assert majors.answers(workflow)
