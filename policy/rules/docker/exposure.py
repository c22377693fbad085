"""Who reaches whom: published ports, services of the host, networks that lead out."""

from ..addresses import is_loopback
from ..containers import CONTAINER, DATASTORE_PORTS, NETWORK, PORTS_URL, is_datastore, matches
from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from . import RUN_URL


@rule(
    "docker-container-ports-on-loopback",
    CONTAINER,
    "ports[].ip",
    description="A published port is on the host's loopback address",
    severity="high",
    remediation='Set ip="127.0.0.1" on every port; a tunnel or a proxy on the host brings people in.',
    url=PORTS_URL,
    cis=("5.14",),
    kics=("451d79dc",),
)
def ports_on_loopback(container: Resource, parameters: Parameters) -> Findings:
    for path, port in container.inputs.each("ports"):
        if not is_loopback(port.get("ip", "")):
            why = "without a loopback address the port is open to the network, past the host's firewall"
            yield Finding(path=f"{path}.ip", why=why, write='"127.0.0.1"')


@rule(
    "docker-container-ports-chosen",
    CONTAINER,
    "publishAllPorts",
    description="Ports are published one by one",
    severity="medium",
    remediation="Leave publishAllPorts out and list ports.",
    url=PORTS_URL,
    cis=("5.9",),
)
def ports_chosen(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("publishAllPorts", False):
        yield Finding(path="publishAllPorts", why="every port of the image opens, on every address", write="ports one by one")


@rule(
    "docker-container-ports-unprivileged",
    CONTAINER,
    "ports[].external",
    description="A published port is 1024 or higher",
    severity="medium",
    remediation="Publish a port from 1024 on.",
    url=PORTS_URL,
    cis=("5.8",),
    kics=("bc2908f3",),
)
def ports_unprivileged(container: Resource, parameters: Parameters) -> Findings:
    for path, port in container.inputs.each("ports"):
        if 0 < port.get("external", 0) < 1024:
            yield Finding(path=f"{path}.external", why="the port is the system's own", write="a port from 1024 on")


@rule(
    "docker-container-datastore-unpublished",
    CONTAINER,
    "ports",
    description="A database, cache or model server is not published, not on loopback either",
    severity="critical",
    remediation="Remove ports; whoever needs it joins its network, a person uses docker exec.",
    url=PORTS_URL,
    cis=("5.9",),
)
def datastore_unpublished(container: Resource, parameters: Parameters) -> Findings:
    for path, port in container.inputs.each("ports"):
        if port.get("internal", 0) in DATASTORE_PORTS or is_datastore(container):
            yield Finding(path=path, why="every process of the host could reach the data", write="no ports")


@rule(
    "docker-container-debugging-unpublished",
    CONTAINER,
    "ports",
    description="A browser's debugging port is not published",
    severity="critical",
    remediation="Remove the port; Skyvern streams the browser by itself.",
    url="https://developer.chrome.com/blog/remote-debugging-port",
)
def debugging_unpublished(container: Resource, parameters: Parameters) -> Findings:
    for path, port in container.inputs.each("ports"):
        if 9220 <= port.get("internal", 0) <= 9229 or 9220 <= port.get("external", 0) <= 9229:
            yield Finding(path=path, why="whoever reaches it has the browser with every login in it", write="no such port")


@rule(
    "docker-container-host-unreached",
    CONTAINER,
    "hosts",
    description="A container does not call services on its host",
    severity="medium",
    remediation="Run the service as a container on a network of the stack.",
    url=RUN_URL + "#add-host",
)
def host_unreached(container: Resource, parameters: Parameters) -> Findings:
    for path, host in container.inputs.each("hosts"):
        if host.get("ip") == "host-gateway":
            yield Finding(path=f"{path}.ip", why="the container reaches what listens on the host", write="no such host")


@rule(
    "docker-network-internal",
    NETWORK,
    "internal",
    description="A network is internal, unless levels.yaml names it as a way out",
    severity="high",
    remediation="Set internal=True, or name the network in levels.yaml.",
    url="https://docs.docker.com/reference/cli/docker/network/create/#internal",
    parameters={"outward": []},
)
def network_internal(network: Resource, parameters: Parameters) -> Findings:
    if network.inputs.get("internal", False) is not True and not matches(network.name, parameters["outward"]):
        yield Finding(path="internal", why="everything on it reaches the internet and the LAN", write="internal=True")
