"""Rules over the whole stack, about its edge: ingress from the internet, where it ends, and whether all parts agree on names.

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
from .containers import (
    CONTAINER,
    NETWORKS_URL,
    SERVICE,
    arguments,
    connectors,
    containers_of,
    has_variable,
    names,
    need_variables,
    networks,
    place,
    spec,
    variables,
)
from .framework.rule import Finding, Findings, Parameters, Resource, Stack, matches, stack_rule
from .framework.values import Inputs
from .variables import is_for_browsers
from .vercel import DOMAIN, VARIABLE, VARIABLES_URL

_CORS = "https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/CORS"
_CSP = "https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy/connect-src"

# --- Ingress from the internet -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ingress:
    """An ingress rule with a host. config: the resource that it is in. path: the rule's, in that resource."""

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

    def finding(self, key: str, *, why: str, write: str) -> Finding:
        """A finding about one key of the rule."""
        return self.config.finding(f"{self.path}.{key}", why=why, write=write)


def _ingresses(stack: Stack) -> Iterator[Ingress]:
    """Every ingress rule that leads somewhere."""
    for config in stack.of_type(INGRESS):
        for path, ingress in config.inputs.section("config").each("ingresses"):
            if not str(ingress.get("service", "")).startswith("http_status:"):
                yield Ingress(config, path, ingress)


def _public_hosts(stack: Stack) -> set[str]:
    """Every public name that the stack serves: of its tunnel and of Vercel; all of them, or the check ends."""
    hosts = {
        str(ingress.get("hostname", "")).lower()
        for config in stack.of_type(INGRESS)
        for ingress in config.inputs.section("config").whole("ingresses")
    }
    return (hosts | _vercel_domains(stack)) - {""}


def _vercel_domains(stack: Stack) -> set[str]:
    domains = (domain.inputs for domain in stack.of_type(DOMAIN))
    return {str(domain.get("domain", "")).lower() for domain in domains if not domain.get("redirect")}


def _origins_of(stack: Stack, ingress: Ingress) -> list[Resource]:
    """Containers that an ingress rule's origin names."""
    return [container for container in containers_of(stack) if ingress.origin and ingress.origin in names(container)]


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
    recorded = [(ingress, records.get(ingress.host, [])) for ingress in _ingresses(stack)]
    # Names first: they are known before anything exists, the tunnel's id is not.
    for ingress, pointing in recorded:
        if len(pointing) != 1:
            why = "two records fight for one name" if pointing else "no name leads to it, so it cannot be reached"
            yield ingress.finding("hostname", why=why, write="one DnsRecord of that name")
    for ingress, pointing in recorded:
        if len(pointing) == 1 and not target(pointing[0].inputs).startswith(_tunnel(ingress.config)):
            why = "the tunnel's host leads elsewhere"
            yield pointing[0].finding("content", why=why, write="TUNNEL_ID.cfargotunnel.com")


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
    hosts = {ingress.host for ingress in _ingresses(stack)}
    for record in stack.of_type(RECORD):
        if str(record.inputs.get("name", "")).lower() not in hosts and target(record.inputs).endswith(TUNNEL_DOMAIN):
            why = "the name leads into a tunnel that knows nothing of it"
            yield record.finding("name", why=why, write="an ingress rule, or no record")


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
    for ingress in _ingresses(stack):
        if not any(matches(container.name, parameters["gateways"]) for container in _origins_of(stack, ingress)):
            why = "what it leads to is open to the internet without the gateway's rules"
            yield ingress.finding("service", why=why, write="the gateway's address")


@stack_rule(
    "stack-ingress-origin-checked",
    "config, healthcheck",
    description="The container that an ingress rule leads to has a health check",
    severity="medium",
    remediation="Set healthcheck.tests of the container, or name a container in service.",
    url="https://docs.docker.com/reference/dockerfile/#healthcheck",
)
def ingress_origin_checked(stack: Stack, parameters: Parameters) -> Findings:
    for ingress in _ingresses(stack):
        checks = [spec(container).section("healthcheck").whole("tests") for container in _origins_of(stack, ingress)]
        if not any(len(tests) > 1 and tests[0] != "NONE" for tests in checks):
            why = "it can be down while everything looks healthy"
            yield ingress.finding("service", why=why, write="a container with a health check")


@stack_rule(
    "stack-ingress-origin-reached",
    "config, networksAdvanced",
    description="The container that an ingress rule leads to is on a network of the connector",
    severity="medium",
    remediation="Put connector and gateway on one network.",
    url=NETWORKS_URL,
)
def ingress_origin_reached(stack: Stack, parameters: Parameters) -> Findings:
    reachable = {network for connector in connectors(containers_of(stack)) for network in networks(connector)}
    for ingress in _ingresses(stack) if reachable else ():
        if not any(networks(container) & reachable for container in _origins_of(stack, ingress)):
            why = "the connector does not find it, and answers 502"
            yield ingress.finding("service", why=why, write="a container on its network")


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
    containers = containers_of(stack)
    outer = connectors(containers)
    for connector in outer:
        for container in containers:
            near = container not in outer and networks(container) & networks(connector)
            if near and not matches(container.name, parameters["gateways"]):
                why = f"whoever takes the tunnel reaches {container.name}, past the gateway"
                yield connector.finding(place(connector, "networksAdvanced"), why=why, write="a network of connector and gateway")


# --- Do all names agree? -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A variable of a container or of a project at Vercel. path: of its value, in the resource."""

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

    def finding(self, *, why: str, write: str) -> Finding:
        """A finding about its value."""
        return self.resource.finding(self.path, why=why, write=write)


def _settings(stack: Stack, patterns: Sequence[str]) -> Iterator[Setting]:
    """Variables with a name that fits one of the globs; of Vercel's, only their values are read."""
    for container in containers_of(stack):
        for variable in variables(container):
            if matches(variable.name, patterns):
                yield Setting(container, f"{place(container, 'envs')}[{variable.name}]", variable.name, variable.value)
    for resource in stack.of_type(VARIABLE):
        name = str(resource.inputs.get("key", ""))
        if matches(name, patterns):
            yield Setting(resource, "value", name, str(resource.inputs.get("value", "")))


def _allowed_origins(stack: Stack, names_: Sequence[str]) -> Iterator[tuple[Setting, list[str]]]:
    for setting in _settings(stack, names_):
        try:
            listed = json.loads(setting.value)
        except ValueError:
            listed = setting.value.split(",")
        yield setting, [str(origin).strip().lower() for origin in listed] if isinstance(listed, list) else []


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
    for setting in _settings(stack, parameters["variables"]) if hosts else ():
        if "://" not in setting.value or matches(setting.host, parameters["elsewhere"]):
            continue
        if setting.host not in hosts:
            yield setting.finding(why="nothing of this stack answers there", write="a host with an ingress rule")
        elif not setting.value.startswith(("https://", "wss://")):
            yield setting.finding(why="it travels in plain text", write="https:// or wss://")


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
    for setting, origins in _allowed_origins(stack, parameters["variables"]) if hosts else ():
        if not all(_is_origin_of(origin, hosts, parameters["elsewhere"]) for origin in origins):
            yield setting.finding(why="pages that this stack does not serve may call the API", write="the UI's origin alone")
        if not all(f"https://{domain}" in origins for domain in _vercel_domains(stack)):
            yield setting.finding(why="the UI at Vercel may not call it", write="its origin")


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
    addresses = [address for address in _settings(stack, ["VITE_*_URL", "NEXT_PUBLIC_*_URL"]) if "://" in address.value]
    for resource, path, policy in _content_policies(stack, parameters["variables"]):
        sources = set(_connect_sources(policy))
        if sources & {"*", "https:", "http:", "wss:", "ws:"} or any("*" in source for source in sources):
            why = "a script that slips in sends what it finds anywhere"
            yield resource.finding(path, why=why, write="origins one by one in connect-src")
        for address in addresses:
            of_this_ui = (
                address.resource is resource if resource.type in (CONTAINER, SERVICE) else address.resource.type == VARIABLE
            )
            if of_this_ui and address.origin not in sources and not ("'self'" in sources and address.origin in own):
                yield resource.finding(path, why=f"pages may not connect to {address.name}", write="its origin in connect-src")


def _content_policies(stack: Stack, names_: Sequence[str]) -> Iterator[tuple[Resource, str, str]]:
    """Resource, path and text of each policy: a variable of Vercel, or a header in a server's arguments."""
    for setting in _settings(stack, names_):
        yield setting.resource, setting.path, setting.value
    for container in containers_of(stack):
        for path, argument in arguments(container):
            for header in re.findall(r'Content-Security-Policy:?\s+"([^"]+)"', str(argument)):
                # A header that shuts everything needs no connect-src.
                if "connect-src" in header or "sandbox" not in header:
                    yield container, path, header


def _connect_sources(policy: str) -> list[str]:
    directives = {words[0]: words[1:] for words in (part.split() for part in policy.lower().split(";")) if words}
    return directives.get("connect-src", directives.get("default-src", ["*"]))


# --- Who is asked who they are? ------------------------------------------------------------------------------------------


@stack_rule(
    "stack-frontend-login-asked",
    "envs, key, sensitive",
    description="Whatever serves the UI asks for a login: it has the secret to compare the login with",
    severity="critical",
    remediation="Give it the variable that levels.yaml names, at Vercel a sensitive one, and have the server ask.",
    url="https://owasp.org/Top10/A01_2021-Broken_Access_Control/",
    prowler=("project_production_deployment_protection_enabled",),
    parameters={"container_variables": [], "vercel_variables": []},
)
def frontend_login_asked(stack: Stack, parameters: Parameters) -> Findings:
    why = "whoever opens the UI drives the browsers, with every login in them"
    for container in containers_of(stack):
        serves = any(is_for_browsers(variable.name) and "://" in variable.value for variable in variables(container))
        if serves and not has_variable(container, parameters["container_variables"]):
            need_variables(container)  # an unknown variable may be the login
            yield container.finding(
                place(container, "envs"), why=why, write=" or ".join(parameters["container_variables"]) or "a login"
            )
    keys = {str(variable.inputs.get("key", "")): variable for variable in stack.of_type(VARIABLE)}
    served = sorted(key for key in keys if is_for_browsers(key))
    logins = [keys[name] for name in parameters["vercel_variables"] if name in keys]
    if served and not any(login.inputs.get("sensitive", False) for login in logins):
        write = f"a sensitive {' or '.join(parameters['vercel_variables']) or 'login'}"
        yield Finding(path="variables at Vercel", why=why, write=write, urn=keys[served[0]].urn)


@stack_rule(
    "stack-artifact-host-keyed",
    "config, envs",
    description="A host that serves recordings and files asks for a key",
    severity="critical",
    remediation="Route it to the gateway, and give the gateway GATEWAY_KEY; or name hosts and variables in levels.yaml.",
    url="https://owasp.org/Top10/A01_2021-Broken_Access_Control/",
    parameters={"hosts": ["artifact.*", "*-artifact.*", "artifacts.*", "files.*"], "variables": ["GATEWAY_KEY"]},
)
def artifact_host_keyed(stack: Stack, parameters: Parameters) -> Findings:
    for ingress in _ingresses(stack):
        if not matches(ingress.host, parameters["hosts"]):
            continue
        if not any(_has(container, parameters["variables"]) for container in _origins_of(stack, ingress)):
            why = "everyone can read the screenshots and downloads of every run"
            yield ingress.finding("service", why=why, write=f"an origin with {' or '.join(parameters['variables'])}")


def _has(container: Resource, wanted: Sequence[str]) -> bool:
    """Whether a container has one of the variables. Without one, an unknown variable may be it, which ends the check."""
    if has_variable(container, wanted):
        return True
    need_variables(container)
    return False


@stack_rule(
    "stack-access-checked-at-origin",
    "config, domain",
    description="For a host with Access, the connector checks the token as well",
    severity="high",
    remediation="Set originRequest.access with required=True, teamName and audTags on the host's ingress rule.",
    url=TUNNELS_URL + "configure-tunnels/cloudflared-parameters/origin-parameters/#access",
)
def access_checked_at_origin(stack: Stack, parameters: Parameters) -> Findings:
    applications = stack.of_type(ACCESS_APPLICATION)
    hosts = {str(application.inputs.get("domain", "")).partition("/")[0].lower() for application in applications}
    for ingress in _ingresses(stack):
        access = ingress.rule.section("originRequest").section("access")
        if ingress.host in hosts and not (access.get("required", False) and access.get("teamName")):
            why = "a mistake at Cloudflare opens it"
            yield ingress.finding("originRequest.access", why=why, write="required=True, teamName and audTags")


# --- The zone's firewall and TLS -----------------------------------------------------------------------------------------


def _unguarded(stack: Stack, guarded: bool, path: str, why: str, write: str) -> Findings:
    """A finding if the stack has a tunnel with hosts, and nothing that guards it."""
    if not guarded and (first := next(_ingresses(stack), None)):
        yield first.config.finding(path, why=why, write=write)


def _has_setting(stack: Stack, id_: str) -> bool:
    return any(setting.inputs.get("settingId") == id_ for setting in stack.of_type(SETTING))


def _has_phase(stack: Stack, phase: str) -> bool:
    rulesets = (ruleset.inputs for ruleset in stack.of_type(RULESET))
    return any(ruleset.get("phase") == phase and ruleset.get("rules") for ruleset in rulesets)


@stack_rule(
    "stack-zone-firewall-present",
    "config, phase, rules",
    description="A tunnel has a firewall of the stack in front of it",
    severity="medium",
    remediation="Make a Ruleset of the phase http_request_firewall_custom that blocks requests without a key.",
    url=DOCS + "waf/custom-rules/",
    prowler=("zone_waf_enabled",),
)
def zone_firewall_present(stack: Stack, parameters: Parameters) -> Findings:
    guarded = _has_phase(stack, FIREWALL_PHASE)
    yield from _unguarded(stack, guarded, "Ruleset", "every scanner's request reaches the host", f"a Ruleset of {FIREWALL_PHASE}")


@stack_rule(
    "stack-zone-rate-limited",
    "config, phase, rules",
    description="A tunnel has a rate limit of the stack in front of it",
    severity="medium",
    remediation="Make a Ruleset of the phase http_ratelimit.",
    url=DOCS + "waf/rate-limiting-rules/",
    prowler=("zone_rate_limiting_enabled",),
)
def zone_rate_limited(stack: Stack, parameters: Parameters) -> Findings:
    guarded = _has_phase(stack, RATE_LIMIT_PHASE)
    yield from _unguarded(stack, guarded, "Ruleset", "one client keeps the host busy", f"a Ruleset of {RATE_LIMIT_PHASE}")


@stack_rule(
    "stack-zone-https-set",
    "config, settingId",
    description="The stack of a tunnel sets its zone to HTTPS only",
    severity="medium",
    remediation='Make a ZoneSetting always_use_https="on".',
    url=DOCS + "ssl/edge-certificates/encrypt-visitor-traffic/",
)
def zone_https_set(stack: Stack, parameters: Parameters) -> Findings:
    guarded = _has_setting(stack, "always_use_https")
    yield from _unguarded(stack, guarded, "ZoneSetting", "a login may travel in plain text", "always_use_https")


@stack_rule(
    "stack-zone-tls-set",
    "config, settingId",
    description="The stack of a tunnel sets which TLS its zone takes",
    severity="medium",
    remediation='Make a ZoneSetting min_tls_version="1.2".',
    url=DOCS + "ssl/edge-certificates/additional-options/minimum-tls/",
)
def zone_tls_set(stack: Stack, parameters: Parameters) -> Findings:
    guarded = _has_setting(stack, "min_tls_version")
    yield from _unguarded(stack, guarded, "ZoneSetting", "a new zone takes TLS 1.0, which is broken", "min_tls_version")
