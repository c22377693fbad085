"""How the provider reaches Cloudflare's API."""

from ..framework.rule import Finding, Findings, Parameters, Resource, rule
from . import DOCS, PROVIDER

_TOKENS = DOCS + "fundamentals/api/get-started/create-token/"


@rule(
    "cloudflare-provider-token-scoped",
    PROVIDER,
    "apiKey",
    description="The provider is given a token with chosen permissions, not the account's global key",
    severity="critical",
    remediation="Make an API token with the permissions that are needed, and set apiToken in place of apiKey and email.",
    url=_TOKENS,
)
def provider_token_scoped(provider: Resource, parameters: Parameters) -> Findings:
    if provider.inputs.get("apiKey"):
        yield Finding(path="apiKey", why="the global key may do everything in every zone, and never expires", write="apiToken")


@rule(
    "cloudflare-provider-token-encrypted",
    PROVIDER,
    "apiToken",
    description="The provider's token is a secret of Pulumi",
    severity="critical",
    remediation="Set it with pulumi config set --secret, or wrap it in pulumi.Output.secret.",
    url="https://www.pulumi.com/docs/iac/concepts/secrets/",
)
def provider_token_encrypted(provider: Resource, parameters: Parameters) -> Findings:
    if provider.inputs.get("apiToken") and not provider.inputs.is_secret("apiToken"):
        yield Finding(path="apiToken", why="it is in plain text in the state", write="pulumi.Output.secret(...)")


@rule(
    "cloudflare-provider-url-encrypted",
    PROVIDER,
    "baseUrl",
    description="The provider talks to Cloudflare's API by HTTPS",
    severity="critical",
    remediation="Leave baseUrl out.",
    url=DOCS + "api/",
)
def provider_url_encrypted(provider: Resource, parameters: Parameters) -> Findings:
    if str(provider.inputs.get("baseUrl", "https:")).startswith("http:"):
        yield Finding(path="baseUrl", why="the token travels in plain text", write="no baseUrl")
