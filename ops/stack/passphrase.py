"""Whether a passphrase is the one that a stack file or a state was encrypted with, before minutes are spent on anything else.

Pulumi writes beside each of them a salt and the word "pulumi", encrypted with the key that the passphrase and the salt give
(Pulumi 3.256, pkg/secrets/passphrase). Read here, because a fresh machine has no engine yet.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from ops.errors import UserError
from ops.machine import backend
from ops.stack import checkpoint, file
from ops.stack.stack import Stack

# Of Pulumi's v1: rounds of PBKDF2 with SHA-256, and the word.
_ROUNDS = 1_000_000
_WORD = b"pulumi"


def check(stack: Stack, state: backend.State, environ: Mapping[str, str]) -> None:
    """UserError if this user's passphrase opens neither the stack's state nor its file, with the line to remove or to put back.

    environ: where the user may give a passphrase. Without one anywhere, one is about to be generated, which opens nothing old.
    """
    if not state.passphrase:
        return
    # UserError for an empty one.
    backend.own_passphrase(environ)
    where, phrase = find(environ)
    recorded = checkpoint.read(state.url, stack.short) or {}
    provider = recorded.get("secrets_providers") or {}
    kept = provider.get("state") if provider.get("type") == "passphrase" else None
    salt = kept.get("salt") if isinstance(kept, dict) else None
    if salt and not opens(str(salt), phrase):
        raise UserError(
            f"stack {stack}: the state in {state.url} was encrypted with another passphrase than that of {where}; put that one "
            "back from your copy: without it no secret of the stack can be read"
        )
    document = file.read_document(stack.file)
    own = document.get("encryptionsalt")
    if not own or document.get("secretsprovider") not in {None, "", "passphrase"} or own == salt or opens(str(own), phrase):
        return
    secrets = sorted(path.removeprefix(file.PREFIX) for path in file.encrypted_paths(document.get("config")))
    if secrets:
        raise UserError(
            f"{stack.file_name}: encryptionsalt: is of another passphrase than that of {where}, and so is {', '.join(secrets)}; "
            "put that passphrase back from your copy, or remove that line and these values and set each of them again "
            f"(pulumi config set --secret --path KEY -s {stack})"
        )
    raise UserError(
        f"{stack.file_name}: encryptionsalt: is of another passphrase than that of {where}; remove that line "
        f"(sed -i '/^encryptionsalt:/d' {stack.file_name}): nothing in the file is encrypted with it, and the next up adds "
        "its own"
    )


def opens(salt: str, phrase: str | None) -> bool:
    """Whether a passphrase is that of an ``encryptionsalt``, ``v1:SALT:v1:NONCE:CIPHERTEXT``; true for any other form."""
    # Here for start time: hardly any command asks.
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    parts = salt.split(":")
    if len(parts) != 5 or (parts[0], parts[2]) != ("v1", "v1"):
        return True
    try:
        seed, nonce, ciphertext = (base64.b64decode(parts[index], validate=True) for index in (1, 3, 4))
    except ValueError:
        return True
    if phrase is None:
        return False
    key = hashlib.pbkdf2_hmac("sha256", phrase.encode(), seed, _ROUNDS, 32)
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, None) == _WORD
    except InvalidTag:
        return False
    except ValueError:
        # A nonce of another length.
        return True


def find(environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Where the passphrase comes from, in Pulumi's order, and the passphrase; None if there is none yet."""
    if "PULUMI_CONFIG_PASSPHRASE" in environ:
        return "PULUMI_CONFIG_PASSPHRASE", environ["PULUMI_CONFIG_PASSPHRASE"]
    path = Path(environ.get("PULUMI_CONFIG_PASSPHRASE_FILE") or backend.passphrase_file())
    try:
        return str(path), path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return f"{path} (which is not there)", None
    except UnicodeDecodeError as broken:
        raise UserError(f"{path}: is not a text; put the passphrase back from your copy") from broken
