"""From a branch to what runs, on production's shape: the workflows' own steps, what apply refuses, and the way back.

Real are git, the engine, the policies, Docker, every container but the connector, and all commands. Stand-ins are those of the
rehearsal, and GitHub (tests/support/github.py). The tests tell one story on one rehearsal and run in the order in which they are
written.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.workspace import copy_checkout
from ops.clients import git
from tests.host.conftest import Checkout
from tests.host.contents import generated_secrets
from tests.host.rehearsed import Rehearsed
from tests.support import terminal
from tests.support.github import GitHub, Runner

pytestmark = pytest.mark.timeout(4800)
STACK = "rehearsal"
FILE = f"Pulumi.{STACK}.yaml"
SERVER, GATEWAY = f"skyvern-{STACK}-server", f"skyvern-{STACK}-gateway"
NOT_REVIEWED = "error: ops apply: nothing was changed, because this is not what was reviewed: "


@dataclass
class Repository:
    """The project on GitHub, a person's clone of it, and the host with its runner."""

    hub: GitHub
    clone: Path
    runner: Runner
    rehearsed: Rehearsed

    def git(self, *arguments: str) -> str:
        """What git prints in the clone."""
        return git.run(self.clone, "-c", "user.name=a test", "-c", "user.email=test@example.com", *arguments).strip()

    def edit(self, name: str, old: str, new: str) -> None:
        """A commit in the clone."""
        path = self.clone / name
        text = path.read_text()
        assert old in text, f"{name} has no {old}"
        path.write_text(text.replace(old, new))
        self.git("commit", "--quiet", "--all", "--message", f"{name}: {new}")

    def open(self, number: int, name: str, old: str, new: str) -> str:
        """A pull request with one edit; the commit by which GitHub would merge it."""
        self.git("switch", "--quiet", "--create", f"branch-{number}", "origin/main")
        self.edit(name, old, new)
        self.git("switch", "--quiet", "--detach", "origin/main")
        self.git("merge", "--quiet", "--no-ff", "--message", f"the merge of {number}", f"branch-{number}")
        self.git("push", "--quiet", "origin", f"HEAD:refs/pull/{number}/merge")
        return self.git("rev-parse", "HEAD")

    def preview(self, number: int, merge: str) -> str:
        """preview.yml: the comment of the pull request."""
        event = {"pull_request": {"number": number, "base": {"sha": self.git("rev-parse", "origin/main")}}}
        for job in ("preview", "comment"):
            green, log = self.runner.run("preview", job, commit=merge, event=event)
            assert green, log
        return str(self.hub.comments[number][0]["body"])

    def deploy(self, number: int, merge: str) -> tuple[bool, str]:
        """The merge, and deploy.yml: whether it was green, and what it printed."""
        self.push(merge)
        self.hub.pulls[merge] = number
        return self.runner.run("deploy", "deploy", commit=merge, event={})

    def push(self, commit: str) -> None:
        """Makes a commit the one on main, whatever was."""
        self.git("push", "--quiet", "--force", "origin", f"{commit}:refs/heads/main")

    def land(self) -> str:
        """Makes what the clone has checked out the one on main, and on the host; its commit."""
        self.push("HEAD")
        commit = self.git("rev-parse", "HEAD")
        self.runner.check_out(commit, whole=True)
        return commit

    @contextmanager
    def changed_by_hand(self) -> Iterator[None]:
        """Somebody gives the gateway another limit, and it back."""
        docker = self.rehearsed.docker
        memory = docker.inspect(GATEWAY)["HostConfig"]["Memory"]
        docker.run("update", "--memory", "300m", "--memory-swap", "300m", GATEWAY)
        try:
            yield
        finally:
            docker.run("update", "--memory", str(memory), "--memory-swap", str(memory), GATEWAY)

    def ops(self, *arguments: str | Path, code: int = 0) -> str:
        """What a command on the host prints."""
        done = terminal.run(["bin/ops", *arguments], cwd=self.runner.checkout, env=self.runner.env, timeout_seconds=1800)
        assert done.returncode == code, done.stdout
        return done.stdout

    def refused(self, record: Path) -> str:
        """Why apply refuses; nothing was started meanwhile."""
        before = self.started()
        told = self.ops("apply", "--review", record, code=1)
        assert self.started() == before
        (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
        assert line.startswith(NOT_REVIEWED), told
        return line.removeprefix(NOT_REVIEWED).partition(". Preview and review it again")[0]

    def started(self) -> str:
        """Containers of the stack, and since when they run."""
        docker = self.rehearsed.docker
        names = docker.run("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=skyvern.stack={STACK}").split()
        return docker.run("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", *sorted(names))


@pytest.fixture(scope="module")
def repository(checkout: Checkout, rehearsed: Rehearsed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """GitHub with the project on main, as the host has it deployed."""
    folder = tmp_path_factory.mktemp("github")
    origin, clone = folder / "origin", folder / "clone"
    copy_checkout(clone)
    file = (rehearsed.place.folder / "project" / FILE).read_text()
    # No stack but prod is guarded by its name.
    (clone / FILE).write_text(file.replace("config:\n", "config:\n  skyvern:deployment: {only_from_main: true}\n", 1))
    env = {**checkout.environment, **rehearsed.variables(), "GIT_CONFIG_GLOBAL": "/dev/null"}
    with GitHub().serving() as hub:
        runner = Runner(hub, f"file://{origin}", folder / "runner", env, STACK, venv=checkout.root / ".venv")
        found = Repository(hub, clone, runner, rehearsed)
        found.git("init", "--quiet", "--initial-branch=main")
        found.git("add", "--all")
        found.git("commit", "--quiet", "--message", "the first one")
        found.git("init", "--quiet", "--bare", str(origin))
        found.git("remote", "add", "origin", runner.origin)
        found.git("push", "--quiet", "--set-upstream", "origin", "main")
        yield found


def test_a_pull_request_gets_a_comment_and_leaves_a_record(repository: Repository) -> None:
    merge = repository.open(1, FILE, "memory_mib: 3072", "memory_mib: 3328")
    told = repository.preview(1, merge)
    assert f"**`{STACK}`: changes in place** — 1 updated" in told, told
    assert "@@ update skyvern-host-skyvern-server (docker Container) @@\n- memory: 3072\n+ memory: 3328\n" in told, told
    assert "What runs matches the state" in told, told
    (artifact,) = repository.hub.artifacts
    assert artifact[0]["name"] == f"review-{STACK}-{repository.git('rev-parse', f'{merge}^{{tree}}')}"


def test_what_was_not_reviewed_is_refused(repository: Repository, tmp_path: Path) -> None:
    hub, runner, merge = repository.hub, repository.runner, repository.git("rev-parse", "HEAD")
    hub.download("review-*", tmp_path)
    record = tmp_path / f"review-{STACK}.json"
    before = repository.git("rev-parse", "origin/main")

    runner.check_out(merge, whole=True)
    assert "is not on origin/main, and nothing was changed" in repository.ops("apply", "--review", record, code=1)

    # A container that somebody changed by hand.
    repository.land()
    with repository.changed_by_hand():
        assert re.match(r"skyvern-host-gateway-caddy: changed by hand \(memory", repository.refused(record))

    # Another configuration, and another image: both came to main after the review.
    repository.edit(FILE, "memory_mib: 3328", "memory_mib: 3584")
    repository.land()
    told = repository.refused(record)
    assert told.startswith(f"the configuration ({FILE} or Pulumi.yaml); the plan: ")
    repository.git("reset", "--quiet", "--hard", merge)
    repository.edit("images/gateway/Dockerfile", "\nFROM ", "\n# another image\nFROM ")
    another = repository.land()
    assert re.match(rf"the image of {GATEWAY}: (\S+) was reviewed, (?!\1)\S+ would run; the plan: ", repository.refused(record))
    # What nobody previewed has no record either.
    green, log = runner.run("deploy", "deploy", commit=another, event={})
    assert not green
    assert f"stack {STACK}: no reviewed preview of tree" in log

    repository.git("reset", "--quiet", "--hard", merge)
    repository.push(before)


def test_what_was_reviewed_is_applied_once(repository: Repository, tmp_path: Path) -> None:
    merge = repository.git("rev-parse", "HEAD")
    green, log = repository.deploy(1, merge)
    assert green, log
    outcome = repository.hub.comments[1][-1]["body"]
    assert re.search(rf"✅ stack {STACK}: applied \d+ steps at {merge[:12]}; (\d+) of \1 smoke checks are green", outcome)
    assert repository.rehearsed.docker.inspect(SERVER)["HostConfig"]["Memory"] == 3328 * 1024 * 1024
    # The same record once more: something was applied since.
    repository.hub.download("review-*", tmp_path)
    told = repository.refused(tmp_path / f"review-{STACK}.json")
    assert told.startswith("the state: something was applied after the preview of ")


@pytest.mark.nightly  # Two deployments, two ways back.
def test_from_a_bad_deployment_there_is_a_way_back(repository: Repository) -> None:
    good = repository.git("rev-parse", "HEAD")
    bad = repository.open(2, "site/middleware.js", 'pathname === "/ui-session"', 'pathname === "/a-typing-error"')
    told = repository.preview(2, bad)
    assert "**replace** `skyvern-frontend" in told, told
    green, log = repository.deploy(2, bad)
    assert not green
    outcome = repository.hub.comments[2][-1]["body"]
    assert re.search(r"❌ `+ ?ops apply: applied, but \d+ of \d+ smoke checks are green, and the stack is left", outcome), log
    assert re.search(rf"to roll back to {good[:12]}, which was green at \S+: bin/ops rollback -s {STACK}", outcome)

    def migrate() -> None:
        """As far as anybody can tell by the name of the last migration; twice is back again."""
        statement = "UPDATE alembic_version SET version_num = reverse(version_num)"
        repository.rehearsed.docker.run("exec", f"skyvern-{STACK}-roles", "psql", "-d", "skyvern", "--command", statement)

    migrate()
    try:
        told = repository.ops("rollback", "-s", STACK, "--yes", code=1)
    finally:
        migrate()
    assert f"the database was migrated since {good[:12]} (" in told
    assert "and its Skyvern does not run on that; go forward with a fix" in told

    told = repository.ops("rollback", "-s", STACK, "--yes")
    assert re.search(r"(\d+) of \1 checks green", told), told
    # The host's own checkout stays as it is, and the other one is gone.
    assert git.head(repository.runner.checkout) == git.Head(commit=bad, changed=())
    assert git.run(repository.runner.checkout, "worktree", "list").count("\n") == 1
    assert not list((Path(repository.runner.env["XDG_CACHE_HOME"]) / "skyvern-stack").glob("rollback-*"))


def test_what_somebody_changed_is_one_issue(repository: Repository) -> None:
    hub, docker, world = repository.hub, repository.rehearsed.docker, repository.rehearsed.place.world
    commit = repository.git("rev-parse", "origin/main")

    def look() -> str:
        green, log = repository.runner.run("drift", "drift", commit=commit, event={})
        assert green, log
        return log

    docker.run("create", "--name", "by-hand", "--label", f"skyvern.stack={STACK}", docker.inspect(GATEWAY)["Image"])
    docker.run("network", "create", "--label", f"skyvern.stack={STACK}", "by-hand")
    with world.edit() as data:
        record = next(one for one in data["records"].values() if one["name"].startswith("api."))
        data["records"]["by-hand"] = {**record, "id": "by-hand", "name": "old.skyvern.test", "comment": None}
    try:
        with repository.changed_by_hand():
            assert "issue in acme/skyvern: created" in look()
            assert "issue in acme/skyvern: unchanged" in look()
    finally:
        docker.run("rm", "by-hand")
        docker.run("network", "rm", "by-hand")
        with world.edit() as data:
            del data["records"]["by-hand"]
    (issue,) = hub.issues
    assert issue["title"] == f"Drift of {STACK}: 1 changed outside Pulumi, 3 not in the state"
    told = issue["body"]
    assert re.search(r"\| `skyvern-host-gateway-caddy` \| changed \| `memory`: `\d+` → `300", told)
    for stray in ("container by-hand", "network by-hand", f"DNS record old.skyvern.test to {record['content']} (by-hand)"):
        assert f"- `{stray}`\n" in told
    assert "issue in acme/skyvern: closed" in look()
    assert [one["state"] for one in hub.issues] == ["closed"]


def test_nothing_that_was_told_is_secret(repository: Repository, tmp_path: Path) -> None:
    rehearsed = repository.rehearsed
    outputs = rehearsed.outputs()
    assert outputs.smoke_api_key is not None
    keys = (outputs.api_key.get_secret_value(), outputs.smoke_api_key.get_secret_value())
    secrets = [*generated_secrets({"deployment": rehearsed.program.export()}).values(), *keys]
    secrets += rehearsed.place.world.read()["tokens"]
    assert len(secrets) > 10
    hub = repository.hub
    told = json.dumps([hub.comments, hub.issues, hub.logs])
    for number, artifact in enumerate(hub.artifacts):
        zipfile.ZipFile(io.BytesIO(artifact[1])).extractall(tmp_path / str(number))
    told += "".join(path.read_text() for path in tmp_path.glob("*/*"))
    assert told.count("skyvern-host-skyvern-server") > 5
    assert not [secret for secret in secrets if secret in told]
