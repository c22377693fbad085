"""Cloudflare's API as the commands ask it: where it is, and by which token. Not here: what is asked (doctor, drift)."""

import os

from pydantic import SecretStr

from ops import bootstrap
from ops.clients import process
from ops.paths import ROOT

API_URL = "https://api.cloudflare.com/client/v4"


def read_token(stack: str) -> SecretStr:
    """The API token of the stack file, decrypted by the engine; UserError when it cannot be opened."""
    command = bootstrap.pulumi("config", "get", "--path", "skyvern:edge.api_token", "--stack", stack, "--non-interactive")
    told = process.capture(command, cwd=ROOT, env={**os.environ, **bootstrap.environment()})
    return SecretStr(told.decode().strip())
