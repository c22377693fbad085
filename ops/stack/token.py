"""The Cloudflare API token of a stack. Not here: what is asked with it (doctor, drift)."""

from pydantic import SecretStr

from ops.stack.stack import Stack


def read_token(stack: Stack) -> SecretStr:
    """The API token of the stack file, decrypted by the engine; UserError when it cannot be opened."""
    return SecretStr(stack.pulumi("config", "get", "--path", "skyvern:edge.api_token").decode().strip())
