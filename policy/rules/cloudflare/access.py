"""Access, which asks for a login before a host is reached: policies and applications."""

import re
from collections.abc import Iterator

from ..framework.property import Expect, not_off, property_rule
from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from ..framework.values import Inputs
from . import ACCESS_APPLICATION, ACCESS_POLICY, DOCS

ACCESS_URL = DOCS + "cloudflare-one/access-controls/policies/"

# Open to everyone: anyone gets a mailbox there.
_PUBLIC_MAIL = frozenset(
    "daum.net gmail.com googlemail.com hanmail.net hotmail.com icloud.com kakao.com live.com nate.com naver.com outlook.com "
    "proton.me protonmail.com yahoo.com".split()
)


def _policies(resource: Resource) -> Iterator[tuple[str, Inputs]]:
    """Path prefix and content of a policy by itself, or of those that are written into an application."""
    if resource.type == ACCESS_POLICY:
        yield "", resource.inputs
    else:
        for path, policy in resource.inputs.each("policies"):
            yield f"{path}.", policy


@rule(
    ACCESS_POLICY,
    "cloudflare-access-people-named",
    "includes",
    description="A policy of Access admits named people, groups or networks, not everyone",
    severity="critical",
    remediation="Name addresses, or a mail domain of your own; put a country under requires.",
    url=ACCESS_URL,
    also=(ACCESS_APPLICATION,),
)
def access_people_named(resource: Resource, parameters: Parameters) -> Findings:
    for _, policy in _policies(resource):
        if policy.get("decision", "deny") == "deny":
            continue
        for path, included in policy.each("includes"):
            mail = str(included.section("emailDomain").get("domain", "")).lower()
            open_to_all = "everyone" in included.values or "geo" in included.values or mail in _PUBLIC_MAIL
            if open_to_all or str(included.section("ip").get("ip", "")).endswith("/0"):
                yield Finding(path=path, why="everyone who asks is let in", write="people, or a mail domain of your own")


@rule(
    ACCESS_POLICY,
    "cloudflare-access-decides",
    "decision",
    description="A policy of Access does not bypass it",
    severity="critical",
    remediation='Set decision="allow" with the people, or "non_identity" with a service token.',
    url=ACCESS_URL + "#bypass",
    also=(ACCESS_APPLICATION,),
)
def access_decides(resource: Resource, parameters: Parameters) -> Findings:
    for prefix, policy in _policies(resource):
        if policy.get("decision") == "bypass":
            yield Finding(path=f"{prefix}decision", why="it asks for no login, and logs nothing", write='"allow"')


@rule(
    ACCESS_APPLICATION,
    "cloudflare-access-session-short",
    "sessionDuration",
    description="A login at Access ends after a day",
    severity="medium",
    remediation='Set sessionDuration="24h" or less.',
    url=DOCS + "cloudflare-one/access-controls/access-settings/session-management/",
    also=(ACCESS_POLICY,),
    parameters={"hours": 24},
)
def access_session_short(resource: Resource, parameters: Parameters) -> Findings:
    if _hours(str(resource.inputs.get("sessionDuration", "24h"))) > parameters["hours"]:
        why = "whoever has left, or lost a laptop, is still logged in"
        yield Finding(path="sessionDuration", why=why, write=f'"{parameters["hours"]}h" or less')


_PER_HOUR = {"h": 1.0, "m": 60.0, "s": 3600.0, "ms": 3600e3, "us": 3600e6, "µs": 3600e6, "ns": 3600e9}


def _hours(duration: str) -> float:
    """Hours of a Go duration, ``2h45m``."""
    return sum(float(number) / _PER_HOUR[unit] for number, unit in re.findall(r"([0-9.]+)(h|ms|m|s|us|µs|ns)", duration))


access_cookie_unread = property_rule(
    ACCESS_APPLICATION,
    "cloudflare-access-cookie-unread",
    "httpOnlyCookieAttribute",
    Expect(not_off, why="a script that slips in takes the login along", write="True"),
    description="No script of a page reads the cookie of Access",
    severity="medium",
    remediation="Leave httpOnlyCookieAttribute out; on is the default.",
    url=DOCS + "cloudflare-one/access-controls/applications/http-apps/authorization-cookie/",
)
