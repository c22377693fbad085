"""The end of a deployment: data that outlives its containers, a second stack beside it, and nothing left behind.

The tests of this file tell one story on the dev stack and run in the order in which they stand, after all others of that stack
(tests/conftest.py): a second stack beside it, destroy, up again with the old data, remove all of it.
"""

import httpx
import pytest

from components.host import images
from lab.workspace import free_port
from tests.host.conftest import IMAGES, PARTS, Checkout

DATA = {"postgres", "artifacts", "browser-sessions", "credential-vault", "downloads", "har", "log", "videos"}

pytestmark = pytest.mark.timeout(4800)


@pytest.fixture(scope="module", autouse=True)
def running(checkout: Checkout, first_up: str) -> None:
    """The dev stack runs as its stack file says; an earlier module may have left it stopped."""
    checkout.pulumi("up --yes --skip-preview --refresh -s dev")


def test_images_of_another_source_are_refused_on_existing_data(checkout: Checkout) -> None:
    stack_file = checkout.root / "Pulumi.dev.yaml"
    text = stack_file.read_text()
    stack_file.write_text(text.replace(f"source: {IMAGES}", "source: official"))
    try:
        planned = checkout.pulumi("preview -s dev", check=False)
        assert planned.returncode != 0
        assert "skyvern-host-data-postgres" in planned.stdout + planned.stderr
        assert "protect" in planned.stdout + planned.stderr
        told = checkout.run("script/up", check=False)
        assert told.returncode == 1
        assert "was made with packages images" in told.stderr
    finally:
        stack_file.write_text(text)


def test_a_second_stack_beside_it(checkout: Checkout) -> None:
    """Its first ``up`` fails half-way on a taken port; the next one goes on from there, and destroy removes its own only."""
    dev_port = int(checkout.output("app_url").rpartition(":")[2])
    before = checkout.docker.run("ps", "--quiet", "--no-trunc", "--filter", "name=skyvern-dev-").split()
    checkout.write_stack("beside", port=dev_port)
    checkout.pulumi("stack init beside --no-select")
    failed = checkout.pulumi("up --yes --skip-preview -s beside", check=False)
    assert failed.returncode != 0
    assert "port is already allocated" in failed.stdout + failed.stderr

    checkout.write_stack("beside", port=free_port())
    checkout.pulumi("up --yes --skip-preview -s beside")
    checkout.pulumi("preview --expect-no-changes -s beside")
    assert checkout.names("container") == {f"skyvern-{stack}-{part}" for stack in ("dev", "beside") for part in PARTS}
    assert checkout.output("api_key", "beside") != checkout.output("api_key")

    checkout.pulumi("state unprotect --all --yes -s beside")
    checkout.pulumi("destroy --yes --skip-preview -s beside")
    checkout.pulumi("stack rm --yes beside")
    assert not {name for kind in ("container", "volume", "network") for name in checkout.names(kind) if "beside" in name}
    assert checkout.docker.run("ps", "--quiet", "--no-trunc", "--filter", "name=skyvern-dev-").split() == before
    checkout.pulumi("preview --expect-no-changes -s dev")


def test_destroy_keeps_data_and_a_new_up_finds_it(checkout: Checkout) -> None:
    key = checkout.output("api_key")
    count = "psql -X -t -U postgres -d skyvern -c 'SELECT count(*) FROM workflow_runs'"
    runs = checkout.docker.run("exec", "skyvern-dev-postgres", "sh", "-c", f'PGPASSWORD="$POSTGRES_PASSWORD" {count}').strip()
    assert int(runs) > 0
    checkout.pulumi("destroy --exclude-protected --yes --skip-preview -s dev")
    assert checkout.names("container", "--all") == set()
    assert checkout.names("network") == set()
    assert checkout.names("volume") == {f"skyvern-dev-{part}" for part in DATA}
    checkout.pulumi("up --yes --skip-preview -s dev")
    after = checkout.docker.run("exec", "skyvern-dev-postgres", "sh", "-c", f'PGPASSWORD="$POSTGRES_PASSWORD" {count}').strip()
    assert after == runs
    # Epoch secrets are new after a destroy, the organisation is not: the new key opens the old data, the old key nothing.
    new_key = checkout.output("api_key")
    workflows = f"{checkout.output('api_url')}/v1/workflows"
    assert httpx.get(workflows, headers={"x-api-key": key}, timeout=20).status_code == 403
    assert httpx.get(workflows, headers={"x-api-key": new_key}, timeout=20).status_code == 200
    smoke = checkout.run("bin/ops", "smoke", "-s", "dev")
    assert smoke.returncode == 0


def test_unprotect_and_destroy_leave_nothing(checkout: Checkout) -> None:
    checkout.pulumi("state unprotect --all --yes -s dev")
    checkout.pulumi("destroy --yes --skip-preview -s dev")
    for kind, flags in (("container", ("--all",)), ("volume", ()), ("network", ())):
        assert checkout.names(kind, *flags) == set()
    # Nor on the host: the firewall goes last, and takes its rules with it.
    options = ("--rm", "--network=host", "--user=0:0", "--cap-drop=ALL", "--cap-add=NET_ADMIN")
    assert "skyvern-" not in checkout.docker.run("run", *options, images.references(IMAGES)["egress"], "nft", "list", "tables")
    # Images stay, as the README says.
    left = checkout.docker.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "localhost/skyvern/*").split()
    assert images.references(IMAGES)["egress"] in left
