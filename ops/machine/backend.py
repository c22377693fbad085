"""Where stacks are kept and what their secrets are encrypted with: the user's backend, else a local folder and a passphrase."""

import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.clients.terminal import Progress
from ops.errors import UserError
from ops.machine import engine
from ops.machine.engine import EngineRecord
from ops.paths import config_dir

PULUMI_CLOUD = "https://api.pulumi.com"


@dataclass(frozen=True, kw_only=True)
class State:
    """Where stacks are kept.

    url: PULUMI_BACKEND_URL. local: the folder that we make. passphrase: whether secrets are encrypted with one.
    """

    url: str
    local: bool
    passphrase: bool


def local_state_dir() -> Path:
    """The folder of the local file backend."""
    return config_dir() / "state"


def local_url() -> str:
    """The URL of the local file backend. Pulumi decodes it, so what means something in a URL is encoded, and nothing else."""
    return "file://" + str(local_state_dir()).replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def passphrase_file() -> Path:
    """The file of the generated passphrase."""
    return config_dir() / "passphrase"


def decide_state(environ: Mapping[str, str], logged_in_to: str) -> State:
    """The backend: the one that is named, else the one that the user is logged in to, else a local folder.

    logged_in_to: the current backend of the user's credentials, or "". An access token alone means Pulumi Cloud, as it does for
    pulumi itself: that is how a CI is logged in.
    """
    local = local_url()
    cloud = environ.get("PULUMI_API") or PULUMI_CLOUD if environ.get("PULUMI_ACCESS_TOKEN") else ""
    url = environ.get("PULUMI_BACKEND_URL") or logged_in_to or cloud or local
    # Pulumi Cloud, hosted or not, keeps the key itself; every other backend needs a passphrase unless the stack names a KMS.
    return State(url=url, local=url == local, passphrase=not url.startswith(("https://", "http://")))


def credentials_dir(environ: Mapping[str, str], record: EngineRecord | None) -> Path:
    """The folder of the user's credentials.json."""
    named = environ.get("PULUMI_CREDENTIALS_PATH")
    return Path(named) if named else engine.user_pulumi_home(environ, record)


def logged_in_to(folder: Path) -> str:
    """The backend that the user is logged in to, or ""."""
    try:
        current = json.loads((folder / "credentials.json").read_text()).get("current")
    except (OSError, ValueError, AttributeError):
        return ""
    return current if isinstance(current, str) else ""


def own_passphrase(environ: Mapping[str, str]) -> bool:
    """Whether the user gives a passphrase. Raises UserError for an empty one, with which the state would be readable."""
    if environ.get("PULUMI_CONFIG_PASSPHRASE") == "":
        raise UserError(
            "PULUMI_CONFIG_PASSPHRASE: is empty, so anyone could read the secrets in the state; unset it or give it a value"
        )
    named = environ.get("PULUMI_CONFIG_PASSPHRASE_FILE") or ""
    return "PULUMI_CONFIG_PASSPHRASE" in environ or named not in ("", str(passphrase_file()))


def current_state() -> State:
    """The backend of this user in this shell."""
    return decide_state(os.environ, logged_in_to(credentials_dir(os.environ, engine.read_record())))


def ensure_state(progress: Progress) -> State:
    """Makes the backend usable: its folder and, if the user gives no passphrase, a generated one.

    Raises UserError when the passphrase of existing state is missing: a new one could read none of it.
    """
    state = current_state()
    if state.local:
        folder = local_state_dir()
        folder.mkdir(parents=True, exist_ok=True)
        config_dir().chmod(0o700)
        folder.chmod(0o700)
    if state.passphrase and not own_passphrase(os.environ):
        _ensure_passphrase(progress)
    progress(f"state: {state.url}")
    return state


def _ensure_passphrase(progress: Progress) -> None:
    path = passphrase_file()
    if path.exists():
        if stat.S_IMODE(path.stat().st_mode) != 0o600:
            path.chmod(0o600)
            progress(f"{path}: could be read by others; its mode is 0600 again")
        if not path.read_text().strip():
            raise UserError(f"{path}: is empty; put the passphrase back from your copy")
        return
    stacks = local_state_dir() / ".pulumi" / "stacks"
    if stacks.is_dir() and any(entry.is_file() for entry in stacks.rglob("*.json")):
        raise UserError(
            f"{path}: is missing, but {local_state_dir()} holds stacks that only it can read; put it back from your copy, "
            "or move that folder away to start over (its containers and volumes stay and have to be removed by hand)"
        )
    if not keep_passphrase(secrets.token_urlsafe(32)):
        return
    progress(f"A passphrase for the secrets in the state was generated: {path} (mode 0600; read it with `cat`).")
    progress("Keep a copy elsewhere. Without it no secret can be read again and the stack can be neither updated nor destroyed.")


def keep_passphrase(text: str) -> bool:
    """Writes the passphrase's file, whole or not at all; False if there is one."""
    path = passphrase_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link appears whole or not at all and, unlike a rename, never replaces a passphrase made in the meantime.
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    return True
