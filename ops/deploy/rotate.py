"""``ops rotate``: a new secret in place of an old one, and the proof that the old one is refused.

A rotation is an epoch that goes up in the stack file and a ``pulumi up``; the rest here is what a person wants around it: what
stops and for how long, the plan, the smoke run. Not here: the secrets that never rotate (components/secrets.py).
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx
from pydantic import SecretStr

from components.settings import CloudflareEdge, Settings, VercelFrontend
from ops import bootstrap
from ops.clients import process
from ops.clients.docker import PYTHON, Docker
from ops.deploy import guard, recovery, sessions
from ops.deploy import up as deploy
from ops.errors import UserError
from ops.observe.smoke.api_checks import WORKFLOWS
from ops.observe.smoke.site import client_for
from ops.paths import ROOT
from ops.stack import outputs as stacks
from ops.stack.impact import CONNECTOR_SECONDS, GATEWAY_SECONDS, SERVER_SECONDS
from ops.stack.outputs import Outputs

# What leads to a session of the UI; its tokens end with it.
OPEN_SESSIONS = ("api-key", "ui-login", "gateway")
What = Literal["database", "api-key", "ui-login", "gateway", "tunnel", "all"]

# Over TCP as Skyvern itself connects; the password comes by standard input, because an argument would show in the process list.
_LOGIN = """
import sys, psycopg
from psycopg import OperationalError
try:
    psycopg.connect(host="postgres", dbname="skyvern", user="skyvern", password=sys.stdin.read(), connect_timeout=10).close()
except OperationalError as failure:
    print("refused" if "password authentication failed" in str(failure) else "no answer")
else:
    print("accepted")
"""


@dataclass(frozen=True)
class Rotation:
    """One secret that rotates.

    key: its epoch below ``skyvern:rotation``. stops: what does not work meanwhile. seconds: for how long at most.
    afterwards: what a person has to do, with STACK for the stack.
    """

    key: str
    title: str
    stops: str
    seconds: int
    afterwards: str


ROTATIONS: dict[str, Rotation] = {
    "database": Rotation(
        "database",
        "password of Skyvern's role in PostgreSQL",
        "the API, live views and every run in progress, while Skyvern restarts",
        SERVER_SECONDS,
        "nothing to do: only Skyvern uses this password",
    ),
    "api-key": Rotation(
        "api_key",
        "the organisation's API key",
        "the API, live views and every run in progress, while Skyvern restarts; the UI and recordings for a moment",
        SERVER_SECONDS,
        "the UI opens new sessions by itself; programs get 403 until they have the new key: "
        "pulumi stack output api_key --show-secrets -s STACK",
    ),
    "ui-login": Rotation(
        "ui_login",
        "password of the UI",
        "the UI, recordings and access to the API, while the gateway restarts; runs go on",
        GATEWAY_SECONDS,
        "sessions have ended; people log in with the new password: pulumi stack output ui_password --show-secrets -s STACK",
    ),
    "gateway": Rotation(
        "gateway",
        "key by which Vercel and the gateway know each other",
        "recordings, new logins of the UI and access to the API, while the gateway restarts; runs go on. Vercel builds first, "
        "which stops nothing",
        GATEWAY_SECONDS,
        "nothing to do: the key is on Vercel and in the gateway only",
    ),
    "tunnel": Rotation(
        "tunnel",
        "secret of the Cloudflare Tunnel",
        "all access from outside, while the connector restarts; runs go on",
        CONNECTOR_SECONDS,
        "nothing to do: connectors with the old secret cannot connect again",
    ),
}


@dataclass(frozen=True)
class Old:
    """The secrets before the rotation, kept in memory to be tried afterwards."""

    outputs: Outputs
    database_password: SecretStr = field(repr=False)
    # None where the UI gave none before the rotation: a stack that does not answer can be rotated too.
    session_token: SecretStr | None = field(default=None, repr=False)


# --- What is said and decided --------------------------------------------------------------------------------------------


def chosen(what: What, stack: str, settings: Settings) -> dict[str, Rotation]:
    """The rotations that a word of the command line stands for; UserError for a secret that the stack does not have."""
    missing = {
        "gateway": "" if isinstance(settings.frontend, VercelFrontend) else "frontend.provider is not vercel",
        "tunnel": "" if isinstance(settings.edge, CloudflareEdge) else "edge.provider is not cloudflare",
    }
    if what == "all":
        return {name: rotation for name, rotation in ROTATIONS.items() if not missing.get(name)}
    if why := missing.get(what):
        raise UserError(f"ops rotate: stack {stack} has no such secret: {why}")
    return {what: ROTATIONS[what]}


def announcement(stack: str, rotations: dict[str, Rotation]) -> str:
    """What stops working, for how long and what is to be done, before anything changes."""
    lines = []
    for rotation in rotations.values():
        lines += [
            f"{rotation.title}:",
            f"  stops       {rotation.stops}: up to {rotation.seconds} s",
            f"  afterwards  {rotation.afterwards.replace('STACK', stack)}",
        ]
    if len(rotations) > 1:
        lines.append(f"all in one go: up to {max(rotation.seconds for rotation in rotations.values())} s")
    lines.append("times hold on an otherwise idle machine")
    return "\n".join(lines)


def next_epochs(path: Path, rotations: dict[str, Rotation]) -> dict[str, int]:
    """The epochs to write: one more than the stack file has."""
    epochs = bootstrap.stack_settings(path.name.split(".", 1)[1].removesuffix(".yaml")).rotation
    return {rotation.key: int(getattr(epochs, rotation.key)) + 1 for rotation in rotations.values()}


# --- Steps ---------------------------------------------------------------------------------------------------------------


def database_password(stack: str) -> SecretStr:
    """The password of Skyvern's role, from the state; UserError when the stack has none."""
    exported = process.capture(
        bootstrap.pulumi("stack", "export", "--show-secrets", "--stack", stack),
        cwd=ROOT,
        env={**os.environ, **bootstrap.environment()},
    )
    for resource in json.loads(exported)["deployment"].get("resources") or []:
        if str(resource["urn"]).endswith("::skyvern-secrets-database") and not resource.get("delete"):
            return SecretStr(str(json.loads(resource["outputs"]["result"]["plaintext"])))
    raise UserError(f"stack {stack}: has no database password yet; run script/up --stack {stack} first")


def session_token(outputs: Outputs, http: httpx.Client) -> SecretStr | None:
    """A session token, as the UI fetches one; None where there is none to be had."""
    login = httpx.BasicAuth(outputs.ui_username, outputs.ui_password.get_secret_value())
    try:
        if outputs.gateway_key is None:
            answer = http.get(outputs.app_url + "/ui-session", headers={"sec-fetch-site": "same-origin"}, auth=login)
        else:
            # Of the gateway, which asks for the key; Vercel's function would ask for the login.
            key = outputs.gateway_key.get_secret_value()
            answer = http.get(outputs.api_url + "/ui-session", headers={"x-gateway-key": key})
        return SecretStr(str(answer.json()["token"])) if answer.status_code == 200 else None
    except (httpx.TransportError, ValueError, KeyError, TypeError):
        return None


def sessions_are_ended(old: Old, http: httpx.Client) -> bool | None:
    """Whether the token from before the rotation is refused; None where there was none."""
    if old.session_token is None:
        return None
    return _status(http, old.outputs.api_url + WORKFLOWS, headers={"x-api-key": old.session_token.get_secret_value()}) == 403


def preview(stack: str) -> None:
    """``pulumi preview`` on the terminal; UserError when it fails."""
    env = {**os.environ, **bootstrap.environment()}
    code = deploy.run_attended(bootstrap.pulumi("preview", "--stack", stack, "--non-interactive"), env=env, ask=False)
    if code:
        raise UserError(f"pulumi preview: exit {code}; nothing was changed; correct what its messages above name")


def old_is_refused(name: str, old: Old, http: httpx.Client) -> bool | None:
    """Whether the deployed stack refuses an old secret; None where only Cloudflare could tell. UserError without an answer."""
    match name:
        case "tunnel":
            return None
        case "gateway":
            key = "" if old.outputs.gateway_key is None else old.outputs.gateway_key.get_secret_value()
            return _status(http, old.outputs.api_url + "/ui-session", headers={"x-gateway-key": key}) == 403
        case "api-key":
            key = old.outputs.api_key.get_secret_value()
            return _status(http, old.outputs.api_url + WORKFLOWS, headers={"x-api-key": key}) == 403
        case "ui-login":
            login = httpx.BasicAuth(old.outputs.ui_username, old.outputs.ui_password.get_secret_value())
            return _status(http, old.outputs.app_url + "/", auth=login) == 401
        case _:
            said = (
                Docker(old.outputs.docker_host)
                .run(
                    *("exec", "--interactive", old.outputs.containers["server"], *PYTHON, _LOGIN),
                    stdin=old.database_password.get_secret_value().encode(),
                )
                .strip()
            )
            if said not in {"refused", "accepted"}:
                raise UserError("PostgreSQL: does not answer the server's container; see ops smoke")
            return said == "refused"


def _status(http: httpx.Client, url: str, *, headers: dict[str, str] | None = None, auth: httpx.BasicAuth | None = None) -> int:
    try:
        return http.get(url, headers=headers, auth=auth).status_code
    except httpx.TransportError as failure:
        raise UserError(f"{url}: {type(failure).__name__}; see ops smoke") from None


def rotate(what: What, stack: str, *, yes: bool, unreviewed: bool = False) -> None:
    """All steps in order; UserError with the way on at the first that cannot go on."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    path = bootstrap.stack_file(stack)
    # Before the epoch is written, which is itself a change that has to be committed afterwards.
    guard.check(stack, path.parent, unreviewed=unreviewed, confirm=deploy.confirm if terminal else None)
    settings = bootstrap.stack_settings(stack)
    rotations = chosen(what, stack, settings)
    file = path.name
    docker = Docker(settings.host.docker_host)
    print(announcement(stack, rotations), flush=True)
    if not yes and not terminal:
        raise UserError("ops rotate: there is no terminal to ask on; add --yes")

    recovery.recover(stack, docker, _say)
    old_outputs = stacks.outputs(stack)
    with client_for(old_outputs) as http:
        old = Old(old_outputs, database_password(stack), session_token(old_outputs, http))
    before = path.read_text()
    epochs = next_epochs(path, rotations)
    deploy.write_setting(path, "rotation", epochs)
    for key, epoch in epochs.items():
        _say(f"{file}: rotation.{key}: {epoch}")
    try:
        preview(stack)
        if not yes and not deploy.confirm("Rotate now?"):
            raise UserError(f"ops rotate: not rotated; {file} is as before")
    except (UserError, KeyboardInterrupt, EOFError):
        # Nothing has been applied, and the next up of somebody else must not rotate by surprise.
        path.write_text(before)
        raise

    way_on = f"{file} keeps the new epoch; script/up --stack {stack} finishes the rotation"
    try:
        deploy.pulumi_up(stack, unasked=True, previewed=True)
    except UserError as failed:
        raise UserError(f"{str(failed).split(';')[0]}; correct what its messages above name. {way_on}") from failed
    outputs = stacks.outputs(stack)
    opens_sessions = bool(set(rotations) & set(OPEN_SESSIONS))
    if opens_sessions:
        # Once more than the update did: until the gateway had the new login, the old one could open another session.
        sessions.end(docker, outputs)
    green, total = deploy.run_smoke(outputs, _say)
    accepted = []
    with client_for(outputs) as http:
        for name, rotation in rotations.items():
            refused = old_is_refused(name, old, http)
            if refused is None:
                _say(f"skip  the old secret cannot be tried from here: {rotation.title}")
                continue
            _say(f"{'ok  ' if refused else 'FAIL'}  the old secret is refused: {rotation.title}")
            accepted += [] if refused else [name]
        if opens_sessions:
            ended = sessions_are_ended(old, http)
            mark = {None: "skip", True: "ok  ", False: "FAIL"}[ended]
            _say(f"{mark}  an earlier session token is refused" + (": there was none to try" if ended is None else ""))
            accepted += ["an earlier session"] if ended is False else []
    if accepted:
        raise UserError(f"ops rotate: the old secret still works: {', '.join(accepted)}; {way_on}, then try it again")
    if green < total:
        raise UserError(
            f"ops rotate: rotated, but {green} of {total} smoke checks are green; each line above that is not ok names what to "
            f"look at; bin/ops smoke -s {stack} tries again"
        )
    _say(f"rotated: {', '.join(rotations)}; {green} of {total} smoke checks green")
    for rotation in rotations.values():
        _say(rotation.afterwards.replace("STACK", stack))


def _say(line: str) -> None:
    print(line, flush=True)
