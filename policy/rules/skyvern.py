"""Rules for Skyvern's workflows, schedules and credentials, and for what they ask of the stack that runs them."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from .containers import containers_of, variables
from .framework.property import Expect, encrypted_rule, property_rule
from .framework.rule import Finding, Findings, Parameters, Resource, Stack, matches, rule, stack_rule
from .framework.values import Inputs
from .variables import Variable, is_secret_name

PROVIDER = "pulumi:providers:skyvern"
WORKFLOW = "skyvern:index:Workflow"
SCHEDULE = "skyvern:index:Schedule"
CREDENTIAL = "skyvern:index:Credential"

_DOCS = "https://www.skyvern.com/docs/"
_WORKFLOWS = _DOCS + "workflows/introduction"
_CREDENTIALS = _DOCS + "credentials/introduction"

# Blocks in which a model decides on the next step until it finds that the goal is reached; each step is paid.
_PLANNING = frozenset("action extraction file_download login navigation task task_v2 validation".split())
# Names that end with "key" and hold one; Skyvern's others name a parameter, a cache or a place (1.0.56, schemas/workflows.py).
_HOLDS_KEY = re.compile(r"(api|access|account|private)_?keys?$", re.IGNORECASE)
_SECRETS_BY_FORM = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.|\bsk-[\w-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}"
    r"|\bxox[abprs]-[\w-]{10,}|\bAIza[\w-]{35}|otpauth://"
)
# In a prompt a password has a digit: "Password: from the credential" is a sentence. In code it is a literal.
_SAID_IN_A_PROMPT = re.compile(r"(password|passwd|비밀번호|암호)\s*[:=]\s*(?![{$<*])(?=\S*\d)\S{4,}", re.IGNORECASE)
_SAID_IN_CODE = re.compile(r"(password|passwd|secret|token)\w*\s*=\s*(['\"])[^'\"{]{4,}\2", re.IGNORECASE)


# --- The provider --------------------------------------------------------------------------------------------------------

provider_key_encrypted = encrypted_rule(
    PROVIDER,
    "skyvern-provider-key-encrypted",
    "apiKey",
    description="Skyvern's API key is a secret of Pulumi",
    remediation="Take it from the stack's secrets, or wrap it in pulumi.Output.secret.",
)


def _is_private(url: Any) -> bool:
    parts = urlsplit(str(url or ""))
    return parts.scheme == "https" or parts.hostname in {"127.0.0.1", "::1", "localhost"}


provider_url_private = property_rule(
    PROVIDER,
    "skyvern-provider-url-private",
    "url",
    Expect(_is_private, why="the key and every credential cross the network in plain text", write="https://, or 127.0.0.1"),
    description="Skyvern's API is asked by HTTPS, or on this machine",
    severity="high",
    remediation="Use the API's public address, or a tunnel of SSH to the loopback address.",
    url=_DOCS + "api-reference/api-reference",
)

# --- Credentials ---------------------------------------------------------------------------------------------------------

credential_values_encrypted = encrypted_rule(
    CREDENTIAL,
    "skyvern-credential-values-encrypted",
    "values",
    description="A credential's values are secrets of Pulumi",
    remediation="Set them with pulumi config set --secret.",
)


def _sites(credential: Resource) -> Iterator[tuple[str, Any]]:
    """A secret of another kind, as of a mail server, is typed into no page."""
    if credential.inputs.get("type", "password") != "secret":
        yield "tested_url", credential.inputs.get("tested_url")


credential_site_bound = property_rule(
    CREDENTIAL,
    "skyvern-credential-site-bound",
    "tested_url",
    Expect(
        lambda url: urlsplit(str(url or "")).scheme == "https" and bool(urlsplit(str(url)).hostname),
        why="a workflow that is led elsewhere types the password there",
        write="the site's address, https://",
    ),
    reads=_sites,
    unless="anywhere",
    description="A credential is bound to its site, outside of which Skyvern does not type it",
    severity="high",
    remediation="Write tested_url, https:// and the host at least; name a credential of many sites in levels.yaml.",
    url=_CREDENTIALS,
)

# --- Workflows -----------------------------------------------------------------------------------------------------------


def blocks(workflow: Resource) -> Iterator[tuple[str, Inputs]]:
    """Path and content of every block, those of loops behind the loop's own."""

    def within(holder: Inputs, key: str) -> Iterator[tuple[str, Inputs]]:
        for path, block in holder.each(key):
            yield path, block
            yield from within(block, "loop_blocks")

    return within(workflow.inputs.section("definition").section("workflow_definition"), "blocks")


def _texts(value: Any, path: str, key: str = "") -> Iterator[tuple[str, str, str]]:
    """Path, name and text of every text; what is unknown is an id of the server, not a text that a person wrote."""
    match value:
        case str():
            yield path, key, value
        case dict():
            # The default of a parameter is called after the parameter.
            named = str(value.get("key", "")) if "parameter_type" in value else ""
            for name, item in value.items():
                yield from _texts(item, f"{path}.{name}", named if name == "default_value" else str(name))
        case list():
            for index, item in enumerate(value):
                yield from _texts(item, f"{path}[{index}]", key)


def _is_secret(key: str, text: str) -> bool:
    name = key.replace("-", "_")
    is_key = name.lower().removesuffix("s").endswith("key")
    named = is_secret_name(name) and (not is_key or bool(_HOLDS_KEY.search(name)))
    if named and text and "{{" not in text:
        return True
    said = _SAID_IN_CODE if key == "code" else _SAID_IN_A_PROMPT
    return bool(_SECRETS_BY_FORM.search(text) or said.search(text) or Variable("", key, text).url_password)


def _secrets(resource: Resource, property_: str, what: str) -> Findings:
    values = resource.inputs.section(property_).values
    for path, key, text in _texts(values, property_):
        if _is_secret(key, text):
            why = f"everyone who opens {what} reads it, and it is in the database and each backup in plain text"
            yield Finding(path=path, why=why, write="a credential parameter")


@rule(
    WORKFLOW,
    "skyvern-workflow-secrets-absent",
    "definition",
    description="No secret is in a workflow's text",
    severity="critical",
    remediation="Make it a credential of the stack file and name it by a parameter of the type credential.",
    url=_CREDENTIALS,
)
def workflow_secrets_absent(workflow: Resource, parameters: Parameters) -> Findings:
    return _secrets(workflow, "definition", "the workflow")


@rule(
    SCHEDULE,
    "skyvern-schedule-secrets-absent",
    "parameters",
    description="No secret is in a schedule's parameters",
    severity="critical",
    remediation="Make it a credential of the stack file and name it by a parameter of the type credential.",
    url=_CREDENTIALS,
)
def schedule_secrets_absent(schedule: Resource, parameters: Parameters) -> Findings:
    return _secrets(schedule, "parameters", "the schedule")


def _addresses(workflow: Resource) -> Iterator[tuple[str, Any]]:
    """Where data of runs is sent to, and where one-time codes are fetched."""
    definition = workflow.inputs.section("definition")
    yield from ((f"definition.{key}", definition.get(key)) for key in ("webhook_callback_url", "totp_verification_url"))
    for path, block in blocks(workflow):
        yield f"{path}.totp_verification_url", block.get("totp_verification_url")
        if block.get("block_type") == "http_request":
            yield f"{path}.url", block.get("url")


@rule(
    WORKFLOW,
    "skyvern-workflow-addresses-https",
    "definition",
    description="Webhooks and requests of a workflow go out by HTTPS",
    severity="high",
    remediation="Write https://, or name the host in levels.yaml if it is on your own network.",
    url=_WORKFLOWS,
    parameters={"hosts": []},
)
def workflow_addresses_https(workflow: Resource, parameters: Parameters) -> Findings:
    for path, address in _addresses(workflow):
        parts = urlsplit(str(address or "").strip())
        if parts.scheme.lower() == "http" and not matches(parts.hostname or "", parameters["hosts"]):
            yield Finding(path=path, why="results and codes cross the network in plain text", write="https://")


@rule(
    WORKFLOW,
    "skyvern-workflow-publishing-off",
    "definition",
    description="What a workflow cannot take back is off unless a run asks for it",
    severity="medium",
    remediation="Write default_value: false; a schedule that publishes says so in its parameters.",
    url=_WORKFLOWS,
    parameters={"names": ["*publish*", "*submit*", "buy*", "confirm*", "delete*", "order*", "pay*", "post", "send*"]},
)
def workflow_publishing_off(workflow: Resource, parameters: Parameters) -> Findings:
    for path, parameter in workflow.inputs.section("definition").section("workflow_definition").each("parameters"):
        default = parameter.get("default_value")
        asked = default is True or str(default).lower() in {"true", "yes", "on", "1"}
        if asked and matches(str(parameter.get("key", "")).lower(), parameters["names"]):
            why = "a run that was started to try something out does it for good"
            yield Finding(path=f"{path}.default_value", why=why, write="false")


# --- What they ask of the stack ------------------------------------------------------------------------------------------


def _environment(stack: Stack, name: str) -> set[str]:
    """The values that a variable has in the stack's containers.

    Asked where an automation depends on it: a value that is known after the update only keeps a rule from being evaluated.
    """
    return {variable.value for container in containers_of(stack) for variable in variables(container) if variable.name == name}


@stack_rule(
    "stack-workflow-time-bounded",
    "definition, envs",
    description="A workflow ends after a number of minutes, its own or the server's",
    severity="medium",
    remediation="Write max_elapsed_time_minutes, some times what the workflow usually takes.",
    url=_WORKFLOWS,
    parameters={"maximum": 240},
)
def workflow_time_bounded(stack: Stack, parameters: Parameters) -> Findings:
    most = parameters["maximum"]
    for workflow in stack.of_type(WORKFLOW):
        minutes = workflow.inputs.section("definition").get("max_elapsed_time_minutes")
        if minutes > most if minutes is not None else not _environment(stack, "WORKFLOW_RUN_DEFAULT_MAX_ELAPSED_TIME_MINUTES"):
            why = "one that hangs holds a browser and a place in the queue"
            yield workflow.finding("definition.max_elapsed_time_minutes", why=why, write=f"minutes, {most} at most")


@stack_rule(
    "stack-workflow-steps-bounded",
    "definition, envs",
    description="A block that a language model steers ends after a number of steps, its own or the server's",
    severity="medium",
    remediation="Write max_steps_per_run; in a block of the type task_v2, max_steps.",
    url=_WORKFLOWS,
    parameters={"maximum": 100},
)
def workflow_steps_bounded(stack: Stack, parameters: Parameters) -> Findings:
    most = parameters["maximum"]
    for workflow in stack.of_type(WORKFLOW):
        for path, block in blocks(workflow):
            type_ = block.get("block_type", "")
            key = "max_steps" if type_ == "task_v2" else "max_steps_per_run"
            steps = block.get(key)
            if type_ in _PLANNING and (steps > most if steps is not None else not _environment(stack, "MAX_STEPS_PER_RUN")):
                why = "each step is a paid request to the model, and one that does not get there goes on"
                yield workflow.finding(f"{path}.{key}", why=why, write=f"steps, {most} at most")


@stack_rule(
    "stack-workflow-code-allowed",
    "definition, envs",
    description="A workflow has code blocks only where the stack's server runs them",
    severity="high",
    remediation="Do without code, or set server.code_blocks: true, which lets code of a workflow run inside the server.",
    url=_WORKFLOWS,
)
def workflow_code_allowed(stack: Stack, parameters: Parameters) -> Findings:
    """A stack without such a server is not judged: its workflows run elsewhere."""
    for workflow in stack.of_type(WORKFLOW):
        code = [f"{path}.block_type" for path, block in blocks(workflow) if block.get("block_type") == "code"]
        if workflow.inputs.section("definition").get("run_with", "agent") == "code":
            code.append("definition.run_with")
        if code and _environment(stack, "CODE_BLOCK_MODE") == {"disabled"}:
            why = "the stack's server does not run code, so each run fails there"
            yield from (workflow.finding(path, why=why, write="another block, or server.code_blocks: true") for path in code)


@stack_rule(
    "stack-schedule-zone-same",
    "timezone, envs",
    description="A schedule's time zone is the stack's",
    severity="low",
    remediation="Write the stack's time zone, or name a zone that is meant in levels.yaml.",
    url=_WORKFLOWS,
    parameters={"zones": []},
)
def schedule_zone_same(stack: Stack, parameters: Parameters) -> Findings:
    for schedule in stack.of_type(SCHEDULE):
        zones = _environment(stack, "BROWSER_TIMEZONE")
        if zones and schedule.inputs.get("timezone", "UTC") not in zones | set(parameters["zones"]):
            why = "nine o'clock is another hour there than for the people who read the schedule"
            yield schedule.finding("timezone", why=why, write="the stack's time zone")
