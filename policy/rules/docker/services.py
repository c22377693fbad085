"""A service of a Swarm: what no container has. What both have is judged by each ``program_rule``."""

from functools import partial

from ..containers import NETWORK, SECRET, SERVICE
from ..framework.property import Expect, encrypted_rule, one_of, property_rule
from ..framework.rule import Finding, Findings, Parameters, Resource, matches, rule

_SERVICES_URL = "https://docs.docker.com/engine/swarm/services/"
_OVERLAY_URL = "https://docs.docker.com/engine/network/drivers/overlay/"
# Of each machine, and of the Swarm as a whole: whoever else is on it reaches what is on it.
_SHARED = frozenset({"bridge", "docker_gwbridge", "host", "ingress"})
service_rule = partial(rule, SERVICE)
service_property_rule = partial(property_rule, SERVICE)


@service_rule(
    "docker-service-networks-own",
    "taskSpec.networksAdvanceds",
    description="A service is on networks of the stack, not on the machine's or the Swarm's",
    severity="high",
    remediation="Name overlay networks of the stack in taskSpec.networksAdvanceds, by their id.",
    url=_OVERLAY_URL,
    cis=("5.10", "5.30"),
)
def networks_own(service: Resource, parameters: Parameters) -> Findings:
    path = "taskSpec.networksAdvanceds"
    networks = service.inputs.section("taskSpec").whole("networksAdvanceds")
    if not networks:
        yield Finding(
            path=path, why="on docker0 every container of the machine reaches every other", write="a network of the stack"
        )
    for index, network in enumerate(networks):
        if _SHARED & {str(network.get(key, "")) for key in ("id", "name")}:
            yield Finding(path=f"{path}[{index}]", why="it reaches what is not the stack's", write="a network of the stack")


@service_rule(
    "docker-service-unpublished",
    "endpointSpec.ports",
    description="A service publishes no port, unless levels.yaml names it as a door: a machine opens it on every address",
    severity="high",
    remediation="Remove the port; a connector on a network of the stack brings people in. Or name the service in levels.yaml.",
    url=_SERVICES_URL + "#publish-ports",
    cis=("5.9", "5.14"),
    parameters={"doors": []},
)
def unpublished(service: Resource, parameters: Parameters) -> Findings:
    if matches(service.name, parameters["doors"]):
        return
    for path, _ in service.inputs.section("endpointSpec").each("ports"):
        yield Finding(path=path, why="it is open to the network, past the host's firewall", write="no ports")


ports_of_the_machine = service_property_rule(
    "docker-service-ports-of-machine",
    "endpointSpec.ports[].publishMode",
    Expect(one_of("host"), why="every machine of the Swarm answers on it, also one without the service", write='"host"'),
    description="A port that a service publishes is open on its own machines only",
    severity="medium",
    remediation='Set publishMode="host"; the routing mesh needs IPVS as well, which WSL and small kernels lack.',
    url=_SERVICES_URL + "#publish-a-services-ports-directly-on-the-swarm-node",
    cis=("5.9",),
)

restarted = service_property_rule(
    "docker-service-restarted",
    "taskSpec.restartPolicy.condition",
    Expect(one_of(None, "any", "on-failure"), why="it stays down after a crash", write='"any"'),
    description="A service is started again after a crash",
    severity="low",
    remediation='Leave restartPolicy.condition out, or set it to "any" or "on-failure".',
    url=_SERVICES_URL,
    cis=("5.15",),
)

update_rolled_back = service_property_rule(
    "docker-service-update-rolled-back",
    "updateConfig.failureAction",
    Expect(one_of("rollback"), why="a broken version stays", write='"rollback"'),
    description="A service goes back to its last version if an update fails",
    severity="medium",
    remediation='Set updateConfig.failureAction="rollback".',
    url=_SERVICES_URL + "#roll-back-to-the-previous-version-of-a-service",
)


@service_rule(
    "docker-service-health-awaited",
    "convergeConfig",
    description="An update waits until a service runs and is healthy",
    severity="medium",
    remediation="Set convergeConfig, with a timeout.",
    url="https://www.pulumi.com/registry/packages/docker/api-docs/service/#convergeconfig_python",
)
def health_awaited(service: Resource, parameters: Parameters) -> Findings:
    if not service.inputs.section("convergeConfig").values:
        yield Finding(path="convergeConfig", why="an update succeeds with a broken service", write="a delay and a timeout")


@rule(
    NETWORK,
    "docker-network-overlay-confidential",
    "driver, options",
    description="What machines of a Swarm send each other is encrypted, or levels.yaml says that their network is private",
    severity="medium",
    remediation='Set options={"encrypted": "true"}, which needs ESP in the kernel; or name the network in levels.yaml.',
    url=_OVERLAY_URL + "#encrypt-traffic-on-an-overlay-network",
    cis=("7.3",),
    parameters={"private": []},
)
def overlay_encrypted(network: Resource, parameters: Parameters) -> Findings:
    encrypted = network.inputs.section("options").get("encrypted") not in (None, "false")
    if network.inputs.get("driver", "bridge") == "overlay" and not encrypted and not matches(network.name, parameters["private"]):
        why = "whoever is on the network between the machines reads it"
        yield Finding(path="options.encrypted", why=why, write='"true"')


secret_encrypted = encrypted_rule(
    SECRET,
    "docker-secret-data-encrypted",
    "data",
    description="The content of a Swarm's secret is a secret of Pulumi",
    remediation="Wrap the value in pulumi.Output.secret, or read it with config.require_secret.",
)
