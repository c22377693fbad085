"""Known vulnerabilities of what runs: every night, and against a package that is planted to be old."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ops.errors import UserError
from ops.images import advisories
from ops.images.advisories import Pin
from tests.host.conftest import Checkout

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(4800)]

OLD = "localhost/skyvern/old-squid:1"


@pytest.fixture
def old_squid(checkout: Checkout, first_up: str) -> Iterator[str]:
    """The proxy's image with a Squid that says that it is older than it is."""
    image = checkout.docker.inspect("skyvern-dev-egress")["Config"]["Image"]
    edit = "sed -i '/^Package: squid$/,/^$/ s/^Version: .*/Version: 6.13-1/' /var/lib/dpkg/status"
    name = f"old-squid-{int(time.time())}"
    checkout.docker.run("run", "--name", name, "--user=0", "--network=none", "--entrypoint=sh", image, "-c", edit)
    checkout.docker.run("commit", name, OLD)
    checkout.docker.run("rm", name)
    yield OLD
    checkout.docker.run("rmi", OLD)


def test_an_old_package_of_debian_is_found(checkout: Checkout, old_squid: str) -> None:
    found = {one.what: one for one in advisories.ask_debian(checkout.docker, "egress", old_squid)}
    assert found["squid"].version == "6.13-1"
    assert "Debian" in found["squid"].advisories[0]


def test_old_versions_are_found_where_the_source_answers() -> None:
    planted = [Pin("Go", "github.com/caddyserver/caddy/v2", "2.10.2"), Pin("PyPI", "requests", "2.19.0")]
    with httpx.Client(timeout=60) as http:
        try:
            found = set(advisories.ask_osv(planted, http))
        except UserError:
            # Then the command may not say that nothing is known; the next test sees to it.
            found = None
    assert found in (None, set(planted))


def test_nothing_is_known_about_what_runs(checkout: Checkout, first_up: str) -> None:
    done = checkout.run("bin/ops", "images", "advisories", "-s", "dev", "--json", check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    assert not report["findings"], "\n".join(
        f"{one['what']} {one['version']}: {', '.join(one['advisories'])}" for one in report["findings"]
    )
    assert report["asked"]["Debian"] >= 5
    assert done.returncode == report["exit_code"] == (3 if report["unasked"] else 0)
    assert report["unasked"] or report["asked"]["api.osv.dev"] > 1000
