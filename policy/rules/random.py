"""Rules for generated secrets."""

from .framework.rule import Finding, Findings, Parameters, Resource, matches, rule

PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105  a type
BYTES = "random:index/randomBytes:RandomBytes"


@rule(
    PASSWORD,
    "random-password-long",
    "length",
    description="A generated password has at least 128 bits, 22 letters and digits",
    severity="high",
    remediation="Set length=32.",
    url="https://www.pulumi.com/registry/packages/random/api-docs/randompassword/",
    parameters={"minimum": 22, "public": []},
)
def password_long(password: Resource, parameters: Parameters) -> Findings:
    if not matches(password.name, parameters["public"]) and password.inputs.get("length", 0) < parameters["minimum"]:
        yield Finding(path="length", why="it can be guessed", write=f"{parameters['minimum']} or more")


@rule(
    PASSWORD,
    "random-password-url-safe",
    "special",
    description="A generated password has no character that breaks a URL",
    severity="medium",
    remediation="Set special=False and a greater length.",
    url="https://www.pulumi.com/registry/packages/random/api-docs/randompassword/",
)
def password_url_safe(password: Resource, parameters: Parameters) -> Findings:
    # The provider's own default is True; overrideSpecial narrows it.
    safe = set(str(password.inputs.get("overrideSpecial", "@"))) <= set("-._~")
    if password.inputs.get("special", True) and not safe:
        yield Finding(path="special", why="@ : / and % break URLs and migrations", write="special=False")


@rule(
    PASSWORD,
    "random-password-kept",
    "options.protect",
    description="A secret that does not rotate is protected",
    severity="high",
    remediation="Set protect=True, or give it keepers that rotate it.",
    url="https://www.pulumi.com/docs/iac/concepts/resources/options/protect/",
)
def password_kept(password: Resource, parameters: Parameters) -> Findings:
    if not password.protect and not password.inputs.get("keepers"):
        yield Finding(path="options.protect", why="if it is lost, what it encrypts is lost too", write="protect=True, or keepers")


@rule(
    BYTES,
    "random-bytes-unused",
    "length",
    description="Secrets are made by RandomPassword, whose value is encrypted in the state",
    severity="high",
    remediation="Use RandomPassword and derive bytes from it.",
    url="https://www.pulumi.com/registry/packages/random/api-docs/randompassword/",
)
def bytes_unused(resource: Resource, parameters: Parameters) -> Findings:
    """The id of RandomBytes is its value, and ids are in plain text in the state (seen in terraform-provider-random 3)."""
    yield Finding(path="id", why="its value is in plain text in the state", write="a RandomPassword")
