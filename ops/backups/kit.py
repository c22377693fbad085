"""The recovery kit: what a bare machine needs besides the repository of the backups.

The repository's key and the passphrase lie in the very state and machine that may be lost, so a copy has to be elsewhere: on
paper, or encrypted in a password manager. It holds every secret of the stack.
Not here: restoring from it (ops/deploy/restore.py).
"""

import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from components.settings import NoBackup
from ops import shell
from ops.clients import git, terminal
from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.stack import kits, passphrase
from ops.stack.secrets import generated
from ops.stack.stack import Stack

FORM = "skyvern recovery kit 1"


@dataclass(frozen=True, kw_only=True)
class Kit:
    """A kit.

    stack: its name. made: ISO time. commit: of the checkout that deployed it, "" without git. passphrase: of the state; "" where
    the backend keeps the key, or a KMS does. repository_key: opens the backups. stack_file: its text. state: of ``pulumi stack
    export``, with its secrets encrypted by the passphrase.
    """

    stack: str
    made: str
    commit: str
    stack_file: str
    passphrase: str = field(repr=False)
    repository_key: str = field(repr=False)
    state: str = field(repr=False)
    form: str = FORM


def collect(stack: Stack) -> Kit:
    """The kit of a deployed stack; UserError if something of it is missing."""
    if isinstance(stack.settings().backup, NoBackup):
        raise UserError(f"{stack.file_name}: backup.type: is none, so there is nothing to restore; write one of path, sftp, s3")
    key = generated(stack, "backup").get("backup")
    if key is None:
        raise UserError(f"stack {stack}: has no key of a repository yet; run script/up --stack {stack} first")
    return Kit(
        stack=stack.name,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=git.commit(stack.root),
        stack_file=stack.file.read_text(encoding="utf-8"),
        passphrase=passphrase.find(stack.environment())[1] or "",
        repository_key=key.get_secret_value(),
        state=stack.pulumi("stack", "export").decode(),
    )


def text(kit: Kit) -> str:
    """The kit as a document that people can read, too."""
    return json.dumps(asdict(kit), indent=1, ensure_ascii=False) + "\n"


def parse(document: str) -> Kit:
    """A kit from its text; UserError for anything else. The error repeats nothing of it."""
    try:
        values = json.loads(document)
        kit = Kit(**{one.name: values[one.name] for one in fields(Kit)})
    except (ValueError, KeyError, TypeError):
        raise UserError("recovery kit: is not a whole kit; give the file that ops backup kit wrote") from None
    if kit.form != FORM:
        raise UserError(f"recovery kit: has the form {kit.form!r}, and this version reads {FORM!r}; use the commit that made it")
    return kit


def make(stack: Stack, *, output: Path | None, passphrase_file: Path | None, plain: bool, progress: Progress) -> None:
    """Prints the kit, or writes it encrypted; UserError if neither was asked for. passphrase_file: as for ``read``."""
    if plain == (output is not None):
        raise UserError(
            "ops backup kit: add --output FILE for an encrypted file, or --plain to print it; it holds every secret of the stack"
        )
    made = text(collect(stack))
    if output is None:
        print(made, end="")
    else:
        encrypt(made, output, passphrase_file)
        progress(f"{output} is the kit, encrypted; keep it away from this machine, and its passphrase away from it")
    kits.note(stack)


def encrypt(document: str, output: Path, passphrase_file: Path | None = None) -> None:
    """Writes the text encrypted. UserError if it cannot be, or the file exists. passphrase_file: as for ``read``."""
    if output.exists():
        raise UserError(f"{output}: exists; name a file that does not")
    flags = ("--symmetric", "--cipher-algo", "AES256", "--armor", "--output", str(output))
    _gpg(*flags, document=document, passphrase_file=passphrase_file)
    output.chmod(0o600)


def read(path: Path, passphrase_file: Path | None = None) -> Kit:
    """A kit from a file, encrypted or not. passphrase_file: its first line is the passphrase; without one, gpg asks for it."""
    try:
        document = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failed:
        raise UserError(f"{path}: cannot be read; give the file that ops backup kit wrote") from failed
    encrypted = document.startswith("-----BEGIN PGP MESSAGE-----")
    return parse(_gpg("--decrypt", str(path), passphrase_file=passphrase_file) if encrypted else document)


def _gpg(*arguments: str, passphrase_file: Path | None, document: str | None = None) -> str:
    if shutil.which("gpg") is None:
        raise UserError("gpg: not found, which encrypts the kit; sudo apt-get install -y gnupg")
    if passphrase_file is None and not terminal.attended():
        raise UserError("recovery kit: there is no terminal to ask for its passphrase on; add --passphrase-file")
    given = (
        [] if passphrase_file is None else ["--batch", "--pinentry-mode", "loopback", "--passphrase-file", str(passphrase_file)]
    )
    done = subprocess.run(
        # Cached, the passphrase would open the kit without being asked for.
        ["gpg", "--quiet", "--no-symkey-cache", *given, *arguments],
        input=None if document is None else document.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if given else None,
        env={**shell.variables(), "GPG_TTY": os.ttyname(0) if terminal.attended() else ""},
        check=False,
    )
    if done.returncode:
        raise UserError(f"gpg: exit {done.returncode}; is the passphrase of the kit right, and can its folder be written to?")
    return done.stdout.decode()
