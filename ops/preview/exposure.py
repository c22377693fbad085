"""Changes of what is reachable from outside the host, when a resource changes. Pure; values come redacted."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ops.preview.diff import one_line
from ops.preview.model import Exposure, Reachable

Properties = Mapping[str, Any]
# (kind, what is reachable) -> how: another value under the same key is a change.
Reach = Mapping[tuple[Reachable, str], str]

# The most of a line that an expression of a firewall may take; the diff has all of it.
LONGEST = 120

CONTAINER = "docker:index/container:Container"


def exposures(type_: str, name: str, old: Properties | None, new: Properties | None) -> Iterator[Exposure]:
    """The changes that one resource makes to what is reachable. None: it does not exist before, or no longer after."""
    reach_of = _REACH.get(type_)
    if reach_of is None:
        return
    before = {} if old is None else dict(reach_of(old))
    after = {} if new is None else dict(reach_of(new))
    for kind, what in sorted({**before, **after}):
        if kind == "path" and not (_parts(before) & _parts(after) & {_part(what)}):
            # All of it comes or goes with its site, which is reported.
            continue
        was, will = before.get((kind, what)), after.get((kind, what))
        if was is None or will is None:
            yield Exposure(change="gained" if was is None else "lost", kind=kind, what=_line(what, was or will or ""), where=name)
        elif was != will:
            how = f"{was} → {will}" if len(was) + len(will) <= LONGEST else "see the diff"
            yield Exposure(change="changed", kind=kind, what=f"{what}: {how}", where=name)


def _part(line: str) -> str:
    return line.partition(":")[0]


def _parts(reach: Reach) -> set[str]:
    """The parts of a gateway's configuration that answer requests."""
    return {_part(what) for kind, what in reach if kind == "path"}


def _line(what: str, how: str) -> str:
    return f"{what} ({how if len(how) <= LONGEST else f'{how[:LONGEST]}…'})" if how else what


# --- Cloudflare and Vercel -------------------------------------------------------------------------------------------------


def _ingress(properties: Properties) -> Reach:
    rules = (properties.get("config") or {}).get("ingresses") or []
    return {
        ("host", f"{rule['hostname']}{rule.get('path') or ''}"): f"to {rule.get('service', '')}{_access(rule)}"
        for rule in rules
        if isinstance(rule, dict) and rule.get("hostname")
    }


def _access(rule: Properties) -> str:
    return ", Access checked by the connector" if ((rule.get("originRequest") or {}).get("access") or {}).get("required") else ""


def _record(properties: Properties) -> Reach:
    how = f"{properties.get('type', '')} to {properties.get('content', '')}"
    return {("record", str(properties.get("name", ""))): how if properties.get("proxied") else f"{how}, past Cloudflare's proxy"}


def _rules(properties: Properties) -> Reach:
    rules: dict[tuple[Reachable, str], str] = {}
    for rule in properties.get("rules") or []:
        state = "" if rule.get("enabled", True) else "off: "
        limit = rule.get("ratelimit") or {}
        rate = f", {limit.get('requestsPerPeriod')} in {limit.get('period')} s" if limit else ""
        rules["rule", str(rule.get("ref") or rule.get("description"))] = (
            f"{state}{rule.get('action', '')} where {rule.get('expression', '')}{rate}"
        )
    return rules


def _setting(properties: Properties) -> Reach:
    return {("rule", f"zone setting {properties.get('settingId', '')}"): str(one_line(properties.get("value")))}


def _application(properties: Properties) -> Reach:
    return {("rule", f"Access before {properties.get('domain', '')}"): str(properties.get("sessionDuration") or "")}


def _people(properties: Properties) -> Reach:
    people: dict[tuple[Reachable, str], str] = {}
    for include in properties.get("includes") or []:
        for kind, fields in sorted(include.items()):
            who = ", ".join(str(value) for value in (fields or {}).values()) if isinstance(fields, dict) else str(fields)
            people["rule", f"Access {properties.get('decision', '')}s {kind} {who}".rstrip()] = ""
    return people


def _domain(properties: Properties) -> Reach:
    return {("domain", str(properties.get("domain", ""))): "on Vercel"}


# --- Containers ------------------------------------------------------------------------------------------------------------


def _container(properties: Properties) -> Reach:
    reach: dict[tuple[Reachable, str], str] = {}
    for port in properties.get("ports") or []:
        address = port.get("ip") or "0.0.0.0"  # noqa: S104  # what Docker takes when none is given
        inside = f"{port.get('internal')}/{port.get('protocol') or 'tcp'}"
        open_to = "this host" if str(address).startswith(("127.", "::1")) else "the network"
        reach["port", f"{address}:{port.get('external') or 'any'}"] = f"to {inside}, open to {open_to}"
    if properties.get("publishAllPorts"):
        reach["port", "every exposed port"] = "published on all addresses"
    if properties.get("networkMode") == "host":
        reach["port", "every port of the container"] = "in the host's network"
    if "CODE_BLOCK_MODE=enabled" in (properties.get("envs") or []):
        reach["code", "Python of anyone with the UI's login or a key"] = (
            "beside the server's secrets, with its access to the internet"
        )
    if (command := properties.get("command") or [])[:1] == ["firewall-start"]:
        # It listens on nothing.
        reach.pop(("port", "every port of the container"), None)
        reach |= _firewall(command)
    for argument in command:
        if isinstance(argument, str) and "\n" in argument:
            reach |= _gateway(argument) or _ngrok(argument) or _proxy(argument)
    return reach


_SITE = re.compile(r"^http://(?P<host>[^:\s]+):\d+ \{\n\timport (?P<role>\w+)\n\}", re.MULTILINE)
_SNIPPET = re.compile(r"^\((?P<name>\w+)\) \{\n(?P<body>.*?)^\}", re.MULTILINE | re.DOTALL)
# Lines that decide who gets an answer; the rest of the configuration is about headers and files.
_DECIDES = re.compile(
    r"^\s*(@\w+ .*|(?:error|handle|known_key|path|path_regexp|query|respond|route) .*|(?:basic_auth|login|plain_path)\b.*"
    r"|import (?:guarded|hidden|keyed|recordings|stream|session).*)$"
)


def _gateway(caddyfile: str) -> Reach:
    """Sites and deciding lines of the gateway's configuration (components/host/gateway.py)."""
    sites: dict[tuple[Reachable, str], str] = {("site", site["host"]): site["role"] for site in _SITE.finditer(caddyfile)}
    if not sites:
        return {}
    for snippet in _SNIPPET.finditer(caddyfile):
        for line in snippet["body"].splitlines():
            if _DECIDES.match(line):
                sites["path", f"{snippet['name']}: {line.strip().removesuffix('{').strip()}"] = ""
    return sites


def _firewall(command: Sequence[Any]) -> Reach:
    """Destinations of the firewall (components/host/firewall.py): addresses in its rules, names in further arguments."""
    texts = [argument for argument in command[2:] if isinstance(argument, str)]
    rules: dict[tuple[Reachable, str], str] = {("rule", "the stack's firewall"): "in force"}
    for text in texts:
        if "\n" in text:
            rules |= {
                ("rule", destination): "let through by the firewall"
                for destination in re.findall(r'comment "(\w+ to [^"]+, port \d+)"', text)
            }
        elif len(words := text.split()) == 3:
            rules["rule", f"{words[1]}, port {words[2]}"] = "let through by the firewall"
    return rules


def _proxy(configuration: str) -> Reach:
    """What pages may reach besides the internet, in further lines for Squid (components/host/egress.py)."""
    destinations = re.findall(r"^# (pages to \S+, port \d+)$", configuration, re.MULTILINE)
    return {("rule", destination): "let through by the egress proxy" for destination in destinations}


def _ngrok(configuration: str) -> Reach:
    """The endpoint's host in the agent's configuration (components/host/connectors/ngrok.py)."""
    hosts = re.findall(r"^ +url: https://(\S+)$", configuration, re.MULTILINE)
    return {("host", host): "by ngrok" for host in hosts}


_REACH: Mapping[str, Callable[[Properties], Reach]] = {
    CONTAINER: _container,
    "cloudflare:index/dnsRecord:DnsRecord": _record,
    "cloudflare:index/ruleset:Ruleset": _rules,
    "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication": _application,
    "cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy": _people,
    "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig": _ingress,
    "cloudflare:index/zoneSetting:ZoneSetting": _setting,
    "vercel:index/projectDomain:ProjectDomain": _domain,
}
