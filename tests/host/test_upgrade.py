"""Another version of Skyvern on a stack with data: broken ones leave the old one serving, a good one can be gone back from.

The stack has an automation, to which none of it may happen.

The versions are the pinned one with a migration of its own and another number, so that only the last layer of an image is built.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.observe.smoke.site import Site
from tests.host.automated import automated, on_server
from tests.host.conftest import Checkout, as_person, kill_when, make_workflow, site_of
from tests.host.versions import Versions, committed

pytestmark = [pytest.mark.timeout(2400), pytest.mark.nightly]

CONTENT = """
SELECT version_num FROM alembic_version;
SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM workflows t WHERE deleted_at IS NULL;
SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM credentials t;
"""


@pytest.fixture(scope="module")
def versions(checkout: Checkout, first_up: str) -> Iterator[Versions]:
    with automated(checkout), committed(checkout) as found:
        # Records the commit.
        found.up()
        try:
            yield found
        finally:
            found.git("checkout", "--quiet", "--detach", found.pinned)
            if found.sql("SELECT version_num FROM alembic_version") != found.head:
                checkout.run("bin/ops", "rollback", "--with-data", "--yes")
            found.up()


def the_plan_is_empty(versions: Versions) -> None:
    """Also after a look at the server, where the automation is."""
    versions.checkout.pulumi("preview -s dev --expect-no-changes")
    versions.checkout.pulumi("refresh -s dev --preview-only --expect-no-changes")


@pytest.fixture(scope="module")
def site(versions: Versions) -> Iterator[Site]:
    with site_of(versions.checkout) as target:
        yield as_person(target)


@pytest.fixture(scope="module")
def workflow(site: Site) -> str:
    """Data of a person's: a workflow and a credential; the workflow's id."""
    return make_workflow(site, "before")


@pytest.mark.parametrize(
    ("version", "then", "last", "said"),
    [
        (
            "1.0.101",
            "raise RuntimeError('half-way')",
            "",
            "nothing was changed, and Skyvern 1.0.56 goes on: on a copy of its data, 1.0.101 does not work: ",
        ),
        (
            "1.0.102",
            "pass",
            "echo 'raise RuntimeError(\"broken\")' > /usr/local/lib/skyvern/adopt_api_key.py",
            "nothing was changed, and Skyvern 1.0.56 goes on: on a copy of its data, 1.0.102 does not work: ",
        ),
        # It serves, and no browser starts: what the trial does not ask, the smoke run does.
        (
            "1.0.103",
            "pass",
            "echo 'exit 1' > /usr/local/lib/skyvern/sandboxed",
            "Skyvern 1.0.56 serves again with its data of before: the upgrade to 1.0.103 failed: smoke: ",
        ),
    ],
)
def test_a_broken_version_leaves_the_old_one_serving(
    versions: Versions, site: Site, workflow: str, version: str, then: str, last: str, said: str
) -> None:
    rows, image = versions.sql(CONTENT), versions.image()
    versions.check_out(version, then=then, last=last)
    code, printed = versions.up(check=False)
    assert code == 1
    assert f"Skyvern 1.0.56 → {version}: 1 migration, none drops data; about 90 s off" in printed
    assert said in printed.strip().splitlines()[-1], printed
    assert versions.image() == image
    assert versions.sql(CONTENT) == rows
    assert site.api("GET", f"/v1/workflows/{workflow}").status_code == 200
    assert versions.left_over() == set()
    versions.git("checkout", "--quiet", "--detach", versions.pinned)
    versions.checkout.pulumi("preview -s dev --expect-no-changes")


def test_a_good_version_comes_and_its_predecessor_comes_back_with_its_data(versions: Versions, site: Site, workflow: str) -> None:
    rows, image, automation = versions.sql(CONTENT), versions.image(), on_server(site)
    versions.check_out("1.0.110")
    _, printed = versions.up()
    assert "Skyvern 1.0.110 serves; to go back to 1.0.56" in printed
    assert versions.sql("SELECT version_num FROM alembic_version") == "next10110"
    assert versions.image() != image
    the_plan_is_empty(versions)
    assert on_server(site) == automation
    newer = make_workflow(site, "after")
    # An older one does not run on this, and says so before anything changes.
    versions.git("checkout", "--quiet", "--detach", versions.pinned)
    code, printed = versions.up(check=False)
    assert code == 1
    assert "nothing was changed: its database has been migrated by a newer Skyvern (next10110)" in printed
    assert site.api("GET", f"/v1/workflows/{newer}").status_code == 200
    printed = versions.checkout.run("bin/ops", "rollback", "--with-data", "--yes").stdout
    assert "(1 workflows that came after are lost)" in printed
    assert versions.sql(CONTENT) == rows
    assert versions.image() == image
    the_plan_is_empty(versions)
    assert on_server(site) == automation
    assert site.api("GET", f"/v1/workflows/{newer}").status_code == 404
    assert site.api("GET", f"/v1/workflows/{workflow}").status_code == 200


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("copying the database", 0.0),
        ("copying the database", 4.0),
        ("has migrated and served a copy", 0.0),
        ("ends; runs in progress have", 0.0),
        ("ends; runs in progress have", 2.0),
        ("the database as it is now is kept", 0.0),
        ("the database as it is now is kept", 3.0),
        ("the database as it is now is kept", 8.0),
        ("the database as it is now is kept", 15.0),
        ("the database as it is now is kept", 30.0),
    ],
)
def test_killed_during_the_upgrade_the_next_up_goes_on(
    versions: Versions, site: Site, workflow: str, tmp_path: Path, said: str, seconds: float
) -> None:
    """SIGKILL for script/up and Pulumi so many seconds after a line: before the old server stops, and after."""
    versions.check_out("1.0.120")
    rows = versions.sql(CONTENT)
    log = tmp_path / "up.log"
    kill_when(versions.checkout, log, said, "script/up", seconds=seconds)
    _, printed = versions.up()
    assert "Skyvern 1.0.120 serves; to go back to 1.0.56" in printed + log.read_text()
    note = Path(versions.checkout.environment["HOME"]) / ".config/skyvern-stack/upgrade-dev.json"
    assert json.loads(note.read_text())["state"] == "served"
    assert versions.left_over() == set()
    versions.checkout.run("bin/ops", "rollback", "--with-data", "--yes")
    assert versions.sql(CONTENT) == rows
