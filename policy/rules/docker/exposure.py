"""Who reaches whom: published ports, services of the host, networks that lead out."""

from collections.abc import Iterator

from ..addresses import is_few_machines, is_loopback
from ..containers import (
    DATASTORE_PORTS,
    NETWORK,
    PORTS_URL,
    arguments,
    container_property_rule,
    either,
    in_spec,
    is_datastore,
    ports,
    program_property_rule,
    program_rule,
)
from ..framework.property import Expect, none_of, on, property_rule, unset
from ..framework.rule import Finding, Findings, Parameters, Resource
from . import RUN_URL

ports_on_loopback = container_property_rule(
    "docker-container-ports-on-loopback",
    "ports[].ip",
    Expect(
        is_loopback,
        why="without a loopback address the port is open to the network, past the host's firewall",
        write='"127.0.0.1"',
    ),
    description="A published port is on the host's loopback address",
    severity="high",
    remediation='Set ip="127.0.0.1" on every port; a tunnel or a proxy on the host brings people in.',
    url=PORTS_URL,
    cis=("5.14",),
    kics=("451d79dc",),
)

ports_chosen = container_property_rule(
    "docker-container-ports-chosen",
    "publishAllPorts",
    Expect(unset, why="every port of the image opens, on every address", write="ports one by one"),
    description="Ports are published one by one",
    severity="medium",
    remediation="Leave publishAllPorts out and list ports.",
    url=PORTS_URL,
    cis=("5.9",),
)

ports_unprivileged = program_property_rule(
    "docker-container-ports-unprivileged",
    "ports[].external",
    Expect(lambda port: not 0 < (port or 0) < 1024, why="ports below 1024 are the system's own", write="a port from 1024 on"),
    reads=either("ports[].external", "endpointSpec.ports[].publishedPort"),
    description="A published port is 1024 or higher",
    severity="medium",
    remediation="Publish a port from 1024 on.",
    url=PORTS_URL,
    cis=("5.8",),
    kics=("bc2908f3",),
)


@program_rule(
    "docker-container-datastore-unpublished",
    "ports",
    description="A database, cache or model server is not published, not on loopback either",
    severity="critical",
    remediation="Remove ports; a container that needs it joins its network, a person uses docker exec.",
    url=PORTS_URL,
    cis=("5.9",),
)
def datastore_unpublished(container: Resource, parameters: Parameters) -> Findings:
    for path, inside, _ in ports(container):
        if inside in DATASTORE_PORTS or is_datastore(container):
            yield Finding(path=path, why="every process of the host could reach the data", write="no ports")


@program_rule(
    "docker-container-debugging-unpublished",
    "ports",
    description="A browser's debugging port is not published",
    severity="critical",
    remediation="Remove the port; Skyvern streams the browser by itself.",
    url="https://developer.chrome.com/blog/remote-debugging-port",
)
def debugging_unpublished(container: Resource, parameters: Parameters) -> Findings:
    for path, inside, outside in ports(container):
        if 9220 <= inside <= 9229 or 9220 <= outside <= 9229:
            yield Finding(path=path, why="whoever reaches it has the browser with every login in it", write="no such port")


host_unreached = program_property_rule(
    "docker-container-host-unreached",
    "hosts",
    Expect(none_of("host-gateway"), why="the container reaches what listens on the host", write="no such host"),
    reads=in_spec("hosts[].ip"),
    description="A container does not call services on its host",
    severity="medium",
    remediation="Run the service as a container on a network of the stack.",
    url=RUN_URL + "#add-host",
)


@program_rule(
    "docker-container-proxy-exceptions-narrow",
    "command",
    description="What Squid's arguments let through, before it refuses anything, is one host and one port",
    severity="critical",
    remediation="Give each http_access allow one acl of type dst or dstdomain, with -n, and one of type port: a name, or "
    "at most 256 addresses of a network.",
    url="https://www.squid-cache.org/Doc/config/acl/",
)
def proxy_exceptions_narrow(container: Resource, parameters: Parameters) -> Findings:
    for path, argument in arguments(container):
        if not all(_is_narrow(acls) for acls in _exceptions(str(argument))):
            why = "a page in the browser reaches more of a private network than one service"
            yield Finding(path=path, why=why, write="dst -n or dstdomain -n with one host, and port with one port")


def _exceptions(squid: str) -> Iterator[list[list[str]]]:
    """The conditions of each http_access allow before the first deny: type and values of an acl. Other texts have none."""
    acls: dict[str, list[str]] = {}
    for words in map(str.split, squid.splitlines()):
        match words:
            case ["acl", name, *definition]:
                acls[name] = definition
            case ["http_access", "deny", *_]:
                return
            case ["http_access", "allow", *conditions]:
                yield [acls.get(name, []) for name in conditions if not name.startswith("!")]


def _is_narrow(acls: list[list[str]]) -> bool:
    """Whether conditions, all of which have to be met, leave one host as the URL has it and one port."""
    hosts = ports = False
    for definition in acls:
        match definition:
            case ["dst", "-n", host]:
                hosts |= is_few_machines(host)
            case ["dstdomain", "-n", host]:
                # One with a dot in front is all names below it.
                hosts |= not host.startswith(".")
            case ["port", port]:
                ports |= port.isdecimal()
    return hosts and ports


network_internal = property_rule(
    NETWORK,
    "docker-network-internal",
    "internal",
    Expect(on, why="everything on it reaches the internet and the LAN", write="internal=True"),
    unless="outward",
    description="A network is internal, unless levels.yaml names it as a way out",
    severity="high",
    remediation="Set internal=True, or name the network in levels.yaml.",
    url="https://docs.docker.com/reference/cli/docker/network/create/#internal",
)
