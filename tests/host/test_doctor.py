"""``ops doctor``, ``ops status`` and ``ops logs`` on a real stack: silent while it is well, one fix for each planted fault.

Each test leaves the stack as the program made it, so that the next module finds nothing changed.
"""

import json
import re
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.host.conftest import Checkout, unwell
from tests.support.waiting import wait_for

STACK = "dev"
# The first test deploys the stack, which builds every image where the cache has none.
pytestmark = pytest.mark.timeout(4800)


@pytest.fixture
def healthy(checkout: Checkout, first_up: str) -> Iterator[Checkout]:
    """The stack; a test that fails half-way leaves every part healthy."""
    yield checkout
    if unwell(checkout.docker):
        checkout.pulumi(f"up --refresh --yes --skip-preview -s {STACK}")


def name(part: str) -> str:
    return f"skyvern-{STACK}-{part}"


def findings(checkout: Checkout) -> list[dict[str, str]]:
    """What the doctor finds; its exit code must say the same."""
    done = checkout.run("bin/ops", "doctor", "-s", STACK, "--json", check=False)
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    assert done.returncode == (1 if any(one["level"] == "error" for one in found) else 0), done.stderr
    # A test machine without a time service is well enough for a test.
    return [one for one in found if one["subject"] != "this machine"]


def fix(found: list[dict[str, str]], subject: str, problem: str) -> str:
    """The fix of the one finding on a subject with such a problem."""
    fitting = [one for one in found if one["subject"] == subject and problem in one["problem"]]
    assert len(fitting) == 1, f"{subject}: {problem}: {json.dumps(found, indent=1)}"
    return fitting[0]["fix"]


def heal(checkout: Checkout, remedy: str) -> None:
    """Does what a fix says, as a person would."""
    checkout.run("bash", "-c", remedy.split(" (")[0])


def wait_until_healthy(checkout: Checkout) -> None:
    # The daemon is asked first: each look of the doctor takes a processor for a second.
    wait_for(lambda: not unwell(checkout.docker), lambda: str(unwell(checkout.docker)), seconds=120, pause=0.5)
    wait_for(lambda: not findings(checkout), lambda: json.dumps(findings(checkout), indent=1), seconds=120, pause=0.25)


@contextmanager
def stack_file(checkout: Checkout) -> Iterator[dict[str, Any]]:
    """The stack file as a document: what is changed in it is written for the block, and taken back afterwards."""
    path = checkout.root / f"Pulumi.{STACK}.yaml"
    before = path.read_text()
    yaml = YAML()
    document = yaml.load(before)
    try:
        yield document
    finally:
        path.write_text(before)


def write(checkout: Checkout, document: dict[str, Any]) -> None:
    YAML().dump(document, checkout.root / f"Pulumi.{STACK}.yaml")


def test_nothing_is_found_on_a_healthy_stack(healthy: Checkout) -> None:
    before = healthy.docker.run("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}")
    assert findings(healthy) == []
    assert healthy.run("bin/ops", "doctor", "-s", STACK).stdout
    assert healthy.docker.run("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}") == before


def test_containers_that_do_not_do_well(healthy: Checkout) -> None:
    docker, home = healthy.docker, Path(healthy.environment["HOME"])
    image = docker.inspect(name("egress"))["Config"]["Image"]
    passphrase = home / ".config" / "skyvern-stack" / "passphrase"
    docker.run("stop", name("smoke-site"))
    docker.run("pause", name("egress"))
    docker.run("exec", name("roles"), "rm", "/tmp/password-set")  # noqa: S108
    docker.run(
        *("run", "--detach", "--network", "none", "--name", name("stranger")),
        *("--label", f"skyvern.stack={STACK}", "--label", "skyvern.part=stranger", image, "sleep", "infinity"),
    )
    # With a second name, taking one away leaves the image.
    docker.run("tag", image, "localhost/skyvern/kept:1")
    docker.run("image", "rm", image)
    passphrase.chmod(0o644)
    try:
        wait_for(lambda: docker.inspect(name("roles"))["State"]["Health"]["Status"] == "unhealthy", seconds=120, pause=0.5)
        found = findings(healthy)
        assert fix(found, image, "is not on the daemon") == f"bin/ops images build -s {STACK}"
        for subject, problem, remedy in (
            (name("smoke-site"), "does not run (exited", f"start {name('smoke-site')}"),
            (name("egress"), "is paused", f"unpause {name('egress')}"),
            (name("roles"), "runs and is unhealthy", f"restart {name('roles')}"),
            (name("stranger"), "not in its state", f"rm --force {name('stranger')}"),
            (str(passphrase), "has mode 0644", f"chmod 0600 {passphrase}"),
        ):
            said = fix(found, subject, problem)
            assert remedy in said
            heal(healthy, said)
        assert len(found) == 6, json.dumps(found, indent=1)
    finally:
        docker.run("tag", "localhost/skyvern/kept:1", image)
        docker.run("image", "rm", "localhost/skyvern/kept:1")
    wait_until_healthy(healthy)


def test_what_was_removed_or_made_by_hand(healthy: Checkout) -> None:
    """A container and a network gone, one that restarts for ever, one of another image and open to the LAN."""
    docker = healthy.docker
    port = healthy.output("app_url", STACK).rpartition(":")[2]
    strange = docker.inspect(name("smoke-site"))["Config"]["Image"]
    wanted = docker.inspect(name("gateway"))["Config"]["Image"]

    def by_hand(part: str, *arguments: str) -> None:
        labels = ("--label", f"skyvern.stack={STACK}", "--label", f"skyvern.part={part}")
        docker.run("run", "--detach", "--name", name(part), *labels, *arguments)

    docker.run("rm", "--force", name("smoke-site"), name("egress"), name("gateway"), name("artifacts"))
    docker.run("network", "rm", name("smoke"))
    # The test daemon has no default bridge.
    by_hand("gateway", "--network", name("edge"), "--publish", f"0.0.0.0:{port}:8080", strange, "smoke-site")
    by_hand("artifacts", "--network", "none", "--restart", "always", strange, "false")
    wait_for(lambda: docker.inspect(name("artifacts"))["RestartCount"] > 3, seconds=60, pause=0.25)
    found = findings(healthy)
    again = f"pulumi up --refresh -s {STACK}"
    assert fix(found, name("egress"), "does not exist") == again
    assert fix(found, name("smoke-site"), "does not exist") == again
    assert fix(found, name("smoke"), "does not exist") == again
    assert f"logs -s {STACK} artifacts" in fix(found, name("artifacts"), "restart loop")
    recreate = re.compile(rf"rm --force {name('gateway')}, then {re.escape(again)}$")
    for problem in (
        f"port {port} is published on 0.0.0.0",
        f"runs {strange}, and the state has {wanted}",
        "its root file system can be written to",
        "has kernel capabilities",
        "may gain privileges",
        "its memory limit is none",
    ):
        assert recreate.search(fix(found, name("gateway"), problem)), problem

    status = healthy.run("bin/ops", "status", "-s", STACK).stdout
    assert "API does not answer" in status
    docker.run("rm", "--force", name("gateway"), name("artifacts"))
    healthy.pulumi(f"up --refresh --yes --skip-preview -s {STACK}")
    wait_until_healthy(healthy)
    healthy.pulumi(f"preview --refresh --expect-no-changes -s {STACK}")


def test_a_stack_file_that_does_not_fit_the_host(healthy: Checkout) -> None:
    there = json.loads(healthy.docker.run("info", "--format", "{{json .}}"))
    file = f"Pulumi.{STACK}.yaml"
    with stack_file(healthy) as document:
        salt = document.pop("encryptionsalt")
        document["config"]["skyvern:server"] |= {"cpus": 200}
        document["config"]["skyvern:database"] = {"memory_mib": there["MemTotal"] // 2**20 + 1}
        document["config"]["skyvern:llm"] = {
            "provider": "openai-compatible",
            "base_url": "http://llm.invalid:4000/v1",
            "model": "none",
            "api_key": {"secure": "v1:never-opened"},
        }
        write(healthy, document)
        found = findings(healthy)
        assert fix(found, "server.cpus", "200, and the host has") == f"write server.cpus: {there['NCPU']} into {file}"
        assert fix(found, "database.memory_mib", "and the host has") == f"write a smaller database.memory_mib into {file}"
        assert fix(found, "openai-compatible", "cannot connect").startswith("let Docker's containers out to it")
        assert salt in fix(found, "encryptionsalt", "is missing")
        assert len(found) == 4, found

        document["config"]["skyvern:server"] = {"memory_mib": "much"}
        write(healthy, document)
        assert fix(findings(healthy), file, "server.memory_mib").startswith("write another value")
    assert findings(healthy) == []


def test_a_taken_port_and_an_interrupted_up(healthy: Checkout) -> None:
    docker, port = healthy.docker, int(healthy.output("app_url", STACK).rpartition(":")[2])
    # The backend's own file: `pulumi stack import` takes pending operations out.
    states = Path(healthy.environment["HOME"]) / ".config" / "skyvern-stack" / "state"
    (stored,) = states.glob(f".pulumi/stacks/*/{STACK}.json")
    before = stored.read_text()
    document = json.loads(before)
    latest = document["checkpoint"]["latest"]
    one = next(one for one in latest["resources"] if one["type"].endswith(":Container"))
    latest["pending_operations"] = [{"resource": one, "type": "updating"}]
    docker.run("stop", name("gateway"))
    stored.write_text(json.dumps(document))
    try:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
            found = findings(healthy)
    finally:
        stored.write_text(before)
    assert f"sport = :{port}" in fix(found, f"127.0.0.1:{port}", "another program listens")
    assert fix(found, STACK, "pending operations: updating").startswith(f"pulumi refresh -s {STACK}")
    heal(healthy, fix(found, name("gateway"), "does not run"))
    assert len(found) == 3, found
    wait_until_healthy(healthy)


def test_status_of_a_running_stack_and_of_one_that_is_down(healthy: Checkout) -> None:
    status = json.loads(healthy.run("bin/ops", "status", "-s", STACK, "--json").stdout)
    assert status["up"]
    assert status["api_version"]
    assert status["address"] == healthy.output("app_url", STACK)
    server = next(one for one in status["containers"] if one["part"] == "server")
    assert server["health"] == "healthy"
    assert 100 * 2**20 < server["memory_bytes"] < server["memory_mib"] * 2**20
    database = next(one for one in status["volumes"] if one["part"] == "postgres")
    assert database["size_bytes"] > 10 * 10**6

    with stack_file(healthy):
        down = healthy.root / "Pulumi.nowhere.yaml"
        down.write_text((healthy.root / f"Pulumi.{STACK}.yaml").read_text())
        try:
            said = healthy.run("bin/ops", "status", "-s", "nowhere").stdout
        finally:
            down.unlink()
    assert said.startswith("stack nowhere is down: no container")


def test_logs_are_merged_followed_and_without_secrets(healthy: Checkout) -> None:
    lines = healthy.run("bin/ops", "logs", "-s", STACK).stdout.splitlines()
    assert {line.split()[1] for line in lines} >= {"server", "gateway", "postgres", "roles"}
    text = "\n".join(lines)
    for secret in ("api_key", "ui_password"):
        assert healthy.output(secret, STACK) not in text
    assert "has no service nobody" in healthy.run("bin/ops", "logs", "-s", STACK, "nobody", check=False).stderr

    following = subprocess.Popen(
        [healthy.root / "bin" / "ops", "logs", "-s", STACK, "gateway", "--follow", "--tail", "0"],
        cwd=healthy.root,
        env=dict(healthy.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stdout is not None
        # On a busy machine the follower takes a while to start, and it shows what is logged from then on.
        for _ in range(10):
            healthy.run("bin/ops", "status", "-s", STACK)
            if select.select([following.stdout], [], [], 2)[0]:
                break
        line = following.stdout.readline()
        assert re.match(r"\d\d:\d\d:\d\d gateway \| .*heartbeat", line), line
    finally:
        following.send_signal(2)
        _, errors = following.communicate(timeout=20)
    assert following.returncode == 0, errors
    assert errors == ""
