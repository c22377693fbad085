"""Versions of Skyvern as commits of a checkout: the pinned one with another number and migration, and its real predecessor."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.standins.vercel.build import download_wheels
from ops.clients import git
from tests.host.conftest import Checkout

PACKAGES = "/opt/skyvern/lib/python3*/site-packages"
PREDECESSOR = "skyvern==1.0.55 --hash=sha256:ae81a7079730ee1774c25f280f0afe1b390590a5fe6682f9753254153743fb67\n"
MIGRATION = '''\
"""The next version."""
import sqlalchemy as sa
from alembic import op

revision: str = "{revision}"
down_revision: str = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("next_version", sa.Column("id", sa.Integer()))
    {then}


def downgrade() -> None:
    op.drop_table("next_version")
'''


@dataclass(frozen=True)
class Versions:
    """A checkout with the pinned version as its commit, and a stack of it. head: revision of the pinned version's database."""

    checkout: Checkout
    pinned: str
    head: str
    stack: str = "dev"

    @property
    def server(self) -> str:
        return f"skyvern-{self.stack}-server"

    def git(self, *arguments: str) -> str:
        names = ("-c", "user.name=a test", "-c", "user.email=test@example.com")
        return git.run(self.checkout.root, *names, *arguments).strip()

    def check_out(self, version: str, *, then: str = "pass", last: str = "") -> None:
        """A commit whose server is this version. then: the end of its migration. last: a command at the end of the image."""
        revision = f"next{version.replace('.', '')}"
        self._check_out(
            version,
            {"next_version.py": MIGRATION.format(revision=revision, head=self.head, then=then).encode()},
            f"cp /next_version.py $(echo {PACKAGES})/alembic/versions/",
            f"sed -i 's/^Version: .*/Version: {version}/' $(echo {PACKAGES})/skyvern-[0-9]*.dist-info/METADATA",
            *([last] if last else []),
        )

    def check_out_predecessor(self) -> None:
        """A commit whose server is Skyvern 1.0.55 of PyPI, to which the locked dependencies fit."""
        with tempfile.TemporaryDirectory() as folder:
            requirement = Path(folder) / "requirement.txt"
            requirement.write_text(PREDECESSOR)
            download_wheels(Path(folder), requirement)
            (wheel,) = Path(folder).glob("*.whl")
            self._check_out(
                "1.0.55",
                {"skyvern.whl": wheel.read_bytes()},
                f"cd $(echo {PACKAGES})",
                "rm -r alembic/versions skyvern skyvern-[0-9]*.dist-info",
                "python3 -m zipfile -e /skyvern.whl .",
                # Its sessions name no kind, fewer of its functions know uploads, and it has no groups of runs.
                """sed -i 's/kwargs\\["session_kind"\\]/"api"/' /usr/local/lib/skyvern/run_gate.py""",
                "sed -i 's/, files.resolve_local_or_download_file)/,)/' /usr/local/lib/skyvern/artifact_links.py",
                """sed -i 's/"interrupted_runs", //' /usr/local/bin/skyvern-start""",
                # Its middleware replaces a response's own policy, as 1.0.56 no longer does.
                "sed -i 's/headers\\[key\\] = value/headers.setdefault(key, value)/' skyvern/forge/api_app.py",
            )

    def _check_out(self, version: str, files: Mapping[str, bytes], *commands: str) -> None:
        self.git("checkout", "--quiet", "--detach", self.pinned)
        folder = self.checkout.root / "images/server"
        for name, content in files.items():
            (folder / name).write_bytes(content)
        dockerfile = folder / "Dockerfile"
        more = f"USER 0:0\nCOPY {' '.join(files)} /\nRUN {' && '.join(commands)}\nUSER 10001:10001\n"
        dockerfile.write_text(dockerfile.read_text() + more)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"Skyvern {version}")

    def up(self, *, check: bool = True) -> tuple[int, str]:
        done = self.checkout.run("script/up", "--yes", "--stack", self.stack, check=check)
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    def sql(self, statement: str) -> str:
        command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "skyvern", "-c", statement)
        return self.checkout.docker.run("exec", f"skyvern-{self.stack}-roles", *command).strip()

    def image(self) -> str:
        return str(self.checkout.docker.inspect(self.server)["Config"]["Image"])

    def left_over(self) -> set[str]:
        names = self.checkout.names("container", "--all") | self.checkout.names("volume")
        return {name for name in names if "trial" in name}


@contextmanager
def committed(checkout: Checkout, stack: str = "dev") -> Iterator[Versions]:
    """The checkout with a repository of its own, for as long as this lasts; the stack's database tells the pinned head."""
    shutil.rmtree(checkout.root / ".git", ignore_errors=True)
    git.run(checkout.root, "init", "--quiet")
    first = Versions(checkout, "", "")
    first.git("add", "--all")
    first.git("commit", "--quiet", "--message", "The pinned version")
    head = first.sql("SELECT version_num FROM alembic_version")
    try:
        yield Versions(checkout, first.git("rev-parse", "HEAD"), head, stack)
    finally:
        shutil.rmtree(checkout.root / ".git")
