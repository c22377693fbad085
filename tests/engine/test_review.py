"""From a branch to what is applied, on the whole program behind the real engine, with a stand-in for the Docker daemon.

The checkout is a copy with a history of its own, and every command runs as a person or a workflow runs it. What is left out of
``ops apply`` is only what needs containers that run: building images, trying Chromium's sandbox, the smoke run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.bench.workspace import copy_checkout
from ops.engine import Engine
from ops.paths import ROOT
from rehearsal.standin import cloudflare, docker, install

pytestmark = pytest.mark.timeout(600)

# A docker that has every image and not one container: the stand-in's are in its world only.
NO_DOCKER = "#!/bin/sh\nexit 0\n"
OPS = """\
from ops import cli, deploy, images, preflight, repair

for module, name in ((images, "build"), (preflight, "check"), (repair, "wait_until_healthy")):
    setattr(module, name, lambda *_: None)
deploy.run_smoke = lambda *_: (1, 1)
cli.main()
"""
STACK_FILE = "config:\n  skyvern:host:\n    port: 8090\n  skyvern:server:\n    memory_mib: 4096\n"


class Host:
    """The host of a stack: a checkout of main, a state, and the daemon's stand-in."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.checkout = folder / "checkout"
        copy_checkout(self.checkout)
        (self.checkout / ".venv").symlink_to(ROOT / ".venv")
        # The policies judge a plan, which is tested elsewhere; here they would only double the time.
        (self.checkout / "policy" / "PulumiPolicy.yaml").unlink()
        self.file = self.checkout / "Pulumi.prod.yaml"
        self.world = cloudflare.new_world(folder / "world.json")
        docker.add_daemon(self.world)
        (folder / "state").mkdir()
        (folder / "bin").mkdir()
        (folder / "bin" / "docker").write_text(NO_DOCKER)
        (folder / "bin" / "docker").chmod(0o755)
        (folder / "ops.py").write_text(OPS)
        self.command = [sys.executable, "-P", folder / "ops.py"]
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "GITHUB_", "GIT_"))},
            **self.world.variables(),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.checkout),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "only a test",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            **{f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        self._prepare(engine, install(folder / "home", engine.pulumi_home, "docker"))
        self.file.write_text(STACK_FILE)
        self.git("init", "--quiet", "--initial-branch=main")
        self.pulumi("stack", "init", "prod", "--no-select")
        self.commit("the first one")

    def _prepare(self, engine: Engine, home: Path) -> None:
        """What script/bootstrap would note: the engine of this checkout."""
        record = {
            "kind": "modules",
            "version": engine.version,
            "bin_dir": str(engine.bin_dir),
            "pulumi_home": str(home),
            "forced": True,
        }
        name = self._run([sys.executable, "-P", "-c", "from ops import bootstrap; print(bootstrap.record_file())"])
        path = Path(name.strip())
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))

    def _run(self, command: list[Any], code: int = 0) -> str:
        done = subprocess.run(
            command, cwd=self.checkout, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def git(self, *arguments: str) -> str:
        return self._run(["git", *arguments])

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def ops(self, *arguments: str | Path, code: int = 0) -> str:
        return self._run([*self.command, *arguments], code)

    def pulumi(self, *arguments: str) -> str:
        program = self._run([sys.executable, "-P", "-c", "from ops import bootstrap; print(*bootstrap.pulumi())"]).strip()
        variables = self._run([sys.executable, "-P", "-m", "ops.bootstrap", "--print-env"])
        return self._run(["sh", "-c", f'{variables}\n{program} "$@"', "sh", *arguments])

    def change(self, old: str, new: str) -> None:
        """A pull request that edits the stack file, merged at once."""
        self.file.write_text(self.file.read_text().replace(old, new))
        self.commit(new)

    def review(self, code: int = 0) -> Path:
        folder = self.checkout.parent / "review"
        self.ops("review", "--stack", "prod", "--output", folder, code=code)
        return folder

    def refused(self, reviewed: Path) -> str:
        """The one line by which ops apply refuses, without its beginning and its end; nothing was called at the daemon."""
        self.world.forget_journal()
        told = self.ops("apply", "--review", reviewed, code=1)
        assert self.world.journal("create", "update", "delete") == []
        (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
        start = "error: ops apply: nothing was changed, because this is not what was reviewed: "
        assert line.startswith(start), told
        return line.removeprefix(start).partition(". Preview and review it again")[0]

    def names(self, operation: str) -> list[str]:
        return [entry["name"] for entry in self.world.journal(operation)]


@pytest.fixture(scope="module")
def host(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(engine, tmp_path_factory.mktemp("host"))


def test_only_the_reviewed_is_applied(host: Host) -> None:
    host.pulumi("up", "--yes", "--skip-preview", "--stack", "prod")

    # A branch with a change; its preview is of the merge, whose files main has afterwards.
    host.git("switch", "--quiet", "--create", "more-memory")
    host.change("memory_mib: 4096", "memory_mib: 5120")
    reviewed = host.review()
    record = reviewed / "review-prod.json"
    assert "skyvern-host-skyvern-server" in (reviewed / "report.md").read_text()
    assert "is not on main" in host.ops("apply", "--review", record, code=1)
    host.git("switch", "--quiet", "main")
    host.git("merge", "--quiet", "--no-ff", "--message", "merged", "more-memory")
    kept = record.read_text()

    # A container that somebody changed by hand.
    with host.world.edit() as data:
        (gateway,) = [one for one in data["containers"].values() if one["name"] == "skyvern-prod-gateway"]
        memory, gateway["memory"] = gateway["memory"], 7
    told = host.refused(record)
    assert told.startswith("skyvern-host-gateway-caddy: changed by hand (")
    assert "memory" in told
    assert "skyvern-host-gateway-caddy: changed (" in host.ops("drift", "--stack", "prod", code=2)
    with host.world.edit() as data:
        data["containers"] = {
            key: {**one, "memory": memory} if one["name"] == "skyvern-prod-gateway" else one
            for key, one in data["containers"].items()
        }

    # Another edit of the configuration that came to main in between, even one that changes no resource.
    host.change("  skyvern:server:", "  skyvern:deployment:\n    only_from_main: true\n  skyvern:server:")
    assert host.refused(record).startswith("the configuration (Pulumi.prod.yaml or Pulumi.yaml); the files: tree ")
    host.git("reset", "--quiet", "--hard", "HEAD~1")

    # Another digest of an image.
    images = host.checkout / "components" / "host" / "images.py"
    images.write_text(images.read_text().replace("postgres:17.6-trixie@sha256:0", "postgres:17.6-trixie@sha256:1"))
    host.commit("another PostgreSQL")
    told = host.refused(record)
    assert told.startswith("the image of skyvern-prod-postgres: postgres:17.6-trixie@sha256:0")
    assert "; the plan: replace skyvern-host-postgres-" in told
    host.git("reset", "--quiet", "--hard", "HEAD~1")

    # Another apply: of what was reviewed itself.
    host.world.forget_journal()
    outcome = host.checkout.parent / "outcome.md"
    host.ops("apply", "--review", record, "--outcome", outcome)
    assert host.names("update") == ["skyvern-host-skyvern-server"]
    assert outcome.read_text().startswith("✅ stack prod: applied ")
    (server,) = [one for one in host.world.read()["containers"].values() if one["name"] == "skyvern-prod-server"]
    assert server["memory"] == 5120
    assert host.refused(record).startswith("the state: something was applied after the preview of ")

    # Nothing that is secret travels with the record.
    exported = json.loads(host.pulumi("stack", "export", "--show-secrets", "--stack", "prod"))
    secrets = [text for text in _plaintexts(exported) if len(text) > 7]
    assert len(secrets) > 5
    written = kept + "".join(path.read_text() for path in reviewed.iterdir())
    assert not [secret for secret in secrets if secret in written]


def _plaintexts(value: Any) -> Iterator[str]:
    """Every text within a secret of an export."""
    if isinstance(value, dict):
        if "plaintext" in value:
            opened = json.loads(value["plaintext"])
            yield from [opened] if isinstance(opened, str) else []
        for one in value.values():
            yield from _plaintexts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _plaintexts(one)
