"""Environment variables and arguments of a container."""

import re
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from ..containers import arguments, place, program_property_rule, program_rule, variables
from ..framework.property import Expect
from ..framework.rule import Finding, Findings, Parameters, Resource
from ..variables import Variable, is_default, is_for_browsers, is_secret_option

_SECRETS = "https://docs.docker.com/compose/how-tos/use-secrets/"


def _by_name(container: Resource) -> Iterator[tuple[str, Variable]]:
    """The variables, each with the path that a message has for it."""
    for variable in variables(container):
        yield f"{place(container, 'envs')}[{variable.name}]", variable


_variable_rule = partial(program_property_rule, reads=_by_name)


@program_rule(
    "docker-container-secrets-named",
    "envs",
    description="A container's environment holds no secret but the ones that levels.yaml names",
    severity="high",
    remediation="Pass the secret as a file (NAME_FILE), or name the variable in levels.yaml.",
    url=_SECRETS,
    cis=("4.10", "7.4"),
    parameters={"named": []},
)
def secrets_named(container: Resource, parameters: Parameters) -> Findings:
    for path, variable in _by_name(container):
        if variable.looks_secret and variable.name not in parameters["named"]:
            why = "docker inspect shows it to everyone who may use Docker"
            yield Finding(path=path, why=why, write="a file, or its name into levels.yaml")


@program_rule(
    "docker-container-secrets-encrypted",
    "envs",
    description="A secret in a container's environment is a secret of Pulumi",
    severity="critical",
    remediation="Wrap the value in pulumi.Output.secret, or read it with config.require_secret.",
    url="https://www.pulumi.com/docs/iac/concepts/secrets/",
    cis=("4.10",),
)
def secrets_encrypted(container: Resource, parameters: Parameters) -> Findings:
    for path, variable in _by_name(container):
        if variable.looks_secret and not container.inputs.is_secret(variable.path):
            why = "it is in plain text in the state and in every preview"
            yield Finding(path=path, why=why, write="pulumi.Output.secret(...)")


@program_rule(
    "docker-container-channels-encrypted",
    "envs",
    description="An address that messages are sent to is a secret of Pulumi",
    severity="high",
    remediation="Wrap the value in pulumi.Output.secret, or read it with config.require_secret.",
    url="https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/",
    parameters={"variables": ["CHANNELS", "HEARTBEAT", "SLACK_WEBHOOK_URL", "DISCORD_WEBHOOK_URL"]},
)
def channels_encrypted(container: Resource, parameters: Parameters) -> Findings:
    for path, variable in _by_name(container):
        if variable.name in parameters["variables"] and variable.value and not container.inputs.is_secret(variable.path):
            why = "whoever reads it in the state or a preview can send in your name"
            yield Finding(path=path, why=why, write="pulumi.Output.secret(...)")


secrets_not_default = _variable_rule(
    "docker-container-secrets-not-default",
    "envs",
    Expect(lambda variable: not variable.has_default, why="it is the first that is tried", write="a generated value"),
    description="No password or key is a default, a placeholder or the user's own name",
    severity="critical",
    remediation="Generate it: pulumi_random.RandomPassword.",
    url="https://owasp.org/Top10/A07_2021-Identification_and_Authentication_Failures/",
)


@program_rule(
    "docker-container-passwords-long",
    "envs",
    description="A password or signing key has enough characters",
    severity="high",
    remediation="Generate it: pulumi_random.RandomPassword with length=32.",
    url="https://cheatsheetseries.owasp.org/cheatsheets/Authentication_Cheat_Sheet.html",
    parameters={"minimum": 16},
)
def passwords_long(container: Resource, parameters: Parameters) -> Findings:
    minimum = parameters["minimum"]
    for path, variable in _by_name(container):
        password = variable.password
        # A default is another rule's.
        if password is not None and len(password) < minimum and not is_default(variable.name, password):
            yield Finding(path=path, why="it can be guessed", write=f"{minimum} or more characters")


def _is_elsewhere(host: str) -> bool:
    """Whether it is not a folder with a socket, and not a part of the stack, whose name has no dot."""
    return not host.startswith("/") and ("." in host or ":" in host)


def _leads_elsewhere(url: str) -> bool:
    """Whether it is the URL of a PostgreSQL that is not in the stack."""
    try:
        return bool(re.match(r"postgres(ql)?(\+\w+)?://", url)) and _is_elsewhere(urlsplit(url).hostname or "")
    except ValueError:
        return False


@program_rule(
    "docker-container-database-verified",
    "envs",
    description="A client of a PostgreSQL elsewhere checks the server's certificate",
    severity="high",
    remediation="Write sslmode=verify-full and sslrootcert: with less, whoever is in between can take the server's place.",
    url="https://www.postgresql.org/docs/17/libpq-ssl.html",
)
def database_verified(container: Resource, parameters: Parameters) -> Findings:
    why = "whoever is in between reads every row and the password's proof, or is the server"
    found = list(_by_name(container))
    values = {variable.name: variable.value for _, variable in found}
    host = values.get("PGHOST", "")
    for path, variable in found:
        if _leads_elsewhere(variable.value) and dict(parse_qsl(urlsplit(variable.value).query)).get("sslmode") != "verify-full":
            yield Finding(path=path, why=why, write="sslmode=verify-full")
        # libpq's own form, host=db.example.com dbname=x.
        words = dict(word.partition("=")[::2] for word in variable.value.split()) if " dbname=" in f" {variable.value}" else {}
        if _is_elsewhere(words.get("host", "")) and words.get("sslmode") != "verify-full":
            yield Finding(path=path, why=why, write="sslmode=verify-full")
        if variable.name == "PGHOST" and _is_elsewhere(host) and values.get("PGSSLMODE") != "verify-full":
            yield Finding(path=path, why=why, write="PGSSLMODE=verify-full beside it")


client_variables_public = _variable_rule(
    "docker-container-client-variables-public",
    "envs",
    Expect(
        lambda variable: not (variable.looks_secret and is_for_browsers(variable.name)),
        why="the build writes its value into public files",
        write="a name without prefix",
    ),
    description="No secret is behind a prefix that puts it into the files that browsers load",
    severity="critical",
    remediation="Drop the prefix and read it on the server only: VITE_SKYVERN_API_KEY hands the organisation to every visitor.",
    url="https://vite.dev/guide/env-and-mode",
)


@program_rule(
    "docker-container-arguments-public",
    "command",
    description="No secret is in a container's arguments",
    severity="high",
    remediation="Pass it as a file or an environment variable: TUNNEL_TOKEN in place of --token.",
    url=_SECRETS,
)
def arguments_public(container: Resource, parameters: Parameters) -> Findings:
    after_option = False
    for path, argument in arguments(container):
        option, joined, _ = str(argument).partition("=")
        has_secret = is_secret_option(option)
        if after_option or (has_secret and joined) or container.inputs.is_secret(path):
            why = "the list of processes shows it to everyone on the host"
            yield Finding(path=path, why=why, write="an environment variable")
        after_option = has_secret and not joined


@program_rule(
    "docker-container-origins-exact",
    "envs",
    description="Browsers of named origins only may call the API",
    severity="high",
    remediation="List the origins of the UI, one by one.",
    url="https://developer.mozilla.org/en-US/docs/Web/HTTP/Guides/CORS",
    parameters={"variables": ["ALLOWED_ORIGINS", "CORS_ORIGINS", "CORS_ALLOWED_ORIGINS"]},
)
def origins_exact(container: Resource, parameters: Parameters) -> Findings:
    for path, variable in _by_name(container):
        if variable.name in parameters["variables"] and "*" in variable.value:
            yield Finding(path=path, why="with a wildcard every page may call the API", write="exact origins")


def _is_quiet(variable: Variable) -> bool:
    name, value = variable.name.upper(), variable.value.upper()
    level = name.endswith(("LOG_LEVEL", "LOGLEVEL")) and value in {"DEBUG", "TRACE"}
    return not (level or (name == "DEBUG" and value in {"1", "TRUE"}))


log_level_quiet = _variable_rule(
    "docker-container-log-level-quiet",
    "envs",
    Expect(_is_quiet, why="debug logs hold what people type", write="INFO"),
    description="Logs are not at debug level",
    severity="medium",
    remediation="Set LOG_LEVEL=INFO.",
    url="https://cheatsheetseries.owasp.org/cheatsheets/Logging_Cheat_Sheet.html#data-to-exclude",
)


@program_rule(
    "docker-container-store-over-tls",
    "envs",
    description="Files of runs do not cross the internet unencrypted on their way to a store",
    severity="high",
    remediation="Write https://; http:// is for a private address, or a name inside the LAN.",
    url="https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html",
    parameters={"variables": ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"], "inside": ["internal", "lan", "local", "home.arpa"]},
)
def store_encrypted(container: Resource, parameters: Parameters) -> Findings:
    for path, variable in _by_name(container):
        url = urlsplit(variable.value) if variable.name in parameters["variables"] else None
        if url is not None and url.scheme == "http" and not _is_inside(url.hostname or "", parameters["inside"]):
            yield Finding(path=path, why="recordings and logins would cross the internet unencrypted", write="https://")


def _is_inside(host: str, suffixes: list[str]) -> bool:
    """Whether a host is of the LAN: a private address, a name without a dot, or one below a name for the inside."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or any(host.endswith(f".{suffix}") for suffix in suffixes)
