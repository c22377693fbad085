"""``ops rotate``: a new secret in place of an old one, and the proof that the old secret is refused.

A rotation is an epoch that goes up in the stack file and a ``pulumi up``; the rest here is what a person wants around it: what
stops and for how long, the plan, the smoke run. Not here: the secrets that never rotate (components/secrets.py).
"""

from dataclasses import dataclass, field
from typing import Literal

import httpx
from pydantic import SecretStr

from components.settings import CloudflareEdge, Settings, VercelFrontend
from ops.backups import notes
from ops.clients import terminal
from ops.clients.docker import PYTHON, Docker
from ops.clients.terminal import say
from ops.deploy import database_upgrade, guard, recovery, sessions, update, upgrade
from ops.errors import UserError, explained
from ops.observe.smoke.api_checks import WORKFLOWS
from ops.observe.smoke.site import client_for
from ops.paths import write_whole
from ops.stack import file, impact, secrets
from ops.stack.impact import Rotation
from ops.stack.outputs import Outputs
from ops.stack.stack import Stack

SecretName = Literal["database", "api-key", "ui-login", "gateway", "tunnel", "all"]

# As Skyvern itself connects; the password comes by standard input, because an argument would show in the process list.
_LOGIN = """
import os, sys, psycopg
from psycopg import OperationalError
try:
    address = os.environ["DATABASE_STRING"].replace("+psycopg", "", 1)
    psycopg.connect(address, password=sys.stdin.read(), connect_timeout=10).close()
except OperationalError as failure:
    print("refused" if "password authentication failed" in str(failure) else "no answer")
else:
    print("accepted")
"""


@dataclass(frozen=True)
class PreviousSecrets:
    """The secrets before the rotation, kept in memory to be tried afterwards."""

    outputs: Outputs
    database_password: SecretStr = field(repr=False)
    # None where the UI gave none before the rotation: a stack that does not answer can be rotated too.
    session_token: SecretStr | None = field(default=None, repr=False)


# --- Decisions -----------------------------------------------------------------------------------------------------------


def select(what: SecretName, stack: Stack, settings: Settings) -> dict[str, Rotation]:
    """The rotations that the command line asks for; UserError for a secret that the stack does not have."""
    missing = {
        "gateway": "" if isinstance(settings.frontend, VercelFrontend) else "frontend.provider is not vercel",
        "tunnel": "" if isinstance(settings.edge, CloudflareEdge) else "edge.provider is not cloudflare",
    }
    if what == "all":
        return {name: rotation for name, rotation in impact.ROTATIONS.items() if not missing.get(name)}
    if why := missing.get(what):
        raise UserError(f"ops rotate: stack {stack} has no such secret: {why}")
    return {what: impact.ROTATIONS[what]}


def announcement(stack: Stack, rotations: dict[str, Rotation]) -> str:
    """The text before anything changes: what stops working, for how long, and what a person has to do afterwards."""
    lines = []
    for rotation in rotations.values():
        lines += [
            f"{rotation.title}:",
            f"  stops       {rotation.stops}: up to {rotation.seconds} s",
            f"  afterwards  {rotation.afterwards.replace('STACK', stack.name)}",
        ]
    if len(rotations) > 1:
        lines.append(f"all in one go: up to {max(rotation.seconds for rotation in rotations.values())} s")
    lines.append("times hold on an otherwise idle machine")
    return "\n".join(lines)


def next_epochs(settings: Settings, rotations: dict[str, Rotation]) -> dict[str, int]:
    """The epochs to write: one more than the stack file has."""
    return {rotation.key: int(getattr(settings.rotation, rotation.key)) + 1 for rotation in rotations.values()}


# --- Steps ---------------------------------------------------------------------------------------------------------------


def database_password(stack: Stack) -> SecretStr:
    """The password of Skyvern's role, from the state; UserError when the stack has none."""
    found = secrets.generated(stack, "database")
    if "database" in found:
        return found["database"]
    raise UserError(f"stack {stack}: has no database password yet; run script/up --stack {stack} first")


def session_token(outputs: Outputs, http: httpx.Client) -> SecretStr | None:
    """A session token, as the UI fetches one; None if the stack gives none."""
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


def sessions_are_ended(old: PreviousSecrets, http: httpx.Client) -> bool | None:
    """Whether the token from before the rotation is refused; None if there was none."""
    if old.session_token is None:
        return None
    return _status(http, old.outputs.api_url + WORKFLOWS, headers={"x-api-key": old.session_token.get_secret_value()}) == 403


def previous_is_rejected(name: str, old: PreviousSecrets, http: httpx.Client) -> bool | None:
    """Whether the deployed stack refuses an old secret; None if only Cloudflare could say. UserError without an answer."""
    match name:
        case "tunnel":
            return None
        case "gateway":
            key = "" if old.outputs.gateway_key is None else old.outputs.gateway_key.get_secret_value()
            return _status(http, old.outputs.api_url + "/ui-session", headers={"x-gateway-key": key}) == 403
        case "api-key":
            keys = [key.get_secret_value() for key in (old.outputs.api_key, old.outputs.smoke_api_key) if key is not None]
            return all(_status(http, old.outputs.api_url + WORKFLOWS, headers={"x-api-key": key}) == 403 for key in keys)
        case "ui-login":
            login = httpx.BasicAuth(old.outputs.ui_username, old.outputs.ui_password.get_secret_value())
            return _status(http, old.outputs.app_url + "/", auth=login) == 401
        case _:
            answer = (
                old.outputs.docker()
                .execute(
                    old.outputs.containers["server"],
                    *(*PYTHON, _LOGIN),
                    stdin=old.database_password.get_secret_value().encode(),
                )
                .strip()
            )
            if answer not in {"refused", "accepted"}:
                raise UserError("PostgreSQL: does not answer the server's container; see ops smoke")
            return answer == "refused"


def _status(http: httpx.Client, url: str, *, headers: dict[str, str] | None = None, auth: httpx.BasicAuth | None = None) -> int:
    try:
        return http.get(url, headers=headers, auth=auth).status_code
    except httpx.TransportError as failure:
        raise UserError(f"{url}: {type(failure).__name__}; see ops smoke") from None


def rotate(what: SecretName, stack: Stack, *, yes: bool, unreviewed: bool = False) -> None:
    """All steps in order; UserError with the next step at the first that cannot go on."""
    # Before the epoch is written, which is itself a change that has to be committed afterwards.
    guard.check(stack, unreviewed=unreviewed, confirm=terminal.confirm if terminal.attended() else None)
    settings = stack.settings()
    rotations = select(what, stack, settings)
    docker = stack.docker()
    say(announcement(stack, rotations))
    terminal.need_answer("ops rotate", yes=yes)
    with notes.alone(stack):
        _rotate(stack, docker, settings, rotations, yes=yes)


def _rotate(stack: Stack, docker: Docker, settings: Settings, rotations: dict[str, Rotation], *, yes: bool) -> None:
    """The steps that change the stack file and the stack."""
    path = stack.file
    database_upgrade.refuse_unfinished(stack, "ops rotate")
    recovery.recover(stack, docker, say)
    upgrade.refuse(stack, docker, settings, "ops rotate")
    old_outputs = stack.outputs()
    with client_for(old_outputs) as http:
        old = PreviousSecrets(old_outputs, database_password(stack), session_token(old_outputs, http))
    # Bytes, because a text's ends of line would be changed.
    before = path.read_bytes().decode()
    epochs = next_epochs(settings, rotations)
    file.write_settings(path, {"rotation": epochs})
    for key, epoch in epochs.items():
        say(f"{path.name}: rotation.{key}: {epoch}")
    try:
        update.preview(stack)
        if not yes and not terminal.confirm("Rotate now?"):
            raise UserError(f"ops rotate: not rotated; {path.name} is as before")
    except (UserError, KeyboardInterrupt, EOFError):
        # Nothing has been applied, and the next up, perhaps someone else's, must not rotate by surprise.
        write_whole(path, before)
        raise

    next_step = f"{path.name} keeps the new epoch; script/up --stack {stack} finishes the rotation"
    with explained(lambda failed: f"{str(failed).split(';')[0]}; correct what its messages above name. {next_step}"):
        update.pulumi_up(stack, unasked=True, previewed=True)
    outputs = stack.outputs()
    opens_sessions = bool(set(rotations) & set(impact.OPEN_SESSIONS))
    if opens_sessions:
        # Once more than the update did: until the gateway had the new login, the old one could open another session.
        sessions.end(docker, outputs)
    green, total = update.run_smoke(outputs, say)
    accepted = []
    with client_for(outputs) as http:
        for name, rotation in rotations.items():
            refused = previous_is_rejected(name, old, http)
            if refused is None:
                say(f"skip  the old secret cannot be tried from here: {rotation.title}")
                continue
            say(f"{'ok  ' if refused else 'FAIL'}  the old secret is refused: {rotation.title}")
            accepted += [] if refused else [name]
        if opens_sessions:
            ended = sessions_are_ended(old, http)
            mark = {None: "skip", True: "ok  ", False: "FAIL"}[ended]
            say(f"{mark}  an earlier session token is refused" + (": there was none to try" if ended is None else ""))
            accepted += ["an earlier session"] if ended is False else []
    if accepted:
        raise UserError(f"ops rotate: the old secret still works: {', '.join(accepted)}; {next_step}, then try it again")
    if green < total:
        raise UserError(
            f"ops rotate: rotated, but {green} of {total} smoke checks are green; each line above that is not ok names what to "
            f"look at; bin/ops smoke -s {stack} tries again"
        )
    say(f"rotated: {', '.join(rotations)}; {green} of {total} smoke checks green")
    for rotation in rotations.values():
        say(rotation.afterwards.replace("STACK", stack.name))
