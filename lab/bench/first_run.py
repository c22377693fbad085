"""``script/up`` on a machine that has Docker and nothing of ours: by step, and once more when everything is there."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.dockerd import Dockerd
from lab.own_network import own_network
from lab.workspace import copy_checkout, free_port
from ops.errors import UserError
from ops.stack import file
from ops.stack.stack import Stack

# Variables of a person's shell about Pulumi, Docker, caches or an environment of Python begin like this.
_OWN = ("PULUMI", "DOCKER", "XDG_", "VIRTUAL_ENV", "GOCACHE", "GOPATH", "PIP_CACHE_DIR")


def seconds_by_step(printed: str, total_seconds: float) -> dict[str, float]:
    """Step -> whole seconds, from the output of ``script/up``; the time before its first step is the Python environment's."""
    steps: dict[str, float] = {}
    name = ""
    for line in printed.splitlines():
        if begun := re.match(r"\[\d+/\d+\] (.*) \.\.\.$", line):
            name = begun[1]
        elif name and (ended := re.match(r" +done in (\d+) s$", line)):
            steps[name] = float(ended[1])
            name = ""
    return {"Python environment": max(0.0, total_seconds - sum(steps.values())), **steps}


@contextmanager
def fresh_machine(like: str) -> Iterator[tuple[Path, dict[str, str], str]]:
    """Checkout, environment and source of images for a first run; meanwhile a daemon without images runs in its own network.

    Raises UserError without root, which the daemon needs, and without slirp4netns.
    """
    if os.geteuid() != 0:
        raise UserError("bench: first-run starts its own Docker daemon and needs root; run it as root")
    folder = Path(tempfile.mkdtemp(prefix="skyvern-first-run-"))
    run = Path("/run") / f"skyvern-bench-{os.getpid()}"
    daemon = Dockerd(run, folder / "docker", folder / "dockerd.log", pool="10.217.0.0/16")
    with own_network():
        try:
            daemon.start()
            checkout, home = folder / "checkout", folder / "home"
            home.mkdir()
            copy_checkout(checkout)
            source = Stack(like).settings().images.source
            target = checkout / "Pulumi.dev.yaml"

            def move(document: dict[str, Any]) -> bool:
                document["config"]["skyvern:host"] |= {"docker_host": daemon.docker.host, "port": free_port(), "internet": False}
                document["config"]["skyvern:images"] = {"source": source}
                return True

            file.edit(target, move)
            env = {key: value for key, value in os.environ.items() if not key.startswith(_OWN)}
            yield checkout, {**env, "HOME": str(home)}, source
        finally:
            if containers := _containers(daemon):
                daemon.docker.run("rm", "--force", *containers)
            daemon.stop()
            shutil.rmtree(run, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)


def up(checkout: Path, env: dict[str, str], source: str) -> dict[str, float]:
    """One ``script/up``: its seconds by step. Raises UserError with its last lines if it fails."""
    began = time.monotonic()
    command = ["script/up", "--images", source, "--yes"]
    done = subprocess.run(command, cwd=checkout, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"script/up: exit {done.returncode}: {' | '.join((done.stdout + done.stderr).splitlines()[-5:])}")
    return seconds_by_step(done.stdout, time.monotonic() - began)


def _containers(daemon: Dockerd) -> list[str]:
    """All containers; none of a daemon that does not answer."""
    try:
        return daemon.docker.run("ps", "--all", "--quiet").split()
    except UserError:
        return []
