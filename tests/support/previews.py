"""A preview of prod and a drift, for the tests of what is made of them: the record, the comment, the issue."""

import datetime
from typing import Any

from ops.preview.model import SECRET, Drift, Preview, PropertyDiff, Step

TREE = "a" * 40
GATEWAY = "urn:pulumi:prod::skyvern::docker:index/container:Container::skyvern-host-gateway-caddy"
SERVER = GATEWAY.replace("gateway-caddy", "server")


def step(urn: str, operation: Any = "update", *paths: str, new: str = "2") -> Step:
    """A step on a container with a difference at each path. urn: or its name alone."""
    return Step(
        urn=urn,
        type="docker:index/container:Container",
        name=urn.rpartition("::")[2],
        operation=operation,
        diffs=tuple(PropertyDiff(path=path, old="1", new=new) for path in paths),
    )


PREVIEW = Preview(
    stack="prod",
    made=datetime.datetime(2026, 1, 31, 9, 30, tzinfo=datetime.UTC),
    head="c" * 40,
    config_hash="config",
    state_digest="state",
    versions={"engine": "3.272.0"},
    images={"skyvern-prod-gateway": "localhost/skyvern/gateway:1"},
    steps=(step(GATEWAY, "replace", "image", "envs[TOKEN]", new=SECRET),),
    drift=Drift(checked=True, steps=(step(SERVER, "update", "memory"),), unmanaged=("network x",)),
)
DRIFT = Drift(checked=True, steps=(step("gateway", "update", "memory"), step("old", "delete")), unmanaged=("container x",))
