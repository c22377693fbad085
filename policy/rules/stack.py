"""Rules over the whole stack, about its Docker host: what no resource shows by itself."""

import json
import re
from collections.abc import Mapping
from datetime import date, timedelta
from urllib.parse import urlsplit

from .cloudflare import NOTIFICATION, TUNNEL
from .containers import (
    CONTAINER,
    NETWORK,
    NETWORKS_URL,
    PORTS_URL,
    SECRET,
    SERVICE,
    VOLUME,
    containers_of,
    has_variable,
    is_datastore,
    is_published,
    mounted_paths,
    names,
    need_variables,
    networks,
    place,
    reached,
    variables,
    written_volumes,
)
from .framework.rule import Finding, Findings, Parameters, Resource, Stack, matches, stack_rule

_VOLUMES = "https://docs.docker.com/engine/storage/volumes/"
_CHROMIUM = "https://chromium.googlesource.com/chromium/src/+/HEAD/net/docs/proxy.md"

# Without these a browser goes around its proxy: to its own host, and by WebRTC.
_NO_WAY_AROUND = ("--proxy-bypass-list=<-loopback>", "--webrtc-ip-handling-policy=disable_non_proxied_udp")


@stack_rule(
    "stack-browser-egress-proxied",
    "envs",
    description="Skyvern's browser goes out through a proxy of the stack, without an exception",
    severity="critical",
    remediation="Set BROWSER_ADDITIONAL_ARGS to the egress proxy's address and the two arguments that close the ways around it.",
    url=_CHROMIUM,
)
def browser_egress_proxied(stack: Stack, parameters: Parameters) -> Findings:
    containers = containers_of(stack)
    for container in containers:
        environment = {variable.name: variable.value for variable in variables(container)}
        if "BROWSER_TYPE" not in environment or _drives_elsewhere(environment):
            continue
        if "BROWSER_ADDITIONAL_ARGS" not in environment:
            need_variables(container)  # an unknown variable may be it
        path = f"{place(container, 'envs')}[BROWSER_ADDITIONAL_ARGS]"
        arguments = _words(environment.get("BROWSER_ADDITIONAL_ARGS", ""))
        proxies = [urlsplit(word.partition("=")[2]).hostname for word in arguments if word.startswith("--proxy-server=")]
        here = networks(container)
        neighbours = {name for other in containers if other is not container and networks(other) & here for name in names(other)}
        if len(proxies) != 1 or proxies[0] not in neighbours:
            why = "a page in the browser reaches the LAN and the containers beside it"
            yield container.finding(path, why=why, write="--proxy-server= with a container on a common network")
        for argument in _NO_WAY_AROUND:
            if argument not in arguments:
                yield container.finding(path, why="the browser has a way around its proxy", write=argument)


def _words(text: str) -> list[str]:
    try:
        words = json.loads(text or "[]")
    except ValueError:
        return []
    return [str(word) for word in words] if isinstance(words, list) else []


@stack_rule(
    "stack-browser-elsewhere-proxied",
    "envs",
    description="A browser that listens elsewhere is offered a proxy of the stack",
    severity="high",
    remediation="Set BROWSER_TYPE to chromium-headless or chromium-headful; or publish the egress proxy on 127.0.0.1, start that "
    "browser with it, and name the proxy in levels.yaml.",
    url="https://developer.chrome.com/blog/remote-debugging-port",
    parameters={"proxies": []},
)
def browser_elsewhere_proxied(stack: Stack, parameters: Parameters) -> Findings:
    containers = containers_of(stack)
    offered = any(is_published(container) and matches(container.name, parameters["proxies"]) for container in containers)
    for container in containers:
        environment = {variable.name: variable.value for variable in variables(container)}
        if _drives_elsewhere(environment) and not offered:
            name = _ELSEWHERE if _ELSEWHERE in environment else "BROWSER_TYPE"
            why = "a debugging port has no password, and the browser behind it no egress proxy"
            path = f"{place(container, 'envs')}[{name}]"
            yield container.finding(path, why=why, write="BROWSER_TYPE=chromium-headful, or a proxy on 127.0.0.1")


_ELSEWHERE = "BROWSER_REMOTE_DEBUGGING_URL"


def _drives_elsewhere(environment: Mapping[str, str]) -> bool:
    return _ELSEWHERE in environment or environment.get("BROWSER_TYPE") == "cdp-connect"


@stack_rule(
    "stack-volume-one-writer",
    "volumes, mounts",
    description="Only one container writes to a volume",
    severity="high",
    remediation="Mount it read-only in the others, or name the second writer in levels.yaml.",
    url=_VOLUMES,
    parameters={"besides": []},
)
def volume_one_writer(stack: Stack, parameters: Parameters) -> Findings:
    writers: dict[str, list[Resource]] = {}
    for container in containers_of(stack):
        if not matches(container.name, parameters["besides"]):
            for volume in set(written_volumes(container)):
                writers.setdefault(volume, []).append(container)
    for volume, containers in sorted(writers.items()):
        if len(containers) > 1:
            who = " and ".join(container.name for container in containers)
            why = f"{who} write to it, and a database or a profile survives a single writer only"
            yield Finding(path=f"volume {volume}", why=why, write="read_only=True in all but one", urn=containers[-1].urn)


@stack_rule(
    "stack-port-one-door",
    "ports, publishAllPorts",
    description="Only the containers that levels.yaml names publish a port",
    severity="high",
    remediation="Remove ports and go through the gateway, or name the container in levels.yaml.",
    url=PORTS_URL,
    cis=("5.9",),
    parameters={"doors": []},
)
def port_one_door(stack: Stack, parameters: Parameters) -> Findings:
    for container in containers_of(stack):
        if is_published(container) and not matches(container.name, parameters["doors"]):
            why = "it is reached past the gateway, which asks who it is"
            yield container.finding(place(container, "ports"), why=why, write="no ports")


@stack_rule(
    "stack-datastore-apart",
    "networksAdvanced, envs",
    description="A container that is reached from outside shares no network with a database, a cache or a model server",
    severity="high",
    remediation="Give the data its own network, with its one user on it.",
    url=NETWORKS_URL,
)
def datastore_apart(stack: Stack, parameters: Parameters) -> Findings:
    containers = containers_of(stack)
    data = {network for container in containers if is_datastore(container) for network in networks(container)} - {""}
    for container in reached(containers):
        if not is_datastore(container) and networks(container) & data:
            why = "it is one step from the internet to the data"
            yield container.finding(place(container, "networksAdvanced"), why=why, write="networks without the data")


_CREDENTIALS = re.compile(r"credential|secrets?([-_./]|$)|\.streamlit|\.aws|\.ssh|vault|cookies", re.IGNORECASE)


@stack_rule(
    "stack-credentials-unpublished",
    "volumes, mounts",
    description="A container that is reached from outside has no folder of credentials mounted",
    severity="critical",
    remediation="Mount the credentials only where they are used, in a container without ports and apart from the connector.",
    url=_VOLUMES,
)
def credentials_unpublished(stack: Stack, parameters: Parameters) -> Findings:
    for container in reached(containers_of(stack)):
        if any(_CREDENTIALS.search(path) for path in mounted_paths(container)):
            why = "a file server that is reached from outside can hand them out"
            yield container.finding(place(container, "volumes"), why=why, write="no mount of that folder")


@stack_rule(
    "stack-name-own",
    "name",
    description="Names on the Docker host, and of tunnels, carry the stack's name, so that dev and prod share none",
    severity="medium",
    remediation="Put the stack's name into name, for example skyvern-dev-postgres.",
    url="https://www.pulumi.com/docs/iac/concepts/resources/names/",
)
def name_own(stack: Stack, parameters: Parameters) -> Findings:
    for type_ in (CONTAINER, SERVICE, NETWORK, VOLUME, SECRET, TUNNEL):
        for resource in stack.of_type(type_):
            words = re.split("[-_.]", str(resource.inputs.get("name", "")))
            if not _contains(words, re.split("[-_.]", stack.name)):
                why = "another stack would take the same name"
                yield resource.finding("name", why=why, write=f"a name with {stack.name} in it")


def _contains(words: list[str], part: list[str]) -> bool:
    return any(words[start : start + len(part)] == part for start in range(len(words) - len(part) + 1))


@stack_rule(
    "stack-restore-drilled",
    "drilled",
    description="A restore of the backups has been tried, and passed, not too long ago",
    severity="high",
    remediation="Run ops drill --record, and commit the day that it writes into the stack file.",
    url="https://www.cisa.gov/sites/default/files/publications/data_backup_options.pdf",
    # types: of the resources that have the day as their input "drilled". grace_days: after the first of them was made.
    parameters={"types": [], "days": 92, "grace_days": 14},
)
def restore_drilled(stack: Stack, parameters: Parameters) -> Findings:
    today = stack.today
    write = "the day of a drill that passed, as ops drill --record does"
    for resource in (one for type_ in parameters["types"] for one in stack.of_type(type_)):
        written = str(resource.inputs.get("drilled") or "")
        if not written:
            made = stack.created(resource.urn) or today
            end = made + timedelta(days=parameters["grace_days"])
            until = f"; from {end + timedelta(days=1)} on this refuses" if today <= end else ""
            why = f"it is not known whether the backups can be restored{until}"
            yield resource.finding("drilled", why=why, write=write, advisory=today <= end)
            continue
        try:
            age = (today - date.fromisoformat(written)).days
        except ValueError:
            yield resource.finding("drilled", why="it is not a day", write=write)
            continue
        # A day ahead is another time zone.
        if age > parameters["days"] or age < -1:
            why = "it is in the future" if age < 0 else f"it is more than {parameters['days']} days ago"
            yield resource.finding("drilled", why=why, write=write)


_ALERTING = "https://sre.google/sre-book/monitoring-distributed-systems/"


@stack_rule(
    "stack-alert-channel-present",
    "envs",
    description="Someone gets a message when a run, a schedule or a backup fails",
    severity="medium",
    remediation="Name who gets it: pulumi config set --secret --path monitor.channels.",
    url=_ALERTING,
    # types: of the resource that stands for what is to be watched. monitors: containers that send messages. variables: of theirs,
    # that hold to whom.
    parameters={"types": [], "monitors": ["*"], "variables": ["CHANNELS"]},
)
def alert_channel_present(stack: Stack, parameters: Parameters) -> Findings:
    for watched in (one for type_ in parameters["types"] for one in stack.of_type(type_)):
        if not _told(stack, parameters):
            why = "a failed night is found out by whoever waits for its result"
            yield Finding(path="monitor: envs", why=why, write="a channel of the monitor", urn=watched.urn)


@stack_rule(
    "stack-heartbeat-outside",
    "alertType, envs",
    description="Something outside of the machine notices when it is off",
    severity="medium",
    remediation="Set edge.tunnel_alert_emails, or the monitor's ping address at a dead man's switch: pulumi config set --secret "
    "--path monitor.heartbeat.",
    url=_ALERTING,
    parameters={"types": [], "monitors": ["*"], "variables": ["HEARTBEAT"]},
)
def heartbeat_outside(stack: Stack, parameters: Parameters) -> Findings:
    for watched in (one for type_ in parameters["types"] for one in stack.of_type(type_)):
        noticed = any(
            alert.inputs.get("alertType") == "tunnel_health_event" and alert.inputs.get("enabled", True)
            for alert in stack.of_type(NOTIFICATION)
        )
        if not noticed and not _told(stack, parameters):
            why = "a machine that is off sends nothing"
            write = "a notification of the tunnel's health, or a ping address"
            yield Finding(path="monitor: envs", why=why, write=write, urn=watched.urn)


def _told(stack: Stack, parameters: Parameters) -> bool:
    """Whether a monitor has one of the variables."""
    monitors = [container for container in containers_of(stack) if matches(container.name, parameters["monitors"])]
    if any(has_variable(monitor, parameters["variables"]) for monitor in monitors):
        return True
    for monitor in monitors:
        need_variables(monitor)  # an unknown variable may be it
    return False
