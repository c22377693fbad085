"""The Docker daemon that a stack is deployed to."""

from ..containers import PROVIDER
from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from . import SECURITY_URL


@rule(
    PROVIDER,
    "docker-provider-host-named",
    "host",
    description="The stack names its Docker daemon",
    severity="medium",
    remediation='Make a docker.Provider with host="unix:///var/run/docker.sock".',
    url="https://www.pulumi.com/registry/packages/docker/installation-configuration/",
)
def provider_host_named(provider: Resource, parameters: Parameters) -> Findings:
    if not provider.inputs.get("host") and not provider.inputs.get("context"):
        yield Finding(path="host", why="DOCKER_HOST of the shell would decide where a plan goes", write="the daemon's address")


@rule(
    PROVIDER,
    "docker-provider-host-encrypted",
    "host",
    description="A remote Docker daemon is reached by SSH or TLS",
    severity="critical",
    remediation="Write ssh://user@host, or give the certificates.",
    url=SECURITY_URL + "protect-access/",
)
def provider_host_encrypted(provider: Resource, parameters: Parameters) -> Findings:
    inputs = provider.inputs
    certificates = inputs.get("certPath") or all(inputs.get(key) for key in ("caMaterial", "certMaterial", "keyMaterial"))
    if str(inputs.get("host", "")).startswith(("tcp://", "http://")) and not certificates:
        yield Finding(path="host", why="whoever reaches the port is root on that host", write='"ssh://user@host"')
