"""A stack of upstream's, with data, is looked at, rehearsed, taken over, and put back into service.

Skyvern 1.0.48 from PyPI, 55 migrations behind, as upstream's compose file runs it: folders of the host, the guide's ENV, the
signing key of the example, the vault's key in a file, and the oldest PostgreSQL that Debian still has.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.endpoints import SERVER_PORT
from components.host import images
from components.host.volumes import SKYVERN_FOLDERS, folder_path
from components.secrets import mint_api_key
from lab.workspace import free_port
from ops.clients import process
from ops.clients.docker import PYTHON, Docker
from ops.errors import UserError
from ops.images import build
from ops.observe.smoke.site import Site
from tests.host.conftest import CREDENTIAL, IMAGES, MORNING, Checkout, as_person, code_status, site_of
from tests.support.debian import debootstrap
from tests.support.waiting import wait_for

# It takes the other lane ten minutes more.
pytestmark = [pytest.mark.timeout(2400), pytest.mark.nightly]

# Not below /tmp, which the stack file refuses: it is emptied.
FOLDER = Path("/srv") / f"skyvern-test-takeover-{os.getpid()}"
POSTGRES = "localhost/test/postgresql-15"
# Upstream's server without a browser: nothing runs in it. uv, because pip looks for these versions for many minutes.
DOCKERFILE = """
ARG DEBIAN
FROM ${DEBIAN}
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev python3 python3-dev python3-venv
COPY ca.crt /build/ca.crt
RUN if [ -s /build/ca.crt ]; then export PIP_CERT=/build/ca.crt SSL_CERT_FILE=/build/ca.crt; fi \
 && python3 -m venv /opt/skyvern \
 && /opt/skyvern/bin/pip install --no-cache-dir uv \
 && /opt/skyvern/bin/uv pip install --no-cache --python /opt/skyvern/bin/python 'skyvern[server]==1.0.48'
COPY start.py /
WORKDIR /app
CMD ["/opt/skyvern/bin/python", "/start.py"]
"""
# What upstream's entrypoint does: migrate, make the organisation and its key the first time, serve.
START = """
import asyncio, os, pathlib, sys
from skyvern.utils import migrate_db
from skyvern.forge.forge_app_initializer import start_forge_app
from skyvern.forge.sdk.services.local_org_auth_token_service import ensure_local_api_key
migrate_db()
start_forge_app()
made = pathlib.Path("/app/organization-made")
if not made.exists():
    asyncio.run(ensure_local_api_key(os.environ["SKYVERN_API_KEY"]))
    made.touch()
os.execv(sys.executable, [sys.executable, "-m", "skyvern.forge"])
"""
# A storage keeps it from one run of the tests to the next.
SKYVERN = f"localhost/test/skyvern-1.0.48:{hashlib.sha256((DOCKERFILE + START).encode()).hexdigest()[:12]}"
ORGANIZATION = "o_429000000000000001"
SECRET_KEY = "PLACEHOLDER"
PICTURE = f"artifacts/production/{ORGANIZATION}/workflow_runs/wr_1/보고서 1.png"
COOKIES = f"browser_sessions/{ORGANIZATION}/wpid_1/Default/Cookies"
CALL = f"""
import json, sys, urllib.request, urllib.error
method, path, key, body = sys.argv[1:]
headers = {{"x-api-key": key, "content-type": "application/json"}}
request = urllib.request.Request(f"http://127.0.0.1:{SERVER_PORT}{{path}}", body.encode() or None, headers, method=method)
try:
    with urllib.request.urlopen(request, timeout=60) as answer:
        print(json.dumps([answer.status, json.load(answer)]))
except urllib.error.HTTPError as refused:
    print(json.dumps([refused.code, refused.read().decode()]))
"""


@dataclass(frozen=True)
class Old:
    """The old stack. workflow, credential: ids of what is in it."""

    docker: Docker
    key: str
    workflow: str = ""
    credential: str = ""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and answer of its API."""
        text = json.dumps(body) if body else ""
        status, answer = json.loads(self.docker.run("exec", "acme-skyvern-1", *PYTHON, CALL, method, path, self.key, text))
        return status, answer

    def sql(self, statement: str) -> str:
        """By its own PostgreSQL."""
        psql = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "skyvern", "-d", "skyvern", "-c", statement)
        return self.docker.run("exec", "acme-postgres-1", *psql).strip()

    def serves(self) -> bool:
        """Whether it answers."""
        heartbeat = f"http://127.0.0.1:{SERVER_PORT}/api/v1/heartbeat"
        look = f"import urllib.request; print(urllib.request.urlopen({heartbeat!r}, timeout=10).status)"
        try:
            return self.docker.run("exec", "acme-skyvern-1", *PYTHON, look).strip() == "200"
        except UserError:
            return False

    def states(self) -> dict[str, tuple[bool, str, str]]:
        """Of each container whether it runs, since when, and whether it starts by itself."""
        found = {}
        for name in ("postgres", "skyvern", "skyvern-ui"):
            document = self.docker.inspect(f"acme-{name}-1")
            state, policy = document["State"], document["HostConfig"]["RestartPolicy"]["Name"]
            found[name] = (state["Running"], state["StartedAt"], policy)
        return found


def postgres_image(docker: Docker) -> str:
    """PostgreSQL 15 of Debian 12, made once."""
    if not docker.run("image", "ls", "--quiet", POSTGRES).strip():
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder) / "tree"
            tree.mkdir()
            debootstrap("bookworm", tree, "postgresql-15")
            command = docker.command("import", "-", POSTGRES)
            process.pipe(["tar", "--directory", tree, "--create", "."], command, timeout_seconds=600)
    return POSTGRES


def skyvern_image(docker: Docker) -> str:
    """Made once, by the builder of the project's own images."""
    if not docker.run("image", "ls", "--quiet", SKYVERN).strip():
        references = {**images.references(IMAGES), "server": SKYVERN}
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder) / "context"
            build.copy_context("server", context)
            (context / "Dockerfile").write_text(DOCKERFILE)
            (context / "start.py").write_text(START)
            command = build.build_command(docker, "server", references, context)
            process.stream(command, env=build.build_environment(docker), log=Path(folder) / "log")
    return SKYVERN


def container(docker: Docker, service: str, image: str, *command: str, flags: tuple[str, ...] = (), **environment: str) -> None:
    """As docker compose starts one."""
    labels = {"project": "acme", "service": service, "oneoff": "False", "project.working_dir": str(FOLDER)}
    docker.run(
        *("run", "--detach", f"--name=acme-{service}-1", "--restart=unless-stopped", "--network=acme_default"),
        *(f"--network-alias={service}", *(f"--label=com.docker.compose.{name}={value}" for name, value in labels.items())),
        *(*(f"--env={name}={value}" for name, value in environment.items()), *flags, image, *command),
    )


@pytest.fixture(scope="module")
def stack(checkout: Checkout) -> Iterator[Checkout]:
    """A fresh stack with a backup."""
    (FOLDER / "repository").mkdir(parents=True)
    checkout.write_stack("dev", port=free_port(), backup={"type": "path", "path": str(FOLDER / "repository")})
    try:
        checkout.run("script/up", "--yes", timeout_seconds=4500)
        yield checkout
    finally:
        if left := checkout.docker.run("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=acme").split():
            checkout.docker.run("rm", "--force", *left)
            checkout.docker.run("network", "rm", "acme_default")
        shutil.rmtree(FOLDER)


@pytest.fixture(scope="module")
def site(stack: Checkout) -> Iterator[Site]:
    with site_of(stack) as target:
        yield as_person(target)


@pytest.fixture(scope="module")
def old(stack: Checkout) -> Old:
    """With a workflow and its schedule, a credential with TOTP, a file that a row names, and a browser profile."""
    docker = stack.docker
    docker.run("network", "create", "acme_default")
    data = FOLDER / "postgres-data"
    data.mkdir()
    data.chmod(0o777)
    # As the public image of that version starts: it makes a cluster the first time, and goes on with it the next.
    entry = FOLDER / "docker-entrypoint.sh"
    text = (stack.root / "images/postgres/docker-entrypoint.sh").read_text()
    assert "!= 17 ]" in text
    entry.write_text(text.replace("!= 17 ]", "!= 15 ]"))
    entry.chmod(0o755)
    container(
        *(docker, "postgres", postgres_image(docker), "postgres", "-c", "listen_addresses=*"),
        flags=(f"--volume={data}:/data", f"--volume={entry}:/entry:ro", "--entrypoint=/entry", "--user=postgres"),
        PATH="/usr/lib/postgresql/15/bin:/usr/bin:/bin",
        PGDATA="/data/pgdata",
        POSTGRES_USER="skyvern",
        POSTGRES_PASSWORD="skyvern",
        LANG="C.UTF-8",
    )
    environment = {
        "DATABASE_STRING": "postgresql+psycopg://skyvern:skyvern@postgres:5432/skyvern",
        "ENABLE_LOCAL_CREDENTIAL_VAULT": "true",
        "ENABLE_OPENAI": "true",
        "ENV": "production",
        "LLM_KEY": "OPENAI_GPT4O",
        "OPENAI_API_KEY": "none",
        "PORT": str(SERVER_PORT),
        "SECRET_KEY": SECRET_KEY,
        "SKYVERN_API_KEY": mint_api_key(secret_key=SECRET_KEY, organization_id=ORGANIZATION, jti="1"),
        **{variable: folder_path(folder) for folder, variable in SKYVERN_FOLDERS.items()},
    }
    names = ("artifacts", "browser_sessions", "credential_vault", "downloads", "har", "log", "videos")
    for name in names:
        (FOLDER / name).mkdir()
    mounts = tuple(f"--volume={FOLDER / name}:/data/{name}" for name in names)
    image = skyvern_image(docker)
    container(docker, "skyvern", image, flags=mounts, **environment)
    container(docker, "skyvern-ui", image, "sleep", "infinity")
    made = Old(docker, environment["SKYVERN_API_KEY"])
    wait_for(made.serves, lambda: docker.logs("acme-skyvern-1")[-3000:], seconds=600, pause=2)
    definition = {
        "title": "매일 보고서",
        "workflow_definition": {"parameters": [], "blocks": [{"block_type": "wait", "label": "wait", "wait_sec": 1}]},
    }
    workflow = made.call("POST", "/v1/workflows", {"json_definition": definition})[1]["workflow_permanent_id"]
    assert made.call("POST", f"/v1/workflows/{workflow}/schedules", MORNING)[0] == 200
    status, answer = made.call("POST", "/v1/credentials", CREDENTIAL)
    assert status == 201, answer
    for path in (PICTURE, COOKIES):
        (FOLDER / path).parent.mkdir(parents=True)
        (FOLDER / path).write_bytes(os.urandom(100_000))
    # As upstream's script leaves it, which knows no domain.
    made.sql("UPDATE organizations SET domain = NULL")
    row = f"('a_1', '{ORGANIZATION}', 'screenshot_final', 'file:///data/{PICTURE}', now(), now())"
    made.sql(f"INSERT INTO artifacts (artifact_id, organization_id, artifact_type, uri, created_at, modified_at) VALUES {row}")  # noqa: S608
    return Old(docker, made.key, workflow, answer["credential_id"])


def ops(checkout: Checkout, *arguments: str, check: bool = True) -> str:
    done = checkout.run("bin/ops", *arguments, check=check)
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def sql(checkout: Checkout, statement: str) -> str:
    psql = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "skyvern", "-c", statement)
    return checkout.docker.run("exec", "skyvern-dev-roles", *psql).strip()


def test_a_look_changes_nothing(stack: Checkout, old: Old) -> None:
    before = old.states()
    printed = ops(stack, "import", "compose", str(FOLDER))
    assert "PostgreSQL 15." in printed
    assert f"{ORGANIZATION} (" in printed
    assert "1 in its own vault" in printed
    assert "paused until bin/ops resume -s dev" in printed
    assert SECRET_KEY not in printed
    assert old.states() == before
    assert ops(stack, "import", "compose", "nothing", check=False).count("\n") == 1


def test_a_rehearsal_leaves_nothing(stack: Checkout, old: Old) -> None:
    before = old.states()
    printed = ops(stack, "import", "compose", "acme", "--rehearse")
    assert "its API shows 1 workflows; no run has started by itself" in printed
    assert old.states() == before
    assert old.call("GET", f"/v1/workflows/{old.workflow}")[0] == 200
    assert not [name for name in stack.names("container", "--all") | stack.names("volume") if "drill" in name]


def test_everything_is_there_after_the_switch_and_back_again(stack: Checkout, site: Site, old: Old) -> None:
    before = {name: policy for name, (_, _, policy) in old.states().items()}
    # Smoke runs have workflows of their own.
    definition = f"SELECT title, workflow_definition FROM workflows WHERE workflow_permanent_id = '{old.workflow}'"  # noqa: S608
    rows = old.sql(definition)
    printed = ops(stack, "import", "compose", "acme", "--switch", "--yes")
    assert not [name for name, (running, _, policy) in old.states().items() if running or policy != "no"]
    assert rows
    assert sql(stack, definition) == rows
    assert site.api("GET", f"/v1/workflows/{old.workflow}").json()["title"] == "매일 보고서"
    assert code_status(site, old.credential) == 200
    assert sql(stack, "SELECT name, enabled FROM workflow_schedules") == "아침|f"
    for path in (sql(stack, "SELECT uri FROM artifacts WHERE artifact_id = 'a_1'").removeprefix("file://"), f"/data/{COOKIES}"):
        here = path.replace(ORGANIZATION, stack.output("organization_id"))
        content = stack.docker.run_bytes("exec", "skyvern-dev-server", "cat", here)
        assert content == (FOLDER / (PICTURE if "보고서" in path else COOKIES)).read_bytes()
    assert "/selfhosted/" in sql(stack, "SELECT uri FROM artifacts WHERE artifact_id = 'a_1'")
    refused = site.http.get(f"{site.outputs.api_url}/v1/workflows", headers={"x-api-key": old.key})
    assert refused.status_code in {401, 403}
    # A second plan: the secrets and the volumes are the stack's own.
    stack.pulumi("preview -s dev --expect-no-changes")

    back = next(line for line in printed.splitlines() if "to go back: " in line).partition("to go back: ")[2]
    stack.run("bash", "-c", back)
    wait_for(old.serves, lambda: f"{old.states()} {old.docker.logs('acme-skyvern-1')[-3000:]}", seconds=300, pause=2)
    assert {name: (True, policy) for name, policy in before.items()} == {
        name: (running, policy) for name, (running, _, policy) in old.states().items()
    }
    assert old.call("GET", f"/v1/workflows/{old.workflow}")[0] == 200
    assert old.call("GET", f"/v1/credentials/{old.credential}/totp-code")[0] == 200
    wait_for(lambda: sql(stack, "SELECT count(*) FROM workflows WHERE title = '매일 보고서'") == "0", seconds=300, pause=2)
