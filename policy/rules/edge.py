"""Rules over the whole stack, of its edge: what leads in from the internet, where it ends, and whether all parts agree on names.

A tunnel's host, its record, the UI's addresses, the origins that the API answers to and the UI's content policy are five places
that say the same. Each alone looks right.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .cloudflare import (
    ACCESS_APPLICATION,
    DOCS,
    FIREWALL_PHASE,
    INGRESS,
    RATE_LIMIT_PHASE,
    RECORD,
    RULESET,
    SETTING,
    TUNNEL_DOMAIN,
    TUNNELS_URL,
)
from .cloudflare.zone import target
from .containers import CONTAINER, NETWORKS_URL, connectors, names, networks, variables
from .framework.rule import Finding, Findings, Parameters, Resource, Stack, matches, stack_rule
from .framework.values import Inputs
from .variables import is_for_browsers
from .vercel import DOMAIN, VARIABLE, VARIABLES_URL

_CORS = "https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/CORS"
_CSP = "https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy/connect-src"

# --- What leads in -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ingress:
    """One ingress rule with a host. path: its own, with the resource's name."""

    config: Resource
    path: str
    rule: Inputs

    @property
    def host(self) -> str:
        """The public name."""
        return str(self.rule.get("hostname", "")).lower()

    @property
    def origin(self) -> str:
        """The host of the origin's address."""
        return urlsplit(str(self.rule.get("service", ""))).hostname or ""


def ingresses(stack: Stack) -> Iterator[Ingress]:
    """Every ingress rule that leads somewhere."""
    for config in stack.of_type(INGRESS):
        for path, one in config.inputs.section("config").each("ingresses"):
            if not str(one.get("service", "")).startswith("http_status:"):
                yield Ingress(config, _named(config, path), one)


def _named(resource: Resource, path: str) -> str:
    """A path as a message has it. In a stack, paths of inputs begin with the resource's name."""
    return f"{resource.name}: {path.removeprefix(f'{resource.name}.')}"


def _public_hosts(stack: Stack) -> set[str]:
    """Every public name that the stack serves: of its tunnel and of Vercel; all of them, or the check ends."""
    hosts = {
        str(one.get("hostname", "")).lower()
        for config in stack.of_type(INGRESS)
        for one in config.inputs.section("config").whole("ingresses")
    }
    return (hosts | _vercel_domains(stack)) - {""}


def _vercel_domains(stack: Stack) -> set[str]:
    return {str(one.inputs.get("domain", "")).lower() for one in stack.of_type(DOMAIN) if not one.inputs.get("redirect")}


def _origins_of(stack: Stack, ingress: Ingress) -> list[Resource]:
    """Containers that an ingress rule's origin names."""
    return [one for one in stack.of_type(CONTAINER) if ingress.origin and ingress.origin in names(one)]


@stack_rule(
    "stack-ingress-host-recorded",
    "config, name, content",
    description="Every host of a tunnel has one record that points at it",
    severity="high",
    remediation="Make a proxied CNAME to TUNNEL_ID.cfargotunnel.com for each host of the ingress rules.",
    url=TUNNELS_URL,
)
def ingress_host_recorded(stack: Stack, parameters: Parameters) -> Findings:
    records: dict[str, list[Resource]] = {}
    for record in stack.of_type(RECORD):
        records.setdefault(str(record.inputs.get("name", "")).lower(), []).append(record)
    # Names first: they are known before anything exists, the tunnel's id is not.
    found = [(one, records.get(one.host, [])) for one in ingresses(stack)]
    for one, pointing in found:
        if len(pointing) != 1:
            why = "no name leads to it, so it cannot be reached" if not pointing else "two records fight for one name"
            yield Finding(path=f"{one.path}.hostname", why=why, write="one DnsRecord of that name", urn=one.config.urn)
    for one, pointing in found:
        if len(pointing) == 1 and not target(pointing[0].inputs).startswith(_tunnel(one.config)):
            record = pointing[0]
            path, why = f"{record.name}: content", "the tunnel's host leads elsewhere"
            yield Finding(path=path, why=why, write="TUNNEL_ID.cfargotunnel.com", urn=record.urn)


def _tunnel(config: Resource) -> str:
    """The name in cfargotunnel.com of an ingress configuration's tunnel."""
    return f"{config.inputs.get('tunnelId', '')}{TUNNEL_DOMAIN}"


@stack_rule(
    "stack-record-routed",
    "config, name, content",
    description="Every record that points at a tunnel has its ingress rule",
    severity="medium",
    remediation="Remove the record, or add the host to the ingress rules.",
    url=TUNNELS_URL,
)
def record_routed(stack: Stack, parameters: Parameters) -> Findings:
    hosts = {one.host for one in ingresses(stack)}
    for record in stack.of_type(RECORD):
        if str(record.inputs.get("name", "")).lower() not in hosts and target(record.inputs).endswith(TUNNEL_DOMAIN):
            why = "the name leads into a tunnel that knows nothing of it"
            yield Finding(path=f"{record.name}: name", why=why, write="an ingress rule, or no record", urn=record.urn)


@stack_rule(
    "stack-ingress-origin-gateway",
    "config, name, hostname, networksAdvanced",
    description="Every ingress rule leads to a container that levels.yaml names as a gateway",
    severity="critical",
    remediation="Write the gateway's address in service; or name the container in levels.yaml.",
    url=TUNNELS_URL,
    parameters={"gateways": []},
)
def ingress_origin_gateway(stack: Stack, parameters: Parameters) -> Findings:
    for one in ingresses(stack):
        if not any(matches(container.name, parameters["gateways"]) for container in _origins_of(stack, one)):
            why = "what it leads to is open to the internet without the gateway's rules"
            yield Finding(path=f"{one.path}.service", why=why, write="the gateway's address", urn=one.config.urn)


@stack_rule(
    "stack-ingress-origin-checked",
    "config, healthcheck",
    description="What an ingress rule leads to has a health check",
    severity="medium",
    remediation="Set healthcheck.tests of the container, or name a container in service.",
    url="https://docs.docker.com/reference/dockerfile/#healthcheck",
)
def ingress_origin_checked(stack: Stack, parameters: Parameters) -> Findings:
    for one in ingresses(stack):
        checks = [container.inputs.section("healthcheck").whole("tests") for container in _origins_of(stack, one)]
        if not any(len(tests) > 1 and tests[0] != "NONE" for tests in checks):
            why = "it can be down and everything looks well"
            yield Finding(path=f"{one.path}.service", why=why, write="a container with a health check", urn=one.config.urn)


@stack_rule(
    "stack-ingress-origin-reached",
    "config, networksAdvanced",
    description="What an ingress rule leads to is on a network of the connector",
    severity="medium",
    remediation="Put connector and gateway on one network.",
    url=NETWORKS_URL,
)
def ingress_origin_reached(stack: Stack, parameters: Parameters) -> Findings:
    ways = {network for connector in connectors(stack.of_type(CONTAINER)) for network in networks(connector)}
    for one in ingresses(stack) if ways else ():
        if not any(networks(container) & ways for container in _origins_of(stack, one)):
            why = "the connector does not find it, and answers 502"
            yield Finding(path=f"{one.path}.service", why=why, write="a container on its network", urn=one.config.urn)


@stack_rule(
    "stack-connector-apart",
    "networksAdvanced",
    description="A connector shares its networks with a gateway and with nothing else",
    severity="critical",
    remediation="Give connector and gateway their own network; name the gateway in levels.yaml.",
    url=NETWORKS_URL,
    parameters={"gateways": []},
)
def connector_apart(stack: Stack, parameters: Parameters) -> Findings:
    containers = stack.of_type(CONTAINER)
    outer = connectors(containers)
    for connector in outer:
        near = [one for one in containers if one not in outer and networks(one) & networks(connector)]
        for one in near:
            if not matches(one.name, parameters["gateways"]):
                path = f"{connector.name}: networksAdvanced"
                why = f"whoever takes the tunnel reaches {one.name}, past the gateway"
                yield Finding(path=path, why=why, write="a network of connector and gateway", urn=connector.urn)


# --- Do all names agree? -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A variable of a container or of a project at Vercel. path: with the resource's name."""

    resource: Resource
    path: str
    name: str
    value: str

    @property
    def origin(self) -> str:
        """Of a value that is a URL: scheme, host and port."""
        parts = urlsplit(self.value)
        return f"{parts.scheme}://{parts.netloc}".lower()

    @property
    def host(self) -> str:
        """Of a value that is a URL: its host."""
        return urlsplit(self.value).hostname or ""


def _settings(stack: Stack, patterns: Sequence[str]) -> Iterator[Setting]:
    """Variables with a name that fits one of the globs; of Vercel's, only their values are read."""
    for container in stack.of_type(CONTAINER):
        for one in variables(container):
            if matches(one.name, list(patterns)):
                yield Setting(container, f"{container.name}: envs[{one.name}]", one.name, one.value)
    for resource in stack.of_type(VARIABLE):
        name = str(resource.inputs.get("key", ""))
        if matches(name, list(patterns)):
            yield Setting(resource, f"{resource.name}: value", name, str(resource.inputs.get("value", "")))


def _allowed_origins(stack: Stack, names_: Sequence[str]) -> Iterator[tuple[Setting, list[str]]]:
    for one in _settings(stack, names_):
        try:
            listed = json.loads(one.value)
        except ValueError:
            listed = one.value.split(",")
        yield one, [str(origin).strip().lower() for origin in listed] if isinstance(listed, list) else []


_ORIGINS = ["ALLOWED_ORIGINS", "CORS_ALLOWED_ORIGINS", "CORS_ORIGINS"]
_URLS = ["API_URL", "ARTIFACT_URL", "NEXT_PUBLIC_*_URL", "SKYVERN_APP_URL", "SKYVERN_BASE_URL", "VITE_*_URL"]


@stack_rule(
    "stack-urls-served",
    "config, domain, envs, value",
    description="Every public address that a program gets is a host of the tunnel or of Vercel",
    severity="high",
    remediation="Write addresses of hosts that the stack has an ingress rule or a domain for, by HTTPS.",
    url=VARIABLES_URL,
    parameters={"variables": _URLS, "elsewhere": []},
)
def urls_served(stack: Stack, parameters: Parameters) -> Findings:
    hosts = _public_hosts(stack)
    for one in _settings(stack, parameters["variables"]) if hosts else ():
        if "://" not in one.value or matches(one.host, parameters["elsewhere"]):
            continue
        if one.host not in hosts:
            why = "nothing of this stack answers there"
            yield Finding(path=one.path, why=why, write="a host with an ingress rule", urn=one.resource.urn)
        elif not one.value.startswith(("https://", "wss://")):
            yield Finding(path=one.path, why="it travels in plain text", write="https:// or wss://", urn=one.resource.urn)


@stack_rule(
    "stack-origins-served",
    "config, domain, envs",
    description="The API answers pages of the UI's own origin, and of no other",
    severity="high",
    remediation="List the UI's origin in ALLOWED_ORIGINS, https:// and host, and nothing else.",
    url=_CORS,
    parameters={"variables": _ORIGINS, "elsewhere": []},
)
def origins_served(stack: Stack, parameters: Parameters) -> Findings:
    hosts = _public_hosts(stack)
    for one, origins in _allowed_origins(stack, parameters["variables"]) if hosts else ():
        strange = [origin for origin in origins if not _is_origin_of(origin, hosts, parameters["elsewhere"])]
        if strange:
            why = "pages that this stack does not serve may call the API"
            yield Finding(path=one.path, why=why, write="the UI's origin alone", urn=one.resource.urn)
        missing = [domain for domain in sorted(_vercel_domains(stack)) if f"https://{domain}" not in origins]
        if missing:
            yield Finding(path=one.path, why="the UI at Vercel may not call it", write="its origin", urn=one.resource.urn)


def _is_origin_of(origin: str, hosts: set[str], elsewhere: list[str]) -> bool:
    parts = urlsplit(origin)
    known = parts.hostname in hosts or matches(parts.hostname or "", elsewhere)
    return known and origin == f"https://{parts.netloc}"


@stack_rule(
    "stack-content-policy-agrees",
    "command, domain, envs, value",
    description="The UI's content policy lets its pages connect to the UI's addresses, and to no others",
    severity="medium",
    remediation="Write the origins of the UI's addresses into connect-src, one by one.",
    url=_CSP,
    parameters={"variables": ["CONTENT_SECURITY_POLICY"]},
)
def content_policy_agrees(stack: Stack, parameters: Parameters) -> Findings:
    own = {f"https://{domain}" for domain in _vercel_domains(stack)}
    for _, origins in _allowed_origins(stack, _ORIGINS):
        own |= set(origins)
    addresses = [one for one in _settings(stack, ["VITE_*_URL", "NEXT_PUBLIC_*_URL"]) if "://" in one.value]
    for resource, path, policy in _content_policies(stack, parameters["variables"]):
        sources = set(_connect_sources(policy))
        if sources & {"*", "https:", "http:", "wss:", "ws:"} or any("*" in source for source in sources):
            why = "a script that slips in sends what it finds anywhere"
            yield Finding(path=path, why=why, write="origins one by one in connect-src", urn=resource.urn)
        if resource.type == CONTAINER:
            served = [one for one in addresses if one.resource is resource]
        else:
            served = [one for one in addresses if one.resource.type == VARIABLE]
        for one in served:
            if one.origin not in sources and not ("'self'" in sources and one.origin in own):
                why = f"pages may not connect to {one.name}"
                yield Finding(path=path, why=why, write="its origin in connect-src", urn=resource.urn)


def _content_policies(stack: Stack, names_: Sequence[str]) -> Iterator[tuple[Resource, str, str]]:
    """Resource, path and text of each policy: a variable of Vercel, or a header in a server's arguments."""
    for one in _settings(stack, names_):
        yield one.resource, one.path, one.value
    for container in stack.of_type(CONTAINER):
        for path, argument in container.inputs.each("command"):
            for header in re.findall(r'Content-Security-Policy:?\s+"([^"]+)"', str(argument)):
                # Of a header that shuts everything, nothing is to be said.
                if "connect-src" in header or "sandbox" not in header:
                    yield container, _named(container, path), header


def _connect_sources(policy: str) -> list[str]:
    directives = {words[0]: words[1:] for words in (part.split() for part in policy.lower().split(";")) if words}
    return directives.get("connect-src", directives.get("default-src", ["*"]))


# --- Who is asked who they are? ------------------------------------------------------------------------------------------


@stack_rule(
    "stack-frontend-login-asked",
    "envs, key, sensitive",
    description="Whatever serves the UI asks for a login: it has the secret that the login is compared with",
    severity="critical",
    remediation="Give it the variable that levels.yaml names, at Vercel a sensitive one, and have the server ask.",
    url="https://owasp.org/Top10/A01_2021-Broken_Access_Control/",
    prowler=("project_production_deployment_protection_enabled",),
    parameters={"container_variables": [], "vercel_variables": []},
)
def frontend_login_asked(stack: Stack, parameters: Parameters) -> Findings:
    why = "whoever opens the UI drives the browsers, with every login in them"
    for container in stack.of_type(CONTAINER):
        environment = {one.name: one.value for one in variables(container)}
        serves = any(is_for_browsers(name) and "://" in value for name, value in environment.items())
        if serves and not any(environment.get(name) for name in parameters["container_variables"]):
            container.inputs.whole("envs")  # it may be the one that is not known yet
            write = " or ".join(parameters["container_variables"]) or "a login"
            yield Finding(path=f"{container.name}: envs", why=why, write=write, urn=container.urn)
    at_vercel = stack.of_type(VARIABLE)
    keys = {str(one.inputs.get("key", "")): one for one in at_vercel}
    if any(is_for_browsers(key) for key in keys):
        login = [keys[name] for name in parameters["vercel_variables"] if name in keys]
        if not any(one.inputs.get("sensitive", False) for one in login):
            write = f"a sensitive {' or '.join(parameters['vercel_variables']) or 'login'}"
            where = next(key for key in sorted(keys) if is_for_browsers(key))
            urn = keys[where].urn
            yield Finding(path="variables at Vercel", why=why, write=write, urn=urn)


@stack_rule(
    "stack-artifact-host-keyed",
    "config, envs",
    description="A host that serves recordings and files asks for a key",
    severity="critical",
    remediation="Lead it to the gateway and give that GATEWAY_KEY; or name hosts and variables in levels.yaml.",
    url="https://owasp.org/Top10/A01_2021-Broken_Access_Control/",
    parameters={"hosts": ["artifact.*", "artifacts.*", "files.*"], "variables": ["GATEWAY_KEY"]},
)
def artifact_host_keyed(stack: Stack, parameters: Parameters) -> Findings:
    for one in ingresses(stack):
        if not matches(one.host, parameters["hosts"]):
            continue
        origins = _origins_of(stack, one)
        if not any(_has(container, parameters["variables"]) for container in origins):
            why = "screenshots and downloads of every run are everybody's"
            write = f"an origin with {' or '.join(parameters['variables'])}"
            yield Finding(path=f"{one.path}.service", why=why, write=write, urn=one.config.urn)


def _has(container: Resource, wanted: Sequence[str]) -> bool:
    """Whether a container has one of the variables; an unknown one of a container without may be just that."""
    if any(one.name in wanted and one.value for one in variables(container)):
        return True
    container.inputs.whole("envs")
    return False


@stack_rule(
    "stack-access-checked-at-origin",
    "config, domain",
    description="Before a host with Access, the connector checks its token as well",
    severity="high",
    remediation="Set originRequest.access with required=True, teamName and audTags on the host's ingress rule.",
    url=TUNNELS_URL + "configure-tunnels/cloudflared-parameters/origin-parameters/#access",
)
def access_checked_at_origin(stack: Stack, parameters: Parameters) -> Findings:
    hosts = {str(one.inputs.get("domain", "")).partition("/")[0].lower() for one in stack.of_type(ACCESS_APPLICATION)}
    for one in ingresses(stack):
        access = one.rule.section("originRequest").section("access")
        if one.host in hosts and not (access.get("required", False) and access.get("teamName")):
            why = "a mistake at Cloudflare's side opens it"
            path = f"{one.path}.originRequest.access"
            yield Finding(path=path, why=why, write="required=True, teamName and audTags", urn=one.config.urn)


# --- What guards the zone ------------------------------------------------------------------------------------------------


def _guarded(stack: Stack, found: bool, path: str, why: str, write: str) -> Findings:
    """A finding where the stack has a tunnel with hosts, and nothing that guards it."""
    if not found and (first := next(ingresses(stack), None)):
        yield Finding(path=f"{first.config.name}: {path}", why=why, write=write, urn=first.config.urn)


def _has_setting(stack: Stack, id_: str) -> bool:
    return any(one.inputs.get("settingId") == id_ for one in stack.of_type(SETTING))


def _has_phase(stack: Stack, phase: str) -> bool:
    return any(one.inputs.get("phase") == phase and one.inputs.get("rules") for one in stack.of_type(RULESET))


@stack_rule(
    "stack-zone-firewall-present",
    "config, phase, rules",
    description="Before a tunnel there is a firewall of the stack",
    severity="medium",
    remediation="Make a Ruleset of the phase http_request_firewall_custom that blocks requests without a key.",
    url=DOCS + "waf/custom-rules/",
    prowler=("zone_waf_enabled",),
)
def zone_firewall_present(stack: Stack, parameters: Parameters) -> Findings:
    found = _has_phase(stack, FIREWALL_PHASE)
    yield from _guarded(stack, found, "Ruleset", "every scanner's request reaches the host", f"a Ruleset of {FIREWALL_PHASE}")


@stack_rule(
    "stack-zone-rate-limited",
    "config, phase, rules",
    description="Before a tunnel there is a rate limit of the stack",
    severity="medium",
    remediation="Make a Ruleset of the phase http_ratelimit.",
    url=DOCS + "waf/rate-limiting-rules/",
    prowler=("zone_rate_limiting_enabled",),
)
def zone_rate_limited(stack: Stack, parameters: Parameters) -> Findings:
    found = _has_phase(stack, RATE_LIMIT_PHASE)
    yield from _guarded(stack, found, "Ruleset", "one client keeps the host busy", f"a Ruleset of {RATE_LIMIT_PHASE}")


@stack_rule(
    "stack-zone-https-set",
    "config, settingId",
    description="The stack of a tunnel says that its zone is HTTPS only",
    severity="medium",
    remediation='Make a ZoneSetting always_use_https="on".',
    url=DOCS + "ssl/edge-certificates/encrypt-visitor-traffic/",
)
def zone_https_set(stack: Stack, parameters: Parameters) -> Findings:
    found = _has_setting(stack, "always_use_https")
    yield from _guarded(stack, found, "ZoneSetting", "a login may travel in plain text", "always_use_https")


@stack_rule(
    "stack-zone-tls-set",
    "config, settingId",
    description="The stack of a tunnel says which TLS its zone takes",
    severity="medium",
    remediation='Make a ZoneSetting min_tls_version="1.2".',
    url=DOCS + "ssl/edge-certificates/additional-options/minimum-tls/",
)
def zone_tls_set(stack: Stack, parameters: Parameters) -> Findings:
    found = _has_setting(stack, "min_tls_version")
    yield from _guarded(stack, found, "ZoneSetting", "a new zone takes TLS 1.0, which is broken", "min_tls_version")
