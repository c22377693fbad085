"""A container of a stack as Docker describes it, and as the inventory reads it, and the status of a stack that has no other."""

from typing import Any

from ops.observe.status import Status
from ops.stack import inventory

INSPECTED: dict[str, Any] = {
    "Name": "/skyvern-dev-gateway",
    "Image": "sha256:60",
    "RestartCount": 2,
    "State": {
        "Status": "running",
        "OOMKilled": False,
        "ExitCode": 0,
        "StartedAt": "2026-01-31T09:00:00.5Z",
        "Health": {"Status": "healthy"},
    },
    "HostConfig": {
        "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
        "CapAdd": None,
        "CapDrop": ["ALL"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": 268435456,
    },
    "Config": {
        "Image": "localhost/skyvern/gateway:5",
        "Labels": {"skyvern.part": "gateway", "skyvern.stack": "dev"},
        "Env": ["SKYVERN_API_KEY=eyJh.bb.cc-secret"],
    },
}
GATEWAY = inventory.parse_container(INSPECTED)
STATUS = Status(
    stack="dev",
    docker_host="unix:///s",
    address="http://localhost:8080",
    version="0.1.0",
    api_version="development",
    skyvern_version="1.0.56",
    containers=[GATEWAY],
    memory={},
    volumes=[],
)
