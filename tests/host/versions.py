"""Versions of Skyvern as commits of a checkout: the pinned one with another number and a migration of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ops.clients import git
from tests.host.conftest import Checkout

PACKAGES = "/opt/skyvern/lib/python3*/site-packages"
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
    """A checkout with the pinned version as its commit, which runs as the dev stack. head: revision of its database."""

    checkout: Checkout
    pinned: str
    head: str

    def git(self, *arguments: str) -> str:
        names = ("-c", "user.name=a test", "-c", "user.email=test@example.com")
        return git.run(self.checkout.root, *names, *arguments).strip()

    def check_out(self, version: str, *, then: str = "pass", last: str = "") -> None:
        """A commit whose server is this version. then: the end of its migration. last: a command at the end of the image."""
        self.git("checkout", "--quiet", "--detach", self.pinned)
        folder = self.checkout.root / "images/server"
        text = MIGRATION.format(revision=f"next{version.replace('.', '')}", head=self.head, then=then)
        (folder / "next_version.py").write_text(text)
        commands = [
            f"cp /next_version.py $(echo {PACKAGES})/alembic/versions/",
            f"sed -i 's/^Version: .*/Version: {version}/' $(echo {PACKAGES})/skyvern-[0-9]*.dist-info/METADATA",
            *([last] if last else []),
        ]
        dockerfile = folder / "Dockerfile"
        more = f"USER 0:0\nCOPY next_version.py /\nRUN {' && '.join(commands)}\nUSER 10001:10001\n"
        dockerfile.write_text(dockerfile.read_text() + more)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"Skyvern {version}")

    def up(self, *, check: bool = True) -> tuple[int, str]:
        done = self.checkout.run("script/up", check=check)
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    def sql(self, statement: str) -> str:
        command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "skyvern", "-c", statement)
        return self.checkout.docker.run("exec", "skyvern-dev-roles", *command).strip()

    def image(self) -> str:
        return str(self.checkout.docker.inspect("skyvern-dev-server")["Config"]["Image"])

    def left_over(self) -> set[str]:
        names = self.checkout.names("container", "--all") | self.checkout.names("volume")
        return {name for name in names if "trial" in name}


@contextmanager
def committed(checkout: Checkout) -> Iterator[Versions]:
    """The checkout with a repository of its own, for as long as this lasts."""
    shutil.rmtree(checkout.root / ".git", ignore_errors=True)
    git.run(checkout.root, "init", "--quiet")
    first = Versions(checkout, "", "")
    first.git("add", "--all")
    first.git("commit", "--quiet", "--message", "The pinned version")
    head = first.sql("SELECT version_num FROM alembic_version")
    try:
        yield Versions(checkout, first.git("rev-parse", "HEAD"), head)
    finally:
        shutil.rmtree(checkout.root / ".git")
