"""How the provider reaches Cloudflare's API."""

from ..framework.property import Expect, encrypted_rule, property_rule, unset
from . import DOCS, PROVIDER

_TOKENS = DOCS + "fundamentals/api/get-started/create-token/"


provider_token_scoped = property_rule(
    PROVIDER,
    "cloudflare-provider-token-scoped",
    "apiKey",
    Expect(unset, why="the global key may do everything in every zone, and never expires", write="apiToken"),
    description="The provider is given a token with chosen permissions, not the account's global key",
    severity="critical",
    remediation="Make an API token with the permissions that are needed, and set apiToken in place of apiKey and email.",
    url=_TOKENS,
)

provider_token_encrypted = encrypted_rule(
    PROVIDER,
    "cloudflare-provider-token-encrypted",
    "apiToken",
    description="The provider's token is a secret of Pulumi",
    remediation="Set it with pulumi config set --secret, or wrap it in pulumi.Output.secret.",
)

provider_url_encrypted = property_rule(
    PROVIDER,
    "cloudflare-provider-url-encrypted",
    "baseUrl",
    Expect(lambda url: not str(url).startswith("http:"), why="the token travels in plain text", write="no baseUrl"),
    description="The provider talks to Cloudflare's API by HTTPS",
    severity="critical",
    remediation="Leave baseUrl out.",
    url=DOCS + "api/",
)
