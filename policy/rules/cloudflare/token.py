"""Tokens of Cloudflare that a program makes: what they may do, and to what."""

import json
import re

from ..framework.property import Expect, property_rule
from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from . import ACCOUNT_TOKEN, DOCS, USER_TOKEN

_TOKENS = DOCS + "fundamentals/api/how-to/create-via-api/"
# One bucket, or one zone; anything shorter, and anything with a star, is all of them.
_ONE = re.compile(r"com\.cloudflare\.(edge\.r2\.bucket\.[0-9a-f]{32}_[a-z]+_[a-z0-9-]+|api\.account\.zone\.[0-9a-f]{32})")


def _names_each(resources: object) -> bool:
    try:
        named = json.loads(str(resources))
    except ValueError:
        return False
    return isinstance(named, dict) and bool(named) and all(_ONE.fullmatch(name) for name in named)


token_resources_named = property_rule(
    ACCOUNT_TOKEN,
    "cloudflare-token-resources-named",
    "policies",
    Expect(_names_each, why="it is for more than one bucket or zone needs", write="one bucket or zone by its id"),
    reads="policies[].resources",
    description="A token that is made here is for single buckets or zones, not for an account",
    severity="critical",
    remediation='Write {"com.cloudflare.edge.r2.bucket.ACCOUNT_JURISDICTION_BUCKET": "*"} as resources.',
    url=_TOKENS,
    also=(USER_TOKEN,),
)


@rule(
    ACCOUNT_TOKEN,
    "cloudflare-token-permissions-named",
    "policies",
    description="A token that is made here has only permissions that levels.yaml names",
    severity="critical",
    remediation="Leave the permission group out, or name its id in levels.yaml with what it allows.",
    url=DOCS + "fundamentals/api/reference/permissions/",
    also=(USER_TOKEN,),
    parameters={"permitted": []},
)
def token_permissions_named(token: Resource, parameters: Parameters) -> Findings:
    for _, policy in token.inputs.each("policies"):
        for where, group in policy.each("permissionGroups"):
            if policy.get("effect", "allow") == "allow" and group.get("id") not in parameters["permitted"]:
                why = "it may do more than what the key is for"
                yield Finding(path=f"{where}.id", why=why, write="a permission group that levels.yaml names")
