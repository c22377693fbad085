"""``ops alerts kakao``: the first token of messages to oneself on KakaoTalk, by a login in the browser, into the stack file.

The token, the key and the other channels go to ``pulumi config set --secret`` through its standard input: they are in no
argument, no file of ours and on no screen. Not here: renewing the token (images/monitor/renewal.py).
"""

import os
import re
import secrets

import httpx
import typer
from pydantic import SecretStr

from ops import ownership
from ops.clients import kakao
from ops.clients.terminal import attended
from ops.deploy import update
from ops.errors import UserError
from ops.machine import backend, environment
from ops.stack import passphrase
from ops.stack.option import DEV, StackOption
from ops.stack.stack import Stack

STEPS = f"""\
KakaoTalk, to oneself. Once, at https://developers.kakao.com, logged in as the person who gets the messages:
  1. Add an app; its name is shown as the sender.
  2. Kakao Login: switch it on, and register the redirect URI {kakao.REDIRECT_URL}
  3. Consent Items: switch on "Send message in KakaoTalk" ({kakao.SCOPE}).
  4. Copy the REST API key, and the client secret where one is switched on."""
_PATH = ("--path", "monitor.channels")


def with_kakao(channels: str, new: SecretStr) -> str:
    """The channels with this one in place of an earlier one of KakaoTalk to oneself; one to friends stays."""
    kept = [url for url in channels.split() if not re.fullmatch(r"kakao(talk)?://[^/?]+/[^/?]+(/me)?/?", url)]
    return " ".join([*kept, new.get_secret_value()])


def ask_hidden(text: str, *, required: bool = True) -> SecretStr | None:
    """A key from the terminal, not shown; asked again while it looks like none. None if it may be left empty, and is."""
    while True:
        value = typer.prompt(text, default="", show_default=False, hide_input=True).strip()
        # As Apprise's address of KakaoTalk takes it.
        if re.fullmatch(r"[A-Za-z0-9]+", value):
            return SecretStr(value)
        if not value and not required:
            return None
        typer.echo("  that is not a key, which has letters and digits only; paste it again")


def add(stack: StackOption = DEV) -> None:
    """Log in to KakaoTalk, and add messages to oneself to monitor.channels."""
    talk(stack)


def talk(stack: Stack, transport: httpx.BaseTransport | None = None) -> None:
    """Asks, exchanges and writes. Nothing is written before Kakao has answered."""
    if not attended():
        raise UserError(
            "alerts kakao: there is no terminal to ask on; Kakao's login needs a browser and a person (docs/monitoring.md)"
        )
    # UserError before anybody is asked in vain.
    monitor, path = stack.settings().monitor, stack.file
    if not monitor.enabled:
        raise UserError(f"{path.name}: monitor.enabled: is false, and messages are the monitor's; write true first")
    environment.for_engine()
    ownership.check(path)
    passphrase.check(stack, backend.current_state(), os.environ)
    typer.echo(STEPS)
    key = ask_hidden("  REST API key")
    assert key is not None  # noqa: S101  # asked until there is one
    app = kakao.App(key=key, secret=ask_hidden("  Client secret (empty without)", required=False))
    state = secrets.token_urlsafe(16)
    typer.echo(f"  5. Open this address, log in and agree:\n\n{kakao.consent_url(app, state)}\n")
    typer.echo("  The browser then shows that it cannot reach localhost. That is right: the code is in its address bar.")
    code = kakao.code_of(typer.prompt("  The whole address"), state)
    tokens = kakao.exchange(app, code, transport)
    backend.ensure_state(lambda line: None)
    update.ensure_stack(stack, lambda line: None)
    before = stack.pulumi("config", "get", *_PATH).decode().strip() if monitor.channels is not None else ""
    channels = with_kakao(before, tokens.channel(app))
    stack.pulumi("config", "set", "--secret", *_PATH, stdin=channels.encode())
    typer.echo(
        f"{path.name}: monitor.channels has KakaoTalk now; its token is valid for {tokens.days} days, and the monitor renews it\n"
        f"next: script/up --stack {stack}, then bin/ops alerts test -s {stack}"
    )
