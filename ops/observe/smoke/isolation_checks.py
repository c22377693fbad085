"""The check of the firewall and the networks: every container tries what it must not reach (ops/observe/isolation.py)."""

from ops.observe import isolation
from ops.observe.smoke.site import Site, expect_none
from ops.stack.stack import Stack


def check_isolation(site: Site) -> None:
    """No part reaches a part with which it shares no network, nor, with the firewall, the host or a private address."""
    stack = Stack(site.docker.inspect(site.container("gateway"))["Config"]["Labels"]["skyvern.stack"])
    expect_none(isolation.probe(site.docker, stack, walled="firewall" in site.outputs.containers))
