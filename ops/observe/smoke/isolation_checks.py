"""The check of the firewall and the networks: every container tries what it must not reach (ops/observe/isolation.py)."""

from ops.errors import UserError
from ops.observe import isolation
from ops.observe.smoke.site import CheckFailedError, Site, expect_none
from ops.stack.stack import Stack


def check_isolation(site: Site) -> None:
    """No part reaches a part with which it shares no network, nor, with the firewall, the host or a private address."""
    try:
        stack = Stack(site.docker.inspect(site.container("gateway"))["Config"]["Labels"]["skyvern.stack"])
        openings = isolation.probe(site.docker, stack, walled="firewall" in site.outputs.containers)
    except UserError as failed:
        raise CheckFailedError(str(failed)) from failed
    expect_none(openings)
