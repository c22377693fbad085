"""A stack whose PostgreSQL is elsewhere: a server with TLS at a private address, and a user who is no superuser.

Nightly: it deploys a stack of its own, restores into it and takes it back.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.host import images
from lab.workspace import free_port
from ops.clients.docker import Docker
from ops.observe.smoke.site import Site, client_for
from ops.stack.outputs import parse
from tests.host.conftest import IMAGES, Checkout, as_person, make_workflow
from tests.support.tls import make_authority, make_server
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.timeout(4800), pytest.mark.nightly]

STACK = "elsewhere"
LAN = "10.99.0.2"
CONTAINER = "their-postgres"
BOSS = "boss-of-their-databases"
ENCRYPTED = """
SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL
"""


@dataclass(frozen=True)
class Server:
    """Somebody else's PostgreSQL. folder: with ``ca.pem``, which signs it, and ``other.pem``, which does not."""

    docker: Docker
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://boss:{BOSS}@{LAN}:{self.port}/postgres?sslmode=verify-full"

    def sql(self, statement: str, database: str = "postgres") -> str:
        command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", statement)
        return self.docker.run("exec", "--env=PGPASSWORD=theirs", CONTAINER, *command).strip()

    def databases(self) -> set[str]:
        return set(self.sql("SELECT datname FROM pg_database WHERE datname LIKE 'skyvern%'").split())


@pytest.fixture(scope="module")
def server(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port, docker = tmp_path_factory.mktemp("tls"), free_port(), checkout.docker
    checkout.write_stack(STACK, port=free_port())
    checkout.run("script/bootstrap", "--stack", STACK)
    checkout.run("bin/ops", "images", "build", "--stack", STACK, timeout_seconds=4500)
    for name in ("ca", "other"):
        make_authority(folder, name)
    make_server(folder, LAN)
    subprocess.run(["ip", "address", "replace", f"{LAN}/32", "dev", "lo"], check=True)
    tls = ("-c", "ssl=on", "-c", "ssl_cert_file=/tls/server.crt", "-c", "ssl_key_file=/tls/server.key")
    docker.run(
        *(
            "run",
            "--detach",
            f"--name={CONTAINER}",
            "--network=host",
            "--env=POSTGRES_PASSWORD=theirs",
            f"--volume={folder}:/tls:ro",
        ),
        *(images.references(IMAGES)["postgres"], "postgres", *tls, "-c", f"listen_addresses={LAN}", "-c", f"port={port}"),
        *("-c", "unix_socket_directories=/var/run/postgresql"),
    )
    found = Server(docker, folder, port)
    wait_for(lambda: f'listening on IPv4 address "{LAN}"' in docker.logs(CONTAINER), seconds=120, pause=1)
    docker.run("exec", CONTAINER, "sh", "-c", f"ln -sf .s.PGSQL.{port} /var/run/postgresql/.s.PGSQL.5432")
    found.sql(f"CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD '{BOSS}'")
    try:
        yield found
    finally:
        docker.run("rm", "--force", "--volumes", CONTAINER)
        subprocess.run(["ip", "address", "delete", f"{LAN}/32", "dev", "lo"], check=True)


@dataclass(frozen=True)
class Elsewhere:
    """The stack beside the server."""

    checkout: Checkout
    server: Server

    def run(self, *command: str, code: int = 0) -> str:
        done = self.checkout.run(*command, check=False, timeout_seconds=3600)
        said = done.stdout + done.stderr
        print(f"{' '.join(command)}\n{said}")
        assert done.returncode == code, said
        assert "Traceback" not in said
        assert BOSS not in said
        return said

    def ops(self, *arguments: str, code: int = 0) -> str:
        return self.run("bin/ops", *arguments, "-s", STACK, code=code)

    def trust(self, authority: str) -> None:
        """Writes database.ca_file."""
        (self.checkout.root / "database-ca.pem").write_bytes((self.server.folder / authority).read_bytes())

    def make_workflow(self, title: str) -> str:
        outputs = parse(STACK, self.checkout.pulumi(f"stack output --json --show-secrets -s {STACK}").stdout)
        with client_for(outputs) as client:
            return make_workflow(as_person(Site(outputs, client, self.checkout.docker)), title)

    def titles(self) -> list[str]:
        query = "SELECT title FROM workflows WHERE title LIKE 'kept%' OR title LIKE 'lost%' ORDER BY title"
        return self.server.sql(query, f"skyvern_{STACK}").split()


@pytest.fixture(scope="module")
def stack(checkout: Checkout, server: Server) -> Iterator[Elsewhere]:
    """Its file is written, and nothing is deployed; it leaves nothing behind."""
    place = Path(tempfile.mkdtemp(prefix="skyvern-sets-", dir="/var/tmp"))
    place.chmod(0o755)
    sections: dict[str, dict[str, object]] = {"backup": {"type": "path", "path": str(place)}, "monitor": {"enabled": True}}
    checkout.write_stack(STACK, port=free_port(), database={"ca_file": "database-ca.pem"}, **sections)
    checkout.pulumi(f"stack init {STACK} --no-select")
    found = Elsewhere(checkout, server)
    found.trust("other.pem")
    checkout.pulumi(f"config set -s {STACK} --secret --path skyvern:database.url '{server.url}'")
    yield found
    checkout.pulumi(f"state unprotect --all --yes -s {STACK}", check=False)
    checkout.pulumi(f"destroy --yes --skip-preview -s {STACK}", check=False)
    checkout.pulumi(f"stack rm --yes {STACK}", check=False)
    for name in checkout.names("volume"):
        if name.startswith(f"skyvern-{STACK}-"):
            checkout.docker.run("volume", "rm", "--force", name)
    (checkout.root / f"Pulumi.{STACK}.yaml").unlink(missing_ok=True)
    shutil.rmtree(place)


def test_from_nothing_to_a_restore_and_back(stack: Elsewhere) -> None:
    checkout, server = stack.checkout, stack.server

    # Of another authority: one line, and nothing is made.
    refused = stack.run("script/up", "--stack", STACK, "--yes", code=1)
    (line,) = re.findall(r"^.*nothing was changed.*$", refused, re.MULTILINE)[:1]
    assert f"Pulumi.{STACK}.yaml: database.url: " in line
    assert "certificate verify failed" in line
    assert not [name for name in checkout.names("container", "--all") if name.startswith(f"skyvern-{STACK}-")]

    stack.trust("ca.pem")
    stack.run("script/up", "--stack", STACK, "--yes")
    ours = {name for kind in ("container", "volume") for name in checkout.names(kind)}
    assert f"skyvern-{STACK}-server" in ours
    assert f"skyvern-{STACK}-postgres" not in ours
    assert f"skyvern-{STACK}-postgres-socket" not in ours
    assert server.databases() == {f"skyvern_{STACK}"}
    assert f"database: {LAN}:{server.port}, answers" in stack.ops("status")
    checkout.pulumi(f"preview -s {STACK} --expect-no-changes")
    connections, encrypted = server.sql(ENCRYPTED).split("|")
    assert int(connections) == int(encrypted) > 0

    # A set, and what came after it.
    stack.make_workflow("kept")
    stack.ops("backup", "now")
    stack.make_workflow("lost")
    assert "newer than set" in stack.ops("restore", "--yes", code=1)
    assert stack.titles() == ["kept", "lost"]
    stack.ops("restore", "--yes", "--discard-newer")
    assert stack.titles() == ["kept"]
    (old,) = server.databases() - {f"skyvern_{STACK}"}
    assert old.startswith(f"skyvern_{STACK}_old_")
    stack.ops("restore", "--undo", "--yes")
    assert stack.titles() == ["kept", "lost"]
    assert server.databases() == {f"skyvern_{STACK}"}
    assert "passed" in stack.ops("drill")

    # A new password of the role, and the old one is refused.
    stack.ops("rotate", "database", "--yes")
    assert stack.titles() == ["kept", "lost"]

    # Away and back.
    checkout.docker.run("stop", CONTAINER)
    assert f"database: {LAN}:{server.port}, does not answer" in stack.ops("status")
    assert re.search(r"error +database +Pulumi\.\S+ database\.url", stack.ops("doctor", code=1))
    checkout.docker.run("start", CONTAINER)
    wait_for(lambda: "answers" in stack.ops("status"), seconds=120, pause=2)
    stack.run("script/up", "--stack", STACK, "--yes")


def test_the_data_comes_along(stack: Elsewhere) -> None:
    """docs/database.md, its steps from the server into the stack and back. After the test above, whose stack it is."""
    checkout, server = stack.checkout, stack.server
    record = checkout.root / f"Pulumi.{STACK}.yaml"
    before = record.read_text()
    own, volume = f"skyvern-{STACK}-roles", f"skyvern-{STACK}-postgres"

    # Without the URL the stack would begin empty.
    for key in ("url", "ca_file"):
        checkout.pulumi(f"config rm -s {STACK} --path skyvern:database.{key}")
    assert f"its data is on the server {LAN}" in stack.run("script/up", "--stack", STACK, "--yes", code=1)
    stack.ops("backup", "now")
    assert "containers are missing; next: script/up" in stack.ops("restore", "--yes", "--discard-newer")
    stack.run("script/up", "--stack", STACK, "--yes")
    assert volume in checkout.names("volume")
    titles = "SELECT title FROM workflows WHERE title LIKE 'kept%' ORDER BY title"
    command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "skyvern", "-c", titles)
    assert checkout.docker.run("exec", own, *command).split() == ["kept"]

    # And with it, it would leave its volume behind.
    stack.make_workflow("kept-here")
    record.write_text(before)
    assert f"its data is in the volume {volume}" in stack.run("script/up", "--stack", STACK, "--yes", code=1)
    stack.ops("backup", "now")
    stack.ops("restore", "--yes", "--discard-newer")
    assert stack.titles() == ["kept", "kept-here", "lost"]
    parents = "skyvern:platform:SkyvernPlatform$skyvern:host:DockerBackend$skyvern:host:DataVolumes"
    urn = f"urn:pulumi:{STACK}::skyvern::{parents}$docker:index/volume:Volume::skyvern-host-data-postgres"
    checkout.pulumi(f"state unprotect --yes -s {STACK} '{urn}'")
    stack.run("script/up", "--stack", STACK, "--yes")
    assert volume not in checkout.names("volume")
    assert f"database: {LAN}:{server.port}, answers" in stack.ops("status")
    assert stack.titles() == ["kept", "kept-here", "lost"]
    assert "elsewhere (database.url)" in stack.ops("upgrade-database", "--yes", code=1)
