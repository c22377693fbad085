"""Migrations as an image lists them: what a database has to go through, and what of it removes data."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ops.backups import migrations
from ops.backups.migrations import Migration, Skyvern
from ops.clients.docker import PYTHON
from ops.errors import UserError
from tests.support import skyvern_wheel
from tests.support.daemon import daemon

HEAD = '"""A docstring may speak of DROP TABLE."""\nrevision: str = "{}"\ndown_revision: str | None = {}\n'


def listed(folder: Path) -> Skyvern:
    """What the program in the image prints of these files, as an image's answer."""
    code = migrations._ABOUT.replace("/opt/skyvern/lib/python3*/site-packages", str(folder))
    code = code.replace('importlib.metadata.version("skyvern")', '"1.0.56"')
    printed = subprocess.run([sys.executable, *PYTHON[1:], code], capture_output=True, text=True, check=True).stdout
    return migrations.of_image(daemon(run=printed), "image")


@pytest.mark.parametrize(
    ("body", "drops"),
    [
        ('def upgrade():\n    op.drop_column("t", "c")\n', True),
        ('def upgrade():\n    op.drop_table("t")\n', True),
        ('def upgrade():\n    op.execute("""DELETE\n  FROM t""")\n', True),
        ('def upgrade():\n    _helper()\n\ndef _helper():\n    op.execute("truncate t")\n', True),
        ('def upgrade():\n    """Does not drop table."""\n    op.add_column("t", "c")\n', False),
        ('def upgrade():\n    op.drop_index("i")\n    op.drop_constraint("c", "t")\n', False),
        # The other way back.
        ('def upgrade():\n    pass\n\ndef downgrade():\n    op.drop_table("t")\n', False),
    ],
)
def test_what_removes_data_is_seen(tmp_path: Path, body: str, drops: bool) -> None:
    folder = tmp_path / "alembic/versions"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(HEAD.format("a", "None") + body)
    assert listed(tmp_path).migrations["a"].drops is drops


def test_the_pinned_skyvern_has_one_head_and_its_chain_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "alembic/versions"
    folder.mkdir(parents=True)
    for path, text in skyvern_wheel.modules():
        if path.startswith("alembic/versions/"):
            (folder / path.rpartition("/")[2]).write_text(text)
    found = listed(tmp_path)
    (head,) = found.heads()
    assert len(found.migrations) > 300
    assert found.pending([head]) == ()
    (first,) = [one for one in found.migrations.values() if not one.after]
    assert len(found.pending([first.id])) == len(found.migrations) - 1


CHAIN = Skyvern(
    version="1",
    migrations={
        "a": Migration(id="a"),
        "b": Migration(id="b", after=("a",)),
        "c": Migration(id="c", after=("a",)),
        "d": Migration(id="d", after=("b", "c")),
    },
)


@pytest.mark.parametrize(("database", "pending"), [(["a"], "bcd"), (["b"], "cd"), (["b", "c"], "d"), (["d"], "")])
def test_what_is_pending_also_where_branches_meet(database: list[str], pending: str) -> None:
    assert "".join(one.id for one in CHAIN.pending(database)) == pending


def test_a_database_of_another_skyvern_is_not_known() -> None:
    with pytest.raises(KeyError):
        CHAIN.pending(["x"])


@pytest.mark.parametrize("printed", ["", "[]", "{}", json.dumps({"version": "1", "migrations": [{}]})])
def test_an_image_that_says_something_else_is_one_line(printed: str) -> None:
    with pytest.raises(UserError, match="image x: does not say which Skyvern is in it"):
        migrations.of_image(daemon(run=printed), "x")
