"""Rulesets of a zone: its firewall and its rate limit."""

from ..framework.property import Expect, not_off, property_rule
from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from . import DOCS, FIREWALL_PHASE, RATE_LIMIT_PHASE, RULESET

ruleset_rules_on = property_rule(
    RULESET,
    "cloudflare-ruleset-rules-on",
    "rules",
    Expect(not_off, why="it reads as if it stopped something", write="enabled=True"),
    reads="rules[].enabled",
    description="A rule that is declared is on",
    severity="high",
    remediation="Remove enabled=False, or the rule.",
    url=DOCS + "ruleset-engine/rulesets-api/",
)


@rule(
    RULESET,
    "cloudflare-ruleset-rules-decide",
    "rules",
    description="A rule of the firewall or the rate limit stops a request: it neither logs only nor waves it through",
    severity="high",
    remediation='Set action="block"; for people, "managed_challenge".',
    url=DOCS + "waf/custom-rules/",
    prowler=("zone_firewall_blocking_rules_configured",),
)
def ruleset_rules_decide(ruleset: Resource, parameters: Parameters) -> Findings:
    if ruleset.inputs.get("phase") in {FIREWALL_PHASE, RATE_LIMIT_PHASE}:
        for path, rule_ in ruleset.inputs.each("rules"):
            if rule_.get("action") in {"log", "skip"}:
                yield Finding(path=f"{path}.action", why="what it matches gets through", write='"block"')


@rule(
    RULESET,
    "cloudflare-ruleset-limit-per-address",
    "rules",
    description="A rate limit counts each address for itself",
    severity="medium",
    remediation='Write characteristics=["cf.colo.id", "ip.src"].',
    url=DOCS + "waf/rate-limiting-rules/parameters/",
)
def ruleset_limit_per_address(ruleset: Resource, parameters: Parameters) -> Findings:
    if ruleset.inputs.get("phase") == RATE_LIMIT_PHASE:
        for path, rule_ in ruleset.inputs.each("rules"):
            limit = rule_.section("ratelimit")
            if not any(str(name).startswith(_OF_A_CLIENT) for name in limit.whole("characteristics")):
                path = f"{path}.ratelimit.characteristics"
                yield Finding(path=path, why="one client uses up everyone's requests", write='"cf.colo.id" and "ip.src"')


_OF_A_CLIENT = ("cf.unique_visitor_id", "http.request.cookies", "http.request.headers", "ip.")
