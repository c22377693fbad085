"""An upgrade from the real Skyvern before the pinned one, 1.0.55, with data and a client that goes on asking, and back again."""

from collections.abc import Iterator

import pytest

from lab.workspace import free_port
from tests.host.conftest import Checkout, as_person, client_of, make_workflow, remove, site_of
from tests.host.versions import Versions, committed

pytestmark = [pytest.mark.timeout(2400), pytest.mark.nightly]

STACK = "old"
HEAD = "SELECT version_num FROM alembic_version"
# By the columns of both versions.
CONTENT = """
SELECT workflow_id, title, workflow_definition FROM workflows WHERE deleted_at IS NULL ORDER BY workflow_id;
SELECT credential_id, name, item_id FROM credentials ORDER BY credential_id;
SELECT organization_id, token FROM organization_auth_tokens WHERE valid ORDER BY id;
"""


@pytest.fixture(scope="module")
def old(checkout: Checkout, first_up: str) -> Iterator[Versions]:
    """A stack beside dev, which runs Skyvern 1.0.55; head is that of the pinned version."""
    checkout.write_stack(STACK, port=free_port())
    checkout.run("script/bootstrap", "--stack", STACK)
    checkout.pulumi(f"stack init {STACK} --no-select")
    with committed(checkout, STACK) as found:
        found.check_out_predecessor()
        found.up()
        try:
            yield found
        finally:
            found.git("checkout", "--quiet", "--detach", found.pinned)
            remove(checkout, STACK)


def test_it_is_upgraded_while_a_client_asks_and_comes_back(old: Versions) -> None:
    checkout = old.checkout
    with site_of(checkout, STACK) as target:
        site = as_person(target)
        workflow = make_workflow(site, "before")
        body = {"name": "shop", "credential_type": "password", "credential": {"username": "kim", "password": "a password"}}
        assert site.api("POST", "/v1/credentials", body=body).status_code == 201
        rows, head = old.sql(CONTENT), old.sql(HEAD)
        assert head != old.head
        old.git("checkout", "--quiet", "--detach", old.pinned)
        with client_of(site, pause=0.5) as answers:
            _, printed = old.up()
        assert "Skyvern 1.0.55 → 1.0.56: 12 migrations, none drops data" in printed
        assert "Skyvern 1.0.56 serves; to go back to 1.0.55" in printed
        assert old.sql(HEAD) == old.head
        assert old.sql(CONTENT) == rows
        assert {status for status, _ in answers} == {200}
        print(f"longest answer during the upgrade: {max(seconds for _, seconds in answers):.0f} s of {len(answers)} answers")
        newer = make_workflow(site, "after")
        checkout.run("bin/ops", "rollback", "--with-data", "--yes", "--stack", STACK)
        assert (old.sql(HEAD), old.sql(CONTENT)) == (head, rows)
        assert site.api("GET", f"/v1/workflows/{workflow}").status_code == 200
        assert site.api("GET", f"/v1/workflows/{newer}").status_code == 404
