"""A stack with Ollama, without a way to Ollama's registry and with a real model that the test makes.

The tests tell one story in the order in which they stand: the pull fails and everything else runs, then the model is put where a
pull would have put it, and Skyvern's network path gets an answer from it.
"""

import json
from collections.abc import Iterator

import pytest

from lab.workspace import free_port
from ops.clients.docker import Docker
from ops.observe import smoke
from ops.observe.smoke import llm_checks
from ops.observe.smoke.site import Check, Site, client_for
from ops.stack.outputs import parse
from tests.host.conftest import Checkout, deployed
from tests.host.tiny_model import tiny_gguf
from tests.support.waiting import wait_for

STACK = "model"
PREFIX = f"skyvern-{STACK}"
# A name of no registry, so that the pull fails on a machine with a network too.
MODEL = "registry.invalid/tests/tiny:1m"
ASK = """
import json, os, urllib.request
body = {"model": os.environ["OLLAMA_MODEL"], "prompt": "Where is the button?", "stream": False, "options": {"num_predict": 8}}
request = urllib.request.Request(os.environ["OLLAMA_SERVER_URL"] + "/api/generate", json.dumps(body).encode())
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120).read().decode())
"""

# Ollama alone is five minutes of compiling. The first run builds every image where the cache has none.
pytestmark = [pytest.mark.timeout(4800), pytest.mark.nightly]


@pytest.fixture(scope="module")
def docker(checkout: Checkout) -> Iterator[Docker]:
    """The daemon with the stack on it; that ``pulumi up`` succeeded without a model is what the fixture has seen."""
    llm = {"provider": "ollama", "model": MODEL, "memory_mib": 1024, "cpus": 1.0}
    checkout.write_stack(STACK, port=free_port(), llm=llm)
    with deployed(checkout, STACK):
        yield checkout.docker


def model_check(checkout: Checkout) -> smoke.Result:
    """The line of ``ops smoke`` about the model."""
    text = checkout.pulumi(f"stack output --json --show-secrets -s {STACK}").stdout
    outputs = parse(STACK, text)
    check = smoke.checks_for(outputs)[-1]
    assert check == Check("language model", "ollama-pull", llm_checks.check_ollama_model)
    with client_for(outputs) as client:
        return smoke.run_check(check, Site(outputs, client, checkout.docker))


def test_a_failed_pull_is_one_line_and_everything_runs(checkout: Checkout, docker: Docker) -> None:
    own = ("--filter", f"label=skyvern.stack={STACK}", "--format", "{{.Names}}")
    healthy = set(docker.run("ps", "--filter", "health=healthy", *own).split())
    assert healthy == set(docker.run("ps", "--all", *own).split())
    assert {f"{PREFIX}-ollama", f"{PREFIX}-ollama-pull", f"{PREFIX}-server"} <= healthy
    lines = docker.run("logs", f"{PREFIX}-ollama-pull").splitlines()
    assert lines[0] == f"ollama-pull: pulling {MODEL}"
    assert lines[1].startswith(f"ollama-pull: {MODEL} is missing, AI steps fail until it is there; next try in 60 s; Error: ")
    told = model_check(checkout)
    assert told.mark == "FAIL"
    assert f"{MODEL} is missing" in told.detail or f"pulling {MODEL}" in told.detail
    assert "\n" not in told.detail


def test_a_second_plan_is_empty(checkout: Checkout, docker: Docker) -> None:
    checkout.pulumi(f"preview --expect-no-changes -s {STACK}")
    checkout.pulumi(f"refresh --preview-only --expect-no-changes -s {STACK}")


def test_the_server_answers_skyvern_alone_and_gets_nowhere(docker: Docker) -> None:
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
    docker.run("exec", f"{PREFIX}-server", "python3", "-c", reach, "ollama", "11434")
    address = docker.inspect(f"{PREFIX}-ollama")["NetworkSettings"]["Networks"]
    assert set(address) == {f"{PREFIX}-llm"}
    assert docker.inspect(f"{PREFIX}-llm")["Internal"] is True
    mounts = {mount["Destination"]: mount["RW"] for mount in docker.inspect(f"{PREFIX}-ollama")["Mounts"]}
    assert mounts["/models"] is False
    writes = docker.run("exec", f"{PREFIX}-ollama", "sh", "-c", "touch /models/blobs/x 2>&1 || true")
    assert "Read-only file system" in writes
    # The pull container's own server is not to be had from outside it.
    listening = docker.run("exec", f"{PREFIX}-ollama-pull", "cat", "/proc/net/tcp", "/proc/net/tcp6")
    local = {line.split()[1] for line in listening.splitlines() if " 0A " in line and not line.split()[1].startswith("0B00007F")}
    assert {address.partition(":")[0] for address in local} == {"0100007F"}


def test_a_real_model_answers_over_skyverns_network(checkout: Checkout, docker: Docker) -> None:
    pull = f"{PREFIX}-ollama-pull"
    # As docs/llm.md has it.
    docker.run("exec", "-i", pull, "sh", "-c", "cat > /models/tiny.gguf", stdin=tiny_gguf())
    docker.run("exec", pull, "sh", "-c", 'echo "FROM /models/tiny.gguf" > /tmp/Modelfile')
    docker.run("exec", pull, "ollama", "create", MODEL, "-f", "/tmp/Modelfile")  # noqa: S108
    docker.run("exec", pull, "rm", "-f", "/models/tiny.gguf")
    answer = json.loads(docker.run("exec", f"{PREFIX}-server", "python3", "-c", ASK))
    assert answer["done"] is True
    # Fewer where the end of a text is among the eight: the weights and the choice are random.
    assert 1 <= answer["eval_count"] <= 8
    assert model_check(checkout).mark == "ok"
    loaded = docker.run("exec", f"{PREFIX}-ollama", "ollama", "ps")
    assert MODEL in loaded


def test_the_model_outlives_its_containers(checkout: Checkout, docker: Docker) -> None:
    docker.run("restart", f"{PREFIX}-ollama", f"{PREFIX}-ollama-pull")
    there = f"ollama-pull: {MODEL} is there"
    wait_for(lambda: docker.run("logs", "--tail", "1", f"{PREFIX}-ollama-pull").strip() == there, seconds=60, pause=0.25)
    wait_for(lambda: docker.inspect(f"{PREFIX}-ollama")["State"]["Health"]["Status"] == "healthy", seconds=60, pause=0.25)
    assert model_check(checkout).mark == "ok"
