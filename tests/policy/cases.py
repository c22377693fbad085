"""Passing and failing cases of every rule. A rule without cases fails the suite."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policy.rules.cloudflare import NOTIFICATION, TUNNEL
from policy.rules.containers import CONTAINER, NETWORK, PROVIDER, REMOTE_IMAGE, SECRET, SERVICE, VOLUME
from policy.rules.random import BYTES, PASSWORD
from tests.policy.pack import Sent, secret

DIGEST = "sha256:" + "ab" * 32
LONG = "kZ8mQ2vT5xW1cR7nB4hJ9pL3"


def container(name: str = "one", /, **changed: Any) -> Sent:
    """A container that no rule objects to, with other properties; None takes a property away."""
    inputs = {
        "name": f"skyvern-prod-{name}",
        "image": f"postgres:17@{DIGEST}",
        "user": "999:999",
        "networkMode": "none",
        "readOnly": True,
        "capabilities": {"drops": ["ALL"]},
        "securityOpts": ["no-new-privileges:true"],
        "memory": 256,
        "memorySwap": 256,
        "cpus": "1.0",
        "restart": "unless-stopped",
        "logDriver": "json-file",
        "logOpts": {"max-file": "3", "max-size": "10m"},
        "healthcheck": {"tests": ["CMD", "true"]},
        "wait": True,
    } | changed
    return Sent(CONTAINER, name, {key: value for key, value in inputs.items() if value is not None})


def service(name: str = "one", /, **changed: Any) -> Sent:
    """A service of a Swarm that no rule objects to, with other properties; None takes a property away."""
    inputs = {
        "name": f"skyvern-prod-{name}",
        "taskSpec": {
            "containerSpec": {
                "image": f"postgres:17@{DIGEST}",
                "user": "999:999",
                "readOnly": True,
                "capDrops": ["ALL"],
                "healthcheck": {"tests": ["CMD", "true"]},
            },
            "resources": {"limits": {"memoryBytes": 268435456, "nanoCpus": 1000000000}},
            "logDriver": {"name": "json-file", "options": {"max-file": "3", "max-size": "10m"}},
            "networksAdvanceds": [{"id": "fl02rd9eb7l8"}],
        },
        "updateConfig": {"failureAction": "rollback"},
        "convergeConfig": {"timeout": "180s"},
    } | changed
    return Sent(SERVICE, name, {key: value for key, value in inputs.items() if value is not None})


def as_service(sent: Sent) -> Sent:
    """The service that a container would be: what only a container has is left out."""
    given = sent.inputs
    mounts = [*(given.get("mounts") or [])]
    mounts += [
        {
            "type": "bind" if volume.get("hostPath") else "volume",
            "source": volume.get("hostPath") or volume.get("volumeName"),
            "target": volume["containerPath"],
            "readOnly": volume.get("readOnly", False),
        }
        for volume in given.get("volumes") or []
    ]
    capabilities = given.get("capabilities") or {}
    container_spec = {
        **{key: given.get(key) for key in ("image", "user", "readOnly", "healthcheck", "hosts", "hostname")},
        "args": given.get("command"),
        "mounts": mounts,
        "capAdds": capabilities.get("adds"),
        "capDrops": capabilities.get("drops"),
        "env": _as_map(given.get("envs") or []),
        "privileges": {"seLinuxContext": {"disable": any("disable" in option for option in given.get("securityOpts") or [])}},
    }
    log = {"name": given.get("logDriver"), "options": given.get("logOpts")}
    cpus = float(given.get("cpus") or 0) or given.get("cpuShares") or given.get("cpuQuota") or 0
    task = {
        "containerSpec": {key: value for key, value in container_spec.items() if value},
        "resources": {"limits": {"memoryBytes": (given.get("memory") or 0) * 2**20, "nanoCpus": int(cpus * 10**9)}},
        "logDriver": {key: value for key, value in log.items() if value is not None},
        "networksAdvanceds": [
            {"id": network["name"], "aliases": network.get("aliases", [])} for network in given.get("networksAdvanced") or []
        ]
        or [{"id": f"of-{sent.name}"}],
    }
    ports = [{"targetPort": port["internal"], "publishedPort": port["external"]} for port in given.get("ports") or []]
    return service(sent.name, name=given.get("name"), taskSpec=task, endpointSpec={"ports": ports} if ports else None)


def path_in_service(path: str) -> str:
    """Where a service has the property that a container has at a path."""
    outside_of_spec = {
        "cpus": "taskSpec.resources.limits.nanoCpus",
        "logOpts": "taskSpec.logDriver.options",
        "memory": "taskSpec.resources.limits.memoryBytes",
    }
    if path in outside_of_spec:
        return outside_of_spec[path]
    for container, of_service in (
        (r"name", r"name"),
        (r"ports", r"endpointSpec.ports"),
        (r"networksAdvanced", r"taskSpec.networksAdvanceds"),
        (r"volumes", r"taskSpec.containerSpec.mounts"),
        (r"ports(\[\d\])\.external", r"endpointSpec.ports\1.publishedPort"),
        (r"ports(\[\d\])", r"endpointSpec.ports\1"),
        (r"volumes(\[\d\])\.hostPath", r"taskSpec.containerSpec.mounts\1.source"),
        (r"capabilities\.drops", r"taskSpec.containerSpec.capDrops"),
        (r"capabilities\.adds(\[\d\])", r"taskSpec.containerSpec.capAdds\1"),
        (r"securityOpts\[\d\]", r"taskSpec.containerSpec.privileges.seLinuxContext.disable"),
        (r"envs(.*)", r"taskSpec.containerSpec.env\1"),
        (r"command(.*)", r"taskSpec.containerSpec.args\1"),
        (r"(.*)", r"taskSpec.containerSpec.\1"),
    ):
        if found := re.fullmatch(container, path):
            return found.expand(of_service)
    raise AssertionError(path)


def _as_map(elements: Any) -> Any:
    """The environment of a service, a mapping; a secret stays one."""
    if isinstance(elements, dict):
        return secret(_as_map(elements["value"]))
    pairs = ((element, element["value"]) if isinstance(element, dict) else (element, element) for element in elements)
    return {text.partition("=")[0]: _same_secrecy(element, text.partition("=")[2]) for element, text in pairs}


def _same_secrecy(element: Any, value: str) -> Any:
    return secret(value) if isinstance(element, dict) else value


def services(of_key: str, passing: Sequence[Any], failing: Sequence[tuple[Any, str]]) -> "Cases":
    """Cases of one property of a service."""
    return each(
        [service(**{of_key: value}) for value in passing], [(service(**{of_key: value}), path) for value, path in failing]
    )


def on_networks(*networks: dict[str, str]) -> dict[str, Any]:
    """The part of a service that names its networks."""
    return {**service().inputs["taskSpec"], "networksAdvanceds": list(networks)}


def restarting(condition: str | None) -> dict[str, Any]:
    """The part of a service that says when it is started again."""
    return {**service().inputs["taskSpec"], "restartPolicy": {} if condition is None else {"condition": condition}}


# The whole deployment of this project.
PLATFORM = Sent("skyvern:platform:SkyvernPlatform", "skyvern", {})


def environment(*elements: Any) -> Sent:
    """A container with these variables."""
    return container(envs=list(elements))


def bind(source: str, **more: Any) -> dict[str, Any]:
    """A mount of a host's folder."""
    return {"type": "bind", "source": source, "target": "/x", **more}


def port(internal: int, external: int, ip: str | None = "127.0.0.1") -> dict[str, Any]:
    """A published port."""
    return {"internal": internal, "external": external} | ({} if ip is None else {"ip": ip})


def on(*networks: str, aliases: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Networks of a container."""
    return [{"name": network, "aliases": list(aliases)} for network in networks]


def writes(volume: str, **more: Any) -> list[dict[str, Any]]:
    """A volume of a container."""
    return [{"volumeName": volume, "containerPath": "/data", **more}]


def squid(*lines: str) -> list[str]:
    """Arguments with lines for Squid."""
    return ["sh", "-c", "exec squid", "squid", "\n".join(lines)]


def password(name: str = "one", /, *, protect: bool = True, **inputs: Any) -> Sent:
    """A generated password."""
    return Sent(PASSWORD, name, {"length": 32, "special": False, **inputs}, protect)


BROWSER_ARGUMENTS = (
    'BROWSER_ADDITIONAL_ARGS=["--proxy-server=http://egress:3128","--proxy-bypass-list=<-loopback>",'
    '"--webrtc-ip-handling-policy=disable_non_proxied_udp","--force-webrtc-ip-handling-policy=disable_non_proxied_udp"]'
)
EGRESS = container("egress", networksAdvanced=on("browsing", aliases=["egress"]))


def browser(arguments: str | None = BROWSER_ARGUMENTS, network: str = "browsing") -> list[Sent]:
    """Skyvern and its egress proxy."""
    variables = ["BROWSER_TYPE=chromium-headless", *([arguments] if arguments else [])]
    return [container("server", envs=variables, networksAdvanced=on(network)), EGRESS]


# The proxy where a browser outside of Docker reaches it.
OFFERED = container("x-egress-squid", ports=[port(3128, 3128)])


def elsewhere(*variables: str) -> Sent:
    """Skyvern with a browser that it does not start."""
    return container("server", envs=list(variables))


GATEWAY = container("x-gateway-caddy", image="localhost/skyvern/gateway:0123456789ab", ports=[port(8080, 8080)])


def firewall(**changed: Any) -> Sent:
    """The only container on the host's network, with other properties."""
    bare = {"user": "0:0", "networkMode": "host", "capabilities": {"drops": ["ALL"], "adds": ["NET_ADMIN"]}}
    return container("x-firewall-nft", **(bare | changed))


FIREWALL = firewall()


@dataclass(frozen=True)
class Cases:
    """passing: stacks on which the rule is silent. failing: stack, and the path that the message names."""

    passing: Sequence[Sequence[Sent]]
    failing: Sequence[tuple[Sequence[Sent], str]]


def each(passing: Sequence[Sent], failing: Sequence[tuple[Sent, str]]) -> Cases:
    """Cases of one resource each."""
    return Cases([[resource] for resource in passing], [([resource], path) for resource, path in failing])


def containers(property_: str, passing: Sequence[Any], failing: Sequence[tuple[Any, str]]) -> Cases:
    """Cases of one property of a container."""
    return each(
        [container(**{property_: value}) for value in passing],
        [(container(**{property_: value}), path) for value, path in failing],
    )


CASES = {
    "docker-container-unprivileged": containers(
        "privileged", [None, False], [(True, "privileged"), (secret(True), "privileged")]
    ),
    "docker-container-docker-socket-unmounted": each(
        [container(), container(mounts=[bind("/srv/data")]), container(volumes=writes("x"))],
        [
            (container(mounts=[bind("/var/run/docker.sock", readOnly=True)]), "mounts[0].source"),
            (container(volumes=[{"hostPath": "/run/user/1000/docker.sock", "containerPath": "/d"}]), "volumes[0].hostPath"),
            (container(mounts=[bind("/srv"), bind("/run/containerd/containerd.sock")]), "mounts[1].source"),
        ],
    ),
    "docker-container-capabilities-dropped": containers(
        "capabilities",
        [{"drops": ["ALL"]}, {"drops": ["all"], "adds": ["NET_BIND_SERVICE"]}],
        [(None, "capabilities.drops"), ({"drops": ["NET_RAW"]}, "capabilities.drops"), ({}, "capabilities.drops")],
    ),
    "docker-container-capabilities-not-added": each(
        [*(container(capabilities=some) for some in (None, {"drops": ["ALL"]}, {"drops": ["ALL"], "adds": []})), FIREWALL],
        [
            (container(capabilities={"adds": ["SYS_ADMIN"]}), "capabilities.adds[0]"),
            (container(capabilities={"drops": ["ALL"], "adds": ["CAP_NET_RAW"]}), "capabilities.adds[0]"),
            (container(capabilities={"adds": ["NET_ADMIN"]}), "capabilities.adds[0]"),
            (firewall(capabilities={"adds": ["NET_ADMIN", "NET_RAW"]}), "capabilities.adds[1]"),
        ],
    ),
    "docker-container-no-new-privileges": containers(
        "securityOpts",
        [["no-new-privileges"], ["no-new-privileges=true"], ["no-new-privileges:true"]],
        [(None, "securityOpts"), (["no-new-privileges:false"], "securityOpts"), (["seccomp=x.json"], "securityOpts")],
    ),
    "docker-container-seccomp-on": containers(
        "securityOpts",
        [None, ["seccomp=profile.json"]],
        [(["seccomp=unconfined"], "securityOpts[0]"), (["no-new-privileges", "seccomp:unconfined"], "securityOpts[1]")],
    ),
    "docker-container-apparmor-on": containers(
        "securityOpts",
        [None, ["apparmor=docker-default"]],
        [(["apparmor=unconfined"], "securityOpts[0]"), (["apparmor:unconfined"], "securityOpts[0]")],
    ),
    "docker-container-selinux-on": containers(
        "securityOpts",
        [None, ["label=type:svirt_apache_t"]],
        [(["label=disable"], "securityOpts[0]"), (["label:disable"], "securityOpts[0]")],
    ),
    "docker-container-root-read-only": containers("readOnly", [True], [(None, "readOnly"), (False, "readOnly")]),
    "docker-container-user-not-root": each(
        [*(container(user=user) for user in ("10001:10001", "999", "1000:0")), FIREWALL],
        [(container(user=user), "user") for user in (None, "root", "0:0", "postgres", "00")],
    ),
    "docker-container-network-namespace-own": each(
        [container(networkMode="none"), container(networkMode="skyvern-prod-data"), FIREWALL],
        [
            (container(networkMode="host"), "networkMode"),
            (container(networkMode="container:abc"), "networkMode"),
            (firewall(networkMode="container:abc"), "networkMode"),
        ],
    ),
    "docker-container-host-network-bare": each(
        [FIREWALL, container(volumes=writes("x")), container("x-firewall-nft", volumes=writes("x"))],
        [
            (firewall(volumes=writes("x")), "volumes"),
            (firewall(mounts=[bind("/srv")]), "mounts"),
            (firewall(ports=[port(8000, 8000)]), "ports"),
            (firewall(devices=[{"hostPath": "/dev/net/tun"}]), "devices"),
            (firewall(envs=["TOKEN=x"]), "envs"),
            (firewall(gpus="all"), "gpus"),
            (firewall(hosts=[{"host": "a", "ip": "10.0.0.4"}]), "hosts"),
            (firewall(networksAdvanced=on("data")), "networksAdvanced"),
            (firewall(capabilities={"drops": ["ALL"], "adds": ["SYS_MODULE", "NET_ADMIN"]}), "capabilities.adds[0]"),
            # Whatever its name is.
            (container(networkMode="host", envs=["A=b"]), "envs"),
        ],
    ),
    "docker-container-network-user-defined": containers(
        "networkMode",
        ["none", "skyvern-prod-data"],
        [(None, "networkMode"), ("bridge", "networkMode"), ("default", "networkMode")],
    ),
    "docker-container-pid-namespace-own": containers("pidMode", [None, ""], [("host", "pidMode"), ("container:abc", "pidMode")]),
    "docker-container-ipc-namespace-own": containers(
        "ipcMode", [None, "private", "none"], [("host", "ipcMode"), ("container:abc", "ipcMode")]
    ),
    "docker-container-user-namespace-own": containers(
        "usernsMode", [None, ""], [("host", "usernsMode"), (secret("host"), "usernsMode")]
    ),
    "docker-container-cgroup-own": containers(
        "cgroupParent", [None, ""], [("/", "cgroupParent"), ("system.slice", "cgroupParent")]
    ),
    "docker-container-devices-absent": containers(
        "devices",
        [None, []],
        [([{"hostPath": "/dev/kvm"}], "devices[0]"), ([{"hostPath": "/dev/dri"}, {"hostPath": "/dev/fuse"}], "devices[1]")],
    ),
    "docker-container-gpus-granted": each(
        [container(), container("x-ollama-server", gpus="all")],
        [(container(gpus="all"), "gpus"), (container("x-skyvern-server", gpus="device=0"), "gpus")],
    ),
    "docker-container-host-folders-harmless": each(
        [
            container(),
            container(mounts=[bind("/srv/skyvern")]),
            container(mounts=[bind("/etcetera")]),
            container(mounts=[{"type": "volume", "source": "etc", "target": "/etc"}]),
            # Another disk, for the sets of a backup.
            container("x-backup-restic", mounts=[bind("/mnt/d/skyvern-backup")]),
        ],
        [
            (container(mounts=[bind("/")]), "mounts[0].source"),
            (container(mounts=[bind("/etc/")]), "mounts[0].source"),
            (container(mounts=[bind("/srv"), bind("/var/lib/docker/volumes")]), "mounts[1].source"),
            (container(mounts=[bind("/home/me/.ssh")]), "mounts[0].source"),
            (container(mounts=[bind("/mnt/c/Users/me")]), "mounts[0].source"),
            (container(mounts=[bind("C:\\chrome-profile")]), "mounts[0].source"),
            (container("x-backup-restic", mounts=[bind("/mnt/d")]), "mounts[0].source"),
            (container("x-backup-restic", mounts=[bind("/etc")]), "mounts[0].source"),
        ],
    ),
    "docker-container-mounts-private": containers(
        "mounts",
        [None, [bind("/srv")], [bind("/srv", bindOptions={"propagation": "rprivate"})]],
        [
            ([bind("/srv", bindOptions={"propagation": "shared"})], "mounts[0].bindOptions.propagation"),
            ([bind("/srv", bindOptions={"propagation": "rshared"})], "mounts[0].bindOptions.propagation"),
        ],
    ),
    "docker-container-ports-on-loopback": containers(
        "ports",
        [None, [port(8000, 8000)], [port(8000, 8000, "::1")], [port(8000, 8000, "127.0.0.2")]],
        [
            ([port(8000, 8000, None)], "ports[0].ip"),
            ([port(8000, 8000), port(9090, 9090, "0.0.0.0")], "ports[1].ip"),  # noqa: S104
            ([port(8000, 8000, "192.168.0.4")], "ports[0].ip"),
            ([port(8000, 8000, "::")], "ports[0].ip"),
        ],
    ),
    "docker-container-ports-chosen": containers(
        "publishAllPorts", [None, False], [(True, "publishAllPorts"), (secret(True), "publishAllPorts")]
    ),
    "docker-container-ports-unprivileged": containers(
        "ports",
        [None, [port(80, 8080)], [port(80, 1024)]],
        [([port(80, 80)], "ports[0].external"), ([port(443, 8443), port(443, 443)], "ports[1].external")],
    ),
    "docker-container-datastore-unpublished": each(
        [container(), GATEWAY],
        [
            (container(ports=[port(5432, 15432)]), "ports[0]"),
            (container(image=f"ollama/ollama@{DIGEST}", ports=[port(1, 8081)]), "ports[0]"),
            (container(image=f"own/name@{DIGEST}", ports=[port(8000, 8000), port(6379, 6379)]), "ports[1]"),
        ],
    ),
    "docker-container-debugging-unpublished": containers(
        "ports",
        [None, [port(8000, 8000)]],
        [([port(9222, 9222)], "ports[0]"), ([port(8000, 8000), port(9223, 8001)], "ports[1]"), ([port(80, 9222)], "ports[0]")],
    ),
    "docker-container-host-unreached": containers(
        "hosts",
        [None, [{"host": "db", "ip": "10.0.0.4"}]],
        [
            ([{"host": "host.docker.internal", "ip": "host-gateway"}], "hosts[0].ip"),
            ([{"host": "a", "ip": "10.0.0.4"}, {"host": "b", "ip": "host-gateway"}], "hosts[1].ip"),
        ],
    ),
    "docker-container-proxy-exceptions-narrow": containers(
        "command",
        [
            *(None, ["tunnel", "run"], squid("acl h dst -n 10.20.1.5", "acl p port 443", "http_access allow h p !inside")),
            squid("acl h dst -n 10.20.1.0/24", "acl p port 443", "http_access allow p h"),
            squid("acl h dstdomain -n wiki.example.com", "acl p port 443", "http_access allow h p"),
            # A whole configuration, which refuses first.
            squid("http_access deny private", "http_access allow all"),
        ],
        [
            (squid("http_access allow all"), "command[4]"),
            (squid("acl p port 443", "http_access allow p"), "command[4]"),
            (squid("acl h dst -n 10.20.1.5", "http_access allow h"), "command[4]"),
            # Any name that leads there: a page's own, too.
            (squid("acl h dst 10.20.1.5", "acl p port 443", "http_access allow h p"), "command[4]"),
            (squid("acl h dstdomain -n .example.com", "acl p port 443", "http_access allow h p"), "command[4]"),
            (squid("acl h dst -n 10.0.0.0/8", "acl p port 443", "http_access allow h p"), "command[4]"),
            (squid("acl h dst -n 169.254.169.254", "acl p port 80", "http_access allow h p"), "command[4]"),
            (squid("acl h dst -n 127.0.0.1", "acl p port 80", "http_access allow h p"), "command[4]"),
            (squid("acl h dst -n 10.20.1.5", "acl p port 1-65535", "http_access allow h p"), "command[4]"),
            (squid("acl h dst -n 10.20.1.5", "acl p port 443", "http_access allow h p", "http_access allow h"), "command[4]"),
        ],
    ),
    "docker-network-internal": each(
        [Sent(NETWORK, "data", {"internal": True}), Sent(NETWORK, "x-networks-outgoing", {"internal": False})],
        [(Sent(NETWORK, "data", {}), "internal"), (Sent(NETWORK, "data", {"internal": False}), "internal")],
    ),
    "docker-service-networks-own": services(
        "taskSpec",
        [on_networks({"id": "fl02rd9eb7l8"}), on_networks({"name": "skyvern-prod-data"}, {"id": "fl02rd9eb7l8"})],
        [
            (on_networks(), "taskSpec.networksAdvanceds"),
            (on_networks({"name": "host"}), "taskSpec.networksAdvanceds[0]"),
            (on_networks({"id": "fl02rd9eb7l8"}, {"name": "ingress"}), "taskSpec.networksAdvanceds[1]"),
            (on_networks({"name": "bridge"}), "taskSpec.networksAdvanceds[0]"),
        ],
    ),
    "docker-service-unpublished": services(
        "endpointSpec",
        [None, {"mode": "dnsrr"}, {"ports": []}],
        [
            ({"ports": [{"targetPort": 8080, "publishedPort": 8080, "publishMode": "host"}]}, "endpointSpec.ports[0]"),
            ({"ports": [{"targetPort": 1}, {"targetPort": 2}]}, "endpointSpec.ports[1]"),
        ],
    ),
    "docker-service-ports-of-machine": services(
        "endpointSpec",
        [None, {"ports": [{"targetPort": 8080, "publishMode": "host"}]}],
        [
            ({"ports": [{"targetPort": 8080}]}, "endpointSpec.ports[0].publishMode"),
            ({"ports": [{"targetPort": 8080, "publishMode": "ingress"}]}, "endpointSpec.ports[0].publishMode"),
        ],
    ),
    "docker-service-restarted": services(
        "taskSpec",
        [restarting(None), restarting("any"), restarting("on-failure")],
        [
            (restarting("none"), "taskSpec.restartPolicy.condition"),
            (restarting("never"), "taskSpec.restartPolicy.condition"),
        ],
    ),
    "docker-service-update-rolled-back": services(
        "updateConfig",
        [{"failureAction": "rollback"}],
        [(None, "updateConfig.failureAction"), ({"failureAction": "pause"}, "updateConfig.failureAction")],
    ),
    "docker-service-health-awaited": services(
        "convergeConfig", [{"timeout": "180s"}], [(None, "convergeConfig"), ({}, "convergeConfig")]
    ),
    "docker-network-overlay-confidential": each(
        [
            Sent(NETWORK, "data", {"internal": True}),
            Sent(NETWORK, "data", {"driver": "bridge", "internal": True}),
            Sent(NETWORK, "data", {"driver": "overlay", "options": {"encrypted": "true"}}),
            Sent(NETWORK, "data", {"driver": "overlay", "options": {"encrypted": ""}}),
        ],
        [
            (Sent(NETWORK, "data", {"driver": "overlay"}), "options.encrypted"),
            (Sent(NETWORK, "data", {"driver": "overlay", "options": {"encrypted": "false"}}), "options.encrypted"),
        ],
    ),
    "docker-secret-data-encrypted": each(
        [Sent(SECRET, "one", {"data": secret("QUJD")}), Sent(SECRET, "one", {})],
        [(Sent(SECRET, "one", {"data": "QUJD"}), "data"), (Sent(SECRET, "two", {"name": "x", "data": "QUJD"}), "data")],
    ),
    "docker-container-memory-limited": containers("memory", [256], [(None, "memory"), (0, "memory")]),
    "docker-container-swap-limited": containers(
        "memorySwap", [256], [(None, "memorySwap"), (512, "memorySwap"), (-1, "memorySwap")]
    ),
    "docker-container-cpu-limited": each(
        [container(), container(cpus=None, cpuShares=512), container(cpus=None, cpuQuota=50000)],
        [(container(cpus=None), "cpus"), (container(cpus="0"), "cpus")],
    ),
    "docker-container-health-checked": containers(
        "healthcheck",
        [{"tests": ["CMD", "true"]}, {"tests": ["CMD-SHELL", "curl -f localhost"]}],
        [
            (None, "healthcheck.tests"),
            ({"tests": ["NONE"]}, "healthcheck.tests"),
            ({"tests": ["NONE", "x"]}, "healthcheck.tests"),
        ],
    ),
    "docker-container-health-awaited": containers("wait", [True], [(None, "wait"), (False, "wait")]),
    "docker-container-restarted": containers(
        "restart", ["unless-stopped", "on-failure"], [(None, "restart"), ("no", "restart"), ("always", "restart")]
    ),
    "docker-container-logs-rotated": each(
        [container(), container(logDriver="local", logOpts=None), container(logDriver="syslog", logOpts={})],
        [
            (container(logOpts=None), "logOpts"),
            (container(logDriver=None, logOpts={"max-file": "3"}), "logOpts"),
        ],
    ),
    "docker-container-image-pinned": containers(
        "image",
        [f"postgres@{DIGEST}", f"postgres:17@{DIGEST}", DIGEST, "localhost/skyvern/server:0123456789ab"],
        [
            ("postgres:17", "image"),
            ("postgres", "image"),
            ("public.ecr.aws/skyvern/skyvern:latest", "image"),
            ("localhost/skyvern/server:latest", "image"),
            ("docker.io/someone/server:0123456789ab", "image"),
            (f"postgres@{DIGEST[:-1]}", "image"),
        ],
    ),
    "docker-image-pinned": each(
        [Sent(REMOTE_IMAGE, "one", {"name": f"caddy@{DIGEST}"}), Sent(REMOTE_IMAGE, "one", {"name": f"caddy:2@{DIGEST}"})],
        [(Sent(REMOTE_IMAGE, "one", {"name": "caddy:2"}), "name"), (Sent(REMOTE_IMAGE, "one", {"name": "caddy:latest"}), "name")],
    ),
    "docker-container-image-trusted": containers(
        "image",
        [f"postgres:17@{DIGEST}", f"docker.io/library/caddy@{DIGEST}", "localhost/skyvern/server:0123456789ab"],
        [
            (f"someone/postgres@{DIGEST}", "image"),
            (f"ghcr.io/library/postgres@{DIGEST}", "image"),
            (f"localhost:5000/skyvern/server@{DIGEST}", "image"),
        ],
    ),
    "docker-container-secrets-named": each(
        [
            environment(secret(f"SECRET_KEY={LONG}"), "POSTGRES_USER=postgres"),
            environment("DB_PASSWORD_FILE=/run/secrets/db", "LLM_KEY=OPENAI_GPT4O", "PATH=/bin", "GITHUB_TOKEN="),
            environment("SECRET_KEY_PATH=/run/x", "PROXY=http://egress:3128", "ENABLE_LOCAL_CREDENTIAL_VAULT=true"),
            environment("PWD=/srv", "PUBLIC_KEY=ssh-ed25519 AAAA"),
        ],
        [
            (environment(f"MAIL_PASSWORD={LONG}"), "envs[MAIL_PASSWORD]"),
            (environment("A=b", secret(f"GITHUB_TOKEN={LONG}")), "envs[GITHUB_TOKEN]"),
            (environment(secret(f"CACHE=redis://x:{LONG}@cache:6379")), "envs[CACHE]"),
            (environment(f"aws_secret_access_key={LONG}"), "envs[aws_secret_access_key]"),
            (environment(f"DB_PWD={LONG}"), "envs[DB_PWD]"),
            (environment(f"SESSION_COOKIE={LONG}"), "envs[SESSION_COOKIE]"),
        ],
    ),
    "docker-container-secrets-encrypted": each(
        [
            environment(secret(f"SECRET_KEY={LONG}")),
            container(envs=secret([f"SECRET_KEY={LONG}", "A=b"])),
            environment("LLM_KEY=OPENAI_GPT4O", "A=b"),
        ],
        [
            (environment(f"OPENAI_API_KEY=sk-{LONG}"), "envs[OPENAI_API_KEY]"),
            (environment("A=b", f"DATABASE_STRING=postgresql://x:{LONG}@postgres/x"), "envs[DATABASE_STRING]"),
        ],
    ),
    "docker-container-channels-encrypted": each(
        [
            environment(secret("CHANNELS=tgram://t/c"), secret("HEARTBEAT=https://hc.example.com/1")),
            environment("CHANNELS=", "QUIET_HOURS=23:00-07:00"),
        ],
        [
            (environment("CHANNELS=tgram://t/c"), "envs[CHANNELS]"),
            (environment("A=b", "HEARTBEAT=https://hc.example.com/1"), "envs[HEARTBEAT]"),
        ],
    ),
    "docker-container-database-verified": each(
        [
            environment(f"DATABASE_STRING=postgresql+psycopg://x:{LONG}@postgres:5432/x"),
            environment(secret(f"DATABASE_STRING=postgresql+psycopg://x:{LONG}@db.example.com/x?a=b&sslmode=verify-full")),
            environment("PGHOST=/var/run/postgresql.d"),
            environment("PGHOST=db.example.com", "PGSSLMODE=verify-full"),
            environment("MONITOR_DATABASE=host=db.example.com dbname=x user=y port=5432 sslmode=verify-full"),
            environment("MONITOR_DATABASE=host=/var/run/postgresql dbname=x user=y"),
        ],
        [
            (environment(secret(f"DATABASE_STRING=postgresql://x:{LONG}@db.example.com/x")), "envs[DATABASE_STRING]"),
            (environment(secret(f"DB=postgres://x:{LONG}@192.168.1.9/x?sslmode=require")), "envs[DB]"),
            (environment("PGSSLMODE=verify-ca", "PGHOST=db.example.com"), "envs[PGHOST]"),
            (environment("MONITOR_DATABASE=host=db.example.com dbname=x user=y"), "envs[MONITOR_DATABASE]"),
        ],
    ),
    "docker-container-secrets-not-default": each(
        [environment(secret(f"POSTGRES_PASSWORD={LONG}")), environment("POSTGRES_USER=skyvern", "MODE=test")],
        [
            (environment(secret("POSTGRES_PASSWORD=skyvern")), "envs[POSTGRES_PASSWORD]"),
            (environment("DATABASE_STRING=postgresql+psycopg://skyvern:skyvern@postgres:5432/skyvern"), "envs[DATABASE_STRING]"),
            (environment("SECRET_KEY=your-secure-secret-key-here"), "envs[SECRET_KEY]"),
            (environment("OPENAI_API_KEY=sk-your-openai-key"), "envs[OPENAI_API_KEY]"),
            (environment("PGPASSWORD=ChangeMe!"), "envs[PGPASSWORD]"),
        ],
    ),
    "docker-container-passwords-long": each(
        [environment(secret(f"POSTGRES_PASSWORD={LONG}")), environment("UI_LOGIN_SHA256=5e5e", "OPENAI_API_KEY=sk-short")],
        [
            (environment(secret("POSTGRES_PASSWORD=k3jd9")), "envs[POSTGRES_PASSWORD]"),
            (environment("DATABASE_STRING=postgresql://skyvern:k3jd9@postgres/skyvern"), "envs[DATABASE_STRING]"),
            (environment("SECRET_KEY=fifteen-letters"), "envs[SECRET_KEY]"),
        ],
    ),
    "docker-container-client-variables-public": each(
        [environment("VITE_API_BASE_URL=https://api.example.com", "SKYVERN_API_KEY=x"), environment("VITE_SKYVERN_API_KEY=")],
        [
            (environment("VITE_SKYVERN_API_KEY=your-api-key-from-settings"), "envs[VITE_SKYVERN_API_KEY]"),
            (environment("A=b", secret(f"NEXT_PUBLIC_AUTH_TOKEN={LONG}")), "envs[NEXT_PUBLIC_AUTH_TOKEN]"),
        ],
    ),
    "docker-container-arguments-public": containers(
        "command",
        [
            *(None, ["tunnel", "run"], ["--token-file", "/run/secrets/token"], ["--key=value"], ["--tls-key", "/certs/key.pem"]),
            *(["psql", "--no-password", "skyvern"], ["--disable-cookie", "all"]),
        ],
        [
            (["tunnel", "run", "--token", LONG], "command[3]"),
            ([f"--password={LONG}"], "command[0]"),
            (["serve", "--db-password", LONG], "command[2]"),
            (["serve", secret(LONG)], "command[1]"),
        ],
    ),
    "docker-container-origins-exact": each(
        [environment('ALLOWED_ORIGINS=["https://app.example.com"]'), environment("PATTERN=*")],
        [
            (environment('ALLOWED_ORIGINS=["https://app.example.com", "*"]'), "envs[ALLOWED_ORIGINS]"),
            (environment("CORS_ORIGINS=https://*.vercel.app"), "envs[CORS_ORIGINS]"),
        ],
    ),
    "docker-container-store-over-tls": each(
        [
            environment("AWS_ENDPOINT_URL_S3=https://store.example.com"),
            environment("AWS_ENDPOINT_URL_S3=http://10.1.2.3:9000"),
            environment("AWS_ENDPOINT_URL_S3=http://minio:9000"),
            environment("AWS_ENDPOINT_URL=http://nas.lan:9000"),
            environment("SMOKE_URL=http://example.com"),
        ],
        [
            (environment("AWS_ENDPOINT_URL_S3=http://store.example.com"), "envs[AWS_ENDPOINT_URL_S3]"),
            (environment("AWS_ENDPOINT_URL=http://93.184.216.34:9000"), "envs[AWS_ENDPOINT_URL]"),
            (environment("AWS_ENDPOINT_URL=http://example.lan.example.com"), "envs[AWS_ENDPOINT_URL]"),
        ],
    ),
    "docker-container-log-level-quiet": each(
        [environment("LOG_LEVEL=INFO"), environment("DEBUG=0", "MODE=debug")],
        [
            (environment("LOG_LEVEL=DEBUG"), "envs[LOG_LEVEL]"),
            (environment("A=b", "DEBUG=true"), "envs[DEBUG]"),
            (environment("TUNNEL_LOGLEVEL=Debug"), "envs[TUNNEL_LOGLEVEL]"),
        ],
    ),
    "docker-volume-protected": each(
        [Sent(VOLUME, "data", {}, protect=True), Sent(VOLUME, "x-postgres-socket", {})],
        [(Sent(VOLUME, "data", {}), "options.protect"), (Sent(VOLUME, "x-postgres", {"name": "x"}), "options.protect")],
    ),
    "docker-provider-host-named": each(
        [Sent(PROVIDER, "one", {"host": "unix:///var/run/docker.sock"}), Sent(PROVIDER, "one", {"context": "wsl"})],
        [(Sent(PROVIDER, "default", {}), "host"), (Sent(PROVIDER, "one", {"host": ""}), "host")],
    ),
    "docker-provider-host-encrypted": each(
        [
            Sent(PROVIDER, "one", {"host": "ssh://me@host"}),
            Sent(PROVIDER, "one", {"host": "unix:///var/run/docker.sock"}),
            Sent(PROVIDER, "one", {"host": "tcp://host:2376", "certPath": "/certs"}),
            Sent(
                PROVIDER, "one", {"host": "tcp://host:2376", "caMaterial": "a", "certMaterial": "b", "keyMaterial": secret("c")}
            ),
        ],
        [
            (Sent(PROVIDER, "one", {"host": "tcp://host:2375"}), "host"),
            (Sent(PROVIDER, "one", {"host": "tcp://host:2376", "caMaterial": "a"}), "host"),
        ],
    ),
    "random-password-long": each(
        [password(), password(length=22), password("x-secrets-organization", length=17)],
        [(password(length=21), "length"), (password(length=8), "length")],
    ),
    "random-password-url-safe": each(
        [password(), password(special=True, overrideSpecial="-_")],
        [(password(special=True), "special"), (password(special=True, overrideSpecial="-@"), "special")],
    ),
    "random-password-kept": each(
        [password(), password(protect=False, keepers={"epoch": "1"})],
        [(password(protect=False), "options.protect"), (password(protect=False, keepers={}), "options.protect")],
    ),
    "random-bytes-unused": each(
        [password(), container()],
        [(Sent(BYTES, "one", {"length": 32}), "id"), (Sent(BYTES, "two", {"length": 64}), "id")],
    ),
    "stack-browser-egress-proxied": Cases(
        [browser(), [container()]],
        [
            (browser(None), "server: envs[BROWSER_ADDITIONAL_ARGS]"),
            (browser("BROWSER_ADDITIONAL_ARGS=no json"), "server: envs[BROWSER_ADDITIONAL_ARGS]"),
            (browser(BROWSER_ARGUMENTS.replace("egress", "elsewhere")), "server: envs[BROWSER_ADDITIONAL_ARGS]"),
            (browser(BROWSER_ARGUMENTS.replace("<-loopback>", "localhost")), "server: envs[BROWSER_ADDITIONAL_ARGS]"),
            # The spelling that Chromium does not know, alone.
            (browser(BROWSER_ARGUMENTS.replace('"--webrtc-', '"--no-')), "server: envs[BROWSER_ADDITIONAL_ARGS]"),
            (browser(network="outgoing"), "server: envs[BROWSER_ADDITIONAL_ARGS]"),
        ],
    ),
    "stack-browser-elsewhere-proxied": Cases(
        [
            [elsewhere("BROWSER_TYPE=cdp-connect", "BROWSER_REMOTE_DEBUGGING_URL=http://10.0.0.1:9222/"), OFFERED],
            [elsewhere("BROWSER_TYPE=chromium-headful")],
            [elsewhere("A=cdp-connect"), EGRESS],
        ],
        [
            ([elsewhere("BROWSER_TYPE=cdp-connect"), EGRESS], "server: envs[BROWSER_TYPE]"),
            (
                [elsewhere("A=b", "BROWSER_REMOTE_DEBUGGING_URL=http://host.docker.internal:9222/")],
                "server: envs[BROWSER_REMOTE_DEBUGGING_URL]",
            ),
        ],
    ),
    "stack-volume-one-writer": Cases(
        [
            [container("a", volumes=writes("v")), container("b", volumes=writes("v", readOnly=True))],
            [container("a", volumes=writes("v")), container("x-postgres-roles", volumes=writes("v"))],
            [container("a", volumes=writes("v")), container("b", volumes=writes("w"))],
        ],
        [
            ([container("a", volumes=writes("v")), container("b", volumes=writes("v"))], "volume v"),
            (
                [
                    container("a", volumes=writes("v")),
                    container("b", mounts=[{"type": "volume", "source": "v", "target": "/x"}]),
                ],
                "volume v",
            ),
        ],
    ),
    "stack-port-one-door": Cases(
        [[GATEWAY, container()]],
        [
            ([GATEWAY, container("server", ports=[port(8000, 8000)])], "server: ports"),
            ([container("artifacts", publishAllPorts=True)], "artifacts: ports"),
        ],
    ),
    "stack-datastore-apart": Cases(
        [
            [container("postgres", networksAdvanced=on("data")), GATEWAY],
            [container("postgres", networksAdvanced=on("data")), container("server", networksAdvanced=on("data", "app"))],
        ],
        [
            (
                [
                    container("postgres", networksAdvanced=on("data")),
                    container("server", image="x", networksAdvanced=on("data"), ports=[port(8000, 8000)]),
                ],
                "server: networksAdvanced",
            ),
            (
                [
                    container("llm", image=f"ollama/ollama@{DIGEST}", networksAdvanced=on("a", "b")),
                    container("gate", image="x", networksAdvanced=on("b"), publishAllPorts=True),
                ],
                "gate: networksAdvanced",
            ),
        ],
    ),
    "stack-credentials-unpublished": Cases(
        [
            [GATEWAY, container("server", volumes=writes("skyvern-prod-credential-vault"))],
            [container("files", ports=[port(9090, 9090)], volumes=writes("skyvern-prod-artifacts"))],
        ],
        [
            ([container("files", ports=[port(9090, 9090)], volumes=writes("credential-vault"))], "files: volumes"),
            ([container("files", ports=[port(9090, 9090)], mounts=[bind("/srv/.streamlit")])], "files: volumes"),
        ],
    ),
    "stack-name-own": Cases(
        [
            [container(name="skyvern-prod-server"), Sent(VOLUME, "v", {"name": "prod_data"}, True)],
            [Sent(NETWORK, "n", {"name": "skyvern-prod", "internal": True})],
        ],
        [
            ([container(name="skyvern-server")], "one: name"),
            ([Sent(VOLUME, "v", {"name": "productdata"}, True)], "v: name"),
            ([Sent(NETWORK, "n", {"name": "skyvern-dev-data", "internal": True})], "n: name"),
            ([Sent(TUNNEL, "t", {"name": "skyvern-backend"})], "t: name"),
        ],
    ),
    "stack-alert-channel-present": Cases(
        [
            [PLATFORM, container("host-monitor-pages", envs=[secret("CHANNELS=tgram://t/c")]), container("server")],
            # Another program than this project's.
            [container("server")],
        ],
        [
            # An empty one, and none at all.
            ([PLATFORM, container("host-monitor-pages", envs=["TZ=Asia/Seoul", secret("CHANNELS=")])], "monitor: envs"),
            # The monitor reads it, and nobody else.
            (
                [PLATFORM, container("host-monitor-pages"), container("server", envs=[secret("CHANNELS=tgram://t/c")])],
                "monitor: envs",
            ),
        ],
    ),
    "stack-heartbeat-outside": Cases(
        [
            [PLATFORM, container("host-monitor-pages", envs=[secret("HEARTBEAT=https://hc.example.com/1")])],
            [PLATFORM, Sent(NOTIFICATION, "n", {"alertType": "tunnel_health_event"})],
            [container("server")],
        ],
        [
            ([PLATFORM, container("host-monitor-pages", envs=[secret("CHANNELS=tgram://t/c")])], "monitor: envs"),
            ([PLATFORM, Sent(NOTIFICATION, "n", {"alertType": "tunnel_update_event"})], "monitor: envs"),
            ([PLATFORM, Sent(NOTIFICATION, "n", {"alertType": "tunnel_health_event", "enabled": False})], "monitor: envs"),
        ],
    ),
    # What is young enough depends on the day: tests/policy/test_evaluation.py.
    "stack-restore-drilled": Cases(
        [[container()]],
        [
            ([Sent("skyvern:host:Backup", "backup", {"drilled": "2020-01-31"})], "backup: drilled"),
            ([Sent("skyvern:host:Backup", "backup", {"drilled": "3036-01-31"})], "backup: drilled"),
            ([Sent("skyvern:host:Backup", "backup", {"drilled": "soon"})], "backup: drilled"),
        ],
    ),
}
